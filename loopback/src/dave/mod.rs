//! DAVE, Discord's end-to-end encryption, from both ends: the delivery service of the voice gateway and a real member.
//!
//! * [`DeliveryService`] sees public messages only: it proposes who joins and leaves, chooses whose commit counts,
//!   forwards welcomes and paces transitions. It has no key of any frame.
//! * [`Participant`] is a member: it builds commits, reads welcomes, seals and opens frames.
//!
//! Neither does any I/O or looks at a clock: facts and times go in, messages come out.
//! Discord's words: <https://daveprotocol.com> and
//! <https://docs.discord.com/developers/topics/voice-connections#endtoend-encryption-dave-protocol>.

mod codes;
mod delivery;
mod frame;
mod identity;
mod mls_codec;
mod mls_messages;
mod participant;
mod ratchet;
mod settings;

#[cfg(test)]
mod tests;

pub(crate) use frame::MARKER as FRAME_MARKER;

pub use codes::{displayable_code, privacy_code, verification_code};
pub use delivery::{CommitFate, DeliveryError, DeliveryService};
pub use identity::ExternalSenderKey;
pub use mls_codec::Malformed;
pub use participant::{OpenError, Participant, ParticipantSettings, Silence, WhileAlone};
pub use settings::{DaveSettings, Execution, Fault, Pacing, Packing, PendingFlag, SenderKey, Winner};

/// Whether bytes have the layout of an encrypted frame; nothing of it is authenticated.
pub(crate) fn is_protocol_frame(bytes: &[u8]) -> bool {
    frame::Frame::parse(bytes).is_some()
}

/// A message of the voice gateway to a client, before the gateway numbers it.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// Ops 21, 22 and 24.
    Json {
        /// The opcode.
        op: u8,
        /// The payload's `d`.
        d: serde_json::Value,
    },
    /// Ops 25, 27, 29 and 30.
    Binary {
        /// The opcode.
        op: u8,
        /// What follows sequence number and opcode.
        payload: Vec<u8>,
    },
}

/// A message of a client to the voice gateway.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// Ops 23 and 31.
    Json {
        /// The opcode.
        op: u8,
        /// The payload's `d`.
        d: serde_json::Value,
    },
    /// Ops 26 and 28.
    Binary {
        /// The opcode.
        op: u8,
        /// What follows the opcode.
        payload: Vec<u8>,
    },
}

/// Opcodes of DAVE:
/// <https://docs.discord.com/developers/topics/opcodes-and-status-codes#voice-voice-gateway-opcodes>.
pub(crate) mod op {
    pub(crate) const PREPARE_TRANSITION: u8 = 21;
    pub(crate) const EXECUTE_TRANSITION: u8 = 22;
    pub(crate) const TRANSITION_READY: u8 = 23;
    pub(crate) const PREPARE_EPOCH: u8 = 24;
    pub(crate) const EXTERNAL_SENDER: u8 = 25;
    pub(crate) const KEY_PACKAGE: u8 = 26;
    pub(crate) const PROPOSALS: u8 = 27;
    pub(crate) const COMMIT_WELCOME: u8 = 28;
    pub(crate) const ANNOUNCE_COMMIT: u8 = 29;
    pub(crate) const WELCOME: u8 = 30;
    pub(crate) const INVALID_COMMIT_WELCOME: u8 = 31;
}

/// First byte of op 27: messages follow.
pub(crate) const APPEND: u8 = 0;
/// First byte of op 27: references follow.
pub(crate) const REVOKE: u8 = 1;
/// The only version of DAVE there is.
pub(crate) const VERSION: u16 = 1;

/// Reads the hexadecimal bytes of a test vector.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte in {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
