//! Plays a tone for three seconds, without a token: to a listener on a Discord on this machine.
//!
//! `cargo run --example tone`

use std::{error::Error, time::Duration};

use actix_voice::{
    actors::{Config, Join, Login, MainGateway, Speak, VoiceManager},
    id::{ChannelId, GuildId, Token},
    source::Tone,
};
use actix_voice_loopback::Discord;

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let discord = Discord::start().await;
    let bot = discord.bot("whistler");
    let hall = discord.guild("hall").channel("General");
    let ear = hall.listener("ear");

    // For a Discord on this machine; `Config::default()` for the real one.
    let config = Config::local();
    let manager = VoiceManager::new(config.clone()).start();
    let token = Token(bot.token.clone());
    let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
    gateway.send(Login).await??;

    let (guild, channel) = (GuildId(hall.guild_id), ChannelId(hall.id));
    let call = manager.send(Join::new(guild, channel)).await??;
    let length = Duration::from_secs(3);
    let track = call.speak(Speak::source(guild, Tone::new(440.0).lasting(length))).await?;
    call.ended(track).await;
    let stats = call.disconnect().await.ok_or("the call was over")?;

    discord.until(|_| ear.packets_heard(bot.user_id) == stats.packets, Duration::from_secs(1)).await?;
    println!("sent and heard {} packets over {}", stats.packets, stats.transport.mode.unwrap_or_default());
    Ok(())
}
