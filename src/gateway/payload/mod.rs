//! The voice gateway's messages, version 8: [`Command`] goes out, [`Event`] comes in.
//!
//! Text frames hold JSON `{"op", "d", "seq"}`; opcodes 25 to 30 are binary frames: `[op][payload]` from us,
//! `[sequence, 2 bytes][op][payload]` from Discord. See
//! [Discord's table of opcodes](https://docs.discord.com/developers/topics/opcodes-and-status-codes#voice).

mod command;
mod event;
mod speaking;
#[cfg(test)]
mod tests;

pub use command::{Command, Identify, Outgoing, Resume, SelectProtocol};
pub use event::{
    DaveEvent, Event, Hello, MediaServer, PayloadError, Ready, SessionDescription, decode_binary, decode_text,
};
pub use speaking::SpeakingFlags;

/// The version of the voice gateway that this crate speaks, `?v=8` in the address.
pub const GATEWAY_VERSION: u8 = 8;

/// Discord's numbers of the messages that matter to us.
mod op {
    pub(super) const IDENTIFY: u8 = 0;
    pub(super) const SELECT_PROTOCOL: u8 = 1;
    pub(super) const READY: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 3;
    pub(super) const SESSION_DESCRIPTION: u8 = 4;
    pub(super) const SPEAKING: u8 = 5;
    pub(super) const HEARTBEAT_ACK: u8 = 6;
    pub(super) const RESUME: u8 = 7;
    pub(super) const HELLO: u8 = 8;
    pub(super) const RESUMED: u8 = 9;
    pub(super) const CLIENTS_CONNECT: u8 = 11;
    pub(super) const VIDEO: u8 = 12;
    pub(super) const CLIENT_DISCONNECT: u8 = 13;
    pub(super) const PREPARE_TRANSITION: u8 = 21;
    pub(super) const EXECUTE_TRANSITION: u8 = 22;
    pub(super) const TRANSITION_READY: u8 = 23;
    pub(super) const PREPARE_EPOCH: u8 = 24;
    pub(super) const EXTERNAL_SENDER: u8 = 25;
    pub(super) const KEY_PACKAGE: u8 = 26;
    pub(super) const PROPOSALS: u8 = 27;
    pub(super) const COMMIT_WELCOME: u8 = 28;
    pub(super) const ANNOUNCE_COMMIT: u8 = 29;
    pub(super) const WELCOME: u8 = 30;
    pub(super) const INVALID_COMMIT_WELCOME: u8 = 31;
    pub(super) const MEDIA_SERVER: u8 = 33;
}
