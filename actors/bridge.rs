//! Bridge: between a bot's main gateway and its calls.

use std::collections::HashMap;

use actix::{Actor, Context, Handler, Message, Recipient, WeakRecipient};

use super::{Alarm, Driven, manager::Plug, now};
use crate::{
    bridge::{
        Action, GuildVoice, JoinFailure, Suppression,
        events::{UpdateVoiceState, VoiceServer, VoiceState},
    },
    gateway::session::Credentials,
    id::{ChannelId, GuildId, UserId},
};

impl Message for UpdateVoiceState {
    type Result = ();
}

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

/// **Your bot → VoiceManager → Bridge.** A GUILD_DELETE: the bot left the guild, or it is unavailable. Ends its call.
///
/// Optional: without it, the call finds out when Discord closes its connections.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct GuildDeleted(pub GuildId);

/// **Call → Bridge.** Be in this channel, and report to this call.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Seek {
    pub(super) guild: GuildId,
    pub(super) channel: ChannelId,
    pub(super) generation: u64,
    pub(super) call: WeakRecipient<FromBridge>,
}

/// **Call → Bridge.** The credentials are of no use any more: get fresh ones.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SeekAgain(pub(super) GuildId);

/// **Call → Bridge.** Leave the channel.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Leave(pub(super) GuildId);

/// **Call → Bridge.** The call is over; nobody wants reports.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Forget(pub(super) GuildId);

/// **Call → Bridge.** The bot is in voice with these credentials already, for this call: the bridge before knew.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Adopt {
    pub(super) credentials: Credentials,
    pub(super) generation: u64,
    pub(super) call: WeakRecipient<FromBridge>,
}

/// **Bridge → VoiceManager.** The bridge is no more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct BridgeGone;

/// **Bridge → Call.** What the main gateway says.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) enum FromBridge {
    Credentials(Credentials),
    EndpointLost,
    Moved(ChannelId),
    NotMoved(JoinFailure),
    Disconnected,
    Failed(JoinFailure),
    MainSessionReplaced,
    Suppression(Option<Suppression>),
    GuildDeleted,
    /// The main gateway is away.
    CutOff,
    /// It is back.
    Back,
}

/// The actor over one [`GuildVoice`] per guild.
pub(super) struct Bridge {
    owner: WeakRecipient<BridgeGone>,
    user: UserId,
    gateway: Recipient<UpdateVoiceState>,
    session: MainSession,
    guilds: HashMap<GuildId, Guild>,
    alarm: Alarm,
}

/// Whether the main gateway can be asked for anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MainSession {
    Up,
    Lost,
}

struct Guild {
    rendezvous: GuildVoice,
    /// The number of the call that the rendezvous is for.
    generation: u64,
    /// None once the call is over, and only its goodbye is awaited.
    call: Option<WeakRecipient<FromBridge>>,
}

impl Guild {
    fn tell(&self, report: FromBridge) {
        if let Some(call) = self.call.as_ref().and_then(WeakRecipient::upgrade) {
            call.do_send(report);
        }
    }
}

impl Bridge {
    pub(super) fn new(
        user: UserId,
        gateway: Recipient<UpdateVoiceState>,
        owner: WeakRecipient<BridgeGone>,
    ) -> Self {
        Self {
            owner,
            user,
            gateway,
            session: MainSession::Up,
            guilds: HashMap::new(),
            alarm: Alarm::default(),
        }
    }

    /// The main gateway can be asked again; nothing that expired meanwhile counts.
    fn resumed(&mut self) {
        if self.session == MainSession::Lost {
            self.guilds.values_mut().for_each(|guild| guild.rendezvous.session_resumed(now()));
            self.back();
        }
    }

    fn back(&mut self) {
        if std::mem::replace(&mut self.session, MainSession::Up) == MainSession::Lost {
            self.guilds.values().for_each(|guild| guild.tell(FromBridge::Back));
        }
    }

    /// The guild of a call, whatever it was before.
    fn guild_of(&mut self, id: GuildId, generation: u64, call: WeakRecipient<FromBridge>) -> &mut Guild {
        let user = self.user;
        let entry = self.guilds.entry(id);
        let guild =
            entry.or_insert_with(|| Guild { rendezvous: GuildVoice::new(id, user), generation, call: None });
        guild.call = Some(call);
        if self.session == MainSession::Lost {
            guild.tell(FromBridge::CutOff);
        }
        guild
    }

    fn rendezvous(&mut self, guild: GuildId) -> Option<&mut GuildVoice> {
        self.guilds.get_mut(&guild).map(|guild| &mut guild.rendezvous)
    }

    fn carry_out(&self, id: GuildId, action: Action) {
        let Some(guild) = self.guilds.get(&id) else { return };
        match action {
            Action::UpdateVoiceState(channel) => {
                // A bot that is gone answers nothing, which the deadline finds.
                self.gateway.do_send(UpdateVoiceState {
                    guild: id,
                    channel,
                    self_mute: false,
                    self_deaf: false,
                });
            }
            Action::Credentials(credentials) => guild.tell(FromBridge::Credentials(credentials)),
            Action::EndpointLost => guild.tell(FromBridge::EndpointLost),
            Action::Moved(channel) => guild.tell(FromBridge::Moved(channel)),
            Action::NotMoved(failure) => guild.tell(FromBridge::NotMoved(failure)),
            Action::Suppression(silenced) => guild.tell(FromBridge::Suppression(silenced)),
            Action::Disconnected => guild.tell(FromBridge::Disconnected),
            Action::Failed(_) if !self.gateway.connected() => {
                guild.tell(FromBridge::Failed(JoinFailure::NoGateway));
            }
            Action::Failed(failure) => guild.tell(FromBridge::Failed(failure)),
        }
    }
}

impl Driven for Bridge {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        if self.session == MainSession::Lost {
            // No question arrives, and no silence is an answer.
            return self.alarm.set(None, ctx);
        }
        let guilds: Vec<GuildId> = self.guilds.keys().copied().collect();
        for guild in guilds {
            while let Some(action) = self.rendezvous(guild).and_then(|rendezvous| rendezvous.poll(now())) {
                self.carry_out(guild, action);
            }
        }
        self.guilds.retain(|_, guild| guild.call.is_some() || !guild.rendezvous.is_away());
        self.alarm.set(self.guilds.values().filter_map(|guild| guild.rendezvous.deadline()).min(), ctx);
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(BridgeGone);
        }
    }
}

impl Handler<VoiceStateUpdate> for Bridge {
    type Result = ();

    fn handle(&mut self, VoiceStateUpdate(state): VoiceStateUpdate, ctx: &mut Context<Self>) {
        // Most are of others.
        if state.user != self.user {
            return;
        }
        if let Some(rendezvous) = state.guild.and_then(|guild| self.rendezvous(guild)) {
            rendezvous.voice_state(&state, now());
            self.drive(ctx);
        }
    }
}

impl Handler<VoiceServerUpdate> for Bridge {
    type Result = ();

    fn handle(&mut self, VoiceServerUpdate(server): VoiceServerUpdate, ctx: &mut Context<Self>) {
        if let Some(rendezvous) = self.rendezvous(server.guild) {
            rendezvous.voice_server(&server, now());
            self.drive(ctx);
        }
    }
}

impl Handler<MainSessionReplaced> for Bridge {
    type Result = ();

    fn handle(&mut self, _: MainSessionReplaced, ctx: &mut Context<Self>) {
        self.back();
        for guild in self.guilds.values_mut() {
            guild.rendezvous.session_replaced(now());
            guild.tell(FromBridge::MainSessionReplaced);
        }
        self.drive(ctx);
    }
}

impl Handler<MainGatewayLost> for Bridge {
    type Result = ();

    fn handle(&mut self, _: MainGatewayLost, ctx: &mut Context<Self>) {
        self.session = MainSession::Lost;
        self.guilds.values().for_each(|guild| guild.tell(FromBridge::CutOff));
        self.drive(ctx);
    }
}

impl Handler<MainGatewayRestored> for Bridge {
    type Result = ();

    fn handle(&mut self, _: MainGatewayRestored, ctx: &mut Context<Self>) {
        self.resumed();
        self.drive(ctx);
    }
}

impl Handler<GuildDeleted> for Bridge {
    type Result = ();

    fn handle(&mut self, GuildDeleted(guild): GuildDeleted, ctx: &mut Context<Self>) {
        if let Some(guild) = self.guilds.get_mut(&guild) {
            guild.rendezvous.guild_deleted();
            guild.tell(FromBridge::GuildDeleted);
        }
        self.drive(ctx);
    }
}

impl Handler<Plug> for Bridge {
    type Result = ();

    fn handle(&mut self, Plug { user, gateway }: Plug, ctx: &mut Context<Self>) {
        self.user = user;
        self.gateway = gateway;
        self.resumed();
        self.drive(ctx);
    }
}

impl Handler<Seek> for Bridge {
    type Result = ();

    fn handle(&mut self, Seek { guild, channel, generation, call }: Seek, ctx: &mut Context<Self>) {
        let known = self.guild_of(guild, generation, call);
        if std::mem::replace(&mut known.generation, generation) == generation {
            known.rendezvous.join(channel, now());
        } else {
            known.rendezvous.take_over(channel, now());
        }
        self.drive(ctx);
    }
}

impl Handler<Adopt> for Bridge {
    type Result = ();

    fn handle(&mut self, Adopt { credentials, generation, call }: Adopt, _: &mut Context<Self>) {
        self.guild_of(credentials.guild, generation, call).rendezvous.adopt(&credentials);
    }
}

impl Handler<SeekAgain> for Bridge {
    type Result = ();

    fn handle(&mut self, SeekAgain(guild): SeekAgain, ctx: &mut Context<Self>) {
        if let Some(rendezvous) = self.rendezvous(guild) {
            rendezvous.rejoin(now());
            self.drive(ctx);
        }
    }
}

impl Handler<Leave> for Bridge {
    type Result = ();

    fn handle(&mut self, Leave(guild): Leave, ctx: &mut Context<Self>) {
        if let Some(rendezvous) = self.rendezvous(guild) {
            rendezvous.leave(now());
            self.drive(ctx);
        }
    }
}

impl Handler<Forget> for Bridge {
    type Result = ();

    fn handle(&mut self, Forget(guild): Forget, ctx: &mut Context<Self>) {
        if let Some(guild) = self.guilds.get_mut(&guild) {
            guild.call = None;
        }
        self.drive(ctx);
    }
}
