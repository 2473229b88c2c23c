//! Reception: whose a voice packet is, and what is in it.
//!
//! ```text
//! packet ─▶ its user known? ─ no ──────┬─▶ held for two seconds ─▶ dropped, and counted
//!                └─ yes ─▶ it opens? ─ no ─┘        │ its user is named, or keys change
//!                             └─ yes ─▶ ready  ◀────┘
//! ```

use std::{collections::HashMap, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    dave::{FrameOpeners, OpenError, Opened},
    early::{EarlyPacket, EarlyPackets, Lacks},
};
use crate::{
    hearing::VoicePacket,
    id::{Ssrc, UserId},
    jitter::{self, Packet},
};

/// The receiving side of one voice session, behind the transport encryption.
#[derive(Default)]
pub struct Reception {
    users: HashMap<Ssrc, UserId>,
    early: EarlyPackets,
    counts: ReceptionCounts,
    /// Whether a packet of speech opened since this was asked last.
    spoken: bool,
    ready: Vec<VoicePacket>,
    opened: Vec<u8>,
    /// Memory for many packets, of which each gets a part.
    arena: BytesMut,
}

/// What became of voice packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceptionCounts {
    /// Packets that opened.
    pub opened: u64,
    /// Packets that could not be opened: no key came in time, or they are damaged, or seen before.
    pub unopened: u64,
    /// Packets for whose SSRC no user was named in time.
    pub unmapped: u64,
    /// Packets among the opened that were held before.
    pub held: u64,
}

/// A voice packet without its transport encryption.
#[derive(Clone, Copy, Debug)]
pub struct SealedVoice<'a> {
    /// The sender.
    pub ssrc: Ssrc,
    /// The RTP sequence number.
    pub sequence: u16,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// The Opus or DAVE frame.
    pub payload: &'a [u8],
}

impl Reception {
    /// A packet came; says whether it opened.
    pub fn voice(&mut self, voice: SealedVoice<'_>, openers: &mut FrameOpeners, now: Instant) -> bool {
        let SealedVoice { ssrc, sequence, timestamp, payload } = voice;
        let lacks = match self.users.get(&ssrc) {
            None => Lacks::User,
            Some(&user) => match openers.try_open(user, payload, &mut self.opened, now) {
                Ok(opened) => {
                    count(opened, user, openers);
                    let opus = self.keep_opened();
                    self.push(user, ssrc, Packet { sequence, timestamp, arrived: now, opus });
                    return true;
                }
                Err(error) => match lacking(error) {
                    Some(Lacks::RightKey) => {
                        openers.failed(user);
                        Lacks::RightKey
                    }
                    Some(lacks) => lacks,
                    None => {
                        self.counts.unopened += 1;
                        return false;
                    }
                },
            },
        };
        let payload = Bytes::copy_from_slice(payload);
        self.hold(EarlyPacket { ssrc, sequence, timestamp, arrived: now, payload, lacks }, openers);
        false
    }

    /// This user's packets have this SSRC from now on.
    pub fn assign(&mut self, ssrc: Ssrc, user: UserId, openers: &mut FrameOpeners, now: Instant) {
        if self.users.len() >= MAX_USERS && !self.users.contains_key(&ssrc) {
            return;
        }
        if self.users.insert(ssrc, user) != Some(user) {
            self.retry(openers, now);
        }
    }

    /// This user has left.
    pub fn left(&mut self, user: UserId) {
        self.users.retain(|_, mapped| *mapped != user);
    }

    /// Tries all that is held: a user was named, or keys changed.
    pub fn retry(&mut self, openers: &mut FrameOpeners, now: Instant) {
        for packet in self.early.take() {
            let Some(&user) = self.users.get(&packet.ssrc) else {
                self.hold(packet, openers);
                continue;
            };
            match openers.try_open(user, &packet.payload, &mut self.opened, now) {
                Ok(opened) => {
                    count(opened, user, openers);
                    self.counts.held += 1;
                    let EarlyPacket { ssrc, sequence, timestamp, arrived, .. } = packet;
                    let opus = self.keep_opened();
                    self.push(user, ssrc, Packet { sequence, timestamp, arrived, opus });
                }
                Err(error) => match lacking(error) {
                    Some(lacks) => self.hold(EarlyPacket { lacks, ..packet }, openers),
                    None => self.counts.unopened += 1,
                },
            }
        }
    }

    /// Drops what was held for too long.
    pub fn expire(&mut self, openers: &mut FrameOpeners, now: Instant) {
        while let Some(packet) = self.early.expired(now) {
            self.drop_early(&packet, openers);
        }
    }

    /// Drops all that is held: nobody listens any more.
    pub fn clear(&mut self) {
        self.early.take();
        self.ready.clear();
    }

    /// When something will have been held for too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.early.deadline()
    }

    /// What opened, to be taken out.
    pub fn ready(&mut self) -> &mut Vec<VoicePacket> {
        &mut self.ready
    }

    /// Whether a packet of speech opened since this was asked last.
    pub fn take_spoken(&mut self) -> bool {
        std::mem::take(&mut self.spoken)
    }

    /// What became of the packets; those that are held still count as what they lack.
    pub fn counts(&self) -> ReceptionCounts {
        let unmapped = self.early.iter().filter(|packet| packet.lacks == Lacks::User).count() as u64;
        let unopened = self.early.iter().count() as u64 - unmapped;
        let counts = self.counts;
        ReceptionCounts {
            unmapped: counts.unmapped + unmapped,
            unopened: counts.unopened + unopened,
            ..counts
        }
    }

    fn push(&mut self, user: UserId, ssrc: Ssrc, packet: Packet) {
        self.counts.opened += 1;
        self.spoken |= !jitter::is_silence(&packet.opus);
        self.ready.push(VoicePacket { user, ssrc, packet });
    }

    fn keep_opened(&mut self) -> Bytes {
        if self.arena.capacity() < self.opened.len() {
            // Where all packets of the memory before are gone, this takes it again.
            self.arena.reserve(ARENA.max(self.opened.len()));
        }
        self.arena.extend_from_slice(&self.opened);
        self.arena.split().freeze()
    }

    fn hold(&mut self, packet: EarlyPacket, openers: &mut FrameOpeners) {
        let dropped: Vec<EarlyPacket> = self.early.hold(packet).collect();
        dropped.iter().for_each(|packet| self.drop_early(packet, openers));
    }

    fn drop_early(&mut self, packet: &EarlyPacket, openers: &mut FrameOpeners) {
        match packet.lacks {
            Lacks::User => self.counts.unmapped += 1,
            Lacks::RightKey => self.counts.unopened += 1,
            Lacks::Key => {
                self.counts.unopened += 1;
                if let Some(&user) = self.users.get(&packet.ssrc) {
                    openers.failed(user);
                }
            }
        }
    }
}

/// Plain silence, which anyone may send, does not show that a user's keys are right.
fn count(opened: Opened, user: UserId, openers: &mut FrameOpeners) {
    if opened == Opened::Decrypted {
        openers.opened(user);
    }
}

/// What a frame lacks that did not open; nothing for one that will never open.
fn lacking(error: OpenError) -> Option<Lacks> {
    match error {
        OpenError::NoKey => Some(Lacks::Key),
        OpenError::Forged | OpenError::OutOfReach => Some(Lacks::RightKey),
        OpenError::NotEncrypted | OpenError::Replayed => None,
    }
}

/// SSRCs that are remembered; a voice channel holds no more users than this.
const MAX_USERS: usize = 1 << 16;
/// Bytes asked for at a time: for some hundred packets.
const ARENA: usize = 16 << 10;

#[cfg(test)]
mod tests;
