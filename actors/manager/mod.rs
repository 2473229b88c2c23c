//! VoiceManager: what a bot talks to. Owns the bridge and the calls.

mod arbiters;
mod bitrates;
mod handle;
mod lifetime;
mod listening;
mod load;
mod message;
mod plug;
mod shards;
mod speak;
mod speaking;
mod subscribers;
mod track_handle;
mod waiting;

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, ResponseFuture};
use rustls::ClientConfig;
use tokio::sync::oneshot;

pub(super) use self::message::{RunOnControlArbiter, Unplug};
use self::{
    arbiters::Arbiters,
    bitrates::Bitrates,
    lifetime::Lifetime,
    listening::Listeners,
    shards::Shards,
    subscribers::Subscribers,
    waiting::{WaitId, Waiting},
};
pub use self::{
    handle::CallHandle,
    message::{
        ChannelBitrate, Disconnect, Join, PlugChannel, Shutdown, StopSpeaking, Subscribe, SubscribeChannel,
    },
    speak::Speak,
    track_handle::{TrackError, TrackHandle},
};
use super::{
    bridge::{Bridge, RegisterCall},
    call::{
        Asked, AttachTrack, Backlog, Call, CallContext, CallEnded, CallOwner, DisconnectCall, FromCall,
        JoinChannel, JoinError, JoinedCall, Release, Released, SpeakError,
    },
    config::Config,
    event::CallEventKind,
    meters::meters,
    speaker::{Bitrate, StopTracks},
    stats::CallStats,
};
use crate::{
    audio::opus::EncoderSettings,
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
    waiting: Waiting,
    subscribers: Subscribers,
    listeners: Listeners,
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
        let arbiters =
            Arbiters::new(config.media_arbiters, config.media_priority).hearing_on(config.hearing_arbiters);
        Self { arbiters, ..Self::without_arbiters(Arc::new(config), tls, identity) }
    }

    /// One that does everything where it is.
    fn without_arbiters(config: Arc<Config>, tls: Arc<ClientConfig>, identity: IdentityKey) -> Self {
        Self {
            tls,
            identity,
            arbiters: Arbiters::none(),
            bitrates: Bitrates::new(config.encoder.bitrate),
            config,
            shards: Shards::default(),
            calls: HashMap::new(),
            waiting: Waiting::default(),
            subscribers: Subscribers::default(),
            listeners: Listeners::default(),
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
            self.waiting.for_plug(guild, join);
            return self.wake(ctx);
        }
        let Some(join) = self.waiting.join_after_release(guild, join) else { return };
        let Some(bridge) = self.bridge(guild, ctx) else { return self.wait_for_plug(guild, join, ctx) };
        if let Some(entry) = self.calls.get(&guild).filter(|entry| entry.call.connected()) {
            return entry.call.do_send(join);
        }
        match self.arbiters.admit(self.config.admission, &self.config.encoder) {
            Ok(encoder) => self.start_call(guild, join.channel, encoder, &bridge, ctx).do_send(join),
            // Whoever asked may no longer wait.
            Err(overloaded) => drop(join.outcome.send(Err(overloaded))),
        }
    }

    fn wait_for_plug(&mut self, guild: GuildId, join: JoinChannel, ctx: &mut Context<Self>) {
        if let Some(id) = self.waiting.for_plug(guild, join) {
            ctx.run_later(LOGIN_TIMEOUT, move |manager, _| manager.plug_missed(guild, id));
        }
    }

    fn plug_missed(&mut self, guild: GuildId, id: WaitId) {
        if let Some(mut backlog) = self.waiting.expired(guild, id) {
            backlog.cancel(&JoinError::NotPlugged, guild);
        }
    }

    /// Lets a call stop that has told its end, and keeps meanwhile what is asked for its guild.
    fn release(&mut self, guild: GuildId, entry: &CallEntry, ctx: &mut Context<Self>) {
        let id = self.waiting.for_release(guild, entry.generation);
        entry.call.do_send(Release);
        ctx.run_later(RELEASE_TIMEOUT, move |manager, ctx| {
            if let Some(backlog) = manager.waiting.expired(guild, id) {
                manager.take_up(guild, backlog, ctx);
            }
        });
    }

    /// Does in order what no call could do before.
    fn take_up(&mut self, guild: GuildId, backlog: Backlog, ctx: &mut Context<Self>) {
        for asked in backlog.into_asked() {
            match asked {
                Asked::Join(join) => self.join(guild, join, ctx),
                Asked::Attach(track) => self.attach(guild, *track),
            }
        }
    }

    /// Plays a track in the call of the guild, or in the one that is still to come.
    fn attach(&mut self, guild: GuildId, track: AttachTrack) {
        let meant = |number| track.generation.is_none_or(|generation| generation == number);
        let refused = match self.calls.get(&guild) {
            Some(entry) if meant(entry.generation) => return entry.call.do_send(track),
            None if track.generation.is_none() => self.waiting.attach(guild, track),
            _ => Some(track),
        };
        if let Some(track) = refused {
            // Whoever asked may no longer wait.
            let _ = track.attached.send(Err(SpeakError::NotJoined(guild)));
        }
    }

    fn start_call(
        &mut self,
        guild: GuildId,
        channel: ChannelId,
        mut encoder: EncoderSettings,
        bridge: &Addr<Bridge>,
        ctx: &mut Context<Self>,
    ) -> Addr<Call> {
        self.last_generation += 1;
        let generation = self.last_generation;
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
        let owner = CallOwner {
            events: manager().recipient(),
            end: manager().recipient(),
            released: manager().recipient(),
            deaf: manager().recipient(),
        };
        let call = Call::new(context, owner).start();
        self.add_listeners(guild, &call);
        bridge.do_send(RegisterCall { guild, generation, call: call.downgrade().recipient() });
        self.calls.insert(guild, CallEntry { call: call.clone(), generation, channel });
        meters().calls(self.calls.len());
        call
    }

    /// Ends all calls, and cancels all joins; done once they are over.
    fn end_all(&mut self) -> impl Future<Output = ()> + use<> {
        self.waiting.cancel_all(&EndReason::Stopped.into());
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

    fn handle(&mut self, Join { guild, channel, flags }: Join, ctx: &mut Context<Self>) -> Self::Result {
        let (outcome, joined) = oneshot::channel();
        self.join(guild, JoinChannel { channel, flags, outcome }, ctx);
        let speak = self.address(ctx).recipient();
        Box::pin(async move {
            // Only a call that panics leaves a join unanswered.
            let JoinedCall { generation, call } = joined.await.unwrap_or(Err(EndReason::Panicked.into()))?;
            Ok(CallHandle::new(guild, generation, call, speak))
        })
    }
}

impl Handler<Disconnect> for VoiceManager {
    type Result = ResponseFuture<Option<CallStats>>;

    fn handle(&mut self, Disconnect { guild }: Disconnect, _: &mut Context<Self>) -> Self::Result {
        let (ended, end) = oneshot::channel();
        self.waiting.cancel(guild, &EndReason::Left.into());
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

    fn handle(&mut self, CallEnded { generation, event }: CallEnded, ctx: &mut Context<Self>) {
        let guild = event.guild;
        event.log();
        self.subscribers.publish(&event);
        if let CallEventKind::Ended(reason) = &event.kind {
            meters().ended(reason);
        }
        if self.calls.get(&guild).is_some_and(|entry| entry.generation == generation)
            && let Some(entry) = self.calls.remove(&guild)
        {
            meters().calls(self.calls.len());
            self.release(guild, &entry, ctx);
        }
    }
}

impl Handler<Released> for VoiceManager {
    type Result = ();

    fn handle(&mut self, released: Released, ctx: &mut Context<Self>) {
        let guild = released.guild;
        for backlog in self.waiting.released(released) {
            self.take_up(guild, backlog, ctx);
        }
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
/// How long a call that has ended may take to hand back what it was asked.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
