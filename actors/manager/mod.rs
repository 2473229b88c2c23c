//! VoiceManager: what a bot talks to. Owns the bridge and the calls.

mod arbiters;
mod bitrates;
mod handle;
mod lifetime;
mod message;
mod plug;
mod shards;
mod speak;
mod speaking;
mod subscribers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, ResponseFuture};
use rustls::ClientConfig;
use tokio::sync::oneshot;

pub(super) use self::message::{RunOnControlArbiter, Unplug};
use self::{
    arbiters::Arbiters, bitrates::Bitrates, lifetime::Lifetime, message::JoinAnew, shards::Shards,
    subscribers::Subscribers,
};
pub use self::{
    handle::CallHandle,
    message::{
        ChannelBitrate, Disconnect, Join, PlugChannel, Shutdown, StopSpeaking, Subscribe, SubscribeChannel,
    },
    speak::Speak,
};
use super::{
    bridge::{Bridge, RegisterCall},
    call::{
        AttachTrack, Backlog, Call, CallContext, CallEnded, CallOwner, DisconnectCall, FromCall, JoinChannel,
        JoinError, JoinedCall, SpeakError,
    },
    config::Config,
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
    shards: Shards,
    calls: HashMap<GuildId, CallEntry>,
    /// What was asked for before the main gateway of the guild was plugged in.
    waiting: HashMap<GuildId, Backlog>,
    subscribers: Subscribers,
    bitrates: Bitrates,
    arbiters: Arbiters,
    identity: IdentityKey,
    lifetime: Lifetime,
    last_generation: u64,
    last_track: u64,
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
        let tls = config.tls(config.encryption);
        let identity = config.identity.clone().unwrap_or_else(IdentityKey::generate);
        let arbiters = Arbiters::new(config.media_arbiters);
        Self { arbiters, ..Self::without_arbiters(Arc::new(config), tls, identity) }
    }

    /// One that does everything where it is.
    fn without_arbiters(config: Arc<Config>, tls: Arc<ClientConfig>, identity: IdentityKey) -> Self {
        Self {
            tls,
            identity,
            arbiters: Arbiters::new(0),
            bitrates: Bitrates::new(config.encoder.bitrate),
            config,
            shards: Shards::default(),
            calls: HashMap::new(),
            waiting: HashMap::new(),
            subscribers: Subscribers::default(),
            lifetime: Lifetime::default(),
            last_generation: 0,
            last_track: 0,
        }
    }

    /// Joins with the call of the guild, a new one if there is none, or as soon as a main gateway is plugged in.
    fn join(&mut self, guild: GuildId, join: JoinChannel, ctx: &mut Context<Self>) {
        if self.is_shutting_down() {
            // Whoever asked may no longer wait.
            return drop(join.outcome.send(Err(EndReason::Stopped.into())));
        }
        if self.is_asleep() {
            self.waiting.entry(guild).or_default().join(join);
            return self.wake(ctx);
        }
        let Some(bridge) = self.bridge(guild, ctx) else { return self.wait_for_plug(guild, join, ctx) };
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
        let speak = self.address(ctx).recipient();
        async move {
            let handle = |JoinedCall { generation, call }| CallHandle::new(guild, generation, call, speak);
            Some(joined.await.ok()?.map(handle))
        }
    }

    fn wait_for_plug(&mut self, guild: GuildId, join: JoinChannel, ctx: &mut Context<Self>) {
        let waiting = self.waiting.entry(guild).or_default();
        if waiting.is_empty() {
            ctx.run_later(LOGIN_TIMEOUT, move |manager, _| {
                if !manager.is_plugged(guild) {
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
        encoder.bitrate = self.bitrates.of(channel);
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
        let manager = || self.address(ctx).downgrade();
        let owner = CallOwner { events: manager().recipient(), end: manager().recipient() };
        let call = Call::new(context, owner).start();
        bridge.do_send(RegisterCall { guild, generation, call: call.downgrade().recipient() });
        self.calls.insert(guild, CallEntry { call: call.clone(), generation, channel });
        call
    }

    /// Ends all calls, and cancels all joins; done once they are over.
    fn end_all(&mut self) -> impl Future<Output = ()> + use<> {
        for (guild, mut waiting) in self.waiting.drain() {
            waiting.cancel(&EndReason::Stopped.into(), guild);
        }
        self.disconnect_all(&EndReason::Stopped)
    }

    /// Ends all calls for this reason; done once they are over.
    fn disconnect_all(&self, reason: &EndReason) -> impl Future<Output = ()> + use<> {
        let end = |entry: &CallEntry| {
            let (ended, end) = oneshot::channel();
            entry.call.do_send(DisconnectCall { reason: reason.clone(), ended: Some(ended) });
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

impl Handler<Join> for VoiceManager {
    type Result = ResponseFuture<Result<CallHandle, JoinError>>;

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) -> Self::Result {
        let (joined, manager) = (self.request_join(join, ctx), self.address(ctx));
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
        self.bitrates.set(channel, bitrate);
        let bitrate = self.bitrates.of(channel);
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
            call.do_send(Bitrate(self.bitrates.of(*channel)));
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

#[cfg(feature = "faults")]
impl Handler<super::fault::Panic> for VoiceManager {
    type Result = ();

    fn handle(&mut self, fault: super::fault::Panic, _: &mut Context<Self>) {
        match (self.calls.get(&fault.guild), fault.victim) {
            (_, super::fault::Victim::VoiceManager) => panic!("a test made the VoiceManager panic"),
            (_, super::fault::Victim::Bridge) => {
                self.shards.tell(self.shards.shard_of(fault.guild), super::fault::PanicNow)
            }
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

/// How long a join waits for the bot to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
