//! Plays a file in a voice channel of Discord, and leaves.
//!
//! `DISCORD_TOKEN=… cargo run --example real_bot -- GUILD CHANNEL FILE`

use std::{env, error::Error};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{CallEvent, CallEventKind, Config, Join, Login, Logout, MainGateway, Subscribe, VoiceManager},
    id::{ChannelId, GuildId, Token},
};

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [guild, channel, file] = env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| USAGE)?;
    let (guild, channel): (GuildId, ChannelId) = (guild.parse()?, channel.parse()?);
    let token = Token(env::var("DISCORD_TOKEN").map_err(|_| USAGE)?);

    let config = Config::default();
    let manager = VoiceManager::new(config.clone()).start();
    manager.send(Subscribe::new(Listener.start().recipient())).await?;
    let gateway = MainGateway::new(token, &config, manager.clone()).start();
    gateway.send(Login).await??;

    let call = manager.send(Join::new(guild, channel)).await??;
    let track = call.play(file).await?;
    match call.ended(track).await {
        Some(end) => println!("{end}"),
        None => println!("the call was over before the track was"),
    }
    if let Some(stats) = call.disconnect().await {
        println!("sent {} packets, resumed {} times", stats.packets, stats.resumes);
    }
    gateway.send(Logout).await?;
    Ok(())
}

/// Tells what happens in the calls.
struct Listener;

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<CallEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: CallEvent, _: &mut Context<Self>) {
        match event.kind {
            CallEventKind::Connection(progress) => println!("{progress:?}"),
            CallEventKind::Ended(reason) => println!("{reason}"),
            _ => {}
        }
    }
}

const USAGE: &str = "usage: DISCORD_TOKEN=… real_bot GUILD CHANNEL FILE";
