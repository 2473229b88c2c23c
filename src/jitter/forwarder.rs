//! Forwarder: hands packets on in order as soon as it may, and waits for what is missing only so long.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    Counts, Packet,
    order::{Insertion, Order, Waiting},
};

/// The machine of one speaker for recordings and speech models.
#[derive(Debug)]
pub struct Forwarder {
    order: Order,
    /// How long a packet waits for one before it that has not come.
    patience: Duration,
    /// How long the very first waits for one before it.
    first_patience: Duration,
    /// How often media time started over.
    line: u64,
    counts: Counts,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The next packet.
    Packet {
        /// How often media time started over before it.
        line: u64,
        /// Its media time, in samples at 48 kHz from an arbitrary start of the line.
        time: u64,
        /// What it lasts, in samples at 48 kHz.
        samples: u32,
        /// When it was taken from the socket.
        arrived: Instant,
        /// The Opus packet.
        opus: Bytes,
    },
    /// Packets that did not come.
    Lost {
        /// As for a packet.
        line: u64,
        /// The media time of the first of them.
        time: u64,
        /// What they last together.
        samples: u32,
        /// How many.
        packets: u32,
        /// When the packet after them was taken from the socket.
        arrived: Instant,
        /// That packet, where nothing lies between: it may hold a copy of the last that was lost.
        successor: Option<Bytes>,
    },
}

impl Forwarder {
    /// Waits up to a second for what is missing: for recordings.
    #[must_use]
    pub fn for_record() -> Self {
        Self::new(RECORD_PATIENCE, RECORD_FIRST_PATIENCE)
    }

    /// Waits as long as one or two frames last: for speech models.
    #[must_use]
    pub fn for_agent() -> Self {
        Self::new(AGENT_PATIENCE, Duration::ZERO)
    }

    fn new(patience: Duration, first_patience: Duration) -> Self {
        Self { order: Order::default(), patience, first_patience, line: 1, counts: Counts::default() }
    }

    /// A packet came.
    pub fn packet(&mut self, packet: Packet, now: Instant) {
        self.counts.received += 1;
        match self.order.insert(packet, now) {
            Insertion::Queued => {}
            Insertion::Duplicate => self.counts.duplicates += 1,
            Insertion::Late => self.counts.late += 1,
            Insertion::Malformed => self.counts.malformed += 1,
        }
    }

    /// What follows, if it is time for it.
    pub fn poll(&mut self, now: Instant) -> Option<Step> {
        if self.deadline()? > now {
            return None;
        }
        self.take()
    }

    /// What follows, though more may be missing: nothing more is to come.
    pub fn flush(&mut self) -> Option<Step> {
        self.take()
    }

    /// When to poll again though no packet came.
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.order.first_queued()?;
        match self.order.next() {
            None => Some(first + self.first_patience),
            Some(_) if self.order.missing().is_some() => Some(first + self.patience),
            Some(_) => Some(first),
        }
    }

    /// What became of the packets.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Lost packets in whose place there was one of these: a copy of the successor's, what the decoder made up.
    pub fn replaced(&mut self, recovered: u32, concealed: u32) {
        self.counts.recovered += u64::from(recovered);
        self.counts.concealed += u64::from(concealed);
    }

    fn take(&mut self) -> Option<Step> {
        if let Some(missing) = self.order.missing() {
            let front = self.order.front()?;
            let (arrived, successor) = (front.arrived, missing.adjoins.then(|| front.opus.clone()));
            let line = self.line;
            self.counts.lost += u64::from(missing.packets);
            self.order.skip_missing();
            let (time, samples, packets) = (missing.time, missing.samples, missing.packets);
            return Some(Step::Lost { line, time, samples, packets, arrived, successor });
        }
        self.line += u64::from(self.order.breaks_here());
        let Waiting { time, samples, arrived, opus, .. } = self.order.pop()?;
        Some(Step::Packet { line: self.line, time, samples, arrived, opus })
    }
}

const RECORD_PATIENCE: Duration = Duration::from_secs(1);
const RECORD_FIRST_PATIENCE: Duration = Duration::from_millis(200);
/// Two packets at most come meanwhile.
const AGENT_PATIENCE: Duration = Duration::from_millis(30);
