//! What the audit finds in streams that are right, and in those that are not.

use std::time::Duration;

use tokio::time::Instant;

use super::MediaAudit;
use crate::opus::SILENCE;
use crate::rtp::Header;
use crate::rule::MediaRule;

struct Story {
    audit: MediaAudit,
    now: Instant,
    sequence: u16,
    timestamp: u32,
    found: Vec<MediaRule>,
}

impl Story {
    fn new() -> Self {
        let now = Instant::now();
        Self { audit: MediaAudit::new(), now, sequence: 65_534, timestamp: u32::MAX - 959, found: vec![] }
    }

    fn send(&mut self, packets: u32, payload: &[u8]) -> &mut Self {
        for _ in 0..packets {
            let header = Header::opus(1, self.sequence, self.timestamp);
            self.audit.packet(&header, payload, self.now, &mut self.found);
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self.timestamp.wrapping_add(960);
            self.wait(20);
        }
        self
    }

    fn speaking(&mut self, flags: u8) -> &mut Self {
        self.audit.speaking(flags, self.now);
        self
    }

    fn wait(&mut self, millis: u64) -> &mut Self {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.audit.deadline().filter(|due| *due <= end) {
            self.audit.check(due, &mut self.found);
        }
        self.now = end;
        self
    }
}

const AUDIO: &[u8] = &[0xFC, 1, 2, 3, 4, 5];

#[test]
fn a_well_behaved_member_is_never_accused() {
    let mut story = Story::new();
    story.speaking(0).speaking(1).send(50, AUDIO).send(5, &SILENCE).wait(60_000);
    story.send(50, AUDIO).send(5, &SILENCE).speaking(0).wait(5_000);
    assert_eq!(story.found, []);
}

#[test]
fn speaking_may_come_up_to_100_ms_after_the_first_packet() {
    let mut story = Story::new();
    story.send(4, AUDIO).speaking(1).send(50, AUDIO);
    assert_eq!(story.found, []);
}

#[test]
fn audio_without_speaking_is_reported_once_even_if_it_stops() {
    let mut story = Story::new();
    story.send(1, AUDIO).send(5, &SILENCE).wait(5_000);
    assert_eq!(story.found, [MediaRule::AudioWithoutSpeaking]);
    story.send(100, AUDIO).send(5, &SILENCE).wait(5_000);
    assert_eq!(story.found, [MediaRule::AudioWithoutSpeaking]);
}

#[test]
fn speaking_zero_has_to_be_taken_back_before_more_audio() {
    let mut story = Story::new();
    story.speaking(1).send(10, AUDIO).send(5, &SILENCE).speaking(0).wait(1_000);
    story.send(20, AUDIO).send(5, &SILENCE).wait(2_000);
    assert_eq!(story.found, [MediaRule::AudioWithoutSpeaking]);
}

#[test]
fn stopping_with_four_silence_frames_is_a_breach() {
    let mut story = Story::new();
    story.speaking(1).send(10, AUDIO).send(4, &SILENCE).wait(2_000);
    assert_eq!(story.found, [MediaRule::SilenceMissing { frames: 4 }]);
}

#[test]
fn who_is_left_alone_may_stop_in_mid_sentence() {
    let mut story = Story::new();
    story.speaking(1).send(10, AUDIO);
    story.audit.set_listeners(0);
    story.send(10, AUDIO).wait(5_000);
    assert_eq!(story.found, []);
    story.audit.set_listeners(1);
    story.send(10, AUDIO).wait(5_000);
    assert_eq!(story.found, [MediaRule::SilenceMissing { frames: 0 }]);
}

#[test]
fn silence_frames_may_still_follow_speaking_zero() {
    let mut story = Story::new();
    story.speaking(1).send(10, AUDIO).speaking(0).send(5, &SILENCE).wait(2_000);
    assert_eq!(story.found, []);
    story.speaking(1).send(10, AUDIO).speaking(0).wait(300);
    assert_eq!(story.found, [MediaRule::SilenceMissing { frames: 0 }]);
}

#[test]
fn leaving_in_mid_word_is_a_breach_and_after_silence_or_alone_it_is_none() {
    let mut story = Story::new();
    story.speaking(1).send(10, AUDIO).send(5, &SILENCE);
    assert_eq!(story.audit.end_talkspurt(), None);
    story.send(10, AUDIO).send(2, &SILENCE);
    assert_eq!(story.audit.end_talkspurt(), Some(MediaRule::SilenceMissing { frames: 2 }));
    story.send(10, AUDIO);
    story.audit.set_listeners(0);
    assert_eq!(story.audit.end_talkspurt(), None);
}

#[test]
fn speaking_has_to_be_repeated_after_a_resume_by_who_goes_on() {
    let mut story = Story::new();
    story.audit.resumed(story.now);
    story.speaking(1).send(10, AUDIO);
    story.audit.resumed(story.now);
    story.send(10, AUDIO).speaking(1).send(100, AUDIO);
    assert_eq!(story.found, []);
    story.audit.resumed(story.now);
    story.send(100, AUDIO).send(5, &SILENCE).wait(5_000);
    assert_eq!(story.found, [MediaRule::SpeakingNotRepeated]);
}

#[test]
fn speaking_cannot_be_repeated_on_a_websocket_that_is_lost_again() {
    let mut story = Story::new();
    story.speaking(1).send(10, AUDIO);
    for _ in 0..2 {
        story.audit.resumed(story.now);
        story.send(20, AUDIO);
        story.audit.detached();
        story.send(100, AUDIO);
    }
    story.audit.resumed(story.now);
    story.send(20, AUDIO).speaking(1).send(100, AUDIO);
    assert_eq!(story.found, []);
    story.audit.resumed(story.now);
    story.audit.detached();
    story.audit.resumed(story.now);
    story.send(100, AUDIO).send(5, &SILENCE).wait(5_000);
    assert_eq!(story.found, [MediaRule::SpeakingNotRepeated]);
}

#[test]
fn jumps_of_sequence_and_timestamp_are_named() {
    let mut story = Story::new();
    story.speaking(1).send(3, AUDIO);
    let expected = story.sequence;
    story.sequence = story.sequence.wrapping_add(7);
    story.send(2, AUDIO);
    story.timestamp = story.timestamp.wrapping_add(481);
    story.send(2, AUDIO);
    story.timestamp = story.timestamp.wrapping_sub(960);
    story.send(1, AUDIO);
    story.timestamp = story.timestamp.wrapping_add(960 * 50);
    story.send(1, AUDIO);
    assert_eq!(
        story.found,
        [
            MediaRule::SequenceJump { expected, got: expected.wrapping_add(7) },
            MediaRule::TimestampStep { step: 1441 },
            MediaRule::TimestampStep { step: 0 },
        ]
    );
}

#[test]
fn another_payload_type_is_named() {
    let mut audit = MediaAudit::new();
    let mut found = vec![];
    let video = Header { payload_type: 101, ..Header::opus(1, 2, 3) };
    audit.packet(&video, AUDIO, Instant::now(), &mut found);
    assert_eq!(found, [MediaRule::PayloadType(101)]);
}

#[test]
fn counters_may_run_in_either_byte_order_and_wrap() {
    for order in [u32::to_be_bytes, u32::to_le_bytes] {
        let mut audit = MediaAudit::new();
        for counter in (u32::MAX - 700..=u32::MAX).chain(0..70_000) {
            assert_eq!(audit.nonce(order(counter)), None, "{counter}");
        }
        assert_eq!(audit.nonce(order(69_999)), Some(MediaRule::NonceRepeated));
        assert_eq!(audit.nonce(order(69_990)), Some(MediaRule::NonceBackwards));
        audit.rekeyed();
        assert_eq!(audit.nonce(order(0)), None);
    }
}
