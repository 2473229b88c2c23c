//! An echo bot: says again what others say, half a second later, each packet as it came. No token is needed: a member speaks to it on a
//! Discord on this machine, and hears itself.
//!
//! `cargo run --example echo`

use std::{error::Error, time::Duration};

use actix_voice::{
    actors::{Config, Join, Listen, Login, MainGateway, Pusher, Speak, VoiceManager},
    hearing::{Content, Preset},
    id::{ChannelId, GuildId, Token},
};
use actix_voice_loopback::Discord;
use bytes::Bytes;
use tokio::sync::mpsc;

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let discord = Discord::start().await;
    let bot = discord.bot("echo");
    let valley = discord.guild("alps").channel("Valley");
    let (hiker, ear) = (valley.listener("hiker"), valley.listener("ear"));

    // For a Discord on this machine; `Config::default()` for the real one.
    let config = Config::local();
    let manager = VoiceManager::new(config.clone()).start();
    let token = Token(bot.token.clone());
    let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
    gateway.send(Login).await??;

    let (guild, channel) = (GuildId(valley.guild_id), ChannelId(valley.id));
    let (to, mut heard) = mpsc::channel(1_000);
    manager.send(Listen::frame_channel(guild, Preset::Agent, to)).await?;
    let call = manager.send(Join::new(guild, channel)).await??;
    let (pusher, source) = Pusher::new();
    call.speak(Speak::start(guild, source).live()).await?;
    actix::spawn(async move {
        while let Some(frame) = heard.recv().await {
            if let Content::Opus(packet) = frame.content {
                actix::clock::sleep_until(actix::clock::Instant::from_std(frame.arrived) + ECHO).await;
                // What does not last 20 ms, or comes while too much waits, has no echo.
                let _ = pusher.try_push(packet);
            }
        }
    });

    // Those who were there before have to let the bot into their encrypted group.
    let everyone = discord.members_of(&valley).len();
    discord.until(|discord| discord.dave_members(&valley).len() == everyone, Duration::from_secs(10)).await?;
    hiker.speak((1..=100_u8).map(|nth| Bytes::from(vec![0xf8, nth, nth, nth, nth]))).await;
    discord.until(|_| ear.packets_heard(bot.user_id) >= 100, Duration::from_secs(10)).await?;
    let stats = call.disconnect().await.ok_or("the call was over")?;
    for speaker in &stats.speakers {
        println!(
            "heard {} packets of {}, {} lost; each waited {:?} on average",
            speaker.counts.received,
            speaker.user,
            speaker.counts.lost,
            speaker.mean_delay()
        );
    }
    println!("the echo was {} packets long", ear.packets_heard(bot.user_id));
    Ok(())
}

const ECHO: Duration = Duration::from_millis(500);
