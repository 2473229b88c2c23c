//! What a rendezvous orders and says.

use super::{ALLOCATION, ANSWER};
use crate::{gateway::session::Credentials, id::ChannelId};

/// What the main gateway is asked, and what the call is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send op 4 Voice State Update with this channel; `None` leaves.
    UpdateVoiceState(Option<ChannelId>),
    /// Both halves are here: connect to this voice server, with a fresh Identify.
    Credentials(Credentials),
    /// The voice server is gone and another is being allocated: disconnect and wait.
    EndpointLost,
    /// The bot is in another channel now; new credentials normally follow.
    Moved(ChannelId),
    /// The channel that was asked for last was refused; the bot is, or goes back, where it was before.
    NotMoved(JoinFailure),
    /// Whether nobody hears the bot, and why.
    Suppression(Option<Suppression>),
    /// The bot was taken out of voice.
    Disconnected,
    /// Nothing came back in time; ask again with [`GuildVoice::rejoin`](super::GuildVoice::rejoin), or [`GuildVoice::leave`](super::GuildVoice::leave).
    Failed(JoinFailure),
}

/// Why no credentials came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFailure {
    /// Neither event came: Discord refuses in silence.
    #[error(
        "no events came back within {}s: the channel may be full, VIEW_CHANNEL or CONNECT may be missing, \
         or the bot may not be in that guild", ANSWER.as_secs()
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
    #[error("no voice server was allocated within {}s: Discord has none to give now, try again later", ALLOCATION.as_secs())]
    NoEndpoint,
    /// The main gateway is away.
    #[error("the main gateway is away, so Discord could not be asked: join again when it is back")]
    NoGateway,
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
