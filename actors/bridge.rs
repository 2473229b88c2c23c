//! Bridge: between a bot's main gateway and its calls; each shard has one.

mod message;
mod of_shard;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use actix::{Actor, Context, Handler, Recipient, WeakRecipient};

pub(super) use self::message::{BridgeExited, RegisterCall};
pub use self::{
    message::{
        GuildAvailable, GuildDeleted, GuildUnavailable, MainGatewayAnswered, MainGatewayLost,
        MainGatewayRestored, MainSessionReplaced, Plug, ProbeMainGateway, StageChannel, VoiceServerUpdate,
        VoiceStateUpdate,
    },
    of_shard::OfShard,
};
use super::driven::{Alarm, Driven, now};
use crate::{
    bridge::{
        Action, CallRequest, Doubt, GuildVoice, JoinFailure, Report, Request, VoiceUpdateQueue,
        events::{UpdateVoiceState, VoiceState},
    },
    id::{ChannelId, GuildId, SessionId, ShardId, UserId},
};

/// The actor over one [`GuildVoice`] per guild of a shard.
pub(super) struct Bridge {
    owner: WeakRecipient<BridgeExited>,
    shard: ShardId,
    user: UserId,
    gateway: Recipient<UpdateVoiceState>,
    main_gateway: MainGatewayState,
    /// The name of the main session, where it is known.
    session: Option<SessionId>,
    prober: Option<Recipient<ProbeMainGateway>>,
    doubt: Doubt,
    join_timeout: Duration,
    guilds: HashMap<GuildId, Guild>,
    /// The guilds that have an outage.
    outages: HashSet<GuildId>,
    stages: HashMap<GuildId, HashSet<ChannelId>>,
    updates: VoiceUpdateQueue,
    alarm: Alarm,
}

/// Whether the main gateway can be asked for anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MainGatewayState {
    Up,
    Lost,
}

struct Guild {
    voice: GuildVoice,
    /// The number of the call that the bot was last asked to join for.
    joined_by: Option<u64>,
    /// None once the call is over, and only Discord's confirmation is awaited.
    call: Option<RegisteredCall>,
}

struct RegisteredCall {
    generation: u64,
    reports: WeakRecipient<Report>,
}

impl Guild {
    fn report(&self, report: Report) {
        if let Some(call) = self.call.as_ref().and_then(|call| call.reports.upgrade()) {
            call.do_send(report);
        }
    }

    fn accepts(&self, generation: u64) -> bool {
        self.call.as_ref().is_some_and(|call| call.generation == generation)
    }

    fn request(&mut self, generation: u64, request: Request) {
        match request {
            Request::Join { channel, flags } => {
                self.voice.appear(flags);
                match self.joined_by.replace(generation) {
                    Some(before) if before == generation => self.voice.join(channel, now()),
                    _ => self.voice.take_over(channel, now()),
                }
            }
            Request::Rejoin => self.voice.rejoin(now()),
            Request::Leave => self.voice.leave(now()),
            Request::Adopt { credentials, flags } => {
                self.joined_by = Some(generation);
                self.voice.appear(flags);
                self.voice.adopt(&credentials);
            }
            // Of no guild alone.
            Request::DoubtMainGateway => {}
            Request::Forget => self.call = None,
        }
    }
}

impl Bridge {
    pub(super) fn new(plug: Plug, join_timeout: Duration, owner: WeakRecipient<BridgeExited>) -> Self {
        let Plug { user, gateway, session, shard, prober, send_limit } = plug;
        Self {
            owner,
            shard,
            user,
            gateway,
            main_gateway: MainGatewayState::Up,
            session,
            prober,
            doubt: Doubt::default(),
            join_timeout,
            guilds: HashMap::new(),
            outages: HashSet::new(),
            stages: HashMap::new(),
            updates: VoiceUpdateQueue::new(send_limit),
            alarm: Alarm::default(),
        }
    }

    /// The main gateway can be asked again; nothing that expired meanwhile counts.
    fn main_gateway_restored(&mut self) {
        if self.main_gateway == MainGatewayState::Lost {
            self.guilds.values_mut().for_each(|guild| guild.voice.main_gateway_restored(now()));
            self.report_restored();
        }
    }

    fn report_restored(&mut self) {
        let before = std::mem::replace(&mut self.main_gateway, MainGatewayState::Up);
        if before == MainGatewayState::Lost {
            self.guilds.values().for_each(|guild| guild.report(Report::MainGatewayRestored));
        }
    }

    /// Whether Discord sees the bot, of our own main session, in a guild where there is no call, or one that is over.
    fn is_ghost(&self, guild: GuildId, state: &VoiceState) -> bool {
        let ours = self.session.as_ref().is_some_and(|session| *session == state.session_id);
        let is_over = |guild: &Guild| guild.joined_by.is_some() && guild.voice.is_out();
        ours && state.channel.is_some() && self.guilds.get(&guild).is_none_or(is_over)
    }

    fn voice(&mut self, guild: GuildId) -> Option<&mut GuildVoice> {
        self.guilds.get_mut(&guild).map(|guild| &mut guild.voice)
    }

    /// The guild, known from now on.
    fn guild(&mut self, id: GuildId) -> &mut Guild {
        let (user, join_timeout, session) = (self.user, self.join_timeout, self.session.clone());
        let stages = self.stages.get(&id).into_iter().flatten().copied();
        let outage = self.outages.contains(&id);
        self.guilds.entry(id).or_insert_with(|| {
            let mut voice = GuildVoice::new(id, user, join_timeout);
            voice.main_session(session);
            voice.stages(stages);
            if outage {
                voice.guild_unavailable(now());
            }
            Guild { voice, joined_by: None, call: None }
        })
    }

    /// Sends what may leave now; the answers are awaited from then on.
    fn send_updates(&mut self) {
        while let Some(update) = self.updates.pop(now()) {
            // A bot that is gone answers nothing, which the deadline finds.
            self.gateway.do_send(update);
            self.doubt.asked(now());
            if let Some(guild) = self.guilds.get_mut(&update.guild) {
                guild.voice.op_4_sent(now());
                guild.report(Report::Requested);
            }
        }
    }

    /// Sees whether the main gateway answers.
    fn probe(&self) {
        if let Some(prober) = &self.prober {
            prober.do_send(ProbeMainGateway(self.shard));
        }
    }

    fn carry_out(&mut self, id: GuildId, action: Action) {
        let Some(guild) = self.guilds.get(&id) else { return };
        guild.report(match action {
            Action::UpdateVoiceState(update) => return self.updates.push(update),
            Action::CancelVoiceUpdate => return self.updates.cancel(id),
            Action::Redirected(channel) => Report::Redirected(channel),
            Action::GuildLost => Report::GuildDeleted,
            Action::TakenOver => Report::TakenOver,
            Action::Credentials(credentials) => Report::Credentials(credentials),
            Action::EndpointLost => Report::EndpointLost,
            Action::Moved(channel) => Report::Moved(channel),
            Action::NotMoved(failure) => Report::NotMoved(failure),
            Action::Suppression(suppression) => Report::Suppression(suppression),
            Action::Kicked => Report::Kicked,
            Action::Failed(_) if !self.gateway.connected() => Report::Failed(JoinFailure::NoGateway),
            Action::Failed(JoinFailure::NoAnswer) if self.doubt.is_raised() => {
                Report::Failed(JoinFailure::SlowGateway)
            }
            Action::Failed(failure) => Report::Failed(failure),
        });
    }
}

impl Driven for Bridge {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        if self.main_gateway == MainGatewayState::Lost {
            // No question arrives, and no silence is an answer.
            return self.alarm.set(None, ctx);
        }
        let guilds: Vec<GuildId> = self.guilds.keys().copied().collect();
        for guild in guilds {
            while let Some(action) = self.voice(guild).and_then(|voice| voice.poll(now())) {
                self.carry_out(guild, action);
            }
        }
        self.send_updates();
        // Whether it answers can only be told of one that can be asked.
        if self.prober.is_some() && self.doubt.poll(now()) {
            self.probe();
        }
        self.guilds.retain(|_, guild| guild.call.is_some() || !guild.voice.is_idle());
        let answers = self.guilds.values().filter_map(|guild| guild.voice.deadline());
        let doubt = self.doubt.deadline().filter(|_| self.prober.is_some());
        self.alarm.set(answers.chain(self.updates.deadline(now())).chain(doubt).min(), ctx);
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(BridgeExited(self.shard));
        }
    }
}

impl Handler<VoiceStateUpdate> for Bridge {
    type Result = ();

    fn handle(&mut self, VoiceStateUpdate(state): VoiceStateUpdate, ctx: &mut Context<Self>) {
        self.doubt.heard();
        // Most are of others.
        if state.user != self.user {
            return;
        }
        let Some(id) = state.guild else { return };
        if self.is_ghost(id, &state) {
            self.guild(id).voice.leave(now());
        } else if let Some(voice) = self.voice(id) {
            voice.voice_state(&state, now());
        }
        self.drive(ctx);
    }
}

impl Handler<VoiceServerUpdate> for Bridge {
    type Result = ();

    fn handle(&mut self, VoiceServerUpdate(server): VoiceServerUpdate, ctx: &mut Context<Self>) {
        self.doubt.heard();
        if let Some(voice) = self.voice(server.guild) {
            voice.voice_server(&server, now());
            self.drive(ctx);
        }
    }
}

impl Handler<MainSessionReplaced> for Bridge {
    type Result = ();

    fn handle(&mut self, _: MainSessionReplaced, ctx: &mut Context<Self>) {
        self.report_restored();
        // Its name is told by the next Plug, or never.
        self.session = None;
        for guild in self.guilds.values_mut() {
            guild.voice.main_session(None);
            guild.voice.main_session_replaced(now());
            guild.report(Report::MainSessionReplaced);
        }
        self.drive(ctx);
    }
}

impl Handler<MainGatewayAnswered> for Bridge {
    type Result = ();

    fn handle(&mut self, _: MainGatewayAnswered, _: &mut Context<Self>) {
        self.doubt.heard();
    }
}

impl Handler<MainGatewayLost> for Bridge {
    type Result = ();

    fn handle(&mut self, _: MainGatewayLost, ctx: &mut Context<Self>) {
        self.main_gateway = MainGatewayState::Lost;
        self.doubt.heard();
        self.guilds.values().for_each(|guild| guild.report(Report::MainGatewayLost));
        self.drive(ctx);
    }
}

impl Handler<MainGatewayRestored> for Bridge {
    type Result = ();

    fn handle(&mut self, _: MainGatewayRestored, ctx: &mut Context<Self>) {
        self.main_gateway_restored();
        self.drive(ctx);
    }
}

impl Handler<GuildDeleted> for Bridge {
    type Result = ();

    fn handle(&mut self, GuildDeleted(guild): GuildDeleted, ctx: &mut Context<Self>) {
        self.outages.remove(&guild);
        self.stages.remove(&guild);
        if let Some(guild) = self.guilds.get_mut(&guild) {
            guild.voice.guild_deleted();
            guild.report(Report::GuildDeleted);
        }
        self.drive(ctx);
    }
}

impl Handler<GuildUnavailable> for Bridge {
    type Result = ();

    fn handle(&mut self, GuildUnavailable(id): GuildUnavailable, ctx: &mut Context<Self>) {
        self.outages.insert(id);
        if let Some(guild) = self.guilds.get_mut(&id) {
            guild.voice.guild_unavailable(now());
            guild.report(Report::GuildUnavailable);
        }
        self.drive(ctx);
    }
}

impl Handler<GuildAvailable> for Bridge {
    type Result = ();

    fn handle(
        &mut self,
        GuildAvailable { guild: id, voice_states }: GuildAvailable,
        ctx: &mut Context<Self>,
    ) {
        let own = voice_states.into_iter().find(|state| state.user == self.user);
        let own = own.map(|state| VoiceState { guild: Some(id), ..state });
        if own.as_ref().is_some_and(|state| self.is_ghost(id, state)) {
            self.guild(id).voice.leave(now());
        }
        if self.outages.remove(&id)
            && let Some(guild) = self.guilds.get_mut(&id)
        {
            guild.report(Report::GuildAvailable);
            guild.voice.guild_available(own.as_ref(), now());
        }
        self.drive(ctx);
    }
}

impl Handler<StageChannel> for Bridge {
    type Result = ();

    fn handle(&mut self, StageChannel { guild, channel }: StageChannel, _: &mut Context<Self>) {
        self.stages.entry(guild).or_default().insert(channel);
        if let Some(voice) = self.voice(guild) {
            voice.stages([channel]);
        }
    }
}

impl Handler<Plug> for Bridge {
    type Result = ();

    fn handle(&mut self, plug: Plug, ctx: &mut Context<Self>) {
        self.gateway = plug.gateway;
        self.session = plug.session;
        self.prober = plug.prober;
        self.updates.set_limit(plug.send_limit);
        for guild in self.guilds.values_mut() {
            guild.voice.main_session(self.session.clone());
        }
        self.main_gateway_restored();
        self.drive(ctx);
    }
}

impl Handler<RegisterCall> for Bridge {
    type Result = ();

    fn handle(&mut self, message: RegisterCall, _: &mut Context<Self>) {
        let RegisterCall { guild: id, generation, call } = message;
        let away = self.main_gateway == MainGatewayState::Lost;
        let outage = self.outages.contains(&id);
        let guild = self.guild(id);
        guild.call = Some(RegisteredCall { generation, reports: call });
        if away {
            guild.report(Report::MainGatewayLost);
        }
        if outage {
            guild.report(Report::GuildUnavailable);
        }
    }
}

impl Handler<CallRequest> for Bridge {
    type Result = ();

    fn handle(&mut self, message: CallRequest, ctx: &mut Context<Self>) {
        let CallRequest { guild, generation, request } = message;
        if request == Request::DoubtMainGateway {
            return self.probe();
        }
        if let Some(guild) = self.guilds.get_mut(&guild).filter(|guild| guild.accepts(generation)) {
            guild.request(generation, request);
            self.drive(ctx);
        }
    }
}

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Bridge);
