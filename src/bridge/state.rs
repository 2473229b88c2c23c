//! The states of a guild's voice, each with what it alone needs to know.

use std::time::Instant;

use super::reason::JoinFailure;
use crate::id::{ChannelId, SessionId, Token};

/// Whether the last op 4 has left. No wait for its answer begins before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op4 {
    Queued,
    Sent,
}

/// Where the bot is, and what is awaited.
#[derive(Debug)]
pub(super) enum State {
    /// The bot is in no channel. After a failure, the goal is what the next try asks for.
    Idle { goal: Option<Goal> },
    /// Op 4 with null was sent; with a goal, the bot joins again once it has left.
    AwaitLeft { goal: Option<Goal>, until: Instant },
    /// Op 4 with the goal was sent. `arriving` is until when Discord may take to bring the bot to the goal; none once it
    /// has.
    AwaitEvents {
        goal: Goal,
        arriving: Option<Instant>,
        asked: Asked,
        pending: PendingEvents,
        until: Instant,
    },
    /// The bot is in the channel.
    Joined { session_id: SessionId, channel: ChannelId, server: ServerState, moving: Option<Move> },
}

/// Whether Discord knows of a join at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    Yes,
}

/// Where the call wants to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) channel: ChannelId,
    /// Where the bot was when it was last in voice: it goes back there if the channel is refused.
    pub(super) fallback: Option<ChannelId>,
}

/// A move that the call has asked for, and that Discord has not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) to: ChannelId,
    pub(super) until: Instant,
}

/// What has arrived of the two events.
#[derive(Debug, Default)]
pub(super) struct PendingEvents {
    pub(super) state: Option<(SessionId, ChannelId)>,
    pub(super) server: Option<Server>,
    pub(super) null_endpoint: Endpoint,
}

/// What is known of the voice server of a bot that is in voice.
#[derive(Debug)]
pub(super) enum ServerState {
    /// The call was told of it; at this time, if it came unasked and was taken for another server of the same channel.
    Connected { server: Option<Server>, assumed: Option<Instant> },
    /// It came unasked. If it belongs to a move, the voice state comes in a moment.
    Held { server: Server, until: Instant },
    /// There must be another.
    Awaited { until: Instant, without: JoinFailure },
    /// It has refused the session. Whether that was a kick or a move is told by then, or it was neither.
    Useless { until: Instant },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) token: Token,
    pub(super) endpoint: String,
}

/// Whether a null endpoint was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Endpoint {
    #[default]
    Unseen,
    Null,
}

impl Goal {
    /// Another channel, with what is known of the one before.
    pub(super) fn after(before: Option<Self>, channel: ChannelId) -> Self {
        Self { channel, fallback: before.and_then(|goal| goal.fallback) }
    }
}

impl ServerState {
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Connected { .. } => None,
            Self::Held { until, .. } | Self::Awaited { until, .. } | Self::Useless { until } => Some(*until),
        }
    }
}

impl PendingEvents {
    pub(super) fn missing(&self) -> JoinFailure {
        match (&self.state, &self.server, self.null_endpoint) {
            (Some(_), None, Endpoint::Null) => JoinFailure::NoEndpoint,
            (Some(_), _, _) => JoinFailure::NoServer,
            (None, None, Endpoint::Unseen) => JoinFailure::NoAnswer,
            (None, _, _) => JoinFailure::NoState,
        }
    }
}
