//! What the relay has to do later, in order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::tap::RelayedPacket;

/// Something to do later.
pub(super) enum Task {
    /// Check the conduct of a connection.
    Check(u32),
    /// A packet arrives at the relay.
    Deliver(RelayedPacket),
    /// A packet leaves the relay.
    Send(SocketAddr, Vec<u8>),
}

/// Tasks by time; those of one time in the order they were planned.
#[derive(Default)]
pub(super) struct Schedule {
    entries: BinaryHeap<Reverse<Entry>>,
    added: u64,
}

/// The agenda is full of packets under way; this one is dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full;

impl Schedule {
    /// Plans a task. Checks always find room: there is one a connection, or two for a moment.
    pub(super) fn add(&mut self, at: Instant, task: Task) -> Result<(), Full> {
        if self.entries.len() >= PACKETS_MAX && !matches!(task, Task::Check(_)) {
            return Err(Full);
        }
        self.added += 1;
        self.entries.push(Reverse(Entry { at, order: self.added, task }));
        Ok(())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the next task that is due, and when it was planned for.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, Task)> {
        self.deadline().filter(|at| *at <= now)?;
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.task))
    }
}

struct Entry {
    at: Instant,
    order: u64,
    task: Task,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

const PACKETS_MAX: usize = 65_536;
