//! Stats: what a call has sent and received, and how late.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

use super::listener::HeardStats;
use crate::{
    hearing::SpeakerStats,
    speaker,
    transport::{self, dave::E2eeState},
};

/// What a call has done since it was joined, over all its voice sessions.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CallStats {
    /// Voice packets that the system took. What it refused, and what was withheld, is not among them.
    pub packets: u64,
    /// Bytes of those packets, from the RTP header on.
    pub bytes: u64,
    /// How often the voice session was resumed.
    pub resumes: u64,
    /// How often the UDP path died while the voice session lived.
    pub path_losses: u64,
    /// How many voice sessions were made.
    pub sessions: u64,
    /// How often a new voice session was made after the first.
    pub reconnects: u64,
    /// Websocket messages that could not be understood.
    pub malformed: u64,
    /// Messages about the end-to-end encryption that were dropped, because the connection was away for too long.
    pub dropped_commands: u64,
    /// The round trip of the last heartbeat.
    pub gateway_round_trip: Option<Duration>,
    /// How the call is encrypted end to end.
    pub e2ee: E2eeState,
    /// What was played.
    pub speaker: speaker::Counts,
    /// What the UDP side saw.
    pub transport: TransportStats,
    /// What became of the packets of each speaker, for each preset that was listened with.
    pub speakers: Vec<SpeakerStats>,
    /// Packets that were dropped because a hearing arbiter was too busy for them.
    pub overflowed: u64,
    /// Frames and ticks that were dropped because a listener did not take them in time.
    pub undelivered: u64,
}

/// What went through the UDP sockets of a call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TransportStats {
    /// Datagrams by kind, and why others were ignored.
    pub counts: transport::Counts,
    /// Frames that were not sent because the system did not take them, or there was no socket or transport key.
    pub unsent: u64,
    /// Frames that were not sent because there was no key yet to encrypt them end to end.
    pub withheld: u64,
    /// Received frames whose end-to-end encryption was opened.
    pub opened: u64,
    /// Received frames that could not be opened: no key came in time, or they are damaged.
    pub unopened: u64,
    /// Received packets of an SSRC that no user was named for in time.
    pub unmapped: u64,
    /// Frames among the opened that came before their user or their key was known, and were held until then.
    pub held: u64,
    /// Errors that the system reported about datagrams sent earlier.
    pub refused: u64,
    /// The round trip of the last keepalive.
    pub round_trip: Option<Duration>,
    /// The transport encryption mode in use.
    pub mode: Option<String>,
    /// How long after its due time each packet that was sent was handed to the system.
    pub lateness: Lateness,
}

/// A histogram of delays, of two digits; as large as the longest of them asks for.
#[derive(Clone)]
pub struct Lateness(Histogram<u32>);

impl CallStats {
    pub(super) fn add(&mut self, transport: &TransportStats) {
        self.packets += transport.counts.sent_packets;
        self.bytes += transport.counts.sent_bytes;
        self.transport.add(transport);
    }

    pub(super) fn add_heard(&mut self, heard: HeardStats) {
        heard.speakers.into_iter().for_each(|stats| SpeakerStats::merge(&mut self.speakers, stats));
        self.overflowed += heard.overflowed;
        self.undelivered += heard.undelivered;
    }
}

impl TransportStats {
    fn add(&mut self, other: &Self) {
        self.counts += other.counts.clone();
        self.unsent += other.unsent;
        self.withheld += other.withheld;
        self.opened += other.opened;
        self.unopened += other.unopened;
        self.unmapped += other.unmapped;
        self.held += other.held;
        self.refused += other.refused;
        self.round_trip = other.round_trip.or(self.round_trip);
        self.mode = other.mode.clone().or_else(|| self.mode.take());
        self.lateness.add(&other.lateness);
    }
}

impl Lateness {
    pub(super) fn record(&mut self, late: Duration) {
        // What is not longer than the longest always fits.
        let _ = self.0.record(late.min(LONGEST_LATENESS).as_micros() as u64);
    }

    /// Adds what another has recorded.
    pub fn add(&mut self, other: &Self) {
        // It grows as far as the other has.
        let _ = self.0.add(&other.0);
    }

    /// The delay that this share of the packets, from 0 to 1, did not exceed; zero when there were none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// The longest delay.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// How many packets were timed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether none was timed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Lateness {
    fn default() -> Self {
        Self(Histogram::new(2).expect("two digits are allowed"))
    }
}

impl fmt::Debug for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Lateness(p50 {:?}, p99 {:?}, max {:?})",
            self.quantile(0.5),
            self.quantile(0.99),
            self.max()
        )
    }
}

/// How long a lateness may be and still be told apart.
const LONGEST_LATENESS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_sessions_did_adds_up_and_the_last_to_know_has_the_last_word() {
        let session = |n: u64, round_trip: Option<u64>, mode: Option<&str>| {
            let mut stats = TransportStats {
                unsent: n,
                withheld: 2 * n,
                opened: 3 * n,
                unopened: 4 * n,
                unmapped: 5 * n,
                held: 9 * n,
                refused: 6 * n,
                round_trip: round_trip.map(Duration::from_millis),
                mode: mode.map(str::to_owned),
                ..TransportStats::default()
            };
            (stats.counts.sent_packets, stats.counts.sent_bytes) = (7 * n, 8 * n);
            stats.lateness.record(Duration::from_millis(n));
            stats
        };
        let mut call = CallStats::default();
        call.add(&session(1, Some(20), Some("first")));
        call.add(&session(10, Some(30), Some("second")));
        call.add(&session(100, None, None));
        assert_eq!((call.packets, call.bytes), (777, 888));
        let sum = call.transport;
        assert_eq!([sum.unsent, sum.withheld, sum.opened], [111, 222, 333]);
        assert_eq!([sum.unopened, sum.unmapped, sum.refused, sum.held], [444, 555, 666, 999]);
        assert_eq!(sum.counts.sent_packets, 777);
        assert_eq!((sum.round_trip, sum.mode.as_deref()), (Some(Duration::from_millis(30)), Some("second")));
        assert_eq!(sum.lateness.len(), 3);
    }

    #[test]
    fn latenesses_are_told_to_two_digits_and_the_longest_only_as_such() {
        let mut lateness = Lateness::default();
        assert!(lateness.is_empty() && lateness.max() == Duration::ZERO);
        for milliseconds in 1..=100 {
            lateness.record(Duration::from_millis(milliseconds));
        }
        let about = |found: Duration, milliseconds: f64| {
            (found.as_secs_f64() * 1_000.0 / milliseconds - 1.0).abs() < 0.02
        };
        assert!(about(lateness.quantile(0.5), 50.0), "{lateness:?}");
        assert!(about(lateness.quantile(0.99), 99.0) && about(lateness.max(), 100.0), "{lateness:?}");
        lateness.record(Duration::from_secs(3_600));
        assert!(about(lateness.max(), 60_000.0), "{lateness:?}");
        assert!(!lateness.is_empty() && lateness.len() == 101);
    }
}
