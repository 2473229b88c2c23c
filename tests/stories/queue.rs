//! A queue in a call: what is heard from one entry to the next.

use std::{path::PathBuf, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use actix_voice::{
    actors::{
        Enqueue, Entry, GetQueue, Queue, QueueEvent, QueueEventKind, QueueSnapshot, Rearrange, Speak,
        TakeSnapshot, TrackHandle,
    },
    audio::frame::FRAME,
    queue::{ItemId, QueueRepeat},
    source::Tone,
};
use tokio::sync::mpsc;

use crate::support::{
    audio::{path, wav},
    bot::BotOnDiscord,
    recording::{loudness, packets_heard, packets_of, with_silence},
    story,
};

/// Hands on what a queue tells.
struct Ear(mpsc::UnboundedSender<QueueEventKind>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<QueueEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: QueueEvent, _: &mut Context<Self>) {
        // A story that is over listens no more.
        let _ = self.0.send(event.kind);
    }
}

struct Jukebox {
    bot: BotOnDiscord,
    queue: Addr<Queue>,
    told: mpsc::UnboundedReceiver<QueueEventKind>,
}

impl Jukebox {
    async fn start(shape: impl FnOnce(Queue) -> Queue) -> Self {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let (to, told) = mpsc::unbounded_channel();
        let queue = shape(Queue::new(call)).events(Ear(to).start().recipient()).start();
        Self { bot, queue, told }
    }

    async fn add(&self, entry: Entry) -> ItemId {
        self.queue.send(Enqueue::last(entry)).await.unwrap().expect("there is room")
    }

    async fn ask(&self, rearrange: Rearrange) -> bool {
        self.queue.send(rearrange).await.unwrap()
    }

    async fn playing(&mut self) -> (ItemId, TrackHandle) {
        match self.told.recv().await {
            Some(QueueEventKind::Playing(item, track)) => (item, track),
            other => panic!("{other:?}"),
        }
    }

    async fn finished(&mut self) {
        let told = self.told.recv().await;
        assert!(matches!(told, Some(QueueEventKind::Finished)), "{told:?}");
    }
}

fn file(name: &str) -> Entry {
    Entry::file(path(name))
}

/// A folder of a test, which is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("actix-voice-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A WAV file of samples of both channels at 48 kHz.
    fn wav(&self, name: &str, samples: &[f32]) -> Entry {
        let path = self.0.join(name);
        std::fs::write(&path, wav(48_000, 2, 16, samples)).unwrap();
        Entry::file(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies among other temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn opus_files_follow_one_another_packet_by_packet() {
    story(async {
        let mut box_ = Jukebox::start(|queue| queue).await;
        let items = [box_.add(file("speech.opus")).await, box_.add(file("music.opus")).await];
        for item in items {
            assert_eq!(box_.playing().await.0, item);
        }
        box_.finished().await;
        let stats = box_.bot.disconnect().await;
        let both = [packets_of("speech.opus"), packets_of("music.opus")].concat();
        assert_eq!(packets_heard(&box_.bot.heard()), with_silence(&both));
        assert_eq!((stats.speaker.underruns, box_.bot.heard().longest_gap), (0, FRAME));
        box_.bot.assert_no_violations();
    });
}

#[test]
fn wave_files_that_were_cut_out_of_one_sound_like_the_one() {
    story(async {
        let folder = Folder::new("cut");
        let whole: Vec<f32> = (0..144_000)
            .flat_map(|at| [0.4 * (at as f32 * 0.031).sin(), 0.3 * (at as f32 * 0.017).sin()])
            .collect();
        let mut heard = Vec::new();
        for cuts in
            [vec![0, 144_000], vec![0, 48_000, 100_001, 144_000], vec![0, 333, 70_000, 70_500, 144_000]]
        {
            let mut box_ = Jukebox::start(|queue| queue).await;
            for (nth, cut) in cuts.windows(2).enumerate() {
                box_.add(folder.wav(&format!("{nth}.wav"), &whole[cut[0] * 2..cut[1] * 2])).await;
            }
            for _ in 1..cuts.len() {
                box_.playing().await;
            }
            box_.finished().await;
            box_.bot.disconnect().await;
            heard.push(packets_heard(&box_.bot.heard()));
        }
        assert_eq!(heard[0].len(), 155);
        assert!(heard[1] == heard[0] && heard[2] == heard[0], "not a sample is between them");
    });
}

#[test]
fn a_crossfade_is_as_loud_as_the_two_and_skipping_leaves_no_gap() {
    story(async {
        let mut box_ = Jukebox::start(|queue| queue.crossfade(Duration::from_secs(2))).await;
        let tone = |hz| Entry::source(move || Tone::new(hz).lasting(Duration::from_secs(6)));
        for hz in [500.0, 1_250.0, 500.0] {
            box_.add(tone(hz)).await;
        }
        box_.playing().await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(box_.ask(Rearrange::Skip).await);
        assert!(!box_.ask(Rearrange::Jump(ItemId(99))).await);
        box_.playing().await;
        box_.playing().await;
        box_.finished().await;
        box_.bot.disconnect().await;
        let heard = box_.bot.heard();
        let at = |hz, from: usize| loudness(&heard, hz, from..from + 200);
        assert!((at(500, 1_000) - 0.25).abs() < 0.01);
        // Half way: each at −3 dB.
        let (first, second) = (at(500, 4_900), at(1_250, 4_900));
        assert!((first - 0.177).abs() < 0.015 && (second - 0.177).abs() < 0.015, "{first} and {second}");
        assert!((at(1_250, 6_500) - 0.25).abs() < 0.01 && at(500, 6_500) < 0.01);
        assert_eq!(heard.longest_gap, FRAME);
        box_.bot.assert_no_violations();
    });
}

#[test]
fn a_queue_goes_on_in_another_process_within_a_frame() {
    let (snapshot, before) = {
        let (to, from) = std::sync::mpsc::channel();
        story(async move {
            let mut box_ = Jukebox::start(|queue| queue).await;
            for name in ["speech.opus", "demo.opus", "music.opus"] {
                box_.add(file(name).title(name)).await;
            }
            box_.add(Entry::speak(|guild| Speak::source(guild, Tone::new(500.0)))).await;
            box_.playing().await;
            assert!(box_.ask(Rearrange::Skip).await);
            box_.playing().await;
            tokio::time::sleep(Duration::from_millis(1_990)).await;
            let snapshot = box_.queue.send(TakeSnapshot).await.unwrap();
            let packets = packets_heard(&box_.bot.heard());
            to.send((serde_json::to_string(&snapshot).unwrap(), packets)).unwrap();
        });
        from.recv().unwrap()
    };
    let all = packets_of("demo.opus");
    let last = before.last().expect("it was heard");
    let stopped = all.iter().position(|packet| packet == last).expect("it is of the file");
    story(async move {
        let snapshot: QueueSnapshot = serde_json::from_str(&snapshot).unwrap();
        assert_eq!((snapshot.current, snapshot.left_out, snapshot.entries.len()), (Some(1), 1, 3));
        let bot = BotOnDiscord::start().await;
        let queue = Queue::restore(bot.join().await, snapshot).start();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(queue.send(Rearrange::Repeat(QueueRepeat::All)).await.unwrap());
        let state = queue.send(GetQueue).await.unwrap();
        assert_eq!(state.items[1].source.title.as_deref(), Some("demo.opus"));
        assert_eq!(state.current.map(|(item, _)| item), Some(state.items[1].id));
        let first = packets_heard(&bot.heard())[0].clone();
        let goes_on = all.iter().position(|packet| *packet == first).expect("it is of the file");
        assert!(goes_on.abs_diff(stopped + 1) <= 1, "it stopped at {stopped}, and goes on at {goes_on}");
    });
}

#[test]
fn what_cannot_be_played_is_told_and_the_end_of_the_call_too() {
    story(async {
        let mut box_ = Jukebox::start(|queue| queue).await;
        let broken = box_.add(Entry::file("no such file.opus")).await;
        let told = box_.told.recv().await;
        assert!(
            matches!(&told, Some(QueueEventKind::Failed(item, why)) if *item == broken && why.contains("no such file.opus")),
            "{told:?}"
        );
        box_.finished().await;
        box_.add(file("demo.opus")).await;
        box_.playing().await;
        box_.bot.disconnect().await;
        let told = box_.told.recv().await;
        assert!(matches!(told, Some(QueueEventKind::CallOver)), "{told:?}");
        let state = box_.queue.send(GetQueue).await.unwrap();
        let call = box_.bot.join().await;
        let again = Queue::resume_in(call, state).start();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let state = again.send(GetQueue).await.unwrap();
        assert!(state.current.is_some_and(|(_, track)| track.is_some()), "it plays again");
        box_.bot.disconnect().await;
        box_.bot.assert_no_violations();
    });
}

#[test]
fn fifty_tracks_of_all_formats_leave_no_frame_out() {
    story(async {
        let mut box_ = Jukebox::start(|queue| queue).await;
        let names = [
            "music.wav",
            "music.opus",
            "speech.mp3",
            "music.m4a",
            "speech.flac",
            "music.ogg",
            "demo.opus",
            "music.webm",
            "speech.wav",
            "music.mkv",
        ];
        for name in names.iter().cycle().take(50) {
            box_.add(file(name)).await;
        }
        for _ in 0..50 {
            box_.playing().await;
        }
        box_.finished().await;
        let stats = box_.bot.disconnect().await;
        assert_eq!((stats.speaker.underruns, stats.speaker.codec_errors, stats.speaker.skipped), (0, 0, 0));
        let heard = box_.bot.heard();
        assert_eq!((heard.packets, heard.lost, heard.longest_gap), (stats.packets, 0, FRAME));
        box_.bot.assert_no_violations();
    });
}
