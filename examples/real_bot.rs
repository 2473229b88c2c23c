//! Plays a file in a voice channel of Discord, and leaves.
//!
//! `DISCORD_TOKEN=… cargo run --example real_bot -- GUILD CHANNEL FILE`

use std::{env, error::Error};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{
        CallEvent, Config, Join, MainGateway, Speak, Subscribe, VoiceManager, What,
        main_gateway::{Login, Logout},
    },
    id::{ChannelId, GuildId, Token},
};
use tokio::sync::oneshot;

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [guild, channel, file] = env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| USAGE)?;
    let (guild, channel): (GuildId, ChannelId) = (guild.parse()?, channel.parse()?);
    let token = Token(env::var("DISCORD_TOKEN").map_err(|_| USAGE)?);

    let config = Config::default();
    let manager = VoiceManager::new(config.clone()).start();
    let gateway = MainGateway::new(token, &config, manager.clone()).start();
    gateway.send(Login).await??;

    let (over, ended) = oneshot::channel();
    let listener = Listener { over: Some(over) }.start();
    manager.send(Subscribe { guild: Some(guild), to: listener.recipient() }).await?;

    let call = manager.send(Join { guild, channel }).await??;
    call.speak(Speak::file(guild, file)).await?;
    println!("{}", ended.await?);
    if let Some(stats) = call.disconnect().await {
        println!("sent {} packets, resumed {} times", stats.packets, stats.resumes);
    }
    gateway.send(Logout).await?;
    Ok(())
}

/// Tells what happens in the call, and when it or its track is over.
struct Listener {
    over: Option<oneshot::Sender<String>>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<CallEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: CallEvent, _: &mut Context<Self>) {
        let end = match event.what {
            What::Connection(progress) => return println!("{progress:?}"),
            What::TrackEnded(_, end) => end.to_string(),
            What::Ended(reason) => reason.to_string(),
            _ => return,
        };
        if let Some(over) = self.over.take() {
            // Whoever waited has gone.
            let _ = over.send(end);
        }
    }
}

const USAGE: &str = "usage: DISCORD_TOKEN=… real_bot GUILD CHANNEL FILE";
