//! An actor of one's own as an audio source: a metronome that any other actor can make faster or slower while it plays.
//!
//! `cargo run --example source_actor`

use std::{error::Error, f32::consts::TAU, time::Duration};

use actix::{Actor, Context, Handler, Message};
use actix_voice::{
    actors::{Config, Demand, Join, Login, MainGateway, Speak, VoiceManager},
    audio::frame::{CHANNELS, Frame, Pcm, SAMPLE_RATE},
    id::{ChannelId, GuildId, Token},
};
use actix_voice_loopback::Discord;

/// **Anyone → Clicks.** So many clicks a minute from now on.
#[derive(Message)]
#[rtype(result = "()")]
struct Tempo(u32);

/// The source. It is asked for frames before they are due: five to begin with, one more for each that was played.
struct Clicks {
    /// In samples per channel.
    apart: u32,
    /// Samples since the last click.
    since: u32,
}

impl Clicks {
    fn new(tempo: u32) -> Self {
        Self { apart: apart(tempo), since: 0 }
    }

    /// The next 20 ms.
    fn frame(&mut self) -> Frame {
        let mut pcm = Pcm::default();
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            let time = self.since as f32 / SAMPLE_RATE as f32;
            pair.fill(0.5 * (TAU * 1000.0 * time).sin() * (-time * 80.0).exp());
            self.since = (self.since + 1) % self.apart;
        }
        Frame::Pcm(pcm)
    }
}

impl Actor for Clicks {
    type Context = Context<Self>;
}

impl Handler<Demand> for Clicks {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        for _ in 0..demand.frames {
            demand.supplier.supply(self.frame());
        }
        // A source that has an end says `demand.supplier.finish()`.
    }
}

impl Handler<Tempo> for Clicks {
    type Result = ();

    fn handle(&mut self, Tempo(tempo): Tempo, _: &mut Context<Self>) {
        self.apart = apart(tempo);
    }
}

fn apart(tempo: u32) -> u32 {
    60 * SAMPLE_RATE / tempo.max(1)
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let discord = Discord::start().await;
    let bot = discord.bot("metronome");
    let room = discord.guild("school").channel("Practice");
    let ear = room.listener("pupil");

    // For a Discord on this machine; `Config::default()` for the real one.
    let config = Config::local();
    let manager = VoiceManager::new(config.clone()).start();
    let token = Token(bot.token.clone());
    let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
    gateway.send(Login).await??;

    let (guild, channel) = (GuildId(room.guild_id), ChannelId(room.id));
    let call = manager.send(Join::new(guild, channel)).await??;
    let clicks = Clicks::new(60).start();
    call.speak(Speak::actor(guild, clicks.clone().recipient())).await?;
    for (tempo, packets) in [(60, 100), (120, 200), (240, 300)] {
        println!("{tempo} clicks a minute");
        clicks.send(Tempo(tempo)).await?;
        // Two seconds of each.
        discord.until(|_| ear.packets_heard(bot.user_id) >= packets, Duration::from_secs(10)).await?;
    }
    call.disconnect().await;

    println!("heard {} packets", ear.packets_heard(bot.user_id));
    Ok(())
}
