//! What the relay reports as it happens, and the violations that it keeps.

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Peer, RelayEvent};
use crate::rule::{MediaRule, Rule, Violation};

/// The owner of the violations and of the way to whoever takes the events.
#[derive(Default)]
pub(super) struct Events {
    taker: Option<mpsc::Sender<RelayEvent>>,
    violations: Vec<(Peer, Violation)>,
    unreported: u64,
}

impl Events {
    /// Sends the events to this taker from now on.
    pub(super) fn send_to(&mut self, taker: mpsc::Sender<RelayEvent>) {
        self.taker = Some(taker);
    }

    pub(super) fn send(&mut self, event: RelayEvent) {
        let Some(taker) = &self.taker else { return };
        match taker.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.unreported += 1,
            Err(mpsc::error::TrySendError::Closed(_)) => self.taker = None,
        }
    }

    /// Keeps the violations of a connection and reports them.
    pub(super) fn record_violations(
        &mut self,
        peer: Peer,
        rules: impl IntoIterator<Item = MediaRule>,
        at: Instant,
    ) {
        for rule in rules {
            let violation = Violation { at, user: Some(peer.user), rule: Rule::Media(rule) };
            if self.violations.len() < VIOLATIONS_MAX {
                self.violations.push((peer, violation.clone()));
            } else {
                self.unreported += 1;
            }
            self.send(RelayEvent::Violated { peer, violation });
        }
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.violations.iter().map(|(_, violation)| violation.clone()).collect()
    }

    /// The violations of one user in one call.
    pub(super) fn violations_of(&self, call: u64, user: u64) -> Vec<Violation> {
        let own = self.violations.iter().filter(|(peer, _)| peer.user == user && peer.call == call);
        own.map(|(_, violation)| violation.clone()).collect()
    }

    /// How many events were dropped because nobody took them, and violations because too many are kept.
    pub(super) fn unreported(&self) -> u64 {
        self.unreported
    }
}

const VIOLATIONS_MAX: usize = 4096;
