//! Live figures for Prometheus, of a bot on a Discord on this machine; `metrics.grafana.json` beside it shows them.
//!
//! `cargo run --example metrics`, and then `curl http://127.0.0.1:9000/metrics` within a minute.

use std::{error::Error, time::Duration};

use actix_voice::{
    actors::{Config, Join, Login, MainGateway, Speak, VoiceManager},
    id::{ChannelId, GuildId, Token},
    source::Tone,
};
use actix_voice_loopback::Discord;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Before the first call: what is counted once is looked up once.
    let figures = PrometheusBuilder::new().install_recorder()?;
    let port = TcpListener::bind("127.0.0.1:9000").await?;
    actix::spawn(serve(port, figures.clone()));

    let discord = Discord::start().await;
    let bot = discord.bot("whistler");
    let hall = discord.guild("hall").channel("General");
    let config = Config::local();
    let manager = VoiceManager::new(config.clone()).start();
    let token = Token(bot.token.clone());
    let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
    gateway.send(Login).await??;

    let (guild, channel) = (GuildId(hall.guild_id), ChannelId(hall.id));
    let call = manager.send(Join::new(guild, channel)).await??;
    let track = call.speak(Speak::source(guild, Tone::new(440.0).lasting(Duration::from_secs(60)))).await?;
    call.ended(track).await;
    println!("{}", figures.render());
    Ok(())
}

/// Answers every request with the figures of the moment.
async fn serve(port: TcpListener, figures: PrometheusHandle) {
    while let Ok((mut client, _)) = port.accept().await {
        let mut request = [0; 1024];
        // A client that goes away asks again.
        let _ = client.read(&mut request).await;
        let body = figures.render();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = client.write_all((head + &body).as_bytes()).await;
    }
}
