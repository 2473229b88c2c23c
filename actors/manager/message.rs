//! What a bot says to its manager, and what can be wrong with it.

#[cfg(feature = "decode")]
use std::path::PathBuf;

use actix::{Actor, ArbiterHandle, Context, Handler, Message, Recipient};
use tokio::sync::mpsc;

use crate::{
    actors::{CallEvent, CallHandle, CallStats, Demand, Player, UpdateVoiceState},
    bridge::JoinFailure,
    call::EndReason,
    gateway::payload::SpeakingFlags,
    id::{ChannelId, GuildId, UserId},
    source::{Source, SourceError},
    speaker::TrackId,
};

/// **Your bot → VoiceManager.** Use this main gateway: who the bot is, and where its op 4 goes.
#[derive(Clone, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Plug {
    /// The bot's own user.
    pub user: UserId,
    /// Takes [`UpdateVoiceState`] and sends it to Discord as op 4.
    pub gateway: Recipient<UpdateVoiceState>,
}

impl Plug {
    /// A main gateway that is this user, and sends op 4 for it.
    #[must_use]
    pub fn new(user: UserId, gateway: Recipient<UpdateVoiceState>) -> Self {
        Self { user, gateway }
    }
}

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
}

impl Join {
    /// Joins this voice or stage channel of this guild.
    #[must_use]
    pub fn new(guild: GuildId, channel: ChannelId) -> Self {
        Self { guild, channel }
    }
}

/// **VoiceManager → VoiceManager.** Join with the call that is there, or a new one. Answered with none by a call that was
/// on its way out.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Result<CallHandle, JoinError>>")]
pub(super) struct TryJoin(pub(super) Join);

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

/// **Your bot → VoiceManager.** Play something in the call of this guild. Several tracks are mixed.
#[derive(Message)]
#[rtype(result = "Result<TrackId, SpeakError>")]
pub struct Speak {
    pub(in crate::actors) guild: GuildId,
    /// Only in the call with this number; none means whatever call is there.
    pub(in crate::actors) generation: Option<u64>,
    pub(super) material: Material,
    pub(super) flags: SpeakingFlags,
    pub(super) volume: f32,
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

/// **Your bot → VoiceManager.** [`Plug`] for programs without actors: op 4 goes to a channel. Read it promptly; ten are room
/// enough.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct PlugChannel {
    /// The bot's own user.
    pub user: UserId,
    /// Takes [`UpdateVoiceState`], to be sent to Discord as op 4.
    pub gateway: mpsc::Sender<UpdateVoiceState>,
}

impl PlugChannel {
    /// A main gateway that is this user, and sends op 4 for it.
    #[must_use]
    pub fn new(user: UserId, gateway: mpsc::Sender<UpdateVoiceState>) -> Self {
        Self { user, gateway }
    }
}

/// **Your bot → VoiceManager.** Tell this actor what happens in the calls, for as long as it lives: one event after the
/// other, each once it is done with the one before. Of an actor that is a thousand events behind the newest are dropped.
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
/// dropped; what does not fit is dropped.
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

/// Why a channel was not joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No main gateway is plugged in.
    #[error("no main gateway is plugged in: send Plug, or start a MainGateway")]
    NotPlugged,
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
    /// The file cannot be played.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Why a manager could not be started as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A certificate to be trusted cannot be read.
    #[error("the certificate to trust cannot be read: {0}")]
    Certificate(String),
    /// The system gave no thread, or no actix System began on it.
    #[error("no thread for the manager: {0}")]
    Thread(String),
}

/// What is to be played.
pub(super) enum Material {
    #[cfg(feature = "decode")]
    File(PathBuf),
    Player(Starter),
    Guest(Starter),
}

/// Starts a source, on this arbiter if there is one.
pub(super) type Starter = Box<dyn FnOnce(Option<&ArbiterHandle>) -> Recipient<Demand> + Send>;

pub(super) fn starter<A>(actor: A) -> Starter
where
    A: Actor<Context = Context<A>> + Handler<Demand> + Send,
{
    Box::new(move |arbiter| match arbiter {
        Some(arbiter) => A::start_in_arbiter(arbiter, |_| actor).recipient(),
        None => actor.start().recipient(),
    })
}

impl Speak {
    /// Plays a file: anything that [`source::open`](crate::source::open) reads.
    #[cfg(feature = "decode")]
    pub fn file(guild: GuildId, path: impl Into<PathBuf>) -> Self {
        Self::new(guild, Material::File(path.into()))
    }

    /// Plays a [`Source`], run by a [`Player`] of its own.
    pub fn source<S: Source + Unpin>(guild: GuildId, source: S) -> Self {
        Self::new(guild, Material::Player(starter(Player::new(source))))
    }

    /// Starts this actor on an arbiter for source actors, and plays what it supplies. One that blocks holds up the others
    /// there; a [`Source`] may block.
    pub fn start<A>(guild: GuildId, actor: A) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Demand> + Send,
    {
        Self::new(guild, Material::Guest(starter(actor)))
    }

    /// Plays what an actor supplies that runs already.
    pub fn actor(guild: GuildId, source: Recipient<Demand>) -> Self {
        Self::new(guild, Material::Guest(Box::new(|_| source)))
    }

    fn new(guild: GuildId, material: Material) -> Self {
        Self { guild, generation: None, material, flags: SpeakingFlags::MICROPHONE, volume: 1.0 }
    }

    /// How the track speaks: microphone unless said otherwise. Priority counts only with the permission for it.
    #[must_use]
    pub fn flags(self, flags: SpeakingFlags) -> Self {
        Self { flags, ..self }
    }

    /// How loud the track is: 1.0 as it comes, 0.5 half the amplitude. Other than 1.0 means decoding and encoding.
    #[must_use]
    pub fn volume(self, volume: f32) -> Self {
        Self { volume, ..self }
    }
}

/// **Your bot → VoiceManager.** Leave all calls, and stop the manager and its threads. Answered once the calls are over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Shutdown;
