//! Transitions: all participants send op 23, or the time is up, and then all switch.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::json;
use tokio::time::Instant;

use super::{DeliveryError, DeliveryService};
use crate::dave::{op, settings::Execution};

impl DeliveryService {
    /// Opens a transition; id 0 is executed by everybody at once.
    pub(super) fn open_transition(&mut self, id: u16, version: u16, participants: BTreeSet<u64>) {
        if id == 0 {
            return self.executed(version, &participants);
        }
        let waiting = participants.clone();
        let timeout = Timer::In(self.settings.transition_timeout);
        let execution = Timer::Off;
        self.transitions.open.push(Transition { id, version, participants, waiting, timeout, execution });
    }

    /// Sends op 22 for whatever is ready or overdue.
    pub(super) fn execute_transitions(&mut self, now: Instant) {
        let delay = match self.settings.execution {
            Execution::Prompt => Some(Duration::ZERO),
            Execution::After(delay) => Some(delay),
            Execution::Never => None,
        };
        for mut transition in std::mem::take(&mut self.transitions.open) {
            let complete = transition.waiting.is_empty() || transition.timeout.is_due(now);
            if complete && transition.execution.is_off() {
                self.transitions.note_overdue(&transition);
                transition.execution = delay.map_or(Timer::Off, Timer::In);
                transition.execution.arm(now);
            }
            if transition.execution.is_due(now) {
                self.execute(&transition);
            } else if !(complete && transition.execution.is_off()) {
                self.transitions.open.push(transition);
                continue;
            }
            self.transitions.close(transition);
        }
    }

    /// Sends op 22 for all that is open, ready or not.
    pub(super) fn execute_all(&mut self) {
        for transition in std::mem::take(&mut self.transitions.open) {
            self.execute(&transition);
            self.transitions.close(transition);
        }
    }

    fn execute(&mut self, transition: &Transition) {
        for user in &transition.participants {
            self.send_json(*user, op::EXECUTE_TRANSITION, json!({ "transition_id": transition.id }));
        }
        self.executed(transition.version, &transition.participants);
    }

    fn executed(&mut self, version: u16, participants: &BTreeSet<u64>) {
        for user in participants {
            if let Some(member) = self.members.get_mut(user) {
                member.media_version = version;
            }
        }
    }
}

/// The transitions of a call.
#[derive(Default)]
pub(super) struct Transitions {
    open: Vec<Transition>,
    /// The last few, for an op 23 that comes late.
    closed: VecDeque<Transition>,
    /// The users that were not ready in time, each with the transition; until they are taken.
    overdue: Vec<(u64, u16)>,
    last_id: u16,
}

struct Transition {
    id: u16,
    version: u16,
    participants: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
    timeout: Timer,
    execution: Timer,
}

impl Transitions {
    pub(super) fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn ready(&mut self, user: u64, id: u16) -> Result<(), DeliveryError> {
        let mut known = self.open.iter_mut().chain(self.closed.iter_mut().rev());
        let transition = known.find(|one| one.id == id && one.participants.contains(&user));
        let transition = transition.ok_or(DeliveryError::UnknownTransition(id))?;
        if transition.waiting.remove(&user) { Ok(()) } else { Err(DeliveryError::RepeatedReady(id)) }
    }

    /// Takes a user out of the open transitions: no op 23 of it is waited for and no op 22 is sent to it. Its op 23 may
    /// still be on the way.
    pub(super) fn forget(&mut self, user: u64) {
        for transition in std::mem::take(&mut self.open) {
            let mut rest = transition.without(user);
            if transition.participants.contains(&user) {
                self.close(transition.only(user));
            }
            if !rest.participants.is_empty() {
                rest.waiting.remove(&user);
                self.open.push(rest);
            }
        }
    }

    /// Closes everything without executing it.
    pub(super) fn cancel(&mut self) {
        for transition in std::mem::take(&mut self.open) {
            self.close(transition);
        }
    }

    pub(super) fn arm(&mut self, now: Instant) {
        for transition in &mut self.open {
            transition.timeout.arm(now);
            transition.execution.arm(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let next =
            |one: &Transition| if one.execution.is_off() { one.timeout.at() } else { one.execution.at() };
        self.open.iter().filter_map(next).min()
    }

    pub(super) fn take_overdue(&mut self) -> Vec<(u64, u16)> {
        std::mem::take(&mut self.overdue)
    }

    fn note_overdue(&mut self, transition: &Transition) {
        let room = MAX_OVERDUE.saturating_sub(self.overdue.len());
        self.overdue.extend(transition.waiting.iter().take(room).map(|user| (*user, transition.id)));
    }

    fn close(&mut self, transition: Transition) {
        if self.closed.len() == MAX_CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(transition);
    }
}

impl Transition {
    fn without(&self, user: u64) -> Self {
        self.restricted(|one| one != user)
    }

    fn only(&self, user: u64) -> Self {
        self.restricted(|one| one == user)
    }

    fn restricted(&self, keep: impl Fn(u64) -> bool) -> Self {
        let filter = |users: &BTreeSet<u64>| users.iter().copied().filter(|user| keep(*user)).collect();
        Self { participants: filter(&self.participants), waiting: filter(&self.waiting), ..*self }
    }
}

/// A time to come, which starts to run at the first look at a clock.
#[derive(Clone, Copy)]
pub(super) enum Timer {
    Off,
    In(Duration),
    At(Instant),
}

impl Timer {
    pub(super) fn arm(&mut self, now: Instant) {
        if let Self::In(delay) = *self {
            *self = Self::At(now + delay);
        }
    }

    pub(super) fn at(self) -> Option<Instant> {
        if let Self::At(at) = self { Some(at) } else { None }
    }

    pub(super) fn is_due(self, now: Instant) -> bool {
        self.at().is_some_and(|at| at <= now)
    }

    pub(super) fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }
}

const MAX_CLOSED: usize = 64;
const MAX_OVERDUE: usize = 1_024;
