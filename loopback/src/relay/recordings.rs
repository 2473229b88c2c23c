//! What the relay records of each sender in each call.

use std::collections::HashMap;

use super::tap::RelayedPacket;
use crate::recorder::{Arrived, Hearing, Keep, Recorder};

/// The owner of the recordings.
#[derive(Default)]
pub(super) struct Recordings {
    /// By call and user: a bot may speak in many calls at once.
    by_call_and_user: HashMap<(u64, u64), Recorder>,
    /// The call that each user spoke in last.
    latest_calls: HashMap<u64, u64>,
    keep: Keep,
}

impl Recordings {
    /// What is kept of a sender that has not sent anything yet.
    pub(super) fn keep(&self) -> Keep {
        self.keep
    }

    pub(super) fn set_keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    pub(super) fn record(&mut self, packet: &RelayedPacket) -> Arrived {
        let RelayedPacket { user, call, ssrc, sequence, timestamp, ref payload, arrival, .. } = *packet;
        let keep = self.keep;
        let recorder = self.by_call_and_user.entry((call, user)).or_insert_with(|| Recorder::new(keep));
        self.latest_calls.insert(user, call);
        recorder.step(arrival, ssrc, sequence, timestamp, Some(payload.clone()))
    }

    /// Packets that were lost so far, of all senders.
    pub(super) fn lost(&self) -> u64 {
        self.by_call_and_user.values().map(Recorder::lost).sum()
    }

    pub(super) fn hearing(&self, call: u64, user: u64) -> Option<Hearing> {
        Some(self.by_call_and_user.get(&(call, user))?.hearing())
    }

    pub(super) fn latest_call(&self, user: u64) -> Option<u64> {
        self.latest_calls.get(&user).copied()
    }
}
