//! The transitions that wait for op 22, each with the key our sender changes over to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::action::{E2eeState, SenderKey};

/// What a transition changes over to. An epoch's key is taken when its commit or welcome is processed and kept here, so
/// that a late op 22 cannot jump to the key of a newer epoch, which not everyone has yet.
#[derive(Clone, Debug)]
pub(super) struct Switch {
    pub(super) key: SenderKey,
    pub(super) state: E2eeState,
}

/// The open transitions, oldest first, and the one executed last.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    open: VecDeque<Open>,
    executed: u16,
}

#[derive(Debug)]
struct Open {
    id: u16,
    since: Instant,
    switch: Switch,
}

impl Transitions {
    /// Opens a transition; an open one of the same id is replaced, and the oldest goes when there are too many.
    pub(super) fn prepare(&mut self, id: u16, switch: Switch, now: Instant) {
        self.open.retain(|open| open.id != id);
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Open { id, since: now, switch });
    }

    /// Executes a transition. The ones opened before it are over, too: going back to them would only lose frames.
    pub(super) fn execute(&mut self, id: u16) -> Option<Switch> {
        let at = self.open.iter().position(|open| open.id == id)?;
        self.executed = id;
        self.open.drain(..=at).next_back().map(|open| open.switch)
    }

    /// Notes a transition of id 0, which is executed without having been open.
    pub(super) fn executed_at_once(&mut self) {
        self.open.clear();
        self.executed = 0;
    }

    /// The version that an open transition leads to.
    pub(super) fn version(&self, id: u16) -> Option<u16> {
        self.open.iter().find(|open| open.id == id).map(|open| open.switch.state.version)
    }

    /// The transition executed last; 0 when there was none.
    pub(super) fn last_executed(&self) -> u16 {
        self.executed
    }

    /// Whether an op 22 can still execute anything.
    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether an op 22 is still to be expected.
    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        self.open.iter().any(|open| now.saturating_duration_since(open.since) < EXECUTED_BY)
    }
}

/// Transitions a server may have open at a time; it should serialise them.
const MAX_OPEN: usize = 64;

/// After this no op 22 is expected any more: the server waits some 2 s for everyone to be ready.
const EXECUTED_BY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::dave::tests::support::start;

    fn switch(version: u16) -> Switch {
        Switch { key: SenderKey::Plain, state: E2eeState { version, ..E2eeState::default() } }
    }

    #[test]
    fn each_open_transition_leads_to_its_own_version_and_executing_one_closes_those_before_it() {
        let mut transitions = Transitions::default();
        for id in [1, 2, 3] {
            transitions.prepare(id, switch(id), start());
        }
        assert_eq!([1, 2, 3, 4].map(|id| transitions.version(id)), [Some(1), Some(2), Some(3), None]);
        assert_eq!(transitions.execute(2).map(|switch| switch.state.version), Some(2));
        assert_eq!([1, 2, 3].map(|id| transitions.version(id)), [None, None, Some(3)]);
        assert!(transitions.any_open() && transitions.last_executed() == 2);
        assert!(transitions.is_waiting(start()) && !transitions.is_waiting(start() + EXECUTED_BY));
        transitions.executed_at_once();
        assert!(!transitions.any_open() && transitions.last_executed() == 0);
    }
}
