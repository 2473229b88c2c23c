//! A music bot that is told on standard input what to do, on a Discord on this machine.
//!
//! `cargo run --example jukebox`, and then: `add FILE`, `next`, `back`, `pause`, `resume`, `seek SECONDS`, `volume PERCENT`, `fade SECONDS`,
//! `jingle FILE`, `list`, `quit`. `echo "add song.mp3" | cargo run --example jukebox` plays it to its end.

use std::{error::Error, time::Duration};

use actix::{Actor, Addr};
use actix_voice::{
    actors::{
        CallHandle, Config, Enqueue, Entry, GetQueue, Join, Login, MainGateway, Queue, QueueEvent,
        QueueEventKind, Rearrange, Speak, TrackHandle, VoiceManager,
    },
    id::{ChannelId, GuildId, Token},
    speaker::Ducking,
};
use actix_voice_loopback::Discord;
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    sync::mpsc,
};

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let discord = Discord::start().await;
    let bot = discord.bot("jukebox");
    let channel = discord.guild("guild").channel("music");
    let ear = channel.listener("ear");

    let config = Config::local();
    let manager = VoiceManager::new(config.clone()).start();
    let token = Token(bot.token.clone());
    let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
    gateway.send(Login).await??;
    let call = manager.send(Join::new(GuildId(channel.guild_id), ChannelId(channel.id))).await??;

    let (to, mut events) = mpsc::channel(64);
    let queue = Queue::new(call.clone()).event_channel(to).start();
    let mut lines = BufReader::new(stdin()).lines();
    let mut reading = true;
    loop {
        tokio::select! {
            line = lines.next_line(), if reading => match line? {
                Some(line) if line.trim() == "quit" => break,
                Some(line) => {
                    if let Err(error) = obey(&line, &call, &queue).await {
                        println!("{error}");
                    }
                }
                // What is in the queue is played to its end.
                None => reading = false,
            },
            event = events.recv() => match event {
                Some(event) => if tell(&event) && !reading {
                    break;
                },
                None => break,
            },
        }
    }
    let stats = call.disconnect().await.ok_or("the call was over")?;
    println!("{} packets sent, {} heard", stats.packets, ear.packets_heard(bot.user_id));
    Ok(())
}

/// Tells what happens in the queue; says whether it is at its end.
fn tell(event: &QueueEvent) -> bool {
    match &event.kind {
        QueueEventKind::Playing(_, track) => println!("now: {}", name(track)),
        QueueEventKind::Failed(_, why) => println!("{why}"),
        QueueEventKind::Finished => println!("the queue is empty"),
        _ => {}
    }
    matches!(event.kind, QueueEventKind::Finished | QueueEventKind::CallOver)
}

fn name(track: &TrackHandle) -> String {
    let title =
        track.metadata().and_then(|metadata| metadata.title.clone()).unwrap_or_else(|| "untitled".into());
    match track.duration() {
        Some(length) => format!("{title}, {:.1} s", length.as_secs_f32()),
        None => title,
    }
}

async fn obey(line: &str, call: &CallHandle, queue: &Addr<Queue>) -> Result<(), Box<dyn Error>> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let current = queue.send(GetQueue).await?;
    let track = current.current.as_ref().and_then(|(_, track)| track.clone());
    let track = track.ok_or("nothing plays");
    match word {
        "" => {}
        "add" => drop(queue.send(Enqueue::last(Entry::file(rest).title(rest))).await?),
        "next" => drop(queue.send(Rearrange::Skip).await?),
        "back" => drop(queue.send(Rearrange::Previous).await?),
        "pause" => track?.pause().await?,
        "resume" => track?.resume().await?,
        "seek" => println!("at {:?}", track?.seek(Duration::try_from_secs_f64(rest.parse()?)?).await?),
        "volume" => track?.set_volume(rest.parse::<f32>()? / 100.0).await?,
        "fade" => {
            let crossfade = Duration::try_from_secs_f64(rest.parse()?)?;
            queue.send(Rearrange::Crossfade(crossfade)).await?;
        }
        "jingle" => {
            // A short sound over the music, which is turned down meanwhile.
            let jingle = Speak::file(call.guild(), rest).ducking(Ducking::by_db(12.0));
            call.speak(jingle).await?;
        }
        "list" => {
            let playing = current.current.map(|(item, _)| item);
            for item in current.items {
                let mark = if Some(item.id) == playing { '>' } else { ' ' };
                println!("{mark} {}", item.source.title.as_deref().unwrap_or("untitled"));
            }
        }
        other => return Err(format!("there is no command {other}").into()),
    }
    Ok(())
}
