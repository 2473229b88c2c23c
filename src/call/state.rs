//! The states of a call, each with what it alone needs to know.

use std::time::Instant;

use super::{Cause, EndReason};
use crate::{gateway::session::Credentials, id::ChannelId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The call has never had credentials: a join that fails now fails to the user.
    AwaitFirstCredentials {
        until: Instant,
        /// Where a moderator put the bot, as was told.
        moved: Option<ChannelId>,
    },
    /// The call has, or had, a voice session with these credentials; a join that fails now is tried again.
    InVoice {
        credentials: Credentials,
        connection: Connection,
        /// Set once the call is to end, while it ends its speech.
        ending: Option<EndingSpeech>,
    },
    /// Nothing happens any more. The last credentials say where Discord may still see the bot.
    Ended { credentials: Option<Credentials> },
}

/// How far the voice session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    AwaitCredentials { until: Instant },
    AwaitSession(Missing),
    Live,
    Resuming { attempt: u32 },
    Backoff { until: Instant, then: Step },
    AwaitMove { until: Instant, cause: Cause },
}

/// What a new voice session still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Both,
    Transport,
    /// Others are in the call, and the group is not formed yet: what is said before is heard by nobody.
    Encryption {
        until: Instant,
    },
}

/// What follows a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Resume { attempt: u32 },
    Rejoin,
}

/// The bot still has to tell Discord that it no longer speaks; then the call ends for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndingSpeech {
    pub(super) until: Instant,
    pub(super) reason: EndReason,
}

impl State {
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        match self {
            Self::AwaitFirstCredentials { .. } => None,
            Self::InVoice { credentials, .. } => Some(credentials),
            Self::Ended { credentials } => credentials.as_ref(),
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        match self {
            Self::InVoice { connection, .. } => Some(connection),
            Self::AwaitFirstCredentials { .. } | Self::Ended { .. } => None,
        }
    }

    pub(super) fn ending(&self) -> Option<&EndingSpeech> {
        match self {
            Self::InVoice { ending, .. } => ending.as_ref(),
            Self::AwaitFirstCredentials { .. } | Self::Ended { .. } => None,
        }
    }
}

impl Connection {
    /// Whether frames can be sent: also while only the websocket is being resumed.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live | Self::Resuming { .. } | Self::Backoff { then: Step::Resume { .. }, .. })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::AwaitCredentials { until }
            | Self::Backoff { until, .. }
            | Self::AwaitMove { until, .. }
            | Self::AwaitSession(Missing::Encryption { until }) => Some(*until),
            Self::AwaitSession(_) | Self::Live | Self::Resuming { .. } => None,
        }
    }
}
