//! A session of the main gateway: its dispatches are numbered and held, so that a resume can replay them.

use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::buffer::ACK_TIMEOUT;
use crate::opcodes::main as op;

/// What outlives the websocket of a main gateway connection.
#[derive(Debug)]
pub(crate) struct MainSession {
    pub(crate) user: u64,
    pub(crate) intents: u64,
    pub(crate) connection: Option<u64>,
    /// When it is given up, while no websocket belongs to it.
    pub(crate) expires: Option<Instant>,
    sequence: u64,
    held: VecDeque<HeldMessage>,
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
pub(crate) struct Dispatch {
    pub(crate) name: &'static str,
    pub(crate) d: Value,
}

impl Dispatch {
    pub(crate) fn encode(&self, sequence: u64) -> String {
        json!({"op": op::DISPATCH, "t": self.name, "s": sequence, "d": self.d}).to_string()
    }
}

impl MainSession {
    pub(crate) fn new(user: u64, intents: u64, connection: u64) -> Self {
        Self {
            user,
            intents,
            connection: Some(connection),
            expires: None,
            sequence: 0,
            held: VecDeque::new(),
        }
    }

    /// Whether the client asked for this event.
    pub(crate) fn wants(&self, event: &str) -> bool {
        match event {
            "VOICE_STATE_UPDATE" => self.intents & GUILD_VOICE_STATES != 0,
            "GUILD_CREATE" | "GUILD_DELETE" | "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "CHANNEL_DELETE" => {
                self.intents & GUILDS != 0
            }
            _ => true,
        }
    }

    /// Numbers a dispatch and holds it.
    pub(crate) fn push(&mut self, dispatch: Dispatch, now: Instant) -> u64 {
        self.sequence += 1;
        self.held.push_back(HeldMessage { sequence: self.sequence, sent: now, dispatch });
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
        self.sequence
    }

    /// What came after `sequence`.
    pub(crate) fn replay_after(&self, sequence: u64) -> Result<Vec<(u64, Dispatch)>, ReplayError> {
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
    pub(crate) fn resent_after(&mut self, sequence: u64, now: Instant) {
        let again = self.held.iter_mut().filter(|held| held.sequence > sequence);
        again.for_each(|held| held.sent = now);
    }

    /// What a heartbeat should have told at least, or at most, when it told something else.
    pub(crate) fn misses(&self, told: Option<u64>, now: Instant) -> Option<u64> {
        let told = told.unwrap_or(0);
        if told > self.sequence {
            return Some(self.sequence);
        }
        let old = self.held.iter().rev().find(|held| held.sent + ACK_TIMEOUT < now);
        old.map(|held| held.sequence).filter(|due| told < *due)
    }
}

/// Why a session cannot be replayed from a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplayError {
    /// The number was never given: close 4007.
    Unsent,
    /// What is missing is no longer held: invalid session.
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
        let mut session = MainSession::new(1, GUILDS, 1);
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
        assert_eq!((session.misses(None, now), session.misses(Some(5), now)), (None, Some(4)));
        assert_eq!((session.misses(Some(4), later), session.misses(Some(3), later)), (None, Some(4)));
        session.resent_after(2, later);
        assert_eq!((session.misses(Some(2), later), session.misses(Some(1), later)), (None, Some(2)));
    }
}
