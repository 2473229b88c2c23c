//! What a shard waits for, and what outlives its connections.

use std::time::Instant;

use crate::gateway::heartbeat::Heartbeat;
use crate::id::{SessionId, UserId};

/// What the shard waits for; drawn in the parent.
#[derive(Debug)]
pub(super) enum State {
    Backoff {
        until: Instant,
    },
    AwaitOpen {
        until: Instant,
    },
    AwaitHello {
        until: Instant,
    },
    /// A beat that is not answered is the deadline.
    AwaitTurn {
        heartbeat: Heartbeat,
    },
    AwaitReady {
        until: Instant,
        heartbeat: Heartbeat,
    },
    AwaitResumed {
        until: Instant,
        heartbeat: Heartbeat,
    },
    Ready {
        heartbeat: Heartbeat,
    },
    Stopped,
}

#[derive(Clone, Debug)]
pub(super) struct MainSession {
    pub(super) id: SessionId,
    pub(super) url: String,
}

/// What it takes to resume a session with another [`Shard`](super::Shard).
#[derive(Clone, Debug)]
pub struct ResumePoint {
    pub(super) session: MainSession,
    pub(super) last_seq: Option<u64>,
    pub(super) user: Option<UserId>,
}

impl State {
    /// The heartbeat of the connection, once Discord has said how often it wants one.
    pub(super) fn heartbeat(&mut self) -> Option<&mut Heartbeat> {
        match self {
            Self::AwaitTurn { heartbeat }
            | Self::AwaitReady { heartbeat, .. }
            | Self::AwaitResumed { heartbeat, .. }
            | Self::Ready { heartbeat } => Some(heartbeat),
            _ => None,
        }
    }
}
