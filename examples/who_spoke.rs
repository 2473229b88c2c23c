//! Writes down who spoke when, and shows how loud: without a token, on a Discord on this machine.
//!
//! `cargo run --example who_spoke`

use std::{collections::HashMap, error::Error, time::Duration};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{
        CallEvent, CallEventKind, Config, Join, Listen, Login, MainGateway, Subscribe, VoiceManager, now,
    },
    hearing::{Talk, VoiceTick},
    id::{ChannelId, GuildId, Token, UserId},
    source::{Source, Tone},
};
use actix_voice_loopback::Discord;
use bytes::Bytes;

/// Knows who speaks, and since when.
struct Clerk {
    start: std::time::Instant,
    since: HashMap<UserId, f32>,
    loudest: HashMap<UserId, f32>,
}

impl Clerk {
    fn time(&self) -> f32 {
        (now() - self.start).as_secs_f32()
    }
}

impl Actor for Clerk {
    type Context = Context<Self>;
}

impl Handler<CallEvent> for Clerk {
    type Result = ();

    fn handle(&mut self, event: CallEvent, _: &mut Context<Self>) {
        let time = self.time();
        match event.kind {
            CallEventKind::Talk(Talk::Started { user, .. }) => drop(self.since.insert(user, time)),
            CallEventKind::Talk(Talk::Stopped { user }) => {
                let (since, loudest) = (self.since.remove(&user), self.loudest.remove(&user));
                let (since, loudest) = (since.unwrap_or(time), loudest.unwrap_or(f32::NEG_INFINITY));
                println!("{since:6.2} to {time:6.2} s: {user}, up to {loudest:.0} dBFS");
            }
            _ => {}
        }
    }
}

impl Handler<VoiceTick> for Clerk {
    type Result = ();

    fn handle(&mut self, tick: VoiceTick, _: &mut Context<Self>) {
        let mut meters = Vec::new();
        for frame in tick.frames {
            let Some(pcm) = frame.pcm else { continue };
            let loudest = self.loudest.entry(frame.user).or_insert(f32::NEG_INFINITY);
            *loudest = loudest.max(pcm.level.peak);
            let bars = ((pcm.level.rms + 60.0) / 3.0).clamp(0.0, 20.0) as usize;
            meters.push(format!("{} {:20}", frame.user, "|".repeat(bars)));
        }
        // A line every second is enough to look at.
        if tick.tick.is_multiple_of(50) {
            println!("         {}", meters.join("  "));
        }
    }
}

/// A tone, as a member sends it.
fn tone(hz: f32, seconds: u64) -> Result<Vec<Bytes>, Box<dyn Error>> {
    use actix_voice::audio::{frame::Frame, opus};
    let mut encoder = opus::Encoder::new(&opus::EncoderSettings::default())?;
    let mut source = Tone::new(hz).lasting(Duration::from_secs(seconds));
    let mut packets = Vec::new();
    while let Some(Frame::Pcm(pcm)) = source.next_frame()? {
        let mut packet = [0; opus::MAX_PACKET];
        let length = encoder.encode(&pcm, &mut packet)?;
        packets.push(Bytes::copy_from_slice(&packet[..length]));
    }
    Ok(packets)
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let discord = Discord::start().await;
    let bot = discord.bot("clerk");
    let court = discord.guild("law").channel("Court");
    let (judge, witness) = (court.listener("judge"), court.listener("witness"));

    // For a Discord on this machine; `Config::default()` for the real one.
    let config = Config::local();
    let manager = VoiceManager::new(config.clone()).start();
    let clerk = Clerk { start: now(), since: HashMap::new(), loudest: HashMap::new() }.start();
    let (guild, channel) = (GuildId(court.guild_id), ChannelId(court.id));
    manager.send(Subscribe::new(clerk.clone().recipient())).await?;
    manager.send(Listen::ticks(guild, clerk.recipient())).await?;
    let token = Token(bot.token.clone());
    let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
    gateway.send(Login).await??;
    let call = manager.send(Join::new(guild, channel)).await??;

    // Those who were there before have to let the bot into their encrypted group.
    let everyone = discord.members_of(&court).len();
    discord.until(|discord| discord.dave_members(&court).len() == everyone, Duration::from_secs(10)).await?;
    judge.speak(tone(440.0, 2)?).await;
    actix::clock::sleep(Duration::from_millis(500)).await;
    tokio::join!(judge.speak(tone(330.0, 1)?), witness.speak(tone(660.0, 3)?));
    actix::clock::sleep(Duration::from_secs(1)).await;
    call.disconnect().await;
    Ok(())
}
