//! What a bot says to its manager.

use actix::{Message, Recipient};
use tokio::sync::mpsc;

use super::handle::CallHandle;
use crate::{
    actors::{bridge::GuildPredicate, call::JoinError, event::CallEvent, stats::CallStats},
    bridge::events::{SelfFlags, UpdateVoiceState},
    id::{ChannelId, GuildId, ShardId, UserId},
    speaker::TrackId,
};

/// **Your bot → VoiceManager.** Join a voice channel, or move to it. Answered once the call can speak.
///
/// Before a main gateway is plugged in, it waits for one for up to 30 s. Discord refuses in silence, which takes 10 s to
/// notice; with a voice server that is still to be allocated, or failures on the way, it may take minutes. Dropping the
/// request does not leave the channel. In an encrypted call it is answered even when the group is not formed within 5 s;
/// what is said until then is withheld.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<CallHandle, JoinError>")]
#[non_exhaustive]
pub struct Join {
    /// The guild.
    pub guild: GuildId,
    /// The voice or stage channel.
    pub channel: ChannelId,
    /// How the bot appears to others: by default deaf, as one that only speaks. While anyone listens it is never deaf: see
    /// [`Listen`](crate::actors::Listen).
    pub flags: SelfFlags,
}

impl Join {
    /// Joins this voice or stage channel of this guild.
    #[must_use]
    pub fn new(guild: GuildId, channel: ChannelId) -> Self {
        Self { guild, channel, flags: SelfFlags::default() }
    }

    /// How the bot appears to others.
    #[must_use]
    pub fn flags(self, flags: SelfFlags) -> Self {
        Self { flags, ..self }
    }
}

/// **MainGateway → VoiceManager.** This main gateway is gone for good.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Unplug(pub(in crate::actors) Recipient<UpdateVoiceState>);

/// **Your bot → VoiceManager.** Leave the voice channel of this guild. Answered with what the call has done, once it
/// has ended its speech and left; with none if there was no call.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<CallStats>")]
pub struct Disconnect {
    /// The guild.
    pub guild: GuildId,
}

/// **Your bot → VoiceManager.** Stop a track, or all of the guild's.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopSpeaking {
    /// The guild.
    pub guild: GuildId,
    /// The track; none means all.
    pub track: Option<TrackId>,
}

/// **Your bot → VoiceManager.** [`Plug`](crate::actors::Plug) for programs without actors: op 4 goes to a channel. Read it promptly; ten are room
/// enough.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct PlugChannel {
    /// The bot's own user.
    pub user: UserId,
    /// Takes [`UpdateVoiceState`], to be sent to Discord as op 4.
    pub gateway: mpsc::Sender<UpdateVoiceState>,
    /// Whose guilds come to this main gateway: all, unless the bot shards.
    pub shard: ShardId,
    /// Which guilds these are, if the bot does not share them out by Discord's formula.
    pub guilds: Option<GuildPredicate>,
}

impl PlugChannel {
    /// A main gateway that is this user, and sends op 4 for it.
    #[must_use]
    pub fn new(user: UserId, gateway: mpsc::Sender<UpdateVoiceState>) -> Self {
        Self { user, gateway, shard: ShardId::SINGLE, guilds: None }
    }

    /// One shard of several: it is added to the others, and takes the place of an earlier one for the same shard.
    #[must_use]
    pub fn shard(self, shard: ShardId) -> Self {
        Self { shard, ..self }
    }

    /// The guilds that come to this main gateway, as with [`Plug::guilds`](crate::actors::Plug::guilds).
    #[must_use]
    pub fn guilds(self, are_here: impl Fn(GuildId) -> bool + Send + Sync + 'static) -> Self {
        Self { guilds: Some(GuildPredicate::new(are_here)), ..self }
    }
}

/// **Your bot → VoiceManager.** Tell this actor what happens in the calls, for as long as it lives: one event after the
/// other, each once it is done with the one before. Of an actor that is a thousand events behind the newest are dropped,
/// but never the end of a call.
#[derive(Clone, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Subscribe {
    /// Only of this guild; none means all.
    pub guild: Option<GuildId>,
    /// Who is told.
    pub to: Recipient<CallEvent>,
}

impl Subscribe {
    /// Tells of the calls of all guilds.
    #[must_use]
    pub fn new(to: Recipient<CallEvent>) -> Self {
        Self { guild: None, to }
    }

    /// Tells only of this guild's calls.
    #[must_use]
    pub fn guild(self, guild: GuildId) -> Self {
        Self { guild: Some(guild), ..self }
    }
}

/// **Your bot → VoiceManager.** [`Subscribe`] for programs without actors: events go to a channel, until its receiver is
/// dropped; what does not fit is dropped, but the end of a call waits until there is room.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct SubscribeChannel {
    /// Only of this guild; none means all.
    pub guild: Option<GuildId>,
    /// Who is told.
    pub to: mpsc::Sender<CallEvent>,
}

impl SubscribeChannel {
    /// Tells of the calls of all guilds.
    #[must_use]
    pub fn new(to: mpsc::Sender<CallEvent>) -> Self {
        Self { guild: None, to }
    }

    /// Tells only of this guild's calls.
    #[must_use]
    pub fn guild(self, guild: GuildId) -> Self {
        Self { guild: Some(guild), ..self }
    }
}

/// **MainGateway or your bot → VoiceManager.** The bitrate of a voice channel, in bits per second; audio that is encoded
/// here uses it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ChannelBitrate {
    /// The channel.
    pub channel: ChannelId,
    /// Bits per second, 8,000 to 384,000.
    pub bitrate: u32,
}

/// **Your bot → VoiceManager.** Leave all calls, and end the threads of the manager, with every
/// [`MainGateway`](crate::actors::MainGateway) that runs on them. Answered once the calls are over; until then every [`Join`]
/// is refused.
///
/// A manager whose address is kept, or that is registered, sleeps from then on, and is ready again with the next [`Join`] or
/// `MainGateway`: with its configuration, subscribers, and what is plugged in. One that was
/// [spawned](crate::actors::VoiceManager::spawn) is gone.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Shutdown;

/// **MainGateway → VoiceManager.** Run this on the control arbiter.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct RunOnControlArbiter(pub(in crate::actors) Box<dyn FnOnce() + Send>);
