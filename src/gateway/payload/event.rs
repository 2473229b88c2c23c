//! What Discord sends: reading it tolerantly, and saying exactly what is wrong where it cannot be read.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{SpeakingFlags, op};
use crate::id::{SecretKey, Ssrc, UserId};

/// A message from the voice gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Op 8: heartbeats begin.
    Hello(Hello),
    /// Op 2: the session exists; IP discovery may begin, if it names the media server.
    Ready(Ready),
    /// Op 33, from gateway version 10 on: the media server, or none while another is sought.
    MediaServer(Option<MediaServer>),
    /// Op 4: audio may flow.
    SessionDescription(SessionDescription),
    /// Op 5: somebody's SSRC, and how it speaks.
    Speaking {
        /// Who; Discord always says so.
        user: Option<UserId>,
        /// The SSRC of its packets from now on.
        ssrc: Ssrc,
        /// How it speaks.
        flags: SpeakingFlags,
    },
    /// Op 6: the answer to a heartbeat.
    HeartbeatAck {
        /// The number that the heartbeat carried.
        nonce: u64,
    },
    /// Op 3 from the server: it wants a heartbeat at once.
    HeartbeatRequest,
    /// Op 9: the session continues; missed messages follow.
    Resumed,
    /// Op 11: these users are in the call too.
    ClientsConnect(Vec<UserId>),
    /// Op 13: this user has left the call.
    ClientDisconnect(UserId),
    /// Op 12: somebody's streams; of use only for the SSRC of its audio.
    Video {
        /// Who.
        user: UserId,
        /// The SSRC of its audio packets.
        audio_ssrc: Option<Ssrc>,
    },
    /// Opcodes 21 to 30: end-to-end encryption.
    Dave(DaveEvent),
    /// An opcode that is unknown or of no use to us; numbers beyond 255 show as 255.
    Ignored(u8),
}

/// Heartbeats begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The longest time between two heartbeats.
    pub interval: Duration,
}

/// The session exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The SSRC of our own packets.
    pub ssrc: Ssrc,
    /// The media server; from gateway version 10 on it may be named later, by op 33.
    pub server: Option<MediaServer>,
}

/// A media server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaServer {
    /// Where our packets go.
    pub address: SocketAddr,
    /// The encryption modes to choose from.
    pub modes: Vec<String>,
}

/// How audio is encrypted on this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDescription {
    /// The encryption mode.
    pub mode: String,
    /// The key of both directions.
    pub secret_key: SecretKey,
    /// The DAVE version of the call, 0 where there is no end-to-end encryption.
    pub dave_protocol_version: u16,
}

/// A message about end-to-end encryption. [Discord's protocol](https://daveprotocol.com/).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaveEvent {
    /// Op 21: the call will change its protocol version.
    PrepareTransition {
        /// The transition; 0 is executed at once.
        transition_id: u16,
        /// The version to come, 0 for no end-to-end encryption.
        protocol_version: u16,
    },
    /// Op 22: all are ready, the sender switches now.
    ExecuteTransition {
        /// The transition.
        transition_id: u16,
    },
    /// Op 24: an epoch begins; 1 means a new group.
    PrepareEpoch {
        /// The version of the epoch.
        protocol_version: u16,
        /// The epoch.
        epoch: u64,
    },
    /// Op 25: the delivery service's credential and key.
    ExternalSender(Bytes),
    /// Op 27: proposals to append (first byte 0) or to revoke (first byte 1).
    Proposals(Bytes),
    /// Op 29: the commit that won.
    AnnounceCommit {
        /// The transition it belongs to.
        transition_id: u16,
        /// The MLS message.
        commit: Bytes,
    },
    /// Op 30: we are invited to the group.
    Welcome {
        /// The transition it belongs to.
        transition_id: u16,
        /// The bare MLS Welcome.
        welcome: Bytes,
    },
}

/// Why a frame cannot be understood. Names opcode and field, never a value: it may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The text is not JSON.
    #[error("the text frame is not JSON")]
    NotJson,
    /// The JSON is no object with an integer `op`.
    #[error("the text frame has no opcode")]
    NoOpcode,
    /// A field is absent or null.
    #[error("op {op} lacks `{field}`")]
    Missing {
        /// The opcode.
        op: u8,
        /// The field within `d`, or `d`.
        field: &'static str,
    },
    /// A field is there but is not what it should be.
    #[error("op {op} has a `{field}` that cannot be read")]
    Invalid {
        /// The opcode.
        op: u8,
        /// The field within `d`, or `d`.
        field: &'static str,
    },
    /// A binary frame ends before its opcode.
    #[error("a binary frame of {length} bytes has no room for sequence and opcode")]
    TooShort {
        /// Its length.
        length: usize,
    },
    /// A binary frame ends within its fixed fields.
    #[error("binary op {op} ends within its {field}")]
    Truncated {
        /// The opcode.
        op: u8,
        /// The field it ends in.
        field: &'static str,
    },
}

impl Event {
    /// The message's name in Discord's words, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Ready(_) => "Ready",
            Self::MediaServer(_) => "Media Server",
            Self::SessionDescription(_) => "Session Description",
            Self::Speaking { .. } => "Speaking",
            Self::HeartbeatAck { .. } => "Heartbeat ACK",
            Self::HeartbeatRequest => "Heartbeat",
            Self::Resumed => "Resumed",
            Self::ClientsConnect(_) => "Clients Connect",
            Self::ClientDisconnect(_) => "Client Disconnect",
            Self::Video { .. } => "Video",
            Self::Dave(event) => event.name(),
            Self::Ignored(_) => "an ignored opcode",
        }
    }
}

impl DaveEvent {
    /// The message's name in Discord's words, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PrepareTransition { .. } => "DAVE Prepare Transition",
            Self::ExecuteTransition { .. } => "DAVE Execute Transition",
            Self::PrepareEpoch { .. } => "DAVE Prepare Epoch",
            Self::ExternalSender(_) => "MLS External Sender",
            Self::Proposals(_) => "MLS Proposals",
            Self::AnnounceCommit { .. } => "MLS Announce Commit Transition",
            Self::Welcome { .. } => "MLS Welcome",
        }
    }
}

/// Reads a text frame; returns its sequence number, if it has one, and the message.
///
/// Unknown opcodes and fields are no error. Integers may come as integral fractions or numeric strings.
///
/// # Errors
///
/// Says what is missing or wrong; skip such a frame, it is no reason to close. Its number counts as received.
pub fn decode_text(text: &[u8]) -> (Option<u16>, Result<Event, PayloadError>) {
    let Ok(frame) = serde_json::from_slice::<Value>(text) else { return (None, Err(PayloadError::NotJson)) };
    // Counted as 16 bits in binary frames, so a longer number means the same modulo 65536.
    let seq = frame.get("seq").and_then(integer).map(|seq| seq as u16);
    (seq, message(&frame))
}

/// Reads a binary frame; returns its sequence number and the message.
///
/// # Errors
///
/// Says what is missing or wrong; skip such a frame, it is no reason to close. Its number counts as received.
pub fn decode_binary(frame: &[u8]) -> (Option<u16>, Result<Event, PayloadError>) {
    let too_short = Err(PayloadError::TooShort { length: frame.len() });
    let Some((seq, message)) = frame.split_first_chunk() else { return (None, too_short) };
    let message = message.split_first().map_or(too_short, |(op, payload)| binary(*op, payload));
    (Some(u16::from_be_bytes(*seq)), message)
}

fn binary(op: u8, payload: &[u8]) -> Result<Event, PayloadError> {
    let event = match op {
        op::EXTERNAL_SENDER => DaveEvent::ExternalSender(rest(op, payload, "external sender")?),
        op::PROPOSALS => DaveEvent::Proposals(proposals(payload)?),
        op::ANNOUNCE_COMMIT => {
            let (transition_id, commit) = transition(op, payload, "commit")?;
            DaveEvent::AnnounceCommit { transition_id, commit }
        }
        op::WELCOME => {
            let (transition_id, welcome) = transition(op, payload, "welcome")?;
            DaveEvent::Welcome { transition_id, welcome }
        }
        other => return Ok(Event::Ignored(other)),
    };
    Ok(Event::Dave(event))
}

fn message(frame: &Value) -> Result<Event, PayloadError> {
    let number = frame.get("op").and_then(integer).ok_or(PayloadError::NoOpcode)?;
    let op = u8::try_from(number).unwrap_or(u8::MAX);
    let d = Fields { op, d: frame.get("d").unwrap_or(&Value::Null) };
    Ok(match op {
        op::READY => Event::Ready(Ready { ssrc: d.ssrc("ssrc")?, server: d.media_server()? }),
        op::MEDIA_SERVER => match d.d.get("primary") {
            Some(Value::Null) => Event::MediaServer(None),
            Some(primary) => {
                let server = Fields { op, d: primary }.media_server()?;
                Event::MediaServer(Some(server.ok_or(PayloadError::Missing { op, field: "primary" })?))
            }
            // Not what is known of this opcode.
            None => Event::Ignored(op),
        },
        op::HEARTBEAT => Event::HeartbeatRequest,
        op::SESSION_DESCRIPTION => Event::SessionDescription(d.description()?),
        op::SPEAKING => Event::Speaking {
            user: d.optional("user_id", integer)?.map(UserId),
            ssrc: d.ssrc("ssrc")?,
            flags: SpeakingFlags::from_bits(d.optional("speaking", integer)?.unwrap_or(0) as u8),
        },
        op::HEARTBEAT_ACK => Event::HeartbeatAck { nonce: d.nonce()? },
        op::HELLO => Event::Hello(Hello { interval: d.required("heartbeat_interval", milliseconds)? }),
        op::RESUMED => Event::Resumed,
        op::CLIENTS_CONNECT => Event::ClientsConnect(d.required("user_ids", users)?),
        op::VIDEO => Event::Video {
            user: UserId(d.required("user_id", integer)?),
            audio_ssrc: d.optional("audio_ssrc", narrow)?.filter(|ssrc| *ssrc != 0).map(Ssrc),
        },
        op::CLIENT_DISCONNECT => Event::ClientDisconnect(UserId(d.required("user_id", integer)?)),
        op::PREPARE_TRANSITION => Event::Dave(DaveEvent::PrepareTransition {
            transition_id: d.required("transition_id", narrow)?,
            protocol_version: d.required("protocol_version", narrow)?,
        }),
        op::EXECUTE_TRANSITION => {
            Event::Dave(DaveEvent::ExecuteTransition { transition_id: d.required("transition_id", narrow)? })
        }
        op::PREPARE_EPOCH => Event::Dave(DaveEvent::PrepareEpoch {
            protocol_version: d.required("protocol_version", narrow)?,
            epoch: d.required("epoch", integer)?,
        }),
        other => Event::Ignored(other),
    })
}

/// The object `d` of one message, with the opcode for the errors.
struct Fields<'a> {
    op: u8,
    d: &'a Value,
}

impl Fields<'_> {
    /// None unless address, port and modes are there.
    fn media_server(&self) -> Result<Option<MediaServer>, PayloadError> {
        let ip = self.optional("ip", |ip| ip.as_str()?.trim().parse::<IpAddr>().ok())?;
        let port = self.optional("port", |port| narrow::<u16>(port).filter(|port| *port != 0))?;
        let modes = self.optional("modes", |modes| {
            Some(modes.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        })?;
        let (Some(ip), Some(port), Some(modes)) = (ip, port, modes) else { return Ok(None) };
        Ok(Some(MediaServer { address: SocketAddr::new(ip, port), modes }))
    }

    fn description(&self) -> Result<SessionDescription, PayloadError> {
        Ok(SessionDescription {
            mode: self.required("mode", |mode| mode.as_str().map(str::to_owned))?,
            secret_key: self.required("secret_key", secret_key)?,
            dave_protocol_version: self.optional("dave_protocol_version", narrow)?.unwrap_or(0),
        })
    }

    /// Version 8 sends `{"t": nonce}`, older ones the bare nonce.
    fn nonce(&self) -> Result<u64, PayloadError> {
        integer(self.d).map_or_else(|| self.required("t", integer), Ok)
    }

    fn ssrc(&self, field: &'static str) -> Result<Ssrc, PayloadError> {
        self.required(field, narrow).map(Ssrc)
    }

    fn required<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, PayloadError> {
        self.optional(field, read)?.ok_or(PayloadError::Missing { op: self.op, field })
    }

    /// Null counts as absent.
    fn optional<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, PayloadError> {
        let object: &Map<String, Value> = match self.d {
            Value::Object(object) => object,
            Value::Null => return Err(PayloadError::Missing { op: self.op, field: "d" }),
            _ => return Err(PayloadError::Invalid { op: self.op, field: "d" }),
        };
        match object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or(PayloadError::Invalid { op: self.op, field }),
        }
    }
}

/// Reads an integer that may be written 5, 5.0 or "5".
fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::String(digits) => digits.parse().ok(),
        Value::Number(number) => number.as_u64().or_else(|| {
            let fraction = number.as_f64()?;
            let whole = fraction.trunc() == fraction && (0.0..EXACT).contains(&fraction);
            whole.then_some(fraction as u64)
        }),
        _ => None,
    }
}

/// Reads an integer that must fit.
fn narrow<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    integer(value)?.try_into().ok()
}

/// Reads a positive number of milliseconds, 13750.0 in practice.
fn milliseconds(value: &Value) -> Option<Duration> {
    let milliseconds = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok().filter(|interval| !interval.is_zero())
}

/// Reads the users that can be read: one odd entry must not hide the others.
fn users(value: &Value) -> Option<Vec<UserId>> {
    Some(value.as_array()?.iter().filter_map(integer).map(UserId).collect())
}

fn secret_key(value: &Value) -> Option<SecretKey> {
    let numbers: &[Value; 32] = value.as_array()?.as_slice().try_into().ok()?;
    let mut key = [0; 32];
    for (byte, number) in key.iter_mut().zip(numbers) {
        *byte = narrow(number)?;
    }
    Some(SecretKey(key))
}

fn rest(op: u8, payload: &[u8], field: &'static str) -> Result<Bytes, PayloadError> {
    if payload.is_empty() {
        return Err(PayloadError::Truncated { op, field });
    }
    Ok(Bytes::copy_from_slice(payload))
}

fn proposals(payload: &[u8]) -> Result<Bytes, PayloadError> {
    let op = op::PROPOSALS;
    match payload {
        [] => Err(PayloadError::Truncated { op, field: "operation" }),
        [0 | 1, messages @ ..] => rest(op, messages, "proposals").map(|_| Bytes::copy_from_slice(payload)),
        _ => Err(PayloadError::Invalid { op, field: "operation" }),
    }
}

fn transition(op: u8, payload: &[u8], field: &'static str) -> Result<(u16, Bytes), PayloadError> {
    let Some((id, message)) = payload.split_first_chunk() else {
        return Err(PayloadError::Truncated { op, field: "transition id" });
    };
    Ok((u16::from_be_bytes(*id), rest(op, message, field)?))
}

/// Below this every integral `f64` is one integer exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;
