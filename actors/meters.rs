//! Meters: live figures of all calls of the process, for whoever has installed a recorder of the [`metrics`] crate before the
//! first call; without one they cost next to nothing. What a single call did is in [`CallStats`](super::CallStats).
//!
//! | name | kind | labels | what it tells |
//! |---|---|---|---|
//! | `voice_calls` | gauge | | calls that there are |
//! | `voice_call_ends_total` | counter | `reason` | calls that ended, by [`EndReason::code`] |
//! | `voice_reconnects_total` | counter | `kind`: `resume` or `rejoin`; `cause` | voice sessions that were lost, by [`Cause::code`] |
//! | `voice_path_losses_total` | counter | | UDP paths that died |
//! | `voice_packets_sent_total`, `voice_bytes_sent_total` | counter | | what the system took |
//! | `voice_packets_received_total`, `voice_bytes_received_total` | counter | | all datagrams that came |
//! | `voice_frames_dropped_total` | counter | `cause`: `withheld`, `unsent`, `skipped` | frames that did not leave: no key, not taken by the system, more than 100 ms late |
//! | `voice_datagrams_ignored_total` | counter | `cause` | datagrams that are no voice for us, by [`Ignored`] |
//! | `voice_underruns_total` | counter | | frames that a source did not have in time |
//! | `voice_lateness_seconds` | histogram | | from the moment that a packet was due until the system had it |
//! | `voice_turn_seconds` | histogram | | how long a turn of a media arbiter took, in which all packets of a slot leave |
//! | `voice_arbiter_load` | gauge | `arbiter` | the share of a core that a media arbiter used in the last second |
//! | `voice_gateway_round_trip_seconds`, `voice_udp_round_trip_seconds` | histogram | | heartbeats, keepalives |
//! | `voice_e2ee_epochs_total` | counter | | keys that came into use for sending |
//! | `voice_e2ee_seconds` | histogram | | what a message of the group took, MLS for the most part |

use std::{sync::LazyLock, time::Duration};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

#[cfg(doc)]
use crate::call::Cause;
use crate::{
    call::{ConnectionStatus, EndReason},
    speaker::Counts,
    transport::Ignored,
};

/// What is counted for each packet or turn, looked up once.
pub(super) struct Meters {
    packets_sent: Counter,
    bytes_sent: Counter,
    packets_received: Counter,
    bytes_received: Counter,
    withheld: Counter,
    unsent: Counter,
    skipped: Counter,
    underruns: Counter,
    lateness: Histogram,
    turn: Histogram,
    calls: Gauge,
}

/// Those of this process.
pub(super) fn meters() -> &'static Meters {
    static METERS: LazyLock<Meters> = LazyLock::new(|| {
        let dropped = |cause| counter!("voice_frames_dropped_total", "cause" => cause);
        Meters {
            packets_sent: counter!("voice_packets_sent_total"),
            bytes_sent: counter!("voice_bytes_sent_total"),
            packets_received: counter!("voice_packets_received_total"),
            bytes_received: counter!("voice_bytes_received_total"),
            withheld: dropped("withheld"),
            unsent: dropped("unsent"),
            skipped: dropped("skipped"),
            underruns: counter!("voice_underruns_total"),
            lateness: histogram!("voice_lateness_seconds"),
            turn: histogram!("voice_turn_seconds"),
            calls: gauge!("voice_calls"),
        }
    });
    &METERS
}

impl Meters {
    pub(super) fn sent(&self, bytes: usize, late: Duration) {
        self.packets_sent.increment(1);
        self.bytes_sent.increment(bytes as u64);
        self.lateness.record(late);
    }

    pub(super) fn withheld(&self) {
        self.withheld.increment(1);
    }

    pub(super) fn unsent(&self) {
        self.unsent.increment(1);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.packets_received.increment(1);
        self.bytes_received.increment(bytes as u64);
    }

    pub(super) fn ignored(&self, reason: Ignored) {
        counter!("voice_datagrams_ignored_total", "cause" => reason.code()).increment(1);
    }

    /// What a speaker has counted since it was asked before.
    pub(super) fn spoke(&self, before: Counts, after: Counts) {
        self.skipped.increment(after.skipped - before.skipped);
        self.underruns.increment(after.underruns - before.underruns);
    }

    pub(super) fn turned(&self, took: Duration) {
        self.turn.record(took);
    }

    pub(super) fn calls(&self, calls: usize) {
        self.calls.set(calls as f64);
    }

    pub(super) fn ended(&self, reason: &EndReason) {
        counter!("voice_call_ends_total", "reason" => reason.code()).increment(1);
    }

    pub(super) fn connection(&self, status: &ConnectionStatus) {
        let (kind, cause) = match status {
            ConnectionStatus::Resuming(cause) => ("resume", cause),
            ConnectionStatus::Reconnecting(cause) => ("rejoin", cause),
            ConnectionStatus::Connected | ConnectionStatus::Resumed => return,
        };
        counter!("voice_reconnects_total", "kind" => kind, "cause" => cause.code()).increment(1);
    }

    pub(super) fn path_lost(&self) {
        counter!("voice_path_losses_total").increment(1);
    }

    pub(super) fn arbiter_load(&self, arbiter: usize, share: f32) {
        gauge!("voice_arbiter_load", "arbiter" => arbiter.to_string()).set(share);
    }

    pub(super) fn gateway_round_trip(&self, round_trip: Duration) {
        histogram!("voice_gateway_round_trip_seconds").record(round_trip);
    }

    pub(super) fn udp_round_trip(&self, round_trip: Duration) {
        histogram!("voice_udp_round_trip_seconds").record(round_trip);
    }

    pub(super) fn e2ee_epoch(&self) {
        counter!("voice_e2ee_epochs_total").increment(1);
    }

    pub(super) fn e2ee_took(&self, took: Duration) {
        histogram!("voice_e2ee_seconds").record(took);
    }
}
