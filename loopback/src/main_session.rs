//! A session of the main gateway: its dispatches are numbered and held, so that a resume can replay them.

use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio::time::Instant;

/// What outlives the websocket of a main gateway connection.
#[derive(Debug)]
pub(crate) struct MainSession {
    pub(crate) user: u64,
    pub(crate) intents: u64,
    pub(crate) connection: Option<u64>,
    /// When it is given up, while no websocket belongs to it.
    pub(crate) expires: Option<Instant>,
    sequence: u64,
    held: VecDeque<(u64, Dispatch)>,
}

/// One op 0.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    pub(crate) name: &'static str,
    pub(crate) d: Value,
}

impl Dispatch {
    pub(crate) fn encode(&self, sequence: u64) -> String {
        json!({"op": 0, "t": self.name, "s": sequence, "d": self.d}).to_string()
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
    pub(crate) fn push(&mut self, dispatch: Dispatch) -> u64 {
        self.sequence += 1;
        self.held.push_back((self.sequence, dispatch));
        if self.held.len() > HELD {
            self.held.pop_front();
        }
        self.sequence
    }

    /// What came after `sequence`.
    pub(crate) fn replay_after(&self, sequence: u64) -> Result<Vec<(u64, Dispatch)>, ReplayError> {
        if sequence > self.sequence {
            return Err(ReplayError::Unsent);
        }
        let oldest = self.held.front().map_or(self.sequence + 1, |(oldest, _)| *oldest);
        if sequence + 1 < oldest {
            return Err(ReplayError::Gone);
        }
        Ok(self.held.iter().filter(|(held, _)| *held > sequence).cloned().collect())
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
const HELD: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn session(dispatches: usize) -> MainSession {
        let mut session = MainSession::new(1, GUILDS, 1);
        for _ in 0..dispatches {
            session.push(Dispatch { name: "TYPING_START", d: Value::Null });
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
        assert_eq!(session(HELD + 2).replay_after(1).map(|_| ()), Err(ReplayError::Gone));
    }

    #[test]
    fn voice_states_come_only_to_those_with_the_intent() {
        assert!(!session(0).wants("VOICE_STATE_UPDATE"));
        assert!(session(0).wants("VOICE_SERVER_UPDATE"));
    }
}
