//! The close codes of the main gateway, and every other way to lose it.
//!
//! [Discord's table](https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes).

use thiserror::Error;

/// Why the main gateway refuses us for good; connecting again would end the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MainGatewayError {
    /// Close code 4004.
    #[error("Discord rejected the bot token (401, 4004): copy it anew from the developer portal, page Bot")]
    BadToken,
    /// Close code 4010.
    #[error("Discord rejected the shard (4010): each index in Shards::Of has to be below its total")]
    BadShard,
    /// Close code 4011.
    #[error(
        "the bot is in too many guilds for so few shards (4011): use Shards::Auto, or a greater total in Shards::Of"
    )]
    ShardingRequired,
    /// Close code 4012.
    #[error("Discord no longer speaks version 10 of its gateway (4012): update actix-voice")]
    BadVersion,
    /// Close code 4013.
    #[error("Discord rejected the intents (4013), please report it")]
    BadIntents,
    /// Close code 4014.
    #[error("Discord disallows the intents (4014): enable them in the developer portal, page Bot")]
    DisallowedIntents,
    /// The actor of a connection panicked.
    #[error("the main gateway panicked again and again; this is a bug of ours, please report it")]
    Panicked,
}

/// Why a connection to the main gateway was lost; another follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Loss {
    /// Discord closed it, with this code.
    #[error("closed with {0}")]
    Closed(u16),
    /// It ended without a close frame, or never opened.
    #[error("connection lost")]
    Severed,
    /// A heartbeat was not answered.
    #[error("heartbeat not answered")]
    Zombie,
    /// Discord asked for it (op 7).
    #[error("Discord asks to reconnect")]
    ReconnectAsked,
    /// Discord no longer knows the session (op 9).
    #[error("session invalid")]
    InvalidSession,
    /// Nothing came in time.
    #[error("waited for {awaited} in vain")]
    Timeout {
        /// What was awaited.
        awaited: &'static str,
    },
}

/// What to do after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Resume,
    Identify,
    Fail(MainGatewayError),
}

/// The table: one row per code.
pub(super) fn reaction(code: u16) -> Reaction {
    match code {
        4004 => Reaction::Fail(MainGatewayError::BadToken),
        4007 | 4009 => Reaction::Identify,
        4010 => Reaction::Fail(MainGatewayError::BadShard),
        4011 => Reaction::Fail(MainGatewayError::ShardingRequired),
        4012 => Reaction::Fail(MainGatewayError::BadVersion),
        4013 => Reaction::Fail(MainGatewayError::BadIntents),
        4014 => Reaction::Fail(MainGatewayError::DisallowedIntents),
        _ => Reaction::Resume,
    }
}
