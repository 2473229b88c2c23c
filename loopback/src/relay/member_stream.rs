//! The RTP streams of simulated members: sequence, timestamp and end-to-end encryption.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Encryptor, PacketShape};
use crate::netem::{Fate, Trace};
use crate::rtp::Header;

/// The stream of a simulated member.
pub(super) struct MemberStream {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// When its next packet is expected, once it has sent one.
    next: Option<Instant>,
    encryptor: Option<Encryptor>,
    /// What its packets look like, where that is not what those of all members do.
    shape: Option<PacketShape>,
    /// What becomes of its packets on the way to the relay.
    trace: Option<Trace>,
}

impl MemberStream {
    /// The header of a packet that is sent now.
    pub(super) fn header(&self) -> Header {
        Header::opus(self.ssrc, self.sequence, self.timestamp)
    }

    /// The header of an Opus packet of so many samples that is sent now. The timestamp advances; the sequence only does
    /// with [`take_sequence`](Self::take_sequence), because the packet may yet be withheld.
    pub(super) fn opus_header(&mut self, samples: u32, now: Instant) -> Header {
        let pause = self.next.map_or(Duration::ZERO, |next| now.saturating_duration_since(next));
        let frames = pause.as_millis() / 20;
        if frames >= PAUSE_FRAMES {
            self.timestamp = self.timestamp.wrapping_add((frames * 960) as u32);
        }
        let header = self.header();
        self.next = Some(now + duration(samples));
        self.timestamp = self.timestamp.wrapping_add(samples);
        header
    }

    /// Lets media time pass in which nothing is sent.
    pub(super) fn skip(&mut self, samples: u32) {
        self.timestamp = self.timestamp.wrapping_add(samples);
        self.next = self.next.map(|next| next + duration(samples));
    }

    pub(super) fn shape(&self) -> Option<PacketShape> {
        self.shape
    }

    pub(super) fn set_shape(&mut self, shape: PacketShape) {
        self.shape = Some(shape);
    }

    pub(super) fn set_trace(&mut self, trace: Trace) {
        self.trace = Some(trace);
    }

    /// What becomes of the next packet on the way to the relay.
    pub(super) fn fate(&mut self) -> Fate {
        self.trace.as_mut().map_or_else(Fate::at_once, Trace::fate)
    }

    /// Goes on to the next sequence number.
    pub(super) fn take_sequence(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// The owner of every [`MemberStream`].
#[derive(Default)]
pub(super) struct MemberStreams {
    by_ssrc: HashMap<u32, MemberStream>,
}

impl MemberStreams {
    /// The stream of an SSRC; it begins at a random place.
    pub(super) fn stream(&mut self, ssrc: u32, random: &mut fastrand::Rng) -> &mut MemberStream {
        self.by_ssrc.entry(ssrc).or_insert_with(|| MemberStream {
            ssrc,
            sequence: random.u16(..),
            timestamp: random.u32(..),
            next: None,
            encryptor: None,
            shape: None,
            trace: None,
        })
    }

    pub(super) fn forget(&mut self, ssrc: u32) {
        self.by_ssrc.remove(&ssrc);
    }

    /// What the packets of a stream look like, where that is not what those of all members do.
    pub(super) fn shape_of(&self, ssrc: u32) -> Option<PacketShape> {
        self.by_ssrc.get(&ssrc)?.shape()
    }

    /// Begins the stream of another SSRC at a random place, with what this one had of its member.
    pub(super) fn replace(&mut self, old: u32, new: u32, random: &mut fastrand::Rng) {
        let (sequence, timestamp) = (random.u16(..), random.u32(..));
        if let Some(stream) = self.by_ssrc.remove(&old) {
            let stream = MemberStream { ssrc: new, sequence, timestamp, next: None, ..stream };
            self.by_ssrc.insert(new, stream);
        }
    }

    pub(super) fn set_encryptor(&mut self, ssrc: u32, encryptor: Encryptor, random: &mut fastrand::Rng) {
        self.stream(ssrc, random).encryptor = Some(encryptor);
    }

    /// Takes the encryptor out while it is called.
    pub(super) fn take_encryptor(&mut self, ssrc: u32) -> Option<Encryptor> {
        self.by_ssrc.get_mut(&ssrc)?.encryptor.take()
    }

    /// Puts the encryptor back, unless another one was set meanwhile.
    pub(super) fn return_encryptor(&mut self, ssrc: u32, encryptor: Encryptor) {
        if let Some(stream) = self.by_ssrc.get_mut(&ssrc) {
            stream.encryptor.get_or_insert(encryptor);
        }
    }
}

fn duration(samples: u32) -> Duration {
    Duration::from_micros(u64::from(samples) * 1000 / 48)
}

/// A simulated member whose packet is later than this many frames has paused.
const PAUSE_FRAMES: u128 = 3;
