//! IdentifyQueue: whose turn it is to identify, at the pace that Discord allows a bot.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::gateway_bot::SessionStartLimit;

/// Shards that wait for their turn. Shards of one rate-limit key, `index % max_concurrency`, identify one after the other;
/// those of different keys may do so at once.
#[derive(Debug)]
pub(super) struct IdentifyQueue {
    max_concurrency: u32,
    /// Indices of shards, each once.
    waiting: VecDeque<u32>,
    /// From when on the next shard of a key may identify.
    free_at: BTreeMap<u32, Instant>,
    /// None where Discord has not told the limit.
    starts: Option<SessionStarts>,
}

/// How often the bot may still identify.
#[derive(Debug)]
struct SessionStarts {
    remaining: u32,
    total: u32,
    reset_at: Instant,
}

impl IdentifyQueue {
    /// One after the other, which is right for every bot.
    pub(super) fn new() -> Self {
        Self { max_concurrency: 1, waiting: VecDeque::new(), free_at: BTreeMap::new(), starts: None }
    }

    /// Takes what Discord allows. Nobody waits any more.
    pub(super) fn limit(&mut self, limit: &SessionStartLimit, now: Instant) {
        let SessionStartLimit { remaining, total, reset_after, max_concurrency } = *limit;
        let max_concurrency = max_concurrency.max(1);
        if std::mem::replace(&mut self.max_concurrency, max_concurrency) != max_concurrency {
            // Under other keys, who identified last is unknown.
            let latest = self.free_at.values().max().copied();
            self.free_at =
                latest.into_iter().flat_map(|at| (0..max_concurrency).map(move |key| (key, at))).collect();
        }
        self.waiting.clear();
        self.starts =
            Some(SessionStarts { remaining, total: total.max(1), reset_at: now + reset_after.min(DAY) });
    }

    /// How many shards may identify at once.
    pub(super) fn max_concurrency(&self) -> usize {
        usize::try_from(self.max_concurrency).unwrap_or(usize::MAX)
    }

    pub(super) fn push(&mut self, index: u32) {
        if !self.waiting.contains(&index) {
            self.waiting.push_back(index);
        }
    }

    /// A shard does not wait any more.
    pub(super) fn remove(&mut self, index: u32) {
        self.waiting.retain(|waiting| *waiting != index);
    }

    /// Takes the next shard whose turn it is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        if self.starts_at().is_some_and(|at| now < at) {
            return None;
        }
        let next = self.waiting.iter().position(|index| self.free_at(*index).is_none_or(|at| at <= now))?;
        let index = self.waiting.remove(next)?;
        self.free_at.insert(index % self.max_concurrency, now + IDENTIFY_SPACING);
        if let Some(starts) = &mut self.starts {
            starts.take(now);
        }
        Some(index)
    }

    /// When it will be somebody's turn.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let turns = self.waiting.iter().map(|index| self.free_at(*index).unwrap_or(now));
        turns.min().map(|at| at.max(self.starts_at().unwrap_or(now)))
    }

    fn free_at(&self, index: u32) -> Option<Instant> {
        self.free_at.get(&(index % self.max_concurrency)).copied()
    }

    /// From when on Discord takes an Identify again, if it does not.
    fn starts_at(&self) -> Option<Instant> {
        self.starts.as_ref().filter(|starts| starts.remaining == 0).map(|starts| starts.reset_at)
    }
}

impl SessionStarts {
    fn take(&mut self, now: Instant) {
        if now >= self.reset_at {
            (self.remaining, self.reset_at) = (self.total, now + DAY);
        }
        self.remaining = self.remaining.saturating_sub(1);
    }
}

/// Discord's five seconds, and what the way to it may differ by.
const IDENTIFY_SPACING: Duration = Duration::from_millis(5_250);
/// In which the limit is counted.
const DAY: Duration = Duration::from_secs(86_400);
