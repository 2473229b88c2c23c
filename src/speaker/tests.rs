//! Stories of one speaker, its sources and its clock.

mod control;
mod credit;
mod ending;
mod filters;
mod hostile;
mod mixing;
mod speaking;
mod timing;

use std::collections::BTreeMap;

use super::*;
use crate::audio::{
    frame::Pcm,
    opus::{Encoder, MAX_PACKET},
};

const MUSIC: TrackId = TrackId(1);
const SPEECH: TrackId = TrackId(2);
const MICROPHONE: SpeakingFlags = SpeakingFlags::MICROPHONE;
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

/// An Opus packet of 20 ms that is unlike any other.
fn packet(number: u32) -> Bytes {
    let [a, b, c, d] = number.to_be_bytes();
    Bytes::copy_from_slice(&[0xFC, 1, a, b, c, d])
}

fn opus(number: u32) -> Frame {
    Frame::Opus(packet(number))
}

fn packets(numbers: std::ops::Range<u32>) -> Vec<Bytes> {
    numbers.map(packet).collect()
}

fn silence() -> Bytes {
    Bytes::from_static(&SILENCE)
}

/// A track of which little is asked for ahead.
fn live(flags: SpeakingFlags, volume: f32) -> TrackSettings {
    TrackSettings { flags, volume, read_ahead: ReadAhead::Live, ..TrackSettings::default() }
}

/// A source that supplies whatever it is asked for at once.
type Fast = Box<dyn FnMut() -> Option<Frame>>;

/// A source of this many packets, numbered from zero.
fn source(length: u32) -> Fast {
    let mut numbers = 0..length;
    Box::new(move || numbers.next().map(opus))
}

/// Whether the voice gateway says at once that Speaking was sent.
#[derive(Clone, Copy, PartialEq)]
enum Gateway {
    Prompt,
    Slow,
}

/// A speaker, its sources, and the moment it lives in.
struct Story {
    playout: Pacer,
    now: Instant,
    began: Instant,
    sources: BTreeMap<TrackId, Fast>,
    gateway: Gateway,
    log: Vec<Action>,
}

impl Story {
    /// A speaker without a link.
    fn begin() -> Self {
        Self::begin_at(Duration::ZERO)
    }

    fn begin_at(offset: Duration) -> Self {
        let now = start();
        let phase = Phase { epoch: now, offset };
        Self {
            playout: Pacer::new(&EncoderSettings::default(), phase).unwrap(),
            now,
            began: now,
            sources: BTreeMap::new(),
            gateway: Gateway::Prompt,
            log: Vec::new(),
        }
    }

    fn linked() -> Self {
        let mut story = Self::begin();
        story.link_up();
        assert_eq!(story.playout.deadline(), None, "an idle speaker costs no tick");
        story
    }

    fn linked_at(offset: Duration) -> Self {
        let mut story = Self::begin_at(offset);
        story.link_up();
        story
    }

    fn attach_stored(&mut self, source: Fast) {
        self.sources.insert(MUSIC, source);
        self.playout.attach(MUSIC, TrackSettings::default());
        self.drive();
    }

    fn attach(&mut self, id: TrackId, flags: SpeakingFlags, volume: f32) {
        self.playout.attach(id, live(flags, volume));
        self.drive();
    }

    fn play(&mut self, id: TrackId, source: Fast) {
        self.sources.insert(id, source);
        self.attach(id, MICROPHONE, 1.0);
    }

    fn supply(&mut self, id: TrackId, frame: Frame) {
        let run = self.playout.run(id);
        self.playout.supply(id, run, [frame], self.now);
        self.drive();
    }

    fn link_up(&mut self) {
        self.playout.link_up(self.now);
        self.drive();
    }

    fn link_down(&mut self) {
        self.playout.link_down();
        self.drive();
    }

    fn speaking_sent(&mut self) {
        self.playout.speaking_sent(self.now);
        self.drive();
    }

    fn stop(&mut self, which: Option<TrackId>) {
        self.playout.stop(which);
        self.drive();
    }

    fn end(&mut self, id: TrackId, end: TrackEnd) {
        let run = self.playout.run(id);
        self.playout.finish(id, run, end, FRAME_SAMPLES);
        self.drive();
    }

    fn finish(&mut self, id: TrackId) {
        self.end(id, TrackEnd::Finished);
    }

    /// Carries out every order, as an actor would.
    fn drive(&mut self) {
        while let Some(action) = self.playout.poll(self.now) {
            self.log.push(action.clone());
            match action {
                Action::Demand(id, frames) => self.supply_all(id, frames),
                Action::Speaking(flags) if !flags.is_empty() && self.gateway == Gateway::Prompt => {
                    self.playout.speaking_sent(self.now);
                }
                _ => {}
            }
        }
        let deadline = self.playout.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "a deadline that is past is never met");
    }

    fn supply_all(&mut self, id: TrackId, frames: usize) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let run = self.playout.run(id);
        for _ in 0..frames {
            match source() {
                Some(frame) => self.playout.supply(id, run, [frame], self.now),
                None => return self.playout.finish(id, run, TrackEnd::Finished, FRAME_SAMPLES),
            }
        }
    }

    /// Lets time pass; the speaker wakes exactly when it wants to.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.playout.deadline().filter(|&deadline| deadline <= until) {
            self.now = deadline;
            self.drive();
        }
        self.now = until;
    }

    /// Lets time pass without waking the speaker, which then has to catch up.
    fn oversleep(&mut self, time: Duration) {
        self.now += time;
        self.drive();
    }

    /// What was ordered since this was last asked.
    fn log(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.log)
    }

    /// The same, without what happens between speaker and source.
    fn outside(&mut self) -> Vec<Action> {
        let mut log = self.log();
        log.retain(|action| !matches!(action, Action::Demand(..) | Action::Probe(_)));
        log
    }

    /// The packets among it.
    fn sent(&mut self) -> Vec<VoiceFrame> {
        let voice = |action| if let Action::Voice(frame) = action { Some(frame) } else { None };
        self.log().into_iter().filter_map(voice).collect()
    }

    fn heard(&mut self) -> Vec<Bytes> {
        self.sent().into_iter().map(|frame| frame.opus).collect()
    }

    fn since_start(&self, at: Instant) -> Duration {
        at - self.began
    }
}

/// What a tick's packet looks like in the log.
fn voice(opus: Bytes, due: Instant) -> Action {
    Action::Voice(VoiceFrame { opus, elapsed: 960, due })
}

#[test]
fn a_lost_source_ends_its_track_after_what_it_supplied() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.supply(MUSIC, opus(0));
    story.supply(MUSIC, opus(1));
    story.playout.source_lost(MUSIC);
    story.pass(SECOND);
    let log = story.outside();
    let at = |number| story.began + FRAME * number;
    assert_eq!(log[3..5], [voice(packet(1), at(1)), Action::Ended(MUSIC, TrackEnd::SourceLost)]);
    assert_eq!(story.playout.deadline(), None);
}

#[test]
fn a_lost_source_that_supplied_nothing_ends_its_track_at_once() {
    for mut story in [Story::begin(), Story::linked()] {
        story.attach(MUSIC, MICROPHONE, 1.0);
        story.log();
        story.playout.source_lost(MUSIC);
        story.drive();
        assert_eq!(story.log(), [Action::Ended(MUSIC, TrackEnd::SourceLost)]);
        assert_eq!(story.playout.deadline(), None);
    }
}

#[test]
fn a_lost_link_keeps_tracks_and_frames_and_the_next_link_goes_on_with_the_very_next() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.pass(FRAME * 9);
    assert_eq!(story.heard(), packets(0..10));
    story.link_down();
    assert_eq!(story.playout.deadline(), None);
    story.pass(SECOND * 7);
    assert_eq!(story.log(), [], "nothing is taken, nothing is sent");

    story.gateway = Gateway::Slow;
    story.link_up();
    assert_eq!(story.outside(), [Action::Speaking(MICROPHONE)], "a new session does not know");
    story.speaking_sent();
    story.pass(FRAME * 9);
    assert_eq!(story.heard(), packets(10..20));
    assert_eq!(story.playout.counts().underruns, 0);
}

#[test]
fn a_link_that_comes_back_finds_only_stalled_tracks_and_stays_quiet() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.link_down();
    story.log();
    story.link_up();
    assert_eq!(story.log(), [Action::Probe(MUSIC)]);
}
