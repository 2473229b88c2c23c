//! The rival: songbird drivers that play the same file, with all of songbird's settings at their defaults.
//!
//! It plays until it is ended. See `benches/compare`.

use std::path::Path;

use bench_join::{Arguments, JoinError, Source, VoiceServer, allow_many_files, join};
use songbird::{
    Config, ConnectionInfo, Driver,
    input::File,
    tracks::{LoopState, Track},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), JoinError> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    // Songbird takes the process's.
    let _ = rustls::crypto::ring::default_provider().install_default();
    allow_many_files();
    let arguments = Arguments::read()?;
    let mut servers = join(&arguments).await?;
    let mut joining = Vec::new();
    for _ in 0..arguments.calls {
        let server = servers.recv().await.ok_or_else(|| JoinError("the main gateway is gone".into()))?;
        joining.push(tokio::spawn(play(server, arguments.clone())));
    }
    let mut drivers = Vec::new();
    for joined in joining {
        drivers.push(joined.await.map_err(|error| JoinError(error.to_string()))??);
    }
    eprintln!("{} drivers have connected", drivers.len());
    std::future::pending().await
}

async fn play(server: VoiceServer, arguments: Arguments) -> Result<Driver, JoinError> {
    let mut driver = Driver::new(Config::default());
    let connected = driver.connect(info(&server)).await;
    connected.map_err(|error| JoinError(format!("guild {}: {error}", server.guild)))?;
    if let Some(file) = &arguments.file {
        for _ in 0..tracks(arguments.source) {
            driver.play(track(file));
        }
    }
    Ok(driver)
}

fn tracks(source: Source) -> usize {
    match source {
        Source::Idle => 0,
        Source::Passthrough | Source::Encode => 1,
        Source::Mix => 2,
    }
}

fn track(file: &Path) -> Track {
    Track::from(File::new(file.to_owned())).loops(LoopState::Infinite)
}

fn info(server: &VoiceServer) -> ConnectionInfo {
    let id = |id: u64| std::num::NonZeroU64::new(id).unwrap_or(std::num::NonZeroU64::MIN);
    ConnectionInfo {
        channel_id: id(server.channel).into(),
        endpoint: server.endpoint.clone(),
        guild_id: id(server.guild).into(),
        session_id: server.session.clone(),
        token: server.token.clone(),
        user_id: id(server.user).into(),
    }
}
