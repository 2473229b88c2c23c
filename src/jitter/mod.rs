//! Playback: what one speaker said, from packets that come early, late, twice, in any order, or never.
//!
//! ```text
//!  packet(…) ─▶ Order: unwrapped, in sequence ─▶ Forwarder: as soon as it may   (Record, Agent) ─▶ Step
//!                                             └▶ Player: on a clock of 20 ms    (Live)          ─▶ samples
//! ```
//!
//! Facts go in with the time as an argument. Nothing here reads a clock.

mod delay;
mod forwarder;
mod order;
mod player;
#[cfg(test)]
mod tests;

use std::time::Instant;

use bytes::Bytes;

pub use self::{
    forwarder::{Forwarder, Step},
    player::{Decode, Played, Player, Quality},
};
use crate::audio::frame::SILENCE;

/// A packet of one speaker, decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The RTP sequence number.
    pub sequence: u16,
    /// The RTP timestamp: the time of the first sample, at 48 kHz.
    pub timestamp: u32,
    /// When it was taken from the socket.
    pub arrived: Instant,
    /// The Opus packet.
    pub opus: Bytes,
}

/// What became of the packets of one speaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Packets that came, all of them.
    pub received: u64,
    /// Packets that came twice; [`Self::received`] counts both.
    pub duplicates: u64,
    /// Packets that came when their place had been passed.
    pub late: u64,
    /// Packets that are no Opus.
    pub malformed: u64,
    /// Packets that had not come when their place was passed; those that were late are among them.
    pub lost: u64,
    /// Lost packets of which the successor held a copy, which was decoded.
    pub recovered: u64,
    /// Lost packets in whose place the decoder made up what may have been.
    pub concealed: u64,
    /// How often the next packet had not come when it was to be played, and the decoder made up 20 ms; only of even sound.
    pub underruns: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.malformed += other.malformed;
        self.lost += other.lost;
        self.recovered += other.recovered;
        self.concealed += other.concealed;
        self.underruns += other.underruns;
    }
}

/// Whether a packet is the one that ends a transmission, or says nothing as DTX does: a TOC with a frame of no length.
pub(crate) fn is_silence(opus: &[u8]) -> bool {
    opus == SILENCE || opus.len() <= 2
}
