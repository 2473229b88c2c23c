//! What happened, in order: every message that crossed a gateway, and every rule a client broke.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::rule::{Rule, Violation};

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
    /// A request for the gateway (`GET /gateway/bot`) was answered.
    Rest {
        /// The HTTP status.
        status: u16,
    },
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
    /// The guild has an outage.
    Unavailable,
    /// The guild belongs to another shard.
    OtherShard,
}

/// The bounded log.
#[derive(Debug)]
pub(crate) struct Log {
    most: usize,
    entries: VecDeque<Entry>,
    violations: Vec<Violation>,
    /// The violations of clients that left, each with the guild.
    leave_violations: Vec<(u64, Violation)>,
}

impl Log {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, entries: VecDeque::new(), violations: Vec::new(), leave_violations: Vec::new() }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        tracing::debug!(side = ?entry.side, connection = entry.connection, user = entry.user, event = %entry.event);
        self.entries.push_back(entry);
        if self.entries.len() > self.most {
            self.entries.pop_front();
        }
    }

    pub(crate) fn violation(&mut self, at: Instant, user: Option<u64>, rule: Rule) {
        tracing::debug!(user, ?rule, "violation");
        self.keep_violation(Violation { at, user, rule });
    }

    /// Takes a violation in, unless there are enough.
    pub(crate) fn keep_violation(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    /// Takes in a violation by a client that leaves a guild; it is forgotten if the client returns soon.
    pub(crate) fn keep_leave_violation(&mut self, guild: u64, violation: Violation) {
        if self.leave_violations.len() < VIOLATIONS_MAX {
            self.leave_violations.push((guild, violation));
        }
    }

    /// Forgets the leave violations of a user that joins again: it was only reconnecting or moving.
    pub(crate) fn rejoined(&mut self, guild: u64, user: u64, now: Instant) {
        self.leave_violations.retain(|(left, violation)| {
            *left != guild || violation.user != Some(user) || violation.at + REJOIN_TIMEOUT < now
        });
    }

    pub(crate) fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.violations.iter().chain(self.leave_violations.iter().map(|(_, violation)| violation))
    }

    /// The violations that no return can undo any more.
    pub(crate) fn settled(&self, now: Instant) -> impl Iterator<Item = &Violation> {
        let unsettled = self.leave_violations.iter().map(|(_, violation)| violation);
        self.violations.iter().chain(unsettled.filter(move |violation| violation.at + REJOIN_TIMEOUT < now))
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
            Self::Rest { status } => write!(f, "answered a request for the gateway with {status}"),
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

/// A client that rejoins so soon was only reconnecting.
const REJOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Enough to see a pattern.
const VIOLATIONS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_badly_is_forgiven_to_who_returns_to_the_same_guild_soon() {
        let (mut log, now) = (Log::new(10), Instant::now());
        log.keep_leave_violation(5, Violation { at: now, user: Some(1), rule: Rule::PlainAudio });
        for (guild, user, later) in
            [(6, 1, Duration::ZERO), (5, 2, Duration::ZERO), (5, 1, REJOIN_TIMEOUT * 2)]
        {
            log.rejoined(guild, user, now + later);
            assert_eq!(log.violations().count(), 1);
        }
        assert_eq!(log.settled(now + REJOIN_TIMEOUT * 2).count(), 1);
        assert_eq!(log.settled(now + REJOIN_TIMEOUT).count(), 0, "it may still return");
        log.rejoined(5, 1, now + REJOIN_TIMEOUT);
        assert_eq!(log.violations().count(), 0);
    }

    #[test]
    fn violations_beyond_enough_are_not_kept() {
        let mut log = Log::new(10);
        for _ in 0..VIOLATIONS_MAX + 1 {
            log.keep_violation(Violation { at: Instant::now(), user: None, rule: Rule::PlainAudio });
        }
        assert_eq!(log.violations().count(), VIOLATIONS_MAX);
    }
}
