//! The audit of one connection's media: what a faithful server can see a client do wrong.

use std::time::Duration;

use tokio::time::Instant;

use crate::opus;
use crate::recorder::SILENCE_FRAMES;
use crate::rtp::{Header, OPUS_PAYLOAD_TYPE};

/// A rule that a member's media broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// Audio went on for 100 ms without a Speaking payload.
    #[error("audio without Speaking: op 5 has to go out before the first packet")]
    AudioWithoutSpeaking,
    /// Audio went on for a second after a resume, and Speaking was not sent again.
    #[error("audio after a resume without Speaking: op 5 has to be sent again")]
    SpeakingNotRepeated,
    /// Audio came before the Session Description went out.
    #[error("audio before the Session Description")]
    AudioBeforeDescription,
    /// A packet did not open with the connection's key.
    #[error("a packet does not open with the connection's mode and key")]
    Undecryptable,
    /// The RTP sequence did not go on by one.
    #[error("RTP sequence {got} came where {expected} was due")]
    SequenceJump {
        /// One more than the last.
        expected: u16,
        /// What came.
        got: u16,
    },
    /// The RTP timestamp did not advance by a multiple of 960.
    #[error("RTP timestamp went on by {step}, not by a multiple of 960")]
    TimestampStep {
        /// By how much it went on, wrapping.
        step: u32,
    },
    /// The nonce of the packet before was used again.
    #[error("the transport nonce was repeated")]
    NonceRepeated,
    /// The nonce counter went backwards, so nonces will be repeated.
    #[error("the transport nonce counter went backwards")]
    NonceBackwards,
    /// A payload type other than 120.
    #[error("payload type {0}, not 120")]
    PayloadType(u8),
    /// Speaking ended with fewer than five silence frames.
    #[error("speaking ended with {frames} silence frames, not five")]
    SilenceMissing {
        /// How many there were.
        frames: u32,
    },
}

/// What is remembered of one connection to audit it.
#[derive(Debug)]
pub(super) struct Conduct {
    talk: Talk,
    /// Since when Speaking has to be said again, after a resume.
    unrepeated: Option<Instant>,
    /// When audio that came without Speaking becomes a breach.
    unannounced: Option<Instant>,
    last: Option<(u16, u32)>,
    counter: Option<[u8; 4]>,
    silence: u32,
    /// When the present spurt counts as ended.
    end: Option<Instant>,
    /// Who is alone owes nobody silence.
    company: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// Nothing announced; if it was, until then.
    Silent(Option<Instant>),
    Announced,
    /// Nothing announced, and reported.
    Reported,
}

impl Conduct {
    pub(super) fn new() -> Self {
        let talk = Talk::Silent(None);
        let (unrepeated, unannounced) = (None, None);
        Self { talk, unrepeated, unannounced, last: None, counter: None, silence: 0, end: None, company: 1 }
    }

    pub(super) fn speaking(&mut self, flags: u8, now: Instant) {
        self.unrepeated = None;
        if flags != 0 {
            self.talk = Talk::Announced;
            self.unannounced = None;
            return;
        }
        if self.talk == Talk::Announced {
            self.talk = Talk::Silent(Some(now));
        }
        self.end = self.end.map(|end| end.min(now + LAST_FRAMES));
    }

    /// Takes note that there is no websocket to say anything on, until a resume.
    pub(super) fn detached(&mut self) {
        self.unrepeated = None;
    }

    /// Takes note of a resume: who was speaking has to say so again, on this very websocket.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.unrepeated = (self.talk == Talk::Announced).then_some(now);
    }

    /// Ends a spurt that its speaker will not end: it leaves.
    pub(super) fn farewell(&mut self) -> Option<Breach> {
        let spoke = self.end.take();
        let frames = std::mem::take(&mut self.silence);
        spoke.map(|_| Breach::SilenceMissing { frames })
    }

    /// Takes note of how many others there are to hear it.
    pub(super) fn company(&mut self, others: usize) {
        self.company = others;
        self.end = self.end.filter(|_| others > 0);
    }

    /// Forgets the packet counter: a new key may count anew.
    pub(super) fn rekeyed(&mut self) {
        self.counter = None;
    }

    /// Audits the nonce counter. Its byte order is the client's choice, so the smaller step is believed.
    pub(super) fn counter(&mut self, counter: [u8; 4]) -> Option<Breach> {
        let last = self.counter.replace(counter)?;
        let big = u32::from_be_bytes(counter).wrapping_sub(u32::from_be_bytes(last)).cast_signed();
        let little = u32::from_le_bytes(counter).wrapping_sub(u32::from_le_bytes(last)).cast_signed();
        let step = if big.unsigned_abs() <= little.unsigned_abs() { big } else { little };
        match step {
            0 => Some(Breach::NonceRepeated),
            ..0 => Some(Breach::NonceBackwards),
            _ => None,
        }
    }

    /// Audits one RTP packet; `payload` is empty where there was only padding.
    pub(super) fn packet(&mut self, header: &Header, payload: &[u8], now: Instant, found: &mut Vec<Breach>) {
        if header.payload_type != OPUS_PAYLOAD_TYPE {
            found.push(Breach::PayloadType(header.payload_type));
            return;
        }
        self.continuity(header, found);
        if payload.is_empty() {
            return;
        }
        if opus::is_silence(payload) {
            self.silence += 1;
            self.end = (self.silence < SILENCE_FRAMES).then_some(now + PAUSE);
        } else {
            self.silence = 0;
            self.end = (self.company > 0).then_some(now + PAUSE);
            self.announcement(now);
            if self.unrepeated.is_some_and(|since| since + REPETITION < now) {
                self.unrepeated = None;
                found.push(Breach::SpeakingNotRepeated);
            }
        }
    }

    fn continuity(&mut self, header: &Header, found: &mut Vec<Breach>) {
        let Some((sequence, timestamp)) = self.last.replace((header.sequence, header.timestamp)) else {
            return;
        };
        let expected = sequence.wrapping_add(1);
        if header.sequence != expected {
            found.push(Breach::SequenceJump { expected, got: header.sequence });
            return;
        }
        let step = header.timestamp.wrapping_sub(timestamp);
        if step == 0 || step % 960 != 0 || step > u32::MAX / 2 {
            found.push(Breach::TimestampStep { step });
        }
    }

    fn announcement(&mut self, now: Instant) {
        match self.talk {
            Talk::Announced | Talk::Reported => {}
            Talk::Silent(Some(since)) if now < since + GRACE => {}
            Talk::Silent(_) => {
                self.unannounced.get_or_insert(now + GRACE);
            }
        }
    }

    /// Finds what became a breach because nothing came.
    pub(super) fn check(&mut self, now: Instant, found: &mut Vec<Breach>) {
        if self.unannounced.is_some_and(|due| due <= now) {
            self.unannounced = None;
            self.talk = Talk::Reported;
            found.push(Breach::AudioWithoutSpeaking);
        }
        if self.end.is_some_and(|due| due <= now) {
            found.extend(self.farewell());
        }
    }

    /// When [`check`](Self::check) will have something to find, if nothing comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unannounced.into_iter().chain(self.end).min()
    }
}

/// Speaking and audio travel on two sockets, so either may be first by this much.
const GRACE: Duration = Duration::from_millis(100);
/// How soon after a resume Speaking has to come.
const REPETITION: Duration = Duration::from_secs(1);
/// Room for five silence frames after Speaking said that it is over.
const LAST_FRAMES: Duration = Duration::from_millis(200);
/// A spurt without a packet for so long has ended.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Breach, Conduct};
    use crate::opus::SILENCE;
    use crate::rtp::Header;

    struct Story {
        conduct: Conduct,
        now: Instant,
        sequence: u16,
        timestamp: u32,
        found: Vec<Breach>,
    }

    impl Story {
        fn new() -> Self {
            let now = Instant::now();
            Self { conduct: Conduct::new(), now, sequence: 65_534, timestamp: u32::MAX - 959, found: vec![] }
        }

        fn send(&mut self, packets: u32, payload: &[u8]) -> &mut Self {
            for _ in 0..packets {
                let header = Header::opus(1, self.sequence, self.timestamp);
                self.conduct.packet(&header, payload, self.now, &mut self.found);
                self.sequence = self.sequence.wrapping_add(1);
                self.timestamp = self.timestamp.wrapping_add(960);
                self.wait(20);
            }
            self
        }

        fn speaking(&mut self, flags: u8) -> &mut Self {
            self.conduct.speaking(flags, self.now);
            self
        }

        fn wait(&mut self, millis: u64) -> &mut Self {
            let end = self.now + Duration::from_millis(millis);
            while let Some(due) = self.conduct.deadline().filter(|due| *due <= end) {
                self.conduct.check(due, &mut self.found);
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
        assert_eq!(story.found, [Breach::AudioWithoutSpeaking]);
        story.send(100, AUDIO).send(5, &SILENCE).wait(5_000);
        assert_eq!(story.found, [Breach::AudioWithoutSpeaking]);
    }

    #[test]
    fn speaking_zero_has_to_be_taken_back_before_more_audio() {
        let mut story = Story::new();
        story.speaking(1).send(10, AUDIO).send(5, &SILENCE).speaking(0).wait(1_000);
        story.send(20, AUDIO).send(5, &SILENCE).wait(2_000);
        assert_eq!(story.found, [Breach::AudioWithoutSpeaking]);
    }

    #[test]
    fn stopping_with_four_silence_frames_is_a_breach() {
        let mut story = Story::new();
        story.speaking(1).send(10, AUDIO).send(4, &SILENCE).wait(2_000);
        assert_eq!(story.found, [Breach::SilenceMissing { frames: 4 }]);
    }

    #[test]
    fn who_is_left_alone_may_stop_in_mid_sentence() {
        let mut story = Story::new();
        story.speaking(1).send(10, AUDIO);
        story.conduct.company(0);
        story.send(10, AUDIO).wait(5_000);
        assert_eq!(story.found, []);
        story.conduct.company(1);
        story.send(10, AUDIO).wait(5_000);
        assert_eq!(story.found, [Breach::SilenceMissing { frames: 0 }]);
    }

    #[test]
    fn silence_frames_may_still_follow_speaking_zero() {
        let mut story = Story::new();
        story.speaking(1).send(10, AUDIO).speaking(0).send(5, &SILENCE).wait(2_000);
        assert_eq!(story.found, []);
        story.speaking(1).send(10, AUDIO).speaking(0).wait(300);
        assert_eq!(story.found, [Breach::SilenceMissing { frames: 0 }]);
    }

    #[test]
    fn leaving_in_mid_word_is_a_breach_and_after_silence_or_alone_it_is_none() {
        let mut story = Story::new();
        story.speaking(1).send(10, AUDIO).send(5, &SILENCE);
        assert_eq!(story.conduct.farewell(), None);
        story.send(10, AUDIO).send(2, &SILENCE);
        assert_eq!(story.conduct.farewell(), Some(Breach::SilenceMissing { frames: 2 }));
        story.send(10, AUDIO);
        story.conduct.company(0);
        assert_eq!(story.conduct.farewell(), None);
    }

    #[test]
    fn speaking_has_to_be_repeated_after_a_resume_by_who_goes_on() {
        let mut story = Story::new();
        story.conduct.resumed(story.now);
        story.speaking(1).send(10, AUDIO);
        story.conduct.resumed(story.now);
        story.send(10, AUDIO).speaking(1).send(100, AUDIO);
        assert_eq!(story.found, []);
        story.conduct.resumed(story.now);
        story.send(100, AUDIO).send(5, &SILENCE).wait(5_000);
        assert_eq!(story.found, [Breach::SpeakingNotRepeated]);
    }

    #[test]
    fn speaking_cannot_be_repeated_on_a_websocket_that_is_lost_again() {
        let mut story = Story::new();
        story.speaking(1).send(10, AUDIO);
        for _ in 0..2 {
            story.conduct.resumed(story.now);
            story.send(20, AUDIO);
            story.conduct.detached();
            story.send(100, AUDIO);
        }
        story.conduct.resumed(story.now);
        story.send(20, AUDIO).speaking(1).send(100, AUDIO);
        assert_eq!(story.found, []);
        story.conduct.resumed(story.now);
        story.conduct.detached();
        story.conduct.resumed(story.now);
        story.send(100, AUDIO).send(5, &SILENCE).wait(5_000);
        assert_eq!(story.found, [Breach::SpeakingNotRepeated]);
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
                Breach::SequenceJump { expected, got: expected.wrapping_add(7) },
                Breach::TimestampStep { step: 1441 },
                Breach::TimestampStep { step: 0 },
            ]
        );
    }

    #[test]
    fn another_payload_type_is_named() {
        let mut conduct = Conduct::new();
        let mut found = vec![];
        let video = Header { payload_type: 101, ..Header::opus(1, 2, 3) };
        conduct.packet(&video, AUDIO, Instant::now(), &mut found);
        assert_eq!(found, [Breach::PayloadType(101)]);
    }

    #[test]
    fn counters_may_run_in_either_byte_order_and_wrap() {
        for order in [u32::to_be_bytes, u32::to_le_bytes] {
            let mut conduct = Conduct::new();
            for counter in (u32::MAX - 700..=u32::MAX).chain(0..70_000) {
                assert_eq!(conduct.counter(order(counter)), None, "{counter}");
            }
            assert_eq!(conduct.counter(order(69_999)), Some(Breach::NonceRepeated));
            assert_eq!(conduct.counter(order(69_990)), Some(Breach::NonceBackwards));
            conduct.rekeyed();
            assert_eq!(conduct.counter(order(0)), None);
        }
    }
}
