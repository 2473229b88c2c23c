//! Stories of one speaker, its sources and its clock.

mod ending;
mod hostile;
mod mixing;
mod timing;

use std::collections::BTreeMap;

use super::*;

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
    playout: Playout,
    now: Instant,
    began: Instant,
    sources: BTreeMap<TrackId, Fast>,
    gateway: Gateway,
    log: Vec<Action>,
}

impl Story {
    /// A speaker without a link.
    fn begin() -> Self {
        let now = start();
        let phase = Phase { epoch: now, offset: Duration::ZERO };
        Self {
            playout: Playout::new(&EncoderSettings::default(), phase).unwrap(),
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

    fn attach(&mut self, id: TrackId, flags: SpeakingFlags, volume: f32) {
        self.playout.attach(id, flags, volume);
        self.drive();
    }

    fn play(&mut self, id: TrackId, source: Fast) {
        self.sources.insert(id, source);
        self.attach(id, MICROPHONE, 1.0);
    }

    fn supply(&mut self, id: TrackId, frame: Frame) {
        self.playout.supply(id, frame, self.now);
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

    fn finish(&mut self, id: TrackId) {
        self.playout.finish(id, TrackEnd::Finished);
        self.drive();
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
        for _ in 0..frames {
            match source() {
                Some(frame) => self.playout.supply(id, frame, self.now),
                None => return self.playout.finish(id, TrackEnd::Finished),
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
fn a_track_is_asked_for_five_frames_and_then_for_one_for_each_taken() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    assert_eq!(story.log(), [Action::Demand(MUSIC, 5), Action::Probe(MUSIC)]);
    for number in 0..5 {
        story.supply(MUSIC, opus(number));
    }
    // Speaking is acknowledged at once, and the first slot is now.
    let due = story.now;
    let first = [
        Action::Speaking(MICROPHONE),
        voice(packet(0), due),
        Action::Started(MUSIC),
        Action::Demand(MUSIC, 1),
    ];
    assert_eq!(story.log(), first);
    story.pass(FRAME);
    assert_eq!(story.log(), [voice(packet(1), due + FRAME), Action::Demand(MUSIC, 1)]);
}

#[test]
fn frames_that_nobody_asked_for_are_dropped_and_counted() {
    let mut story = Story::begin();
    story.attach(MUSIC, MICROPHONE, 1.0);
    for number in 0..1000 {
        story.supply(MUSIC, opus(number));
    }
    assert_eq!(story.playout.counts().over_credit, 995);
    story.link_up();
    story.pass(SECOND);
    assert_eq!(story.heard()[..6], [packets(0..5), vec![silence()]].concat());
}

#[test]
fn a_greedy_source_is_held_to_its_credit_for_as_long_as_it_plays() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    for number in 0..1000 {
        story.supply(MUSIC, opus(number));
        story.pass(FRAME / 10);
    }
    let counts = story.playout.counts();
    assert_eq!(counts.passed_through, 101);
    assert_eq!(counts.over_credit, 1000 - 101 - 4, "four are queued, and the last taken is not replaced yet");
}

#[test]
fn a_slow_source_is_never_owed_more_than_five_frames() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    let (mut granted, mut supplied, mut taken) = (0, 0, 0);
    for number in 0..100 {
        story.supply(MUSIC, opus(number));
        supplied += 1;
        // Too slow by half.
        story.pass(FRAME * 2);
        for action in story.log() {
            match action {
                Action::Demand(_, frames) => granted += frames,
                Action::Voice(frame) if frame.opus != silence() => taken += 1,
                _ => {}
            }
        }
        assert!(granted - supplied <= 5 && supplied - taken <= 5);
    }
    assert_eq!(taken, 100, "and every frame is played");
}

#[test]
fn speaking_is_ordered_first_and_no_packet_goes_before_it_is_sent() {
    let mut story = Story::linked();
    story.gateway = Gateway::Slow;
    story.play(MUSIC, source(100));
    assert_eq!(story.outside(), [Action::Speaking(MICROPHONE)]);
    assert_eq!(story.playout.deadline(), None);
    story.pass(SECOND);
    assert_eq!(story.log(), [], "it waits for the answer");

    story.speaking_sent();
    story.pass(FRAME * 3);
    assert_eq!(story.heard(), packets(0..4), "and nothing is lost by waiting");
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut story = Story::linked();
    story.speaking_sent();
    assert_eq!(story.playout.deadline(), None);
    story.play(MUSIC, source(100));
    story.pass(SECOND / 2 - FRAME);
    story.speaking_sent();
    story.pass(FRAME);
    assert_eq!(story.heard(), packets(0..26));
}

#[test]
fn five_silence_frames_end_speech_and_then_speaking_is_taken_back() {
    let mut story = Story::linked();
    story.play(MUSIC, source(3));
    story.pass(SECOND);
    let at = |number| story.began + FRAME * number;
    let mut expected = vec![Action::Speaking(MICROPHONE), voice(packet(0), at(0)), Action::Started(MUSIC)];
    expected.extend([voice(packet(1), at(1)), voice(packet(2), at(2))]);
    expected.push(Action::Ended(MUSIC, TrackEnd::Finished));
    expected.extend((3..8).map(|number| voice(silence(), at(number))));
    expected.push(Action::Speaking(SpeakingFlags::NONE));
    assert_eq!(story.outside(), expected);
    assert_eq!(story.playout.deadline(), None, "nothing is left to do");
}

#[test]
fn the_next_track_within_the_silence_goes_on_without_asking_again() {
    let mut story = Story::linked();
    story.play(MUSIC, source(3));
    story.pass(FRAME * 4);
    story.log();
    story.play(SPEECH, source(100));
    story.pass(FRAME * 2);
    let at = |number| story.began + FRAME * number;
    let expected = [voice(packet(0), at(5)), Action::Started(SPEECH), voice(packet(1), at(6))];
    assert_eq!(story.outside(), expected);
}

#[test]
fn a_short_underrun_plays_silence_and_is_counted() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.supply(MUSIC, opus(0));
    story.pass(FRAME * 3);
    story.supply(MUSIC, opus(1));
    story.pass(FRAME);
    assert_eq!(story.heard(), [packet(0), silence(), silence(), silence(), packet(1)]);
    assert_eq!(story.playout.counts().underruns, 3);
    assert_eq!(story.playout.counts().frames, 5);
    assert!(!story.log.iter().any(|action| matches!(action, Action::Stalled(_) | Action::Speaking(_))));
}

#[test]
fn a_stalled_source_is_reported_once_and_then_looked_at_every_second() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.supply(MUSIC, opus(0));
    story.pass(SECOND * 10);
    let log = story.outside();
    let stalled: Vec<_> = log.iter().skip(3).collect();
    assert_eq!(stalled.len(), 7, "five silence frames, the report, Speaking 0: {stalled:?}");
    assert_eq!(stalled[5], &Action::Stalled(MUSIC), "with the fifth missing frame");
    assert_eq!(stalled[6], &Action::Speaking(SpeakingFlags::NONE));
    assert_eq!(story.playout.counts().underruns, 5, "in quiet nothing is due");

    story.pass(SECOND * 10);
    assert_eq!(story.log(), vec![Action::Probe(MUSIC); 10]);
    assert!(story.playout.deadline().is_some_and(|next| next - story.now <= SECOND));

    story.supply(MUSIC, opus(1));
    story.pass(FRAME);
    let log = story.outside();
    assert_eq!(log[0], Action::Speaking(MICROPHONE), "it has to be said anew");
    assert!(matches!(&log[1], Action::Voice(frame) if frame.opus == packet(1)));
    story.pass(SECOND);
    assert!(story.log().contains(&Action::Stalled(MUSIC)), "another stall is another report");
}

#[test]
fn a_source_that_stalls_beside_another_is_noticed_as_well() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.attach(SPEECH, MICROPHONE, 1.0);
    story.supply(SPEECH, opus(7));
    story.pass(FRAME * 2);
    story.log();
    story.pass(SECOND * 5);
    let log = story.log();
    let count = |wanted: &Action| log.iter().filter(|&action| action == wanted).count();
    assert_eq!(count(&Action::Stalled(SPEECH)), 1);
    assert_eq!(count(&Action::Probe(SPEECH)), 5);
    assert_eq!(count(&Action::Probe(MUSIC)), 0);
    assert!(story.playout.counts().underruns >= 250);
}

#[test]
fn a_track_that_has_not_begun_is_not_missed() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.attach(SPEECH, MICROPHONE, 1.0);
    story.pass(SECOND);
    assert_eq!(story.playout.counts().underruns, 0, "its file is still being opened");
    assert!(!story.log().contains(&Action::Stalled(SPEECH)));
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

#[test]
fn two_tracks_speak_with_the_flags_of_both() {
    let mut story = Story::linked();
    let both = MICROPHONE | SpeakingFlags::PRIORITY;
    story.play(MUSIC, source(1000));
    story.pass(FRAME);
    story.log();

    story.sources.insert(SPEECH, source(2));
    story.attach(SPEECH, both, 1.0);
    story.pass(FRAME * 3);
    let log = story.outside();
    assert_eq!(log[0], Action::Speaking(both), "before the first packet that needs it");
    assert!(matches!(log[1], Action::Voice(_)));
    let speaking: Vec<_> = log.iter().filter(|action| matches!(action, Action::Speaking(_))).collect();
    assert_eq!(speaking, [&Action::Speaking(both), &Action::Speaking(MICROPHONE)], "once each");
    let (ended, back) = (
        log.iter().position(|action| matches!(action, Action::Ended(..))),
        log.iter().position(|action| *action == Action::Speaking(MICROPHONE)),
    );
    assert!(ended < back);
}

#[test]
fn a_track_without_flags_speaks_through_the_microphone() {
    let mut story = Story::linked();
    story.sources.insert(MUSIC, source(10));
    story.attach(MUSIC, SpeakingFlags::NONE, 1.0);
    assert_eq!(story.outside()[0], Action::Speaking(MICROPHONE), "without it Discord takes no audio");
}
