//! What we send: opcodes 0, 1, 3, 5, 7, 23, 26, 28 and 31.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::{SpeakingFlags, op};
use crate::id::{GuildId, SessionId, Ssrc, Token, UserId};

/// A message to the voice gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Op 0: begins a session.
    Identify(Identify),
    /// Op 1: says where we receive audio and how it is encrypted.
    SelectProtocol(SelectProtocol),
    /// Op 3: keeps the session alive and acknowledges what came.
    Heartbeat {
        /// The number that the acknowledgement repeats.
        nonce: u64,
        /// The last sequence number received, −1 while there is none.
        seq_ack: i32,
    },
    /// Op 5: how we speak from now on.
    Speaking(SpeakingFlags, Ssrc),
    /// Op 7: continues a session over a new websocket.
    Resume(Resume),
    /// Op 23: we are ready for a DAVE transition.
    TransitionReady {
        /// The transition.
        transition_id: u16,
    },
    /// Op 31: a commit or welcome could not be processed, we need to be added anew.
    InvalidCommitWelcome {
        /// The transition the commit or welcome belonged to.
        transition_id: u16,
    },
    /// Op 26, binary: our MLS key package, bare.
    KeyPackage(Bytes),
    /// Op 28, binary: an MLS commit, followed by a welcome if the commit adds somebody.
    CommitWelcome(Bytes),
}

/// Begins a session. [Discord's fields](https://docs.discord.com/developers/topics/voice-connections#establishing-a-voice-websocket-connection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identify {
    /// The guild.
    #[serde(rename = "server_id")]
    pub guild: GuildId,
    /// We.
    #[serde(rename = "user_id")]
    pub user: UserId,
    /// From our own VOICE_STATE_UPDATE.
    pub session_id: SessionId,
    /// From VOICE_SERVER_UPDATE.
    pub token: Token,
    /// The newest DAVE version we speak: 1, or 0 for none, which Discord refuses with 4017 outside of stages.
    pub max_dave_protocol_version: u16,
}

/// Says where we receive audio and how it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectProtocol {
    /// Our address as the voice server sees it, from IP discovery.
    pub address: SocketAddr,
    /// One of the modes that Ready offered.
    pub mode: String,
}

/// Continues a session over a new websocket. [Discord's fields](https://docs.discord.com/developers/topics/voice-connections#resuming-voice-connection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// The guild.
    #[serde(rename = "server_id")]
    pub guild: GuildId,
    /// As in Identify.
    pub session_id: SessionId,
    /// As in Identify.
    pub token: Token,
    /// The last sequence number received; Discord replays what came after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq_ack: Option<u16>,
}

/// A websocket frame to send. Its `Debug` shows opcode and length only, as the text may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
}

impl Command {
    /// Writes the frame as version 8 wants it.
    #[must_use]
    pub fn encode(&self) -> Outgoing {
        match self {
            Self::Identify(identify) => text(op::IDENTIFY, identify),
            Self::SelectProtocol(SelectProtocol { address, mode }) => {
                let data = Address { address: address.ip(), port: address.port(), mode };
                text(op::SELECT_PROTOCOL, &Protocol { protocol: "udp", data })
            }
            Self::Heartbeat { nonce, seq_ack } => text(op::HEARTBEAT, &Beat { t: *nonce, seq_ack: *seq_ack }),
            Self::Speaking(flags, ssrc) => {
                text(op::SPEAKING, &Speaking { speaking: flags.bits(), delay: 0, ssrc: *ssrc })
            }
            Self::Resume(resume) => text(op::RESUME, resume),
            Self::TransitionReady { transition_id } => {
                text(op::TRANSITION_READY, &Transition { transition_id: *transition_id })
            }
            Self::InvalidCommitWelcome { transition_id } => {
                text(op::INVALID_COMMIT_WELCOME, &Transition { transition_id: *transition_id })
            }
            Self::KeyPackage(payload) => binary(op::KEY_PACKAGE, payload),
            Self::CommitWelcome(payload) => binary(op::COMMIT_WELCOME, payload),
        }
    }

    /// The message's name in Discord's words, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identify(_) => "Identify",
            Self::SelectProtocol(_) => "Select Protocol",
            Self::Heartbeat { .. } => "Heartbeat",
            Self::Speaking(..) => "Speaking",
            Self::Resume(_) => "Resume",
            Self::TransitionReady { .. } => "Transition Ready",
            Self::InvalidCommitWelcome { .. } => "Invalid Commit Welcome",
            Self::KeyPackage(_) => "Key Package",
            Self::CommitWelcome(_) => "Commit Welcome",
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(json) => {
                let op: String = json
                    .chars()
                    .skip_while(|c| !c.is_ascii_digit())
                    .take_while(char::is_ascii_digit)
                    .collect();
                write!(f, "Text(op {op}, {} bytes)", json.len())
            }
            Self::Binary(frame) => {
                write!(f, "Binary(op {}, {} bytes)", frame.first().copied().unwrap_or_default(), frame.len())
            }
        }
    }
}

#[derive(Serialize)]
struct Frame<'a, D> {
    op: u8,
    d: &'a D,
}

#[derive(Serialize)]
struct Protocol<'a> {
    protocol: &'static str,
    data: Address<'a>,
}

#[derive(Serialize)]
struct Address<'a> {
    address: IpAddr,
    port: u16,
    mode: &'a str,
}

#[derive(Serialize)]
struct Beat {
    t: u64,
    seq_ack: i32,
}

#[derive(Serialize)]
struct Speaking {
    speaking: u8,
    delay: u8,
    ssrc: Ssrc,
}

#[derive(Serialize)]
struct Transition {
    transition_id: u16,
}

fn text<D: Serialize>(op: u8, d: &D) -> Outgoing {
    Outgoing::Text(
        serde_json::to_string(&Frame { op, d }).expect("structs of numbers and strings always serialise"),
    )
}

fn binary(op: u8, payload: &[u8]) -> Outgoing {
    let mut frame = BytesMut::with_capacity(1 + payload.len());
    frame.put_u8(op);
    frame.put_slice(payload);
    Outgoing::Binary(frame.freeze())
}
