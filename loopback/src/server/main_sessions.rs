//! Sessions of the main gateway: their dispatches are numbered and held, so that a resume can replay them.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::buffer::ACK_TIMEOUT;
use crate::opcodes::main as op;

/// What outlives the websocket of a main gateway connection.
#[derive(Debug)]
pub(super) struct MainSession {
    user: u64,
    intents: u64,
    shard: Shard,
    attachment: Attachment,
    sequence: u64,
    held: VecDeque<HeldMessage>,
}

/// Which of a bot's sessions one is: those of a shard see only its guilds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) index: u64,
    pub(super) count: u64,
}

impl Shard {
    /// The shard of an Identify; it is the only one if nothing is said. `None` if that is no shard.
    pub(super) fn parse(identify: &Value) -> Option<Self> {
        let Some(shard) = identify.get("shard").filter(|shard| !shard.is_null()) else {
            return Some(Self { index: 0, count: 1 });
        };
        let [index, count] = shard.as_array()?.as_slice() else { return None };
        let (index, count) = (index.as_u64()?, count.as_u64()?);
        (index < count).then_some(Self { index, count })
    }

    pub(super) fn has(self, guild: u64) -> bool {
        (guild >> 22) % self.count == self.index
    }
}

/// Which websocket a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attachment {
    Connected(u64),
    /// None; the session is given up at this time unless it is resumed.
    Detached(Instant),
}

#[derive(Debug)]
struct HeldMessage {
    sequence: u64,
    /// When it was sent last.
    sent: Instant,
    dispatch: Dispatch,
}

/// One op 0.
#[derive(Debug, Clone)]
pub(super) struct Dispatch {
    pub(super) name: &'static str,
    pub(super) d: Value,
}

impl Dispatch {
    pub(super) fn encode(&self, sequence: u64) -> String {
        json!({"op": op::DISPATCH, "t": self.name, "s": sequence, "d": self.d}).to_string()
    }
}

impl MainSession {
    pub(super) fn new(user: u64, intents: u64, shard: Shard, connection: u64) -> Self {
        let attachment = Attachment::Connected(connection);
        Self { user, intents, shard, attachment, sequence: 0, held: VecDeque::new() }
    }

    pub(super) fn user(&self) -> u64 {
        self.user
    }

    pub(super) fn shard(&self) -> Shard {
        self.shard
    }

    /// The websocket that serves the session.
    pub(super) fn connection(&self) -> Option<u64> {
        match self.attachment {
            Attachment::Connected(connection) => Some(connection),
            Attachment::Detached(_) => None,
        }
    }

    /// Gives the session a websocket; says which one it replaces.
    pub(super) fn attach(&mut self, connection: u64) -> Option<u64> {
        let replaced = self.connection();
        self.attachment = Attachment::Connected(connection);
        replaced
    }

    /// Keeps the session for its resume after the websocket was lost.
    pub(super) fn detach(&mut self, until: Instant) {
        self.attachment = Attachment::Detached(until);
    }

    /// When the session is given up.
    fn deadline(&self) -> Option<Instant> {
        match self.attachment {
            Attachment::Connected(_) => None,
            Attachment::Detached(until) => Some(until),
        }
    }

    /// Whether the client asked for this event.
    pub(super) fn wants(&self, event: &str) -> bool {
        match event {
            "VOICE_STATE_UPDATE" => self.intents & GUILD_VOICE_STATES != 0,
            "GUILD_CREATE" | "GUILD_DELETE" | "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "CHANNEL_DELETE" => {
                self.intents & GUILDS != 0
            }
            _ => true,
        }
    }

    /// Numbers a dispatch and holds it.
    pub(super) fn push(&mut self, dispatch: Dispatch, now: Instant) -> u64 {
        self.sequence += 1;
        self.held.push_back(HeldMessage { sequence: self.sequence, sent: now, dispatch });
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
        self.sequence
    }

    /// The dispatches after `sequence`.
    pub(super) fn replay_after(&self, sequence: u64) -> Result<Vec<(u64, Dispatch)>, ReplayError> {
        if sequence > self.sequence {
            return Err(ReplayError::Unsent);
        }
        let oldest = self.held.front().map_or(self.sequence + 1, |oldest| oldest.sequence);
        if sequence + 1 < oldest {
            return Err(ReplayError::Gone);
        }
        let missed = self.held.iter().filter(|held| held.sequence > sequence);
        Ok(missed.map(|held| (held.sequence, held.dispatch.clone())).collect())
    }

    /// Takes note that what came after `sequence` was sent again.
    pub(super) fn resent_after(&mut self, sequence: u64, now: Instant) {
        let again = self.held.iter_mut().filter(|held| held.sequence > sequence);
        again.for_each(|held| held.sent = now);
    }

    /// The sequence number that a heartbeat should have carried at least, or at most; `None` if it carried a right one.
    pub(super) fn expected_sequence(&self, carried: Option<u64>, now: Instant) -> Option<u64> {
        let carried = carried.unwrap_or(0);
        if carried > self.sequence {
            return Some(self.sequence);
        }
        let old = self.held.iter().rev().find(|held| held.sent + ACK_TIMEOUT < now);
        old.map(|held| held.sequence).filter(|due| carried < *due)
    }
}

/// The owner of the main sessions, by session id.
#[derive(Debug, Default)]
pub(super) struct MainSessions {
    by_id: BTreeMap<String, MainSession>,
}

impl MainSessions {
    pub(super) fn insert(&mut self, id: String, session: MainSession) {
        self.by_id.insert(id, session);
    }

    pub(super) fn get(&self, id: &str) -> Option<&MainSession> {
        self.by_id.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut MainSession> {
        self.by_id.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// The sessions that see a guild.
    pub(super) fn with_guild(&self, guild: u64) -> Vec<String> {
        self.ids_where(|session| session.shard.has(guild))
    }

    /// The sessions of one shard of a user.
    pub(super) fn of_shard(&self, user: u64, index: u64) -> Vec<String> {
        self.ids_where(|session| session.user == user && session.shard.index == index)
    }

    /// The sessions of one user.
    pub(super) fn of_user(&self, user: u64) -> Vec<String> {
        self.ids_where(|session| session.user == user)
    }

    /// The sessions whose time for a resume is over.
    pub(super) fn expired(&self, now: Instant) -> Vec<String> {
        self.ids_where(|session| session.deadline().is_some_and(|deadline| deadline <= now))
    }

    /// When the next session is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_id.values().filter_map(MainSession::deadline).min()
    }

    fn ids_where(&self, fits: impl Fn(&MainSession) -> bool) -> Vec<String> {
        self.by_id.iter().filter(|(_, session)| fits(session)).map(|(id, _)| id.clone()).collect()
    }
}

/// Why a session cannot be replayed from a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplayError {
    /// The number was never given: close 4007.
    Unsent,
    /// Some of the dispatches are no longer held: invalid session.
    Gone,
}

/// <https://docs.discord.com/developers/events/gateway#list-of-intents>
const GUILDS: u64 = 1 << 0;
const GUILD_VOICE_STATES: u64 = 1 << 7;
const HELD_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn session(dispatches: usize) -> MainSession {
        let mut session = MainSession::new(1, GUILDS, Shard { index: 0, count: 1 }, 1);
        for _ in 0..dispatches {
            session.push(Dispatch { name: "TYPING_START", d: Value::Null }, Instant::now());
        }
        session
    }

    #[test]
    fn a_replay_starts_after_the_last_number_the_client_saw() {
        let missed = session(4).replay_after(2).expect("all is held");
        assert_eq!(missed.into_iter().map(|(sequence, _)| sequence).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn a_number_from_the_future_and_one_too_old_are_told_apart() {
        assert_eq!(session(4).replay_after(5).map(|_| ()), Err(ReplayError::Unsent));
        assert_eq!(session(HELD_MAX + 2).replay_after(1).map(|_| ()), Err(ReplayError::Gone));
    }

    #[test]
    fn voice_states_come_only_to_those_with_the_intent() {
        assert!(!session(0).wants("VOICE_STATE_UPDATE"));
        assert!(session(0).wants("VOICE_SERVER_UPDATE"));
    }

    #[test]
    fn a_beat_tells_the_last_number_but_for_what_is_under_way() {
        let mut session = session(4);
        let (now, later) = (Instant::now(), Instant::now() + ACK_TIMEOUT + ACK_TIMEOUT);
        assert_eq!(
            (session.expected_sequence(None, now), session.expected_sequence(Some(5), now)),
            (None, Some(4))
        );
        assert_eq!(
            (session.expected_sequence(Some(4), later), session.expected_sequence(Some(3), later)),
            (None, Some(4))
        );
        session.resent_after(2, later);
        assert_eq!(
            (session.expected_sequence(Some(2), later), session.expected_sequence(Some(1), later)),
            (None, Some(2))
        );
    }
}
