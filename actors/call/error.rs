//! Why a channel is not joined, and why nothing is played.

use crate::{bridge::JoinFailure, call::EndReason, id::GuildId, source::SourceError};

/// Why a channel was not joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No main gateway is plugged in.
    #[error("no main gateway is plugged in: send Plug, or start a MainGateway")]
    NotPlugged,
    /// Too much was asked of a call that is still to come.
    #[error("a thousand requests wait for the call of this guild: wait for their answers first")]
    TooMany,
    /// The media arbiters are too busy, as [`Config::admission`](crate::actors::Config::admission) has it.
    #[error(
        "no media arbiter has room, the least busy uses {per_cent} % of a core: end a call, give the bot more cores, or \
         allow more in Config::admission"
    )]
    Overloaded {
        /// What the least busy media arbiter has used in the last second, in hundredths of a core.
        per_cent: u32,
    },
    /// The call ended before it could speak.
    #[error(transparent)]
    Ended(#[from] EndReason),
    /// The channel was refused, or another was asked for since; a call that was there before goes on where it is.
    #[error(transparent)]
    NotMoved(JoinFailure),
}

/// Why nothing is played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpeakError {
    /// There is no call in this guild.
    #[error("there is no call in guild {0}: join first")]
    NotJoined(GuildId),
    /// Too much was asked of a call that is still to come.
    #[error("a thousand requests wait for the call of this guild: wait for their answers first")]
    TooMany,
    /// The file cannot be played.
    #[error(transparent)]
    Source(#[from] SourceError),
}
