//! Sources that hang, lag, flood, leave or panic: their own track bears it, and nobody else.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{CallEventKind, Demand, Join, Speak},
    audio::frame::{FRAME, Frame, Pcm, SILENCE},
    id::{ChannelId, GuildId},
    source::{Source, SourceError},
    speaker::TrackEnd,
};
use actix_voice_loopback::Discord;
use bytes::Bytes;

use crate::support::{
    audio::path,
    bot::BotOnDiscord,
    log::speaking_flags,
    real_time,
    recording::{SILENCE_FRAMES, loudness, packets_heard, packets_of, with_silence},
    sources::{GreedySource, LoopSource, QueueSource, Refill, SlowSource, WhenEmpty},
    story,
};

/// A square wave of 1 kHz, as the documentation shows an actor that makes audio.
struct SquareWave {
    left: usize,
}

impl Actor for SquareWave {
    type Context = Context<Self>;
}

impl Handler<Demand> for SquareWave {
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
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let square_wave = SquareWave { left: 100 }.start();
        let track = bot.speak(Speak::actor(bot.guild_id(), square_wave.recipient())).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        assert_eq!(stats.packets, 100 + SILENCE_FRAMES as u64);
        // The fundamental of a square wave is 4/π of its amplitude.
        let buzz = loudness(&bot.heard(), 1_000, 500..1_500);
        assert!((buzz - 0.127).abs() < 0.01, "{buzz}");
        bot.assert_no_violations();
    });
}

#[test]
fn a_source_that_hangs_is_silent_until_it_goes_on() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let packets = packets_of("demo.opus");
        let shelf = QueueSource::new(packets[..50].to_vec(), WhenEmpty::Hang).start();
        let track = bot.speak(Speak::actor(bot.guild_id(), shelf.clone().recipient())).await;
        bot.next_event("the track stalls", |event| *event == CallEventKind::TrackStalled(track)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(packets_heard(&bot.heard()) == with_silence(&packets[..50]));
        assert_eq!(speaking_flags(&bot), [0, 1, 0]);

        shelf.send(Refill(packets[50..100].to_vec(), WhenEmpty::Finish)).await.unwrap();
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        let expected: Vec<Bytes> = packets[..100].chunks(50).flat_map(with_silence).collect();
        assert!(packets_heard(&bot.heard()) == expected);
        assert_eq!(stats.speaker.underruns, SILENCE_FRAMES as u64, "while all falls silent");
        bot.assert_no_violations();
    });
}

#[test]
fn a_source_that_hangs_harms_neither_another_track_nor_another_call() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let other = bot.discord.guild("other").channel("other");
        let listener = other.listener("another ear");
        bot.join().await;
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let other_call = bot.manager.send(join).await.unwrap().unwrap();

        let packets = packets_of("demo.opus");
        let hangs = QueueSource::new(packets[..50].to_vec(), WhenEmpty::Hang).start();
        let hangs = bot.speak(Speak::actor(bot.guild_id(), hangs.recipient())).await;
        let silent = QueueSource::new([], WhenEmpty::Hang).start();
        bot.speak(Speak::actor(bot.guild_id(), silent.recipient())).await;
        let beside = bot.play("demo.opus").await;
        let elsewhere = other_call.speak(Speak::file(other_call.guild(), path("demo.opus")));
        let elsewhere = elsewhere.await.unwrap().id();
        bot.next_event("the track stalls", |event| *event == CallEventKind::TrackStalled(hangs)).await;
        assert_eq!(bot.track_ends([beside, elsewhere]).await, [TrackEnd::Finished, TrackEnd::Finished]);
        let others = other_call.disconnect().await.expect("there was a call");
        let stats = bot.disconnect().await;

        let (here, there) = (bot.heard(), listener.heard(bot.account.user_id).unwrap());
        assert!(
            stats.packets >= (packets.len() + SILENCE_FRAMES) as u64 && stats.speaker.underruns >= 500,
            "{stats:?}"
        );
        assert_eq!((here.packets, here.longest_gap), (stats.packets, FRAME));
        assert!(packets_heard(&there) == with_silence(&packets));
        assert_eq!((there.packets, there.longest_gap), (others.packets, FRAME));
        assert_eq!(others.speaker.underruns, 0);
        bot.assert_no_violations();
    });
}

#[test]
fn a_slow_live_source_is_never_owed_more_than_five_frames_and_loses_none() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let (packets, most_outstanding) = (packets_of("demo.opus"), Arc::default());
        let slow = SlowSource::new(packets.clone(), Duration::from_millis(30), &most_outstanding);
        let track = bot.speak(Speak::start(bot.guild_id(), slow).live()).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        assert_eq!(most_outstanding.load(Ordering::Relaxed), 5);
        assert_eq!(stats.speaker.over_credit, 0);
        // Of three frame times one has no frame.
        let underruns = stats.speaker.underruns;
        assert!((250..=350).contains(&underruns), "{underruns} times dry");
        let played = |packet: &Bytes| packet[..] != SILENCE;
        let heard: Vec<Bytes> = packets_heard(&bot.heard()).into_iter().filter(played).collect();
        assert!(heard == packets.into_iter().filter(played).collect::<Vec<_>>());
        bot.assert_no_violations();
    });
}

#[test]
fn what_a_source_supplies_unasked_is_dropped_and_counted() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let (packets, supplied) = (packets_of("demo.opus"), Arc::<AtomicUsize>::default());
        let track =
            bot.speak(Speak::start(bot.guild_id(), GreedySource::new(packets.clone(), &supplied))).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        call.stop(Some(track));
        assert_eq!(bot.track_end(track).await, TrackEnd::Stopped);
        let stats = bot.disconnect().await;

        let (supplied, played) =
            (supplied.load(Ordering::Relaxed) as u64, stats.packets - SILENCE_FRAMES as u64);
        assert!((245..=255).contains(&played), "{played} packets in 5 s");
        let queued = supplied - played - stats.speaker.over_credit;
        assert!(queued <= 25, "{queued} frames were neither played nor dropped");
        let heard = &packets_heard(&bot.heard())[..played as usize];
        // What was asked for first, and then of each demand, which has another packet, what was asked for: what was missing
        // when the sources of this phase were asked, and from then on twelve.
        assert!(heard[..25].iter().all(|packet| *packet == packets[0]));
        let missing = heard[25..].iter().take_while(|packet| **packet == packets[1]).count();
        assert!((1..=12).contains(&missing), "{missing}");
        for (demand, batch) in heard[25 + missing..].chunks(12).enumerate() {
            assert!(batch.iter().all(|packet| *packet == packets[2 + demand]), "demand {demand}");
        }
        bot.assert_no_violations();
    });
}

#[test]
fn a_source_that_leaves_without_a_word_ends_its_track_and_no_other() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let packets = packets_of("demo.opus");
        let leaves = QueueSource::new(packets[..20].to_vec(), WhenEmpty::Stop);
        let leaves = bot.speak(Speak::start(bot.guild_id(), leaves)).await;
        let long = bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets.clone(), 500))).await;
        bot.next_event("the lost track ends", |event| {
            *event == CallEventKind::TrackEnded(leaves, TrackEnd::SourceLost)
        })
        .await;
        assert!(bot.heard().packets < 100, "it was noticed late");
        assert_eq!(bot.track_end(long).await, TrackEnd::Finished);

        let alone = QueueSource::new(packets[..20].to_vec(), WhenEmpty::Stop);
        let alone = bot.speak(Speak::start(bot.guild_id(), alone)).await;
        assert_eq!(bot.track_end(alone).await, TrackEnd::SourceLost);
        let never = bot.speak(Speak::start(bot.guild_id(), QueueSource::new([], WhenEmpty::Stop))).await;
        assert_eq!(bot.track_end(never).await, TrackEnd::SourceLost);
        bot.disconnect().await;
        assert_eq!(packets_heard(&bot.heard()).len(), 500 + 20 + SILENCE_FRAMES);
        bot.assert_no_violations();
    });
}

/// Plays a little, and then blocks its thread until it is let go.
struct BlockingSource {
    packets: VecDeque<Bytes>,
    blocked: mpsc::Receiver<()>,
}

impl Source for BlockingSource {
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
        let bot = BotOnDiscord::start_with(Discord::builder(), |config| config.media_arbiters = 1).await;
        let other = bot.discord.guild("other").channel("other");
        let listener = other.listener("another ear");
        bot.join().await;
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let other_call = bot.manager.send(join).await.unwrap().unwrap();

        let packets = packets_of("demo.opus");
        let (unblock, blocked) = mpsc::channel();
        let blocks = BlockingSource { packets: packets[..25].to_vec().into(), blocked };
        let blocks = bot.speak(Speak::source(bot.guild_id(), blocks)).await;
        let beside = LoopSource::new(packets.clone(), 150);
        let beside = bot.speak(Speak::start(bot.guild_id(), beside)).await;
        let elsewhere = Speak::start(other_call.guild(), LoopSource::new(packets, 150));
        let elsewhere = other_call.speak(elsewhere).await.unwrap().id();
        bot.next_event("the track stalls", |event| *event == CallEventKind::TrackStalled(blocks)).await;
        assert_eq!(bot.track_ends([beside, elsewhere]).await, [TrackEnd::Finished, TrackEnd::Finished]);
        let spoken = 150 + SILENCE_FRAMES as u64;
        let speech_ended = |_: &Discord| {
            [&bot.listener, &listener]
                .iter()
                .all(|listener| listener.packets_heard(bot.account.user_id) >= spoken)
        };
        bot.discord.until(speech_ended, Duration::from_secs(60)).await.unwrap();
        let others = other_call.disconnect().await.expect("there was a call");
        drop(unblock);
        assert_eq!(bot.track_end(blocks).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        let (here, there) = (bot.heard(), listener.heard(bot.account.user_id).unwrap());
        assert_eq!((here.packets, here.lost), (stats.packets, 0));
        assert_eq!((there.packets, there.lost), (others.packets, 0));
        assert_eq!(there.packets, spoken);
        assert!(stats.speaker.underruns > 50, "{stats:?}");
        // Three seconds it was blocked; what a busy machine does to a timer is far less.
        assert!(here.longest_gap < Duration::from_secs(1), "{:?}", here.longest_gap);
        assert!(there.longest_gap < Duration::from_secs(1), "{:?}", there.longest_gap);
    });
}

/// Says that it never waits, and then does, once; notes on which threads it is pulled.
struct SlowOnce {
    packets: VecDeque<Bytes>,
    threads: Arc<Mutex<Vec<String>>>,
}

impl Source for SlowOnce {
    #[expect(clippy::disallowed_methods, reason = "it blocks its thread on purpose")]
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let name = thread::current().name().unwrap_or_default().to_owned();
        let mut threads = self.threads.lock().unwrap();
        if threads.is_empty() {
            thread::sleep(Duration::from_millis(300));
        }
        threads.push(name);
        Ok(self.packets.pop_front().map(Frame::Opus))
    }

    fn may_block(&self) -> bool {
        false
    }
}

#[test]
fn a_source_that_turns_out_to_be_slow_shares_its_thread_with_no_other_any_more() {
    real_time(async {
        let bot = BotOnDiscord::start_with(Discord::builder(), |config| config.media_arbiters = 1).await;
        bot.join().await;
        let (packets, threads) = (packets_of("demo.opus"), Arc::<Mutex<Vec<String>>>::default());
        let slow = SlowOnce { packets: packets[..60].to_vec().into(), threads: Arc::clone(&threads) };
        let track = bot.speak(Speak::source(bot.guild_id(), slow)).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;
        assert!(packets_heard(&bot.heard()) == with_silence(&packets[..60]));
        let threads = threads.lock().unwrap();
        assert_ne!(threads[0], "voice-source");
        assert!(threads[25..].iter().all(|thread| thread == "voice-source"), "{threads:?}");
    });
}
