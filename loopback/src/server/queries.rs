//! What a test asks about: the log, the rules that were broken, and who is where.

use tokio::time::Instant;

use super::State;
use crate::log::Entry;
use crate::rule::Violation;

impl State {
    pub(crate) fn log_entries(&self) -> Vec<Entry> {
        self.log.entries()
    }

    /// The rules that clients broke at the gateways and with audio that was not encrypted.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.log.violations().cloned().chain(self.deliveries.violations()).collect()
    }

    /// The violations that no return can undo any more.
    pub(crate) fn settled_violations(&self, now: Instant) -> Vec<Violation> {
        self.log.settled(now).cloned().chain(self.deliveries.violations()).collect()
    }

    /// The epoch of the group in a call; 0 while there is none.
    pub(crate) fn dave_epoch(&self, channel: u64) -> u64 {
        self.deliveries.get(channel).map_or(0, |delivery| delivery.service.epoch())
    }

    /// The users in the group of a call, by id.
    pub(crate) fn dave_members(&self, channel: u64) -> Vec<u64> {
        self.deliveries.get(channel).map(|delivery| delivery.service.established()).unwrap_or_default()
    }

    /// The users in a channel, as voice states say.
    pub(crate) fn members_of(&self, channel: u64) -> Vec<u64> {
        self.voice_states.in_channel(channel).into_iter().map(|(_, user)| user).collect()
    }

    /// In how many calls a user's voice session is described.
    pub(crate) fn calls_of(&self, user: u64) -> usize {
        self.voice_sessions.of_user(user).filter(|(_, session)| session.is_in_call()).count()
    }

    /// The users whose voice session in a channel is described.
    pub(crate) fn connected_to(&self, channel: u64) -> Vec<u64> {
        self.voice_sessions.in_call(channel).map(|(_, session)| session.identity().user).collect()
    }
}
