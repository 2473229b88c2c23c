//! Bridge: between a bot's main gateway and its calls; each shard has one.

mod known;
mod message;
mod of_shard;

use std::{collections::HashMap, time::Duration};

use actix::{Actor, Context, Handler, Recipient, WeakRecipient};

use self::known::MainGatewayState;
pub(super) use self::{
    known::{Fact, Known},
    message::{BridgeExited, RegisterCall},
};
pub use self::{
    message::{
        GuildAvailable, GuildDeleted, GuildPredicate, GuildUnavailable, MainGatewayAnswered, MainGatewayLost,
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
    id::{GuildId, ShardId, UserId},
};

/// The actor over one [`GuildVoice`] per guild of a shard.
pub(super) struct Bridge {
    owner: WeakRecipient<BridgeExited>,
    shard: ShardId,
    user: UserId,
    gateway: Recipient<UpdateVoiceState>,
    known: Known,
    prober: Option<Recipient<ProbeMainGateway>>,
    doubt: Doubt,
    join_timeout: Duration,
    guilds: HashMap<GuildId, Guild>,
    updates: VoiceUpdateQueue,
    alarm: Alarm,
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
    /// The bridge to this main gateway; the one before may have been told what is known.
    pub(super) fn new(
        plug: Plug,
        known: Known,
        join_timeout: Duration,
        owner: WeakRecipient<BridgeExited>,
    ) -> Self {
        let Plug { user, gateway, shard, prober, send_limit, .. } = plug;
        Self {
            owner,
            shard,
            user,
            gateway,
            known,
            prober,
            doubt: Doubt::default(),
            join_timeout,
            guilds: HashMap::new(),
            updates: VoiceUpdateQueue::new(send_limit),
            alarm: Alarm::default(),
        }
    }

    /// The main gateway can be asked again; nothing that expired meanwhile counts.
    fn main_gateway_restored(&mut self) {
        if self.is_away() {
            self.guilds.values_mut().for_each(|guild| guild.voice.main_gateway_restored(now()));
            self.report_restored();
        }
    }

    fn report_restored(&mut self) {
        if self.is_away() {
            self.known.restored();
            self.guilds.values().for_each(|guild| guild.report(Report::MainGatewayRestored));
        }
    }

    /// Whether the main gateway can be asked for nothing.
    fn is_away(&self) -> bool {
        self.known.main_gateway() == MainGatewayState::Lost
    }

    /// Whether Discord sees the bot, of our own main session, in a guild where there is no call, or one that is over.
    fn is_ghost(&self, guild: GuildId, state: &VoiceState) -> bool {
        let ours = self.known.session().is_some_and(|session| *session == state.session_id);
        let is_over = |guild: &Guild| guild.joined_by.is_some() && guild.voice.is_out();
        ours && state.channel.is_some() && self.guilds.get(&guild).is_none_or(is_over)
    }

    fn voice(&mut self, guild: GuildId) -> Option<&mut GuildVoice> {
        self.guilds.get_mut(&guild).map(|guild| &mut guild.voice)
    }

    /// The guild, known from now on.
    fn guild(&mut self, id: GuildId) -> &mut Guild {
        let (user, join_timeout, session) = (self.user, self.join_timeout, self.known.session().cloned());
        let (stages, outage) = (self.known.stages(id), self.known.has_outage(id));
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
        if self.is_away() {
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
        // Most are of others.
        if state.user != self.user {
            return self.doubt.heard(now());
        }
        self.doubt.settled();
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
        self.doubt.heard(now());
        if let Some(voice) = self.voice(server.guild) {
            voice.voice_server(&server, now());
            self.drive(ctx);
        }
    }
}

impl Handler<MainSessionReplaced> for Bridge {
    type Result = ();

    fn handle(&mut self, replaced: MainSessionReplaced, ctx: &mut Context<Self>) {
        self.report_restored();
        replaced.note(&mut self.known);
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
        self.doubt.heard(now());
    }
}

impl Handler<MainGatewayLost> for Bridge {
    type Result = ();

    fn handle(&mut self, lost: MainGatewayLost, ctx: &mut Context<Self>) {
        lost.note(&mut self.known);
        self.doubt.settled();
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

    fn handle(&mut self, deleted: GuildDeleted, ctx: &mut Context<Self>) {
        deleted.note(&mut self.known);
        if let Some(guild) = self.guilds.get_mut(&deleted.0) {
            guild.voice.guild_deleted();
            guild.report(Report::GuildDeleted);
        }
        self.drive(ctx);
    }
}

impl Handler<GuildUnavailable> for Bridge {
    type Result = ();

    fn handle(&mut self, outage: GuildUnavailable, ctx: &mut Context<Self>) {
        outage.note(&mut self.known);
        if let Some(guild) = self.guilds.get_mut(&outage.0) {
            guild.voice.guild_unavailable(now());
            guild.report(Report::GuildUnavailable);
        }
        self.drive(ctx);
    }
}

impl Handler<GuildAvailable> for Bridge {
    type Result = ();

    fn handle(&mut self, available: GuildAvailable, ctx: &mut Context<Self>) {
        let had_outage = self.known.has_outage(available.guild);
        available.note(&mut self.known);
        let GuildAvailable { guild: id, voice_states } = available;
        let own = voice_states.into_iter().find(|state| state.user == self.user);
        let own = own.map(|state| VoiceState { guild: Some(id), ..state });
        if own.as_ref().is_some_and(|state| self.is_ghost(id, state)) {
            self.guild(id).voice.leave(now());
        }
        if had_outage && let Some(guild) = self.guilds.get_mut(&id) {
            guild.report(Report::GuildAvailable);
            guild.voice.guild_available(own.as_ref(), now());
        }
        self.drive(ctx);
    }
}

impl Handler<StageChannel> for Bridge {
    type Result = ();

    fn handle(&mut self, stage: StageChannel, _: &mut Context<Self>) {
        stage.note(&mut self.known);
        if let Some(voice) = self.voice(stage.guild) {
            voice.stages([stage.channel]);
        }
    }
}

impl Handler<Plug> for Bridge {
    type Result = ();

    fn handle(&mut self, plug: Plug, ctx: &mut Context<Self>) {
        self.updates.set_limit(plug.send_limit);
        self.main_gateway_restored();
        plug.note(&mut self.known);
        for guild in self.guilds.values_mut() {
            guild.voice.main_session(self.known.session().cloned());
        }
        self.gateway = plug.gateway;
        self.prober = plug.prober;
        self.drive(ctx);
    }
}

impl Handler<RegisterCall> for Bridge {
    type Result = ();

    fn handle(&mut self, message: RegisterCall, _: &mut Context<Self>) {
        let RegisterCall { guild: id, generation, call } = message;
        let (away, outage) = (self.is_away(), self.known.has_outage(id));
        let guild = self.guild(id);
        guild.call = Some(RegisteredCall { generation, reports: call });
        // A call that had another bridge may have missed what changed since.
        guild.report(if away { Report::MainGatewayLost } else { Report::MainGatewayRestored });
        guild.report(if outage { Report::GuildUnavailable } else { Report::GuildAvailable });
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
