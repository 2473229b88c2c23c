//! Keeps what we send below Discord's limit of 120 messages a minute, so that a beat never comes too late or too many.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bridge::{SendLimit, events::UpdateVoiceState};

/// Counts what was sent on one connection, and holds back op 4 while there is no room.
#[derive(Debug, Default)]
pub(super) struct Pace {
    limit: SendLimit,
    /// When the latest messages were sent, oldest first; bounded by [`COMMANDS`].
    sent: VecDeque<Instant>,
    /// In the order given; bounded by [`WAITING_MAX`], beyond it the oldest is dropped.
    waiting: VecDeque<UpdateVoiceState>,
    dropped: u64,
}

impl Pace {
    pub(super) fn set_limit(&mut self, limit: SendLimit) {
        self.limit = limit;
    }

    /// Counts a message that does not wait.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.sent.len() == COMMANDS {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    /// Queues an op 4, in the place of one for the same guild that still waits.
    pub(super) fn push(&mut self, update: UpdateVoiceState) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.guild == update.guild) {
            *waiting = update;
            return;
        }
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(update);
    }

    /// Queues an op 4 that was sent before, unless a later one for its guild waits already.
    pub(super) fn push_again(&mut self, update: UpdateVoiceState) {
        if self.waiting.iter().all(|later| later.guild != update.guild) {
            self.push(update);
        }
    }

    /// Takes the next op 4 that may be sent now, and counts it.
    pub(super) fn next(&mut self, now: Instant) -> Option<UpdateVoiceState> {
        if self.room_at().is_some_and(|at| now < at) {
            return None;
        }
        let update = self.waiting.pop_front()?;
        self.sent(now);
        Some(update)
    }

    /// When the next op 4 may be sent; none if nothing waits, or nothing hinders it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { self.room_at() }
    }

    /// Begins a new connection: the limit counts each of its own.
    pub(super) fn connected(&mut self) {
        self.sent.clear();
    }

    /// How many op 4 were dropped because too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn room_at(&self) -> Option<Instant> {
        if self.limit == SendLimit::None || self.sent.len() < COMMANDS {
            return None;
        }
        self.sent.front().map(|oldest| *oldest + WINDOW)
    }
}

/// Discord's window.
const WINDOW: Duration = Duration::from_secs(60);

/// Of Discord's 120 messages, ten are kept free for heartbeats, Identify and Resume.
const COMMANDS: usize = 110;

/// Joins of more guilds than one connection may hold (2,500).
const WAITING_MAX: usize = 4096;
