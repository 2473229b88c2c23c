//! What goes back and forth between a call and the bridge.

use super::{
    events::SelfFlags,
    reason::{JoinFailure, Suppression},
};
use crate::{
    gateway::session::Credentials,
    id::{ChannelId, GuildId},
};

/// What a call asks of the main gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// The guild of the call.
    pub guild: GuildId,
    /// The number of the call; an older call's requests are ignored.
    pub generation: u64,
    /// What it asks.
    pub request: Request,
}

/// One request of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Be in this channel.
    Join {
        /// The channel.
        channel: ChannelId,
        /// How the bot is to appear there.
        flags: SelfFlags,
    },
    /// The credentials are of no use any more: get fresh ones.
    Rejoin,
    /// Leave the channel.
    Leave,
    /// The bot is in voice with these credentials already: the bridge before knew.
    Adopt {
        /// The credentials.
        credentials: Credentials,
        /// How it appears.
        flags: SelfFlags,
    },
    /// The voice gateway stopped answering: see whether the main gateway still does.
    DoubtMainGateway,
    /// The call is over; nobody wants reports.
    Forget,
}

/// What the bridge reports to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// Connect with these.
    Credentials(Credentials),
    /// The voice server is gone; another is being allocated.
    EndpointLost,
    /// The bot is in another channel now.
    Moved(ChannelId),
    /// The channel that was asked for last is out of reach; the bot stays where it was.
    NotMoved(JoinFailure),
    /// The bot was moved to this channel before it could connect: the join leads there.
    Redirected(ChannelId),
    /// Discord took the bot out of voice.
    Kicked,
    /// Another program with the bot's token is in voice in this guild.
    TakenOver,
    /// Discord has been asked: its answer is awaited from now on.
    Requested,
    /// No credentials came.
    Failed(JoinFailure),
    /// Whether nobody hears the bot, and why.
    Suppression(Option<Suppression>),
    /// The main gateway began a new session.
    MainSessionReplaced,
    /// The main gateway is away.
    MainGatewayLost,
    /// The main gateway is back.
    MainGatewayRestored,
    /// The guild is unavailable.
    GuildUnavailable,
    /// The guild is back.
    GuildAvailable,
    /// The bot left the guild, or the guild was unavailable for too long.
    GuildDeleted,
}
