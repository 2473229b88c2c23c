//! What a bridge is told, asked and reports.

use std::{fmt, sync::Arc};

use actix::{Message, Recipient, WeakRecipient};

use crate::{
    bridge::{
        CallRequest, Report, SendLimit,
        events::{UpdateVoiceState, VoiceServer, VoiceState},
    },
    id::{ChannelId, GuildId, SessionId, ShardId, UserId},
};

impl Message for UpdateVoiceState {
    type Result = ();
}

/// **Your bot → VoiceManager → Bridge.** Use this main gateway: who the bot is, and where its op 4 goes.
///
/// A bot that shards sends one for each shard. Another user than before ends the calls of the one before, and another
/// count of shards takes the place of all shards before.
#[derive(Clone, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Plug {
    /// The bot's own user.
    pub user: UserId,
    /// Takes [`UpdateVoiceState`] and sends it to Discord as op 4.
    pub gateway: Recipient<UpdateVoiceState>,
    /// The `session_id` of READY; with it, voice states of other programs with the same token are told apart.
    pub session: Option<SessionId>,
    /// Whose guilds come to this main gateway: all, unless the bot shards.
    pub shard: ShardId,
    /// Which guilds these are, if the bot does not share them out by Discord's formula.
    pub guilds: Option<GuildPredicate>,
    /// Is asked whether the main gateway still answers.
    pub prober: Option<Recipient<ProbeMainGateway>>,
    /// How many op 4 it takes.
    pub send_limit: SendLimit,
}

impl Plug {
    /// A main gateway that is this user, and sends op 4 for it.
    #[must_use]
    pub fn new(user: UserId, gateway: Recipient<UpdateVoiceState>) -> Self {
        let send_limit = SendLimit::default();
        Self { user, gateway, session: None, shard: ShardId::SINGLE, guilds: None, prober: None, send_limit }
    }

    /// Takes as many op 4 as this says, and not only as many as Discord takes.
    #[must_use]
    pub fn send_limit(self, send_limit: SendLimit) -> Self {
        Self { send_limit, ..self }
    }

    /// Takes [`ProbeMainGateway`]. With it, a connection that swallows what is written to it is found within seconds.
    #[must_use]
    pub fn prober(self, prober: Recipient<ProbeMainGateway>) -> Self {
        Self { prober: Some(prober), ..self }
    }

    /// One shard of several: it is added to the others, and takes the place of an earlier one for the same shard.
    #[must_use]
    pub fn shard(self, shard: ShardId) -> Self {
        Self { shard, ..self }
    }

    /// The guilds that come to this main gateway, for bots that share them out in another way than by Discord's formula. The
    /// shard is then only its name, and another for each main gateway. A guild that no predicate takes is where the formula
    /// has it; one that several take is with the first.
    #[must_use]
    pub fn guilds(self, are_here: impl Fn(GuildId) -> bool + Send + Sync + 'static) -> Self {
        Self { guilds: Some(GuildPredicate::new(are_here)), ..self }
    }

    /// The `session_id` of READY.
    #[must_use]
    pub fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }
}

/// Tells which guilds come to a main gateway.
#[derive(Clone)]
pub struct GuildPredicate(Arc<dyn Fn(GuildId) -> bool + Send + Sync>);

impl GuildPredicate {
    /// Those of which this is true. It is asked for every voice event, so it has to be quick and to give the same answer.
    pub fn new(are_here: impl Fn(GuildId) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(are_here))
    }

    /// Whether what concerns this guild comes here.
    #[must_use]
    pub fn has(&self, guild: GuildId) -> bool {
        (self.0)(guild)
    }
}

impl fmt::Debug for GuildPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuildPredicate")
    }
}

/// **Bridge → your bot.** An op 4 has no answer, or the voice gateway is silent: send a heartbeat to the main gateway of
/// this shard now. When it is answered, say [`MainGatewayAnswered`]; when nothing comes for some seconds, the connection is
/// dead: say [`MainGatewayLost`], and reconnect.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ProbeMainGateway(pub ShardId);

/// **Your bot → VoiceManager → Bridge.** The main gateway has answered a probe.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct MainGatewayAnswered;

/// **Your bot → VoiceManager → Bridge.** A VOICE_STATE_UPDATE, of any user.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct VoiceStateUpdate(pub VoiceState);

/// **Your bot → VoiceManager → Bridge.** A VOICE_SERVER_UPDATE.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct VoiceServerUpdate(pub VoiceServer);

/// **Your bot → VoiceManager → Bridge.** The main gateway began a new session (READY, not RESUMED): the bot is in no
/// voice channel any more, and joins its channels again.
///
/// Optional: without it, the calls find out when Discord closes their connections.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct MainSessionReplaced;

/// **Your bot → VoiceManager → Bridge.** The main gateway is away: nothing is expected of it until [`MainGatewayRestored`],
/// [`MainSessionReplaced`] or [`Plug`].
///
/// Optional: without it, a call that has to join again meanwhile gives up after a minute.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct MainGatewayLost;

/// **Your bot → VoiceManager → Bridge.** The main gateway is back, and its session goes on (RESUMED).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct MainGatewayRestored;

/// **Your bot → VoiceManager → Bridge.** A GUILD_DELETE with `unavailable`: an outage. The call waits for
/// [`GuildAvailable`], up to ten minutes.
///
/// Optional: without it, the call tries again as after any loss.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct GuildUnavailable(pub GuildId);

/// **Your bot → VoiceManager → Bridge.** A GUILD_CREATE; after an outage it says where the bot is.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct GuildAvailable {
    /// The guild.
    pub guild: GuildId,
    /// Who is in its channels.
    pub voice_states: Vec<VoiceState>,
}

/// **Your bot → VoiceManager → Bridge.** This channel is a stage, as GUILD_CREATE and CHANNEL_CREATE say (type 13): its calls
/// are not end-to-end encrypted.
///
/// Optional: a stage is also known by the bot being in its audience.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StageChannel {
    /// The guild.
    pub guild: GuildId,
    /// The channel.
    pub channel: ChannelId,
}

/// **Your bot → VoiceManager → Bridge.** A GUILD_DELETE: the bot is not in the guild any more. Ends its call.
///
/// Optional: without it, the call finds out when Discord closes its connections.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct GuildDeleted(pub GuildId);

/// **VoiceManager → Bridge.** Report to this call of the guild, and take its requests.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct RegisterCall {
    pub(in crate::actors) guild: GuildId,
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) call: WeakRecipient<Report>,
}

/// **Call → Bridge.**
impl Message for CallRequest {
    type Result = ();
}

/// **Bridge → Call.**
impl Message for Report {
    type Result = ();
}

/// **Bridge → VoiceManager.** The bridge of this shard is no more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct BridgeExited(pub(in crate::actors) ShardId);
