//! Restarts: when the actor of a shard that panicked is started again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::call::Supervision;

/// The panics of all shards, under the policy for every other failure.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: Supervision,
    /// When each shard panicked of late.
    panics: BTreeMap<u32, VecDeque<Instant>>,
    /// When which shard is started again.
    due: BTreeMap<u32, Instant>,
}

/// A shard has panicked too often.
#[derive(Debug)]
pub(super) struct TooOften;

impl Restarts {
    pub(super) fn new(policy: Supervision) -> Self {
        Self { policy, panics: BTreeMap::new(), due: BTreeMap::new() }
    }

    /// Takes a panic: the shard is started again after a pause, unless that happens too often. `jitter` is in 0..1.
    pub(super) fn panicked(&mut self, index: u32, jitter: f32, now: Instant) -> Result<(), TooOften> {
        let panics = self.panics.entry(index).or_default();
        panics.retain(|at| now.duration_since(*at) <= self.policy.failure_window);
        panics.push_back(now);
        if panics.len() >= self.policy.failure_limit {
            return Err(TooOften);
        }
        self.due.insert(index, now + self.policy.pause(panics.len(), jitter));
        Ok(())
    }

    /// The next shard to be started again.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        let index = *self.due.iter().find(|(_, due)| **due <= now)?.0;
        self.due.remove(&index);
        Some(index)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// Nothing is started again.
    pub(super) fn clear(&mut self) {
        self.due.clear();
    }
}
