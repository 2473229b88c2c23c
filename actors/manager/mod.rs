//! VoiceManager: what a bot talks to. Owns the bridge and the calls.

mod arbiters;
mod handle;
mod message;
mod plug;
mod speak;
mod speaking;
mod subscribers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler,
    ResponseActFuture, ResponseFuture, Supervised, System, SystemService, WrapFuture,
};
use rustls::ClientConfig;
use tokio::sync::oneshot;

pub(super) use self::message::{RunOnControlArbiter, Unplug};
use self::{arbiters::Arbiters, message::JoinAnew, subscribers::Subscribers};
pub use self::{
    handle::CallHandle,
    message::{
        ChannelBitrate, Disconnect, Join, PlugChannel, Shutdown, StopSpeaking, Subscribe, SubscribeChannel,
    },
    speak::Speak,
};
use super::{
    bridge::{Bridge, Plug, RegisterCall},
    call::{
        AttachTrack, Backlog, Call, CallContext, CallEnded, CallOwner, DisconnectCall, FromCall, JoinChannel,
        JoinError, JoinedCall, SpeakError,
    },
    config::{Config, ControlArbiter, StartError},
    event::CallEventKind,
    speaker::{Bitrate, StopTracks},
    stats::CallStats,
};
use crate::{
    call::EndReason,
    id::{ChannelId, GuildId},
    transport::dave::IdentityKey,
};

/// The actor that a bot starts, or registers, and sends its messages to.
pub struct VoiceManager {
    config: Arc<Config>,
    tls: Arc<ClientConfig>,
    plug: Option<Plug>,
    bridge: Option<Addr<Bridge>>,
    calls: HashMap<GuildId, CallEntry>,
    /// What was asked for before a main gateway was plugged in.
    waiting: HashMap<GuildId, Backlog>,
    subscribers: Subscribers,
    bitrates: HashMap<ChannelId, u32>,
    arbiters: Arbiters,
    identity: IdentityKey,
    system: SystemOwner,
    last_generation: u64,
    last_track: u64,
}

/// Whose actix system the manager runs in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SystemOwner {
    Caller,
    /// Of the manager alone; it ends with it.
    Manager,
}

struct CallEntry {
    call: Addr<Call>,
    generation: u64,
    channel: ChannelId,
}

impl VoiceManager {
    /// A manager to be [started](Self::start).
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            tls: config.tls(config.encryption),
            identity: config.identity.clone().unwrap_or_else(IdentityKey::generate),
            arbiters: Arbiters::new(config.media_arbiters),
            config: Arc::new(config),
            plug: None,
            bridge: None,
            calls: HashMap::new(),
            waiting: HashMap::new(),
            subscribers: Subscribers::default(),
            bitrates: HashMap::new(),
            system: SystemOwner::Caller,
            last_generation: 0,
            last_track: 0,
        }
    }

    /// Starts the manager, on the arbiter that [`Config::control_arbiter`] names.
    ///
    /// # Panics
    ///
    /// When no actix [`System`] runs on this thread; [`spawn`](Self::spawn) needs none.
    #[must_use]
    pub fn start(mut self) -> Addr<Self> {
        let own = match self.config.control_arbiter {
            ControlArbiter::Own => arbiters::started(),
            ControlArbiter::Callers => None,
        };
        let Some(arbiter) = own else { return Actor::start(self) };
        let handle = arbiter.handle();
        self.arbiters.own_control(arbiter);
        Self::start_in_arbiter(&handle, |_| self)
    }

    /// Starts a manager in an actix system on a thread of its own, for programs that run on plain tokio: those plug in with
    /// [`PlugChannel`] and listen with [`SubscribeChannel`]. The thread ends with [`Shutdown`].
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn spawn(config: Config) -> Result<Addr<Self>, StartError> {
        let (started, address) = std::sync::mpsc::channel();
        let system = move || {
            let system = System::new();
            let manager = Self { system: SystemOwner::Manager, ..Self::new(config) };
            system.block_on(async { started.send(Actor::start(manager)) }).ok();
            system.run()
        };
        std::thread::Builder::new()
            .name("actix-voice".into())
            .spawn(system)
            .map_err(|error| StartError::Thread(error.to_string()))?;
        address.recv().map_err(|error| StartError::Thread(error.to_string()))
    }

    /// What is encoded for this channel has this many bits per second.
    fn bitrate_of(&self, channel: ChannelId) -> u32 {
        self.bitrates.get(&channel).copied().unwrap_or(self.config.encoder.bitrate)
    }

    /// Joins with the call of the guild, a new one if there is none, or as soon as a main gateway is plugged in.
    fn join(&mut self, guild: GuildId, join: JoinChannel, ctx: &mut Context<Self>) {
        let Some(bridge) = self.bridge(ctx) else { return self.wait_for_plug(guild, join, ctx) };
        let live = self.calls.get(&guild).filter(|entry| entry.call.connected());
        let call = match live {
            Some(entry) => entry.call.clone(),
            None => self.start_call(guild, join.channel, &bridge, ctx),
        };
        call.do_send(join);
    }

    /// What becomes of a join; none if its call ended before it read of it.
    fn request_join(
        &mut self,
        Join { guild, channel, flags }: Join,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Option<Result<CallHandle, JoinError>>> + use<> {
        let (outcome, joined) = oneshot::channel();
        self.join(guild, JoinChannel { channel, flags, outcome }, ctx);
        let speak = ctx.address().recipient();
        async move {
            let handle = |JoinedCall { generation, call }| CallHandle::new(guild, generation, call, speak);
            Some(joined.await.ok()?.map(handle))
        }
    }

    fn wait_for_plug(&mut self, guild: GuildId, join: JoinChannel, ctx: &mut Context<Self>) {
        let waiting = self.waiting.entry(guild).or_default();
        if waiting.is_empty() {
            ctx.run_later(LOGIN_TIMEOUT, move |manager, _| {
                if manager.plug.is_none() {
                    manager.cancel_waiting(guild, &JoinError::NotPlugged);
                }
            });
        }
        waiting.join(join);
    }

    /// Answers with this error whoever waits for a main gateway to join this guild with.
    fn cancel_waiting(&mut self, guild: GuildId, error: &JoinError) {
        if let Some(mut waiting) = self.waiting.remove(&guild) {
            waiting.cancel(error, guild);
        }
    }

    /// Does in order what no call could do before.
    fn take_up(&mut self, guild: GuildId, backlog: Backlog, ctx: &mut Context<Self>) {
        let (joins, tracks) = backlog.into_parts();
        joins.into_iter().for_each(|join| self.join(guild, join, ctx));
        tracks.into_iter().for_each(|track| self.attach(guild, None, track));
    }

    /// Plays a track in the call of the guild, or in the one that is still to come; with a number, only in that call.
    fn attach(&mut self, guild: GuildId, generation: Option<u64>, track: AttachTrack) {
        let meant = |entry: &&CallEntry| generation.is_none_or(|generation| generation == entry.generation);
        match self.calls.get(&guild).filter(meant) {
            Some(entry) => entry.call.do_send(track),
            None => match self.waiting.get_mut(&guild) {
                Some(waiting) => waiting.attach(track, guild),
                // Whoever asked may no longer wait.
                None => drop(track.attached.send(Err(SpeakError::NotJoined(guild)))),
            },
        }
    }

    fn start_call(
        &mut self,
        guild: GuildId,
        channel: ChannelId,
        bridge: &Addr<Bridge>,
        ctx: &mut Context<Self>,
    ) -> Addr<Call> {
        self.last_generation += 1;
        let generation = self.last_generation;
        let mut encoder = self.config.encoder.clone();
        encoder.bitrate = self.bitrate_of(channel);
        let context = CallContext {
            guild,
            generation,
            bridge: bridge.clone().recipient(),
            media: self.arbiters.media_slot(),
            crypto: self.arbiters.crypto(),
            identity: self.identity.clone(),
            config: Arc::clone(&self.config),
            tls: Arc::clone(&self.tls),
            encoder,
        };
        let manager = || ctx.address().downgrade();
        let owner = CallOwner { events: manager().recipient(), end: manager().recipient() };
        let call = Call::new(context, owner).start();
        bridge.do_send(RegisterCall { guild, generation, call: call.downgrade().recipient() });
        self.calls.insert(guild, CallEntry { call: call.clone(), generation, channel });
        call
    }

    /// Ends all calls; done once they are over.
    fn end_all(&mut self) -> impl Future<Output = ()> + use<> {
        for (guild, mut waiting) in self.waiting.drain() {
            waiting.cancel(&EndReason::Stopped.into(), guild);
        }
        let end = |entry: &CallEntry| {
            let (ended, end) = oneshot::channel();
            entry.call.do_send(DisconnectCall { reason: EndReason::Stopped, ended: Some(ended) });
            end
        };
        let ends: Vec<_> = self.calls.values().map(end).collect();
        async move {
            for end in ends {
                // A call that is gone without a word is over too.
                let _ = end.await;
            }
        }
    }
}

impl Default for VoiceManager {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Actor for VoiceManager {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        let (ended, system) = (self.end_all(), self.system);
        let arbiters = std::mem::replace(&mut self.arbiters, Arbiters::new(0));
        let subscribers = std::mem::take(&mut self.subscribers);
        actix_rt::spawn(async move {
            ended.await;
            subscribers.read().await;
            arbiters.stop();
            if system == SystemOwner::Manager {
                System::current().stop();
            }
        });
    }
}

impl Supervised for VoiceManager {}
/// Any actor finds a manager that was registered: `SystemRegistry::set(VoiceManager::new(config).start())`, then
/// `VoiceManager::from_registry()`. One that was not is started with [`Config::default`].
impl SystemService for VoiceManager {
    fn start_service(_: &ArbiterHandle) -> Addr<Self> {
        Self::default().start()
    }
}

impl Handler<Join> for VoiceManager {
    type Result = ResponseFuture<Result<CallHandle, JoinError>>;

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) -> Self::Result {
        let (joined, manager) = (self.request_join(join, ctx), ctx.address());
        Box::pin(async move {
            match joined.await {
                Some(outcome) => outcome,
                None => manager.send(JoinAnew(join)).await.unwrap_or(Err(EndReason::Stopped.into())),
            }
        })
    }
}

impl Handler<JoinAnew> for VoiceManager {
    type Result = ResponseFuture<Result<CallHandle, JoinError>>;

    fn handle(&mut self, JoinAnew(join): JoinAnew, ctx: &mut Context<Self>) -> Self::Result {
        let joined = self.request_join(join, ctx);
        Box::pin(async move { joined.await.unwrap_or(Err(EndReason::Panicked.into())) })
    }
}

impl Handler<Disconnect> for VoiceManager {
    type Result = ResponseFuture<Option<CallStats>>;

    fn handle(&mut self, Disconnect { guild }: Disconnect, _: &mut Context<Self>) -> Self::Result {
        let (ended, end) = oneshot::channel();
        self.cancel_waiting(guild, &EndReason::Left.into());
        if let Some(entry) = self.calls.get(&guild) {
            entry.call.do_send(DisconnectCall { reason: EndReason::Left, ended: Some(ended) });
        }
        Box::pin(async move { end.await.ok() })
    }
}

impl Handler<StopSpeaking> for VoiceManager {
    type Result = ();

    fn handle(&mut self, StopSpeaking { guild, track }: StopSpeaking, _: &mut Context<Self>) {
        if let Some(entry) = self.calls.get(&guild) {
            entry.call.do_send(StopTracks(track));
        }
    }
}

impl Handler<Subscribe> for VoiceManager {
    type Result = ();

    fn handle(&mut self, Subscribe { guild, to }: Subscribe, _: &mut Context<Self>) {
        self.subscribers.actor(guild, to);
    }
}

impl Handler<SubscribeChannel> for VoiceManager {
    type Result = ();

    fn handle(&mut self, SubscribeChannel { guild, to }: SubscribeChannel, _: &mut Context<Self>) {
        self.subscribers.channel(guild, to);
    }
}

impl Handler<ChannelBitrate> for VoiceManager {
    type Result = ();

    fn handle(&mut self, ChannelBitrate { channel, bitrate }: ChannelBitrate, _: &mut Context<Self>) {
        let bitrate = bitrate.clamp(MIN_BITRATE, MAX_BITRATE);
        self.bitrates.insert(channel, bitrate);
        for entry in self.calls.values().filter(|entry| entry.channel == channel) {
            entry.call.do_send(Bitrate(bitrate));
        }
    }
}

impl Handler<FromCall> for VoiceManager {
    type Result = ();

    fn handle(&mut self, FromCall { generation, event }: FromCall, _: &mut Context<Self>) {
        let entry = self.calls.get_mut(&event.guild).filter(|entry| entry.generation == generation);
        if let (Some(entry), CallEventKind::Moved(channel)) = (entry, &event.kind) {
            entry.channel = *channel;
            let call = entry.call.clone();
            call.do_send(Bitrate(self.bitrate_of(*channel)));
        }
        event.log();
        self.subscribers.publish(&event);
    }
}

impl Handler<CallEnded> for VoiceManager {
    type Result = ();

    fn handle(&mut self, CallEnded { generation, event, backlog }: CallEnded, ctx: &mut Context<Self>) {
        let guild = event.guild;
        if self.calls.get(&guild).is_some_and(|entry| entry.generation == generation) {
            self.calls.remove(&guild);
        }
        event.log();
        self.subscribers.publish(&event);
        self.take_up(guild, backlog, ctx);
    }
}

impl Handler<RunOnControlArbiter> for VoiceManager {
    type Result = ();

    fn handle(&mut self, RunOnControlArbiter(run): RunOnControlArbiter, _: &mut Context<Self>) {
        run();
    }
}

impl Handler<Shutdown> for VoiceManager {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        Box::pin(self.end_all().into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

#[cfg(feature = "faults")]
impl Handler<super::fault::Panic> for VoiceManager {
    type Result = ();

    fn handle(&mut self, fault: super::fault::Panic, _: &mut Context<Self>) {
        match (self.calls.get(&fault.guild), fault.victim) {
            (_, super::fault::Victim::Bridge) => self.tell_bridge(super::fault::PanicNow),
            (Some(entry), _) => entry.call.do_send(fault),
            (None, _) => {}
        }
    }
}

#[cfg(feature = "faults")]
impl Handler<super::fault::RefuseSends> for VoiceManager {
    type Result = ();

    fn handle(&mut self, fault: super::fault::RefuseSends, _: &mut Context<Self>) {
        self.calls.get(&fault.guild).into_iter().for_each(|entry| entry.call.do_send(fault));
    }
}

/// What Discord lets a channel have, in bits per second.
const MIN_BITRATE: u32 = 8_000;
const MAX_BITRATE: u32 = 384_000;
/// How long a join waits for the bot to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
