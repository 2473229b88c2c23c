//! The audit of one connection's media: what a faithful server can see a client do wrong.

use std::time::Duration;

use tokio::time::Instant;

use crate::opus::{self, SILENCE_FRAMES};
use crate::rtp::{Header, OPUS_PAYLOAD_TYPE};
use crate::rule::MediaRule;

/// What is remembered of one connection to audit it.
#[derive(Debug)]
pub(super) struct MediaAudit {
    speaking: SpeakingState,
    /// Sequence and timestamp of the last packet.
    last: Option<(u16, u32)>,
    nonce: Option<[u8; 4]>,
    /// Silence frames since the last audio.
    silence_frames: u32,
    /// When the present talkspurt counts as ended.
    talkspurt_ends: Option<Instant>,
    /// How many others are in the call. A client that is alone need not end its talkspurt with silence.
    listeners: usize,
}

/// What the client has said of its speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpeakingState {
    /// The client has not announced that it speaks.
    Silent {
        /// When the client took the last announcement back.
        since: Option<Instant>,
        /// When audio that has come since breaks the rule.
        reported_at: Option<Instant>,
    },
    /// The client has announced that it speaks.
    Announced {
        /// When the websocket was resumed; the client has to announce again.
        resumed: Option<Instant>,
    },
    /// The client sent audio and has not announced it; that is reported.
    Reported,
}

impl MediaAudit {
    pub(super) fn new() -> Self {
        Self {
            speaking: SpeakingState::Silent { since: None, reported_at: None },
            last: None,
            nonce: None,
            silence_frames: 0,
            talkspurt_ends: None,
            listeners: 1,
        }
    }

    /// Takes the flags of a Speaking payload.
    pub(super) fn speaking(&mut self, flags: u8, now: Instant) {
        if flags != 0 {
            self.speaking = SpeakingState::Announced { resumed: None };
            return;
        }
        if let SpeakingState::Announced { .. } = self.speaking {
            self.speaking = SpeakingState::Silent { since: Some(now), reported_at: None };
        }
        self.talkspurt_ends = self.talkspurt_ends.map(|ends| ends.min(now + SILENCE_FRAMES_TIMEOUT));
    }

    /// Takes note that the client has no websocket to announce anything on, until a resume.
    pub(super) fn detached(&mut self) {
        if let SpeakingState::Announced { resumed } = &mut self.speaking {
            *resumed = None;
        }
    }

    /// Takes note of a resume: a client that was speaking has to announce that again on this websocket.
    pub(super) fn resumed(&mut self, now: Instant) {
        if let SpeakingState::Announced { resumed } = &mut self.speaking {
            *resumed = Some(now);
        }
    }

    /// Ends the present talkspurt: the client leaves, or has sent nothing for too long.
    pub(super) fn end_talkspurt(&mut self) -> Option<MediaRule> {
        let open = self.talkspurt_ends.take();
        let frames = std::mem::take(&mut self.silence_frames);
        open.map(|_| MediaRule::SilenceMissing { frames })
    }

    /// Takes note of how many others are in the call.
    pub(super) fn set_listeners(&mut self, listeners: usize) {
        self.listeners = listeners;
        self.talkspurt_ends = self.talkspurt_ends.filter(|_| listeners > 0);
    }

    /// Forgets the packet counter: a new key may count anew.
    pub(super) fn rekeyed(&mut self) {
        self.nonce = None;
    }

    /// Audits the nonce counter. The client chooses its byte order, so the smaller step is believed.
    pub(super) fn nonce(&mut self, nonce: [u8; 4]) -> Option<MediaRule> {
        let last = self.nonce.replace(nonce)?;
        let big = u32::from_be_bytes(nonce).wrapping_sub(u32::from_be_bytes(last)).cast_signed();
        let little = u32::from_le_bytes(nonce).wrapping_sub(u32::from_le_bytes(last)).cast_signed();
        let step = if big.unsigned_abs() <= little.unsigned_abs() { big } else { little };
        match step {
            0 => Some(MediaRule::NonceRepeated),
            ..0 => Some(MediaRule::NonceBackwards),
            _ => None,
        }
    }

    /// Audits one RTP packet; `payload` is empty where there was only padding.
    pub(super) fn packet(
        &mut self,
        header: &Header,
        payload: &[u8],
        now: Instant,
        found: &mut Vec<MediaRule>,
    ) {
        if header.payload_type != OPUS_PAYLOAD_TYPE {
            found.push(MediaRule::PayloadType(header.payload_type));
            return;
        }
        found.extend(self.check_header(header));
        if payload.is_empty() {
            return;
        }
        if opus::is_silence(payload) {
            self.silence_frames += 1;
            self.talkspurt_ends = (self.silence_frames < SILENCE_FRAMES).then_some(now + TALKSPURT_TIMEOUT);
        } else {
            self.silence_frames = 0;
            self.talkspurt_ends = (self.listeners > 0).then_some(now + TALKSPURT_TIMEOUT);
            found.extend(self.check_announcement(now));
        }
    }

    /// Compares sequence and timestamp with those of the packet before.
    fn check_header(&mut self, header: &Header) -> Option<MediaRule> {
        let (sequence, timestamp) = self.last.replace((header.sequence, header.timestamp))?;
        let expected = sequence.wrapping_add(1);
        if header.sequence != expected {
            return Some(MediaRule::SequenceJump { expected, got: header.sequence });
        }
        let step = header.timestamp.wrapping_sub(timestamp);
        let fits = step != 0 && step % 960 == 0 && step <= u32::MAX / 2;
        (!fits).then_some(MediaRule::TimestampStep { step })
    }

    /// Checks whether the client has announced the audio that comes now.
    fn check_announcement(&mut self, now: Instant) -> Option<MediaRule> {
        match &mut self.speaking {
            SpeakingState::Reported => None,
            SpeakingState::Announced { resumed } => {
                resumed.take_if(|at| *at + SPEAKING_REPEAT_TIMEOUT < now)?;
                Some(MediaRule::SpeakingNotRepeated)
            }
            SpeakingState::Silent { since, .. } if since.is_some_and(|at| now < at + SPEAKING_TIMEOUT) => {
                None
            }
            SpeakingState::Silent { reported_at, .. } => {
                reported_at.get_or_insert(now + SPEAKING_TIMEOUT);
                None
            }
        }
    }

    /// Finds the rules that the client broke by sending nothing.
    pub(super) fn check(&mut self, now: Instant, found: &mut Vec<MediaRule>) {
        if self.unannounced_deadline().is_some_and(|due| due <= now) {
            self.speaking = SpeakingState::Reported;
            found.push(MediaRule::AudioWithoutSpeaking);
        }
        if self.talkspurt_ends.is_some_and(|due| due <= now) {
            found.extend(self.end_talkspurt());
        }
    }

    /// When [`check`](Self::check) will find something, if nothing comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unannounced_deadline().into_iter().chain(self.talkspurt_ends).min()
    }

    fn unannounced_deadline(&self) -> Option<Instant> {
        match self.speaking {
            SpeakingState::Silent { reported_at, .. } => reported_at,
            SpeakingState::Announced { .. } | SpeakingState::Reported => None,
        }
    }
}

/// Speaking and audio travel on two sockets, so either may be first by this much.
const SPEAKING_TIMEOUT: Duration = Duration::from_millis(100);
/// How soon after a resume Speaking has to come.
const SPEAKING_REPEAT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the five silence frames may take after Speaking with flags 0.
const SILENCE_FRAMES_TIMEOUT: Duration = Duration::from_millis(200);
/// A talkspurt without a packet for so long has ended.
const TALKSPURT_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
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
}
