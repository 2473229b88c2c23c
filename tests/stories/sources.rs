//! Sources that hang, lag, flood, leave or panic: their own track bears it, and nobody else.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{CallEventKind, Demand, Join, Speak},
    audio::frame::{FRAME, Frame, Pcm},
    id::{ChannelId, GuildId},
    source::{Source, SourceError},
    speaker::TrackEnd,
};
use actix_voice_loopback::Discord;
use bytes::Bytes;

use crate::support::{
    audio::path,
    bot::Stage,
    log::speaking_flags,
    real_time,
    recording::{and_silence, loudness, packets_heard, packets_of},
    sources::{Greedy, Restock, Round, Shelf, Slow, Then},
    story,
};

/// A square wave of 1 kHz, as the documentation shows an actor that makes audio.
struct Buzzer {
    left: usize,
}

impl Actor for Buzzer {
    type Context = Context<Self>;
}

impl Handler<Demand> for Buzzer {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        for _ in 0..demand.frames {
            if self.left == 0 {
                return demand.supplier.finish();
            }
            self.left -= 1;
            let mut pcm = Pcm::default();
            for (at, pair) in pcm.chunks_exact_mut(2).enumerate() {
                pair.fill(if at % 48 < 24 { 0.1 } else { -0.1 });
            }
            demand.supplier.supply(Frame::Pcm(pcm));
        }
    }
}

#[test]
fn an_actor_of_ones_own_is_a_source() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let buzzer = Buzzer { left: 100 }.start();
        let track = stage.speak(Speak::actor(stage.guild_id(), buzzer.recipient())).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        assert_eq!(stats.packets, 105);
        // The fundamental of a square wave is 4/π of its amplitude.
        let buzz = loudness(&stage.heard(), 1_000, 500..1_500);
        assert!((buzz - 0.127).abs() < 0.01, "{buzz}");
        stage.no_violations();
    });
}

#[test]
fn a_source_that_hangs_is_silent_until_it_goes_on() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let packets = packets_of("demo.opus");
        let shelf = Shelf::new(packets[..50].to_vec(), Then::Hang).start();
        let track = stage.speak(Speak::actor(stage.guild_id(), shelf.clone().recipient())).await;
        stage.what("the track stalls", |what| *what == CallEventKind::TrackStalled(track)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(packets_heard(&stage.heard()) == and_silence(&packets[..50]));
        assert_eq!(speaking_flags(&stage), [0, 1, 0]);

        shelf.send(Restock(packets[50..100].to_vec(), Then::Finish)).await.unwrap();
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        let expected: Vec<Bytes> = packets[..100].chunks(50).flat_map(and_silence).collect();
        assert!(packets_heard(&stage.heard()) == expected);
        assert_eq!(stats.speaker.underruns, 5, "while all falls silent");
        stage.no_violations();
    });
}

#[test]
fn a_source_that_hangs_harms_neither_another_track_nor_another_call() {
    story(async {
        let stage = Stage::set().await;
        let other = stage.discord.guild("other").channel("other");
        let ear = other.listener("another ear");
        stage.join().await;
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let other_call = stage.manager.send(join).await.unwrap().unwrap();

        let packets = packets_of("demo.opus");
        let hangs = Shelf::new(packets[..50].to_vec(), Then::Hang).start();
        let hangs = stage.speak(Speak::actor(stage.guild_id(), hangs.recipient())).await;
        let silent = Shelf::new([], Then::Hang).start();
        stage.speak(Speak::actor(stage.guild_id(), silent.recipient())).await;
        let beside = stage.play("demo.opus").await;
        let elsewhere = other_call.speak(Speak::file(other_call.guild(), path("demo.opus")));
        let elsewhere = elsewhere.await.unwrap();
        stage.what("the track stalls", |what| *what == CallEventKind::TrackStalled(hangs)).await;
        assert_eq!(stage.ends_of([beside, elsewhere]).await, [TrackEnd::Finished, TrackEnd::Finished]);
        let others = other_call.disconnect().await.expect("there was a call");
        let stats = stage.leave().await;

        let (here, there) = (stage.heard(), ear.heard(stage.bot.user_id).unwrap());
        assert!(stats.packets >= packets.len() as u64 + 5 && stats.speaker.underruns >= 500, "{stats:?}");
        assert_eq!((here.packets, here.longest_gap), (stats.packets, FRAME));
        assert!(packets_heard(&there) == and_silence(&packets));
        assert_eq!((there.packets, there.longest_gap), (others.packets, FRAME));
        assert_eq!(others.speaker.underruns, 0);
        stage.no_violations();
    });
}

#[test]
fn a_slow_source_is_never_owed_more_than_five_frames_and_loses_none() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let (packets, most_owed) = (packets_of("demo.opus"), Arc::default());
        let slow = Slow::new(packets.clone(), Duration::from_millis(30), &most_owed);
        let track = stage.speak(Speak::start(stage.guild_id(), slow)).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;

        assert_eq!(most_owed.load(Ordering::Relaxed), 5);
        assert_eq!(stats.speaker.over_credit, 0);
        // Of three frame times one has no frame.
        let underruns = stats.speaker.underruns;
        assert!((250..=350).contains(&underruns), "{underruns} times dry");
        let silence = [0xF8, 0xFF, 0xFE];
        let played = |packet: &Bytes| packet[..] != silence;
        let heard: Vec<Bytes> = packets_heard(&stage.heard()).into_iter().filter(played).collect();
        assert!(heard == packets.into_iter().filter(played).collect::<Vec<_>>());
        stage.no_violations();
    });
}

#[test]
fn what_a_source_supplies_unasked_is_dropped_and_counted() {
    story(async {
        let stage = Stage::set().await;
        let call = stage.join().await;
        let (packets, supplied) = (packets_of("demo.opus"), Arc::<AtomicUsize>::default());
        let track =
            stage.speak(Speak::start(stage.guild_id(), Greedy::new(packets.clone(), &supplied))).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        call.stop(Some(track));
        assert_eq!(stage.end_of(track).await, TrackEnd::Stopped);
        let stats = stage.leave().await;

        let (supplied, played) = (supplied.load(Ordering::Relaxed) as u64, stats.packets - 5);
        assert!((245..=255).contains(&played), "{played} packets in 5 s");
        let queued = supplied - played - stats.speaker.over_credit;
        assert!(queued <= 5 + 10, "{queued} frames were neither played nor dropped");
        let heard = packets_heard(&stage.heard());
        // Five of the first fifty, then the first of every ten.
        assert!(heard[..5].iter().all(|packet| *packet == packets[0]));
        assert!(heard[5..played as usize] == packets[1..played as usize - 4]);
        stage.no_violations();
    });
}

#[test]
fn a_source_that_leaves_without_a_word_ends_its_track_and_no_other() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let packets = packets_of("demo.opus");
        let leaves = Shelf::new(packets[..20].to_vec(), Then::Leave);
        let leaves = stage.speak(Speak::start(stage.guild_id(), leaves)).await;
        let long = stage.speak(Speak::start(stage.guild_id(), Round::new(packets.clone(), 500))).await;
        stage
            .what("the lost track ends", |what| {
                *what == CallEventKind::TrackEnded(leaves, TrackEnd::SourceLost)
            })
            .await;
        assert!(stage.heard().packets < 100, "it was noticed late");
        assert_eq!(stage.end_of(long).await, TrackEnd::Finished);

        let alone = Shelf::new(packets[..20].to_vec(), Then::Leave);
        let alone = stage.speak(Speak::start(stage.guild_id(), alone)).await;
        assert_eq!(stage.end_of(alone).await, TrackEnd::SourceLost);
        let never = stage.speak(Speak::start(stage.guild_id(), Shelf::new([], Then::Leave))).await;
        assert_eq!(stage.end_of(never).await, TrackEnd::SourceLost);
        stage.leave().await;
        assert_eq!(packets_heard(&stage.heard()).len(), 500 + 20 + 5);
        stage.no_violations();
    });
}

/// Plays a little, and then blocks its thread until it is let go.
struct Blocks {
    packets: VecDeque<Bytes>,
    blocked: mpsc::Receiver<()>,
}

impl Source for Blocks {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        match self.packets.pop_front() {
            Some(packet) => Ok(Some(Frame::Opus(packet))),
            None => {
                let _ = self.blocked.recv();
                Ok(None)
            }
        }
    }
}

#[test]
fn a_source_that_blocks_its_thread_harms_nobody() {
    real_time(async {
        let stage = Stage::with(Discord::builder(), |config| config.media_arbiters = 1).await;
        let other = stage.discord.guild("other").channel("other");
        let ear = other.listener("another ear");
        stage.join().await;
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let other_call = stage.manager.send(join).await.unwrap().unwrap();

        let packets = packets_of("demo.opus");
        let (let_go, blocked) = mpsc::channel();
        let blocks = Blocks { packets: packets[..25].to_vec().into(), blocked };
        let blocks = stage.speak(Speak::source(stage.guild_id(), blocks)).await;
        let beside = Round::new(packets.clone(), 150);
        let beside = stage.speak(Speak::start(stage.guild_id(), beside)).await;
        let elsewhere = Speak::start(other_call.guild(), Round::new(packets, 150));
        let elsewhere = other_call.speak(elsewhere).await.unwrap();
        stage.what("the track stalls", |what| *what == CallEventKind::TrackStalled(blocks)).await;
        assert_eq!(stage.ends_of([beside, elsewhere]).await, [TrackEnd::Finished, TrackEnd::Finished]);
        let farewell =
            |_: &Discord| [&stage.ear, &ear].iter().all(|ear| ear.packets_heard(stage.bot.user_id) >= 155);
        stage.discord.until(farewell, Duration::from_secs(60)).await.unwrap();
        let others = other_call.disconnect().await.expect("there was a call");
        drop(let_go);
        assert_eq!(stage.end_of(blocks).await, TrackEnd::Finished);
        let stats = stage.leave().await;

        let (here, there) = (stage.heard(), ear.heard(stage.bot.user_id).unwrap());
        assert_eq!((here.packets, here.lost), (stats.packets, 0));
        assert_eq!((there.packets, there.lost), (others.packets, 0));
        assert_eq!(there.packets, 155);
        assert!(stats.speaker.underruns > 50, "{stats:?}");
        // Three seconds it was blocked; what a busy machine does to a timer is far less.
        assert!(here.longest_gap < Duration::from_secs(1), "{:?}", here.longest_gap);
        assert!(there.longest_gap < Duration::from_secs(1), "{:?}", there.longest_gap);
    });
}
