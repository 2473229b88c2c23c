//! Why a join fails, and why nobody hears a bot that is in voice.

use super::ALLOCATION_TIMEOUT;

/// Why no credentials came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFailure {
    /// Neither event came: Discord refuses in silence.
    #[error(
        "no events came back in time: the channel may be full, VIEW_CHANNEL or CONNECT may be missing, \
         or the bot may not be in that guild"
    )]
    NoAnswer,
    /// Only VOICE_SERVER_UPDATE came.
    #[error("VOICE_SERVER_UPDATE came but no VOICE_STATE_UPDATE: is the intent GUILD_VOICE_STATES set?")]
    NoState,
    /// Only VOICE_STATE_UPDATE came.
    #[error(
        "VOICE_STATE_UPDATE came but no VOICE_SERVER_UPDATE: does the bot forward it, and is no other session of it in voice there?"
    )]
    NoServer,
    /// The events came, with a null endpoint, and no other followed.
    #[error("no voice server was allocated within {}s: Discord has none to give now, try again later", ALLOCATION_TIMEOUT.as_secs())]
    NoEndpoint,
    /// The main gateway is away.
    #[error("the main gateway is away, so Discord could not be asked: join again when it is back")]
    NoGateway,
    /// The main gateway answers nothing at all.
    #[error(
        "the main gateway took the request but has answered nothing since, not even a heartbeat: the connection to it is \
         slow or dead; join again when it answers"
    )]
    SlowGateway,
    /// Discord has an outage in the guild.
    #[error("Discord has an outage in this guild, which is unavailable: join again when it is back")]
    GuildUnavailable,
    /// Another channel was asked for meanwhile.
    #[error("another channel was asked for before Discord had answered")]
    Superseded,
}

/// Why nobody hears a bot that is in voice and speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Suppression {
    /// A moderator muted it on this server.
    #[error("a moderator muted the bot on this server: nobody hears it until it is unmuted")]
    Muted,
    /// It is in the audience of a stage channel.
    #[error(
        "the bot is in the audience of a stage channel: nobody hears it until a moderator lets it speak, or it sends \
         PATCH /guilds/{{guild.id}}/voice-states/@me with suppress false"
    )]
    Suppressed,
}
