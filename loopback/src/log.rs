//! What happened, in order: every message that crossed a gateway, and every rule a client broke.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::relay::Breach;

/// Which of Discord's faces an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// The main gateway.
    Main,
    /// The voice gateway.
    Voice,
    /// The media relay.
    Media,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closer {
    /// The bot.
    Client,
    /// This server.
    Server,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it happened, on tokio's clock.
    pub at: Instant,
    /// Where it happened.
    pub side: Side,
    /// The number of the connection, counted from 1 over both gateways; 0 for the relay.
    pub connection: u64,
    /// The user the connection belongs to, once that is known.
    pub user: Option<u64>,
    /// What happened.
    pub event: Event,
}

/// What happened on a connection.
///
/// Tokens and keys inside `d` are replaced by `***`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A websocket was opened with this `v` in its query (0 when absent).
    Opened {
        /// The gateway version asked for.
        version: u8,
    },
    /// A text frame came from the client.
    Received {
        /// The opcode.
        op: u8,
        /// The payload.
        d: Value,
    },
    /// A binary frame came from the client.
    ReceivedBinary {
        /// The opcode.
        op: u8,
        /// What followed it.
        payload: Bytes,
    },
    /// A text frame was sent to the client.
    Sent {
        /// The opcode.
        op: u8,
        /// The dispatch name, on the main gateway.
        name: Option<String>,
        /// The sequence number, when the message has one.
        seq: Option<u64>,
        /// The payload.
        d: Value,
    },
    /// A binary frame was sent to the client.
    SentBinary {
        /// The opcode.
        op: u8,
        /// The sequence number; absent below gateway version 8.
        seq: Option<u16>,
        /// What followed the opcode.
        payload: Bytes,
    },
    /// The connection ended.
    Closed {
        /// Who closed it.
        by: Closer,
        /// The close code; `None` when the socket was merely lost or reset.
        code: Option<u16>,
    },
    /// An op 4 was met with silence, as Discord does.
    Refused(Refusal),
    /// The relay answered a discovery request.
    Discovered,
}

/// Why an op 4 was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such voice channel in that guild.
    UnknownChannel,
    /// CONNECT or VIEW_CHANNEL is missing.
    Forbidden,
    /// The user limit is reached.
    Full,
}

/// A rule of Discord's that a client broke.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// When it was noticed, on tokio's clock.
    pub at: Instant,
    /// The user that broke it, when known.
    pub user: Option<u64>,
    /// What was wrong.
    pub rule: Rule,
}

/// The rules watched over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// An opcode came before the session was identified.
    BeforeIdentify(u8),
    /// Speaking came before the Session Description.
    SpeakingBeforeDescription,
    /// Speaking named an SSRC that is not the client's.
    ForeignSsrc(u32),
    /// A heartbeat or resume acknowledged a number that was never sent.
    SeqAckUnsent(Option<u16>),
    /// A heartbeat or resume acknowledged less than an earlier one.
    SeqAckBackwards(Option<u16>),
    /// JSON came in a binary frame; Discord ignores it silently.
    JsonInBinaryFrame,
    /// Select Protocol gave another address than the one discovery told.
    ForeignAddress,
    /// Audio was not encrypted end to end although the call is.
    PlainAudio,
    /// The delivery service noticed something about a DAVE message.
    Dave(String),
    /// The relay noticed something about the packets.
    Media(Breach),
}

/// The bounded log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    pub(crate) violations: Vec<Violation>,
}

impl Log {
    pub(crate) fn push(&mut self, entry: Entry) {
        tracing::debug!(side = ?entry.side, connection = entry.connection, user = entry.user, event = %entry.event);
        if self.entries.len() == ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn violation(&mut self, at: Instant, user: Option<u64>, rule: Rule) {
        tracing::debug!(user, ?rule, "violation");
        if self.violations.len() < VIOLATIONS {
            self.violations.push(Violation { at, user, rule });
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { version } => write!(f, "opened with v={version}"),
            Self::Received { op, d } => write!(f, "received op {op} {d}"),
            Self::ReceivedBinary { op, payload } => {
                write!(f, "received binary op {op}, {} bytes", payload.len())
            }
            Self::Sent { op, name, seq, d } => {
                write!(f, "sent op {op}")?;
                if let Some(name) = name {
                    write!(f, " {name}")?;
                }
                if let Some(seq) = seq {
                    write!(f, " #{seq}")?;
                }
                write!(f, " {d}")
            }
            Self::SentBinary { op, seq, payload } => {
                write!(f, "sent binary op {op} #{seq:?}, {} bytes", payload.len())
            }
            Self::Closed { by, code } => write!(f, "closed by {by:?} with {code:?}"),
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::Discovered => f.write_str("discovered"),
        }
    }
}

/// Replaces what must not be printed.
pub(crate) fn redacted(mut d: Value) -> Value {
    if let Value::Object(fields) = &mut d {
        for secret in ["token", "secret_key"] {
            if let Some(value) = fields.get_mut(secret) {
                *value = Value::from("***");
            }
        }
    }
    d
}

/// A day of one bot's beats is some 13,000 entries.
const ENTRIES: usize = 65_536;
/// Enough to see a pattern.
const VIOLATIONS: usize = 1_024;
