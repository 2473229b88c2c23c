//! MainGateway: the shards of a bot on Discord's main gateway, for bots that have no connection of their own.

mod connection;
mod rest;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient,
    ResponseFuture, WrapFuture,
};
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use self::connection::{Close, FromShard, MayIdentify, Plan, Report, Sessions, ShardConnection};
use super::{
    bridge::{MainGatewayLost, ProbeMainGateway},
    config::{Config, Encryption},
    delivery::{Delivery, Event, Offered, offer},
    driven::{Alarm, Driven, now},
    manager::{RunOnControlArbiter, Unplug, VoiceManager},
};
pub use crate::main_gateway::{Dispatch, GatewayBotError, Loss, MainGatewayError, Shards};
use crate::{
    bridge::{SendLimit, events::UpdateVoiceState},
    call::Supervision,
    id::{ShardId, Token, UserId},
    main_gateway::{DISCORD, GatewayBot, ResumePoint, Shard, Sharding, ShardingAction},
};

/// **MainGateway → your actor.** What happens on the main gateway, on any shard of it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum MainGatewayEvent {
    /// An event that concerns voice.
    Dispatch {
        /// To which shard it came.
        shard: ShardId,
        /// The event.
        dispatch: Dispatch,
    },
    /// A connection was lost; another is tried soon.
    Reconnecting {
        /// Whose connection.
        shard: ShardId,
        /// How it was lost.
        why: Loss,
    },
    /// A connection could not be opened; another is tried soon.
    Unreachable {
        /// Whose connection.
        shard: ShardId,
        /// Why not, in words.
        why: String,
    },
    /// Discord did not say how many shards it recommends; it is asked again, up to five times, and then the bot does without.
    ShardsUnknown(GatewayBotError),
    /// Discord refuses the bot, with all its shards; the actor stops.
    Refused(MainGatewayError),
}

impl Event for MainGatewayEvent {
    fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl MainGatewayEvent {
    fn offer_to(self, events: &mpsc::Sender<Self>) {
        if offer(events, self) == Offered::Dropped {
            tracing::warn!("the listener of a main gateway does not keep up: an event was dropped");
        }
    }
}

/// **Your bot → MainGateway.** Wait for Discord. Answered once it has let the bot in with all shards, so that channels can
/// be joined, refuses it, or cannot be reached.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<UserId, LoginError>")]
pub struct Login;

/// Why a bot was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// Discord refuses the bot.
    #[error(transparent)]
    Refused(#[from] MainGatewayError),
    /// The gateway cannot be reached now; the actor goes on trying.
    #[error("the main gateway cannot be reached: {0}")]
    Unreachable(String),
    /// It logged out before it was let in.
    #[error("logged out before Discord let the bot in")]
    LoggedOut,
}

/// **Your bot → MainGateway.** End the session; the bot leaves all voice channels. Answered once Discord has been told.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Logout;

/// The actor over [`Sharding`]. It owns a connection for each shard, and starts it again after a panic: the session, and
/// with it the calls, goes on.
pub struct MainGateway {
    token: Token,
    url: String,
    tls: Arc<ClientConfig>,
    manager: Addr<VoiceManager>,
    listener: Option<Delivery<MainGatewayEvent>>,
    policy: Supervision,
    send_limit: SendLimit,
    sharding: Sharding,
    connections: BTreeMap<u32, Connection>,
    last_generation: u64,
    /// The shards that Discord has let in.
    ready: BTreeSet<u32>,
    user: Option<UserId>,
    waiting: Vec<oneshot::Sender<Result<UserId, LoginError>>>,
    alarm: Alarm,
}

/// The connection of a shard, and what outlives its panic.
struct Connection {
    addr: Addr<ShardConnection>,
    generation: u64,
    resume_point: Option<ResumePoint>,
}

impl MainGateway {
    /// A bot with this token on Discord's own gateway, with as many shards as Discord recommends.
    #[must_use]
    pub fn new(token: Token, config: &Config, manager: Addr<VoiceManager>) -> Self {
        Self::at(DISCORD, token, config, manager).shards(Shards::Auto)
    }

    /// A bot on another server, `ws://host:port` or `wss://host:port`, with one shard unless [`shards`](Self::shards) says
    /// otherwise: not every server can be asked for their number.
    #[must_use]
    pub fn at(url: &str, token: Token, config: &Config, manager: Addr<VoiceManager>) -> Self {
        let encryption = if url.starts_with("ws://") { Encryption::None } else { Encryption::Tls };
        let policy = config.supervision.clone();
        Self {
            token,
            url: url.to_owned(),
            tls: config.tls(encryption),
            manager,
            listener: None,
            sharding: Sharding::new(Shards::One, policy.clone(), fastrand::u64(..), now()),
            policy,
            send_limit: SendLimit::default(),
            connections: BTreeMap::new(),
            last_generation: 0,
            ready: BTreeSet::new(),
            user: None,
            waiting: Vec::new(),
            alarm: Alarm::default(),
        }
    }

    /// Runs these shards of the bot.
    #[must_use]
    pub fn shards(self, shards: Shards) -> Self {
        Self { sharding: Sharding::new(shards, self.policy.clone(), fastrand::u64(..), now()), ..self }
    }

    /// Sends as many messages as this server takes; what Discord takes unless this is said.
    #[must_use]
    pub fn send_limit(self, send_limit: SendLimit) -> Self {
        Self { send_limit, ..self }
    }

    /// Starts the gateway, beside its manager: on the same arbiter, so that no user code holds it up. It needs no actix
    /// system on this thread.
    pub fn start(self) -> Addr<Self> {
        let (sender, receiver) = actix::dev::channel::channel(MAILBOX);
        let manager = self.manager.clone();
        let run = move || {
            actix_rt::spawn(Context::with_receiver(receiver).into_future(self));
        };
        manager.do_send(RunOnControlArbiter(Box::new(run)));
        Addr::new(sender)
    }

    /// Tells this actor what happens: one event after the other, each once it is done with the one before. Of an actor that
    /// is a thousand events behind the newest are dropped, but never that Discord refuses the bot.
    #[must_use]
    pub fn listener(self, listener: Recipient<MainGatewayEvent>) -> Self {
        Self { listener: Some(Delivery::new(listener)), ..self }
    }

    fn answer(&mut self, answer: &Result<UserId, LoginError>) {
        for waiting in self.waiting.drain(..) {
            // Whoever asked no longer waits.
            let _ = waiting.send(answer.clone());
        }
    }

    /// Answers who waits for the login if all shards are in.
    fn answer_if_logged_in(&mut self) {
        if let Some(user) = self.user.filter(|_| self.sharding.size() == Some(self.ready.len())) {
            self.answer(&Ok(user));
        }
    }

    /// Where events for the listener go, if there is one.
    fn events(&mut self) -> Option<mpsc::Sender<MainGatewayEvent>> {
        self.listener.as_mut()?.queue().cloned()
    }

    fn publish(&mut self, event: MainGatewayEvent) {
        if let Some(events) = self.events() {
            event.offer_to(&events);
        }
    }

    fn carry_out(&mut self, action: ShardingAction, ctx: &mut Context<Self>) {
        match action {
            ShardingAction::Request => self.request(ctx),
            ShardingAction::Report(error) => {
                tracing::warn!(%error, "main gateway");
                self.answer(&Err(LoginError::Unreachable(error.to_string())));
                self.publish(MainGatewayEvent::ShardsUnknown(error));
            }
            ShardingAction::Start(id) => self.start_shard(id, ctx),
            ShardingAction::Identify(id) => {
                if let Some(connection) = self.connections.get(&id.index) {
                    connection.addr.do_send(MayIdentify);
                }
            }
            ShardingAction::Close => {
                for index in self.connections.keys().copied() {
                    self.manager.do_send(MainGatewayLost.of(ShardId { index, count: self.sharding.count() }));
                }
                drop(self.close_shards());
            }
            ShardingAction::Fail(error) => {
                tracing::error!(%error, "main gateway");
                self.answer(&Err(error.into()));
                self.publish(MainGatewayEvent::Refused(error));
                drop(self.close_shards());
                ctx.stop();
            }
        }
    }

    fn request(&self, ctx: &mut Context<Self>) {
        let url = GatewayBot::address(&self.url);
        let asking = rest::gateway_bot(url, self.token.clone(), Arc::clone(&self.tls)).into_actor(self);
        ctx.spawn(asking.map(|answer, gateway, ctx| {
            gateway.sharding.answered(answer, now());
            gateway.drive(ctx);
        }));
    }

    /// Starts the connection of a shard; after a panic, where the one before was.
    fn start_shard(&mut self, id: ShardId, ctx: &mut Context<Self>) {
        self.last_generation += 1;
        let before = self.connections.remove(&id.index);
        let shard = Shard::new(self.token.clone(), self.url.clone(), fastrand::u64(..), now());
        let shard = shard.of(id).send_limit(self.send_limit);
        let shard = match before.and_then(|before| before.resume_point) {
            Some(point) => shard.resume(point),
            None => shard,
        };
        let plan = Plan {
            id,
            generation: self.last_generation,
            tls: Arc::clone(&self.tls),
            manager: self.manager.clone(),
            events: self.events(),
            gateway: ctx.address().recipient(),
            prober: ctx.address().recipient(),
            send_limit: self.send_limit,
            sessions: if self.ready.contains(&id.index) { Sessions::Later } else { Sessions::First },
        };
        let generation = plan.generation;
        let addr = ShardConnection::new(shard, plan, ctx.address().downgrade().recipient()).start();
        self.connections.insert(id.index, Connection { addr, generation, resume_point: None });
    }

    /// Ends the sessions of all shards; done once Discord has been told.
    fn close_shards(&mut self) -> impl Future<Output = ()> + use<> {
        self.ready.clear();
        let close = |connection: Connection| {
            let (told, end) = oneshot::channel();
            connection.addr.do_send(Close(told));
            end
        };
        let ends: Vec<_> = std::mem::take(&mut self.connections).into_values().map(close).collect();
        async move {
            for end in ends {
                // The sender is dropped, and sends nothing.
                let _ = end.await;
            }
        }
    }
}

impl Driven for MainGateway {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.sharding.poll(now()) {
            self.carry_out(action, ctx);
        }
        self.alarm.set(self.sharding.deadline(now()), ctx);
    }
}

impl Actor for MainGateway {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.drive(ctx);
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        drop(self.close_shards());
        self.manager.do_send(Unplug(ctx.address().recipient()));
    }
}

impl Handler<FromShard> for MainGateway {
    type Result = ();

    fn handle(&mut self, FromShard { id, generation, report }: FromShard, ctx: &mut Context<Self>) {
        let known = self.connections.get_mut(&id.index);
        let Some(connection) = known.filter(|known| known.generation == generation) else { return };
        match report {
            Report::IdentifyRequested => self.sharding.identify_requested(id),
            Report::Ready(user) => {
                self.user = Some(user);
                self.ready.insert(id.index);
                self.answer_if_logged_in();
            }
            Report::Lost(why) => {
                self.sharding.connection_lost(id);
                self.answer(&Err(LoginError::Unreachable(why)));
            }
            Report::Refused(error) => self.sharding.refused(id, error, now()),
            Report::Panicked(resume_point) => {
                tracing::error!(shard = id.index, "the connection to the main gateway panicked");
                connection.resume_point = resume_point;
                self.manager.do_send(MainGatewayLost.of(id));
                self.sharding.panicked(id, now());
            }
        }
        self.drive(ctx);
    }
}

impl Handler<UpdateVoiceState> for MainGateway {
    type Result = ();

    fn handle(&mut self, update: UpdateVoiceState, _: &mut Context<Self>) {
        let shard = ShardId::of(update.guild, self.sharding.count());
        // The bridge asks again once a shard that is away is back.
        if let Some(connection) = self.connections.get(&shard.index) {
            connection.addr.do_send(update);
        }
    }
}

impl Handler<ProbeMainGateway> for MainGateway {
    type Result = ();

    fn handle(&mut self, probe: ProbeMainGateway, _: &mut Context<Self>) {
        // One that is away is known to be.
        if let Some(connection) = self.connections.get(&probe.0.index) {
            connection.addr.do_send(probe);
        }
    }
}

impl Handler<Login> for MainGateway {
    type Result = ResponseFuture<Result<UserId, LoginError>>;

    fn handle(&mut self, _: Login, _: &mut Context<Self>) -> Self::Result {
        let (waiting, answer) = oneshot::channel();
        self.waiting.push(waiting);
        self.answer_if_logged_in();
        Box::pin(async move { answer.await.unwrap_or(Err(LoginError::LoggedOut)) })
    }
}

impl Handler<Logout> for MainGateway {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Logout, ctx: &mut Context<Self>) -> Self::Result {
        self.sharding.stop();
        let told = self.close_shards();
        ctx.stop();
        Box::pin(told)
    }
}

#[cfg(feature = "faults")]
impl Handler<super::fault::PanicShard> for MainGateway {
    type Result = ();

    fn handle(&mut self, fault: super::fault::PanicShard, _: &mut Context<Self>) {
        if let Some(connection) = self.connections.get(&fault.0) {
            connection.addr.do_send(super::fault::PanicNow);
        }
    }
}

/// Messages that a bot may send before it has to wait, as for any actor.
const MAILBOX: usize = 16;
