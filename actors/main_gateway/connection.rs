//! ShardConnection: the websocket of one shard. MainGateway owns it, and starts another after a panic.

use std::sync::Arc;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient,
    SpawnHandle, StreamHandler, WeakRecipient, WrapFuture,
};
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use super::MainGatewayEvent;
use crate::{
    actors::{
        bridge::{
            GuildAvailable, GuildDeleted, GuildUnavailable, MainGatewayAnswered, MainGatewayLost,
            MainGatewayRestored, MainSessionReplaced, Plug, ProbeMainGateway, StageChannel,
            VoiceServerUpdate, VoiceStateUpdate,
        },
        driven::{Alarm, Driven, now},
        manager::{ChannelBitrate, VoiceManager},
        websocket::{self, Incoming, Reader, Writer},
    },
    bridge::{SendLimit, events::UpdateVoiceState},
    gateway::{payload::Outgoing, session::ChannelKind},
    id::{GuildId, ShardId, UserId},
    main_gateway::{Action, Dispatch, MainGatewayError, ResumePoint, Shard, VoiceChannel},
};

/// What a connection needs to know.
pub(super) struct Plan {
    pub(super) id: ShardId,
    pub(super) generation: u64,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) manager: Addr<VoiceManager>,
    /// Where events for the listener go, if there is one.
    pub(super) events: Option<mpsc::Sender<MainGatewayEvent>>,
    /// Where op 4 goes, whichever connection there is: the owner, which lives for as long as it has connections.
    pub(super) gateway: Recipient<UpdateVoiceState>,
    /// Where it is asked whether the connection still answers.
    pub(super) prober: Recipient<ProbeMainGateway>,
    /// How many op 4 the gateway takes.
    pub(super) send_limit: SendLimit,
    pub(super) sessions: Sessions,
}

/// Whether a main session of the shard came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sessions {
    First,
    Later,
}

/// **MainGateway → ShardConnection.** It is this shard's turn to identify.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct MayIdentify;

/// **MainGateway → ShardConnection.** End the session and stop; the sender is dropped once Discord has been told.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Close(pub(super) oneshot::Sender<()>);

/// **ShardConnection → MainGateway.**
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct FromShard {
    pub(super) id: ShardId,
    pub(super) generation: u64,
    pub(super) report: Report,
}

/// What a connection reports.
#[derive(Debug)]
pub(super) enum Report {
    /// It has to identify, and waits for its turn.
    IdentifyRequested,
    /// Discord let the bot in.
    Ready(UserId),
    /// The connection was lost, or could not be opened, for this reason; another is tried soon.
    Lost(String),
    /// Discord refuses it. The last report.
    Refused(MainGatewayError),
    /// It panicked; with this its session goes on. The last report.
    Panicked(Option<ResumePoint>),
}

/// The actor over [`Shard`]. It plugs the shard into the manager once Discord has said who the bot is.
pub(super) struct ShardConnection {
    shard: Shard,
    plan: Plan,
    owner: WeakRecipient<FromShard>,
    writer: Option<Writer>,
    input: Option<SpawnHandle>,
    alarm: Alarm,
}

impl ShardConnection {
    pub(super) fn new(shard: Shard, plan: Plan, owner: WeakRecipient<FromShard>) -> Self {
        Self { shard, plan, owner, writer: None, input: None, alarm: Alarm::default() }
    }

    fn report(&self, report: Report) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(FromShard { id: self.plan.id, generation: self.plan.generation, report });
        }
    }

    fn publish(&self, event: MainGatewayEvent) {
        if let Some(events) = &self.plan.events {
            event.offer_to(events);
        }
    }

    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Connect { url } => self.connect(url, ctx),
            Action::RequestIdentify => self.report(Report::IdentifyRequested),
            Action::Send(text) => {
                let stuck =
                    self.writer.as_ref().is_some_and(|writer| writer.send(Outgoing::Text(text)).is_err());
                if stuck {
                    self.close(ctx);
                    self.shard.closed(None, now());
                }
            }
            Action::Close(code) => {
                if let Some(writer) = self.writer.take() {
                    writer.close(code);
                }
                self.close(ctx);
            }
            Action::Dispatch(dispatch) => self.dispatch(dispatch),
            Action::Answered => self.plan.manager.do_send(MainGatewayAnswered.of(self.plan.id)),
            Action::Reconnecting { why, .. } => {
                tracing::info!(shard = self.plan.id.index, ?why, "main gateway: reconnecting");
                self.plan.manager.do_send(MainGatewayLost.of(self.plan.id));
                self.report(Report::Lost(why.to_string()));
                self.publish(MainGatewayEvent::Reconnecting { shard: self.plan.id, why });
            }
            Action::Fail(error) => {
                self.report(Report::Refused(error));
                ctx.stop();
            }
        }
    }

    fn connect(&mut self, url: String, ctx: &mut Context<Self>) {
        self.close(ctx);
        let opening =
            websocket::open(url, Arc::clone(&self.plan.tls), websocket::MAX_MAIN_MESSAGE).into_actor(self);
        self.input = Some(ctx.spawn(opening.map(|opened, gateway, ctx| gateway.opened(opened, ctx))));
    }

    fn opened(&mut self, opened: Result<(Writer, Reader), String>, ctx: &mut Context<Self>) {
        match opened {
            Ok((writer, reader)) => {
                self.writer = Some(writer);
                self.input = Some(ctx.add_stream(reader));
                self.shard.opened(now());
            }
            Err(error) => {
                tracing::warn!(shard = self.plan.id.index, error, "main gateway: unreachable");
                self.input = None;
                self.report(Report::Lost(error.clone()));
                self.publish(MainGatewayEvent::Unreachable { shard: self.plan.id, why: error });
                self.shard.closed(None, now());
            }
        }
        self.drive(ctx);
    }

    fn close(&mut self, ctx: &mut Context<Self>) {
        self.writer = None;
        if let Some(input) = self.input.take() {
            ctx.cancel_future(input);
        }
    }

    fn dispatch(&mut self, dispatch: Dispatch) {
        self.publish(MainGatewayEvent::Dispatch { shard: self.plan.id, dispatch: dispatch.clone() });
        let manager = &self.plan.manager;
        match dispatch {
            Dispatch::Ready { user, session_id } => {
                tracing::info!(user = user.0, shard = self.plan.id.index, "main gateway: ready");
                if std::mem::replace(&mut self.plan.sessions, Sessions::Later) == Sessions::Later {
                    manager.do_send(MainSessionReplaced.of(self.plan.id));
                }
                let plug = Plug::new(user, self.plan.gateway.clone());
                let plug = plug.session(session_id).shard(self.plan.id).prober(self.plan.prober.clone());
                manager.do_send(plug.send_limit(self.plan.send_limit));
                self.report(Report::Ready(user));
            }
            Dispatch::Resumed => manager.do_send(MainGatewayRestored.of(self.plan.id)),
            Dispatch::VoiceStateUpdate(state) => manager.do_send(VoiceStateUpdate(state)),
            Dispatch::VoiceServerUpdate(server) => manager.do_send(VoiceServerUpdate(server)),
            Dispatch::VoiceChannel { guild, channel } => self.voice_channel(guild, channel),
            Dispatch::GuildDeleted(guild) => manager.do_send(GuildDeleted(guild)),
            Dispatch::GuildUnavailable(guild) => manager.do_send(GuildUnavailable(guild)),
            Dispatch::GuildAvailable { guild, voice_channels, voice_states } => {
                voice_channels.into_iter().for_each(|channel| self.voice_channel(guild, channel));
                manager.do_send(GuildAvailable { guild, voice_states });
            }
        }
    }

    fn voice_channel(&self, guild: GuildId, VoiceChannel { id, kind, bitrate }: VoiceChannel) {
        if kind == ChannelKind::Stage {
            self.plan.manager.do_send(StageChannel { guild, channel: id });
        }
        if let Some(bitrate) = bitrate {
            self.plan.manager.do_send(ChannelBitrate { channel: id, bitrate });
        }
    }
}

impl Driven for ShardConnection {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.shard.poll(now()) {
            self.carry_out(action, ctx);
        }
        self.alarm.set(self.shard.deadline(), ctx);
    }
}

impl Actor for ShardConnection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if std::thread::panicking() {
            self.report(Report::Panicked(self.shard.resume_point()));
        }
    }
}

impl StreamHandler<Incoming> for ShardConnection {
    fn handle(&mut self, incoming: Incoming, ctx: &mut Context<Self>) {
        match incoming {
            Incoming::Text(text) => self.shard.text(&text, now()),
            Incoming::Binary(_) => {}
            Incoming::Closed(code) => {
                self.writer = None;
                self.shard.closed(code, now());
            }
            Incoming::Lost(_) => {
                self.writer = None;
                self.shard.closed(None, now());
            }
        }
        self.drive(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<UpdateVoiceState> for ShardConnection {
    type Result = ();

    fn handle(&mut self, update: UpdateVoiceState, ctx: &mut Context<Self>) {
        self.shard.update_voice_state(update);
        self.drive(ctx);
    }
}

impl Handler<ProbeMainGateway> for ShardConnection {
    type Result = ();

    fn handle(&mut self, _: ProbeMainGateway, ctx: &mut Context<Self>) {
        self.shard.probe(now());
        self.drive(ctx);
    }
}

impl Handler<MayIdentify> for ShardConnection {
    type Result = ();

    fn handle(&mut self, _: MayIdentify, ctx: &mut Context<Self>) {
        self.shard.may_identify(now());
        self.drive(ctx);
    }
}

impl Handler<Close> for ShardConnection {
    type Result = ();

    fn handle(&mut self, Close(told): Close, ctx: &mut Context<Self>) {
        let written = self.writer.as_ref().map(Writer::written);
        self.shard.stop();
        self.drive(ctx);
        ctx.stop();
        if let Some(written) = written {
            actix_rt::spawn(async move {
                written.await;
                drop(told);
            });
        }
    }
}

#[cfg(feature = "faults")]
crate::actors::fault::panics_on_demand!(ShardConnection);
