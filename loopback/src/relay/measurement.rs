//! What came of all members between two moments, and whether the relay itself was in the way.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::recorder::{DurationHistogram, Step};

/// What came of all members since the last measurement; by [`Relay::measure`](super::Relay::measure).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measurement {
    /// For how long was measured.
    pub elapsed: Duration,
    /// Members that were heard, each counted once for each call.
    pub senders: usize,
    /// Voice packets that came, without duplicates.
    pub packets: u64,
    /// Packets that the sequences say were sent and that did not come.
    pub lost: u64,
    /// From one packet of a member to the next, while it speaks, exact to a microsecond.
    pub spacing: DurationHistogram,
    /// By how much that differs from what the two RTP timestamps say.
    pub spacing_error: DurationHistogram,
    /// How much later packets came than their RTP timestamps say, measured from the most punctual of the spurt so far.
    pub lateness: DurationHistogram,
    /// How long datagrams lay in the socket until the relay took them; nothing on
    /// [`RelayThread::Shared`](crate::RelayThread::Shared).
    pub socket_delay: DurationHistogram,
    /// Datagrams that the socket dropped because the relay was too slow; known on Linux and
    /// [`RelayThread::Own`](crate::RelayThread::Own) alone.
    pub socket_drops: u64,
}

/// Why a measurement says more about the relay than about the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayLimit {
    /// It was too slow, and its socket dropped datagrams.
    Drops(u64),
    /// Of a hundred datagrams one lay in its socket for so long: it is about to be too slow.
    Behind(Duration),
}

impl Measurement {
    /// Why this says more about the relay than about the members, if it does.
    pub fn limit(&self) -> Option<RelayLimit> {
        let behind = self.socket_delay.p99();
        match self.socket_drops {
            0 if behind > BEHIND => Some(RelayLimit::Behind(behind)),
            0 => None,
            drops => Some(RelayLimit::Drops(drops)),
        }
    }
}

impl fmt::Display for RelayLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drops(drops) => {
                write!(f, "the loopback is the limit: its socket dropped {drops} datagrams; take fewer calls")
            }
            Self::Behind(delay) => {
                write!(
                    f,
                    "the loopback is nearly the limit: it is {} ms behind; take fewer calls",
                    delay.as_millis()
                )
            }
        }
    }
}

/// Its socket has room for more than this, but the relay has none for anything that gets in its way.
const BEHIND: Duration = Duration::from_millis(50);

/// Measures.
pub(super) struct Meter {
    since: Instant,
    /// Call and user.
    senders: HashSet<(u64, u64)>,
    /// What had been lost, and dropped, when the last measurement was taken.
    lost_before: u64,
    dropped_before: u64,
    dropped: u64,
    counts: Counts,
}

struct Counts {
    packets: u64,
    spacing: DurationHistogram,
    spacing_error: DurationHistogram,
    lateness: DurationHistogram,
    socket_delay: DurationHistogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            senders: HashSet::new(),
            lost_before: 0,
            dropped_before: 0,
            dropped: 0,
            counts: Counts::new(),
        }
    }
}

impl Meter {
    /// A packet of this call and user came, so long after the one before it.
    pub(super) fn packet(&mut self, sender: (u64, u64), step: Option<Step>) {
        self.senders.insert(sender);
        self.counts.packets += 1;
        if let Some(Step { gap, error, lateness }) = step {
            self.counts.spacing.record(gap);
            self.counts.spacing_error.record(error);
            self.counts.lateness.record(lateness);
        }
    }

    /// A datagram lay in the socket for so long.
    pub(super) fn waited(&mut self, delay: Duration) {
        self.counts.socket_delay.record(delay);
    }

    /// So many datagrams have been dropped since the socket was opened.
    pub(super) fn dropped(&mut self, dropped: u64) {
        self.dropped = dropped;
    }

    /// Measures, and starts over. So many packets have been lost of all recordings together.
    pub(super) fn measure(&mut self, lost: u64) -> Measurement {
        let now = Instant::now();
        let counts = std::mem::replace(&mut self.counts, Counts::new());
        let measurement = Measurement {
            elapsed: now.saturating_duration_since(self.since),
            senders: self.senders.len(),
            packets: counts.packets,
            // What was late the last time has come since.
            lost: lost.saturating_sub(self.lost_before),
            spacing: counts.spacing,
            spacing_error: counts.spacing_error,
            lateness: counts.lateness,
            socket_delay: counts.socket_delay,
            socket_drops: self.dropped.saturating_sub(self.dropped_before),
        };
        self.senders.clear();
        self.since = now;
        self.lost_before = lost;
        self.dropped_before = self.dropped;
        measurement
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            packets: 0,
            spacing: DurationHistogram::fine(),
            spacing_error: DurationHistogram::new(),
            lateness: DurationHistogram::new(),
            socket_delay: DurationHistogram::new(),
        }
    }
}
