//! What the voice of a guild asks of the main gateway, and reports to its call.

use super::{
    events::UpdateVoiceState,
    reason::{JoinFailure, Suppression},
};
use crate::{gateway::session::Credentials, id::ChannelId};

/// What the main gateway is asked, and what the call is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send this op 4, Update Voice State.
    ///
    /// Answered with [`GuildVoice::op_4_sent`](super::GuildVoice::op_4_sent) once it has left; a later one replaces it.
    UpdateVoiceState(UpdateVoiceState),
    /// The op 4 that was ordered last is not to be sent any more.
    CancelVoiceUpdate,
    /// Both halves are here: connect to this voice server, with a fresh Identify.
    Credentials(Credentials),
    /// The voice server is gone and another is being allocated: disconnect and wait.
    EndpointLost,
    /// The bot is in another channel now; new credentials normally follow.
    Moved(ChannelId),
    /// The bot had reached the channel that was asked for, and was moved to this one before it could connect.
    Redirected(ChannelId),
    /// The channel that was asked for last was refused; the bot is, or goes back, where it was before.
    NotMoved(JoinFailure),
    /// Whether nobody hears the bot, and why.
    Suppression(Option<Suppression>),
    /// The bot was taken out of voice.
    Kicked,
    /// The guild was unavailable for too long.
    GuildLost,
    /// Another program with the bot's token is in voice in this guild.
    TakenOver,
    /// Nothing came back in time; ask again with [`GuildVoice::rejoin`](super::GuildVoice::rejoin), or [`GuildVoice::leave`](super::GuildVoice::leave).
    Failed(JoinFailure),
}
