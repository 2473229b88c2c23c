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

    /// Takes note that packets are lost on their way: neither a gap nor a missing end is the client's doing.
    pub(super) fn interrupted(&mut self) {
        self.last = None;
        self.silence_frames = 0;
        self.talkspurt_ends = None;
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
mod tests;
