//! EarlyPackets: what came before it was known who sent it, or by which key it opens.
//!
//! Voice and signalling take different ways, so that the first words of somebody who joins, or of a new epoch, may come first.
//! They are held for two seconds, and played once the missing fact is there.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::id::Ssrc;

/// A voice packet, transport decryption and RTP taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyPacket {
    /// The sender.
    pub ssrc: Ssrc,
    /// The RTP sequence number.
    pub sequence: u16,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// When it came.
    pub arrived: Instant,
    /// The Opus or DAVE frame.
    pub payload: Bytes,
    /// What it lacks.
    pub lacks: Lacks,
}

/// What a packet lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// Nobody was named for its SSRC.
    User,
    /// There is no key of its user's.
    Key,
    /// It does not open by the keys that there are.
    RightKey,
}

/// The packets that are held, the oldest first.
#[derive(Debug, Default)]
pub struct EarlyPackets {
    held: VecDeque<EarlyPacket>,
    bytes: usize,
}

impl EarlyPackets {
    /// Holds a packet; the oldest ones that do not fit any more are given back.
    pub fn hold(&mut self, packet: EarlyPacket) -> impl Iterator<Item = EarlyPacket> {
        self.bytes += packet.payload.len();
        self.held.push_back(packet);
        std::iter::from_fn(|| {
            if self.held.len() > MAX_PACKETS || self.bytes > MAX_BYTES { self.pop() } else { None }
        })
    }

    /// A packet that has waited too long.
    pub fn expired(&mut self, now: Instant) -> Option<EarlyPacket> {
        if self.deadline()? > now { None } else { self.pop() }
    }

    /// When a packet will have waited too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.front().map(|packet| packet.arrived + HOLD)
    }

    /// All that is held, in the order in which it came: something of what it lacks may be there now.
    pub fn take(&mut self) -> VecDeque<EarlyPacket> {
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// What is held.
    pub fn iter(&self) -> impl Iterator<Item = &EarlyPacket> {
        self.held.iter()
    }

    fn pop(&mut self) -> Option<EarlyPacket> {
        let packet = self.held.pop_front()?;
        self.bytes -= packet.payload.len();
        Some(packet)
    }
}

/// How long a packet is held.
const HOLD: Duration = Duration::from_secs(2);
/// Packets held at a time: two seconds of ten speakers.
const MAX_PACKETS: usize = 1_024;
/// Bytes held at a time.
const MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn packet(sequence: u16, arrived: Instant, length: usize) -> EarlyPacket {
        let payload = vec![0; length].into();
        EarlyPacket { ssrc: Ssrc(1), sequence, timestamp: 0, arrived, payload, lacks: Lacks::User }
    }

    #[test]
    fn a_packet_is_held_for_two_seconds() {
        let (start, mut early) = (start(), EarlyPackets::default());
        assert_eq!(early.hold(packet(1, start, 9)).count(), 0);
        assert_eq!(early.deadline(), Some(start + HOLD));
        assert_eq!(early.expired(start + HOLD - Duration::from_nanos(1)), None);
        assert_eq!(early.expired(start + HOLD).map(|packet| packet.sequence), Some(1));
        assert_eq!(early.deadline(), None);
    }

    #[test]
    fn of_too_many_packets_or_bytes_the_oldest_are_let_go() {
        let (start, mut early) = (start(), EarlyPackets::default());
        let dropped: Vec<u16> = (0..1_027)
            .flat_map(|nth| {
                early.hold(packet(nth, start, 1)).map(|packet| packet.sequence).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(dropped, [0, 1, 2]);
        assert_eq!(early.hold(packet(5_000, start, MAX_BYTES - 3)).count(), 1_021);
        assert_eq!(early.take().len(), 4);
        assert_eq!(early.hold(packet(1, start, MAX_BYTES)).count(), 0, "what was taken counts no more");
    }
}
