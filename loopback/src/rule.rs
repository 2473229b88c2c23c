//! The rules of Discord's that clients are held to, and who broke one.

use std::fmt;

use tokio::time::Instant;

/// A rule of Discord's that a client broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When it was noticed, on tokio's clock.
    pub at: Instant,
    /// The user that broke it, when known.
    pub user: Option<u64>,
    /// What was wrong.
    pub rule: Rule,
}

/// The rules watched over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// An opcode came before the session was identified.
    #[error("op {0} came before Identify")]
    BeforeIdentify(u8),
    /// Speaking came before the Session Description.
    #[error("Speaking came before the Session Description")]
    SpeakingBeforeDescription,
    /// Speaking named an SSRC that is not the client's.
    #[error("Speaking named SSRC {0}, which is not the client's own")]
    ForeignSsrc(u32),
    /// Speaking came more than 120 times within a minute; the connection is closed with 4021.
    #[error("Speaking came more than 120 times within a minute: it is for changes, not for every packet")]
    SpeakingTooOften,
    /// A heartbeat or resume acknowledged a number that was never sent.
    #[error("`seq_ack` {} was never sent", shown(.0))]
    SeqAckUnsent(Option<u16>),
    /// A heartbeat or resume acknowledged less than an earlier one.
    #[error("`seq_ack` went back to {}", shown(.0))]
    SeqAckBackwards(Option<u16>),
    /// A heartbeat still did not acknowledge this number, that was sent more than a second before.
    #[error("`seq_ack` of a heartbeat still lacks {0}, sent more than a second before")]
    SeqAckLate(u16),
    /// JSON came in a binary frame; Discord ignores it silently.
    #[error("JSON came in a binary frame, which Discord ignores")]
    JsonInBinaryFrame,
    /// An id came as a JSON number, which loses digits in many languages.
    #[error("`{0}` came as a JSON number: ids are strings")]
    NumericId(&'static str),
    /// Select Protocol gave another address than the one discovery told.
    #[error("Select Protocol named another address than discovery told")]
    ForeignAddress,
    /// A heartbeat of the main gateway did not carry the last sequence number.
    #[error("a heartbeat of the main gateway carried {}, and the last sequence number was {last}", shown(.told))]
    WrongSequence {
        /// What it carried.
        told: Option<u64>,
        /// The last number sent, but for what was sent within a second.
        last: u64,
    },
    /// More than 120 payloads came within a minute at the main gateway; the connection is closed with 4008.
    #[error("more than 120 payloads came within a minute at the main gateway")]
    TooManySends,
    /// Two Identifies of the same rate-limit key (`shard % max_concurrency`) came within five seconds.
    #[error("shard {shard} identified within five seconds of another with the same rate-limit key")]
    IdentifiedTooSoon {
        /// The index of the shard.
        shard: u64,
    },
    /// Identify came though no session start was left.
    #[error("Identify came though `session_start_limit.remaining` was 0")]
    NoSessionStartLeft,
    /// Audio was not encrypted end to end although the call is and others were there to hear it.
    #[error("audio was not encrypted end to end")]
    PlainAudio,
    /// Op 23 did not come for this transition before its time was up.
    #[error("op 23 did not come in time for transition {0}")]
    NeverReady(u16),
    /// The delivery service noticed something about a DAVE message.
    #[error("{0}")]
    Dave(String),
    /// The relay noticed something about the packets.
    #[error("{0}")]
    Media(MediaRule),
}

fn shown<T: fmt::Display>(number: &Option<T>) -> String {
    number.as_ref().map_or_else(|| "nothing".to_owned(), T::to_string)
}

/// A rule that a member's media broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaRule {
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

#[cfg(test)]
mod tests {
    use super::{MediaRule, Rule};

    #[test]
    fn a_rule_says_in_words_what_was_wrong() {
        assert_eq!(Rule::SeqAckBackwards(None).to_string(), "`seq_ack` went back to nothing");
        assert_eq!(Rule::SeqAckUnsent(Some(7)).to_string(), "`seq_ack` 7 was never sent");
        assert_eq!(Rule::Media(MediaRule::PayloadType(101)).to_string(), "payload type 101, not 120");
    }
}
