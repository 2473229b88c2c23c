//! VoiceManager: what a bot talks to. Owns the bridge and the calls.

mod arbiters;
mod message;
mod plug;
mod subscribers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseActFuture,
    ResponseFuture, Supervised, System, SystemService, WrapFuture,
};
use rustls::ClientConfig;
use tokio::sync::{oneshot, watch};

pub(super) use self::message::Unplug;
pub use self::message::{
    ChannelBitrate, Disconnect, Join, JoinError, Plug, PlugChannel, Shutdown, Speak, SpeakError, StartError,
    StopSpeaking, Subscribe, SubscribeChannel,
};
use self::{
    arbiters::Arbiters,
    message::{Material, TryJoin},
    subscribers::Subscribers,
};
use super::{
    CallEventKind, CallHandle, CallStats, Config,
    bridge::Bridge,
    call::{Attach, Call, Enter, Entered, FromCall, Part, Terms},
    speaker::{Attach as AttachTrack, Bitrate, Hush},
};
use crate::{
    call::EndReason,
    id::{ChannelId, GuildId},
    speaker::TrackId,
    transport::dave::IdentityKey,
};

/// The actor that a bot starts, or registers, and sends its messages to.
pub struct VoiceManager {
    config: Arc<Config>,
    tls: Arc<ClientConfig>,
    plug: Option<Plug>,
    plugged: watch::Sender<()>,
    bridge: Option<Addr<Bridge>>,
    calls: HashMap<GuildId, Known>,
    subscribers: Subscribers,
    bitrates: HashMap<ChannelId, u32>,
    arbiters: Arbiters,
    identity: IdentityKey,
    system: Whose,
    born: u64,
}

/// Whose actix system the manager runs in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Callers,
    /// Of the manager alone; it ends with it.
    Own,
}

struct Known {
    call: Addr<Call>,
    generation: u64,
    channel: ChannelId,
}

impl VoiceManager {
    /// A manager to be started in the caller's arbiter.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            tls: config.tls(),
            identity: config.identity.clone().unwrap_or_else(IdentityKey::generate),
            arbiters: Arbiters::new(config.media_arbiters),
            config: Arc::new(config),
            plug: None,
            plugged: watch::Sender::new(()),
            bridge: None,
            calls: HashMap::new(),
            subscribers: Subscribers::default(),
            bitrates: HashMap::new(),
            system: Whose::Callers,
            born: 0,
        }
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
            let manager = Self { system: Whose::Own, ..Self::new(config) };
            system.block_on(async { started.send(manager.start()) }).ok();
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

    /// The call of the guild, a new one if there is none.
    fn call(&mut self, join: Join, bridge: Addr<Bridge>, ctx: &mut Context<Self>) -> CallHandle {
        let (guild, manager) = (join.guild, ctx.address());
        if let Some(known) = self.calls.get(&guild).filter(|known| known.call.connected()) {
            return CallHandle { guild, generation: known.generation, call: known.call.clone(), manager };
        }
        self.born += 1;
        let mut encoder = self.config.encoder.clone();
        encoder.bitrate = self.bitrate_of(join.channel);
        let terms = Terms {
            guild,
            generation: self.born,
            bridge,
            place: self.arbiters.place(),
            crypto: self.arbiters.crypto(),
            identity: self.identity.clone(),
            config: Arc::clone(&self.config),
            tls: Arc::clone(&self.tls),
            encoder,
        };
        let call = Call::new(terms, ctx.address().downgrade().recipient()).start();
        let known = Known { call: call.clone(), generation: self.born, channel: join.channel };
        self.calls.insert(guild, known);
        CallHandle { guild, generation: self.born, call, manager }
    }

    /// Ends all calls; done once they are over.
    fn part_all(&self) -> impl Future<Output = ()> + use<> {
        let part = |known: &Known| {
            let (parted, done) = oneshot::channel();
            known.call.do_send(Part { reason: EndReason::Stopped, parted: Some(parted) });
            done
        };
        let parting: Vec<_> = self.calls.values().map(part).collect();
        async move {
            for parted in parting {
                // A call that is gone without a word is over too.
                let _ = parted.await;
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
        let (parted, system) = (self.part_all(), self.system);
        let arbiters = std::mem::replace(&mut self.arbiters, Arbiters::new(0));
        let subscribers = std::mem::take(&mut self.subscribers);
        actix_rt::spawn(async move {
            parted.await;
            subscribers.read().await;
            arbiters.stop();
            if system == Whose::Own {
                System::current().stop();
            }
        });
    }
}

impl Supervised for VoiceManager {}
/// Any actor finds a manager that was registered: `SystemRegistry::set(VoiceManager::new(config).start())`, then
/// `VoiceManager::from_registry()`. One that was not is started with [`Config::default`].
impl SystemService for VoiceManager {}

impl Handler<Join> for VoiceManager {
    type Result = ResponseFuture<Result<CallHandle, JoinError>>;

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) -> Self::Result {
        if self.plug.is_none() {
            return Box::pin(join_later(join, ctx.address(), self.plugged.subscribe()));
        }
        let manager = ctx.address();
        Box::pin(async move {
            for _ in 0..ATTEMPTS {
                match manager.send(TryJoin(join)).await {
                    Ok(Some(joined)) => return joined,
                    Ok(None) => {}
                    Err(_) => return Err(EndReason::Stopped.into()),
                }
            }
            Err(EndReason::Panicked.into())
        })
    }
}

impl Handler<TryJoin> for VoiceManager {
    type Result = ResponseFuture<Option<Result<CallHandle, JoinError>>>;

    fn handle(&mut self, TryJoin(join): TryJoin, ctx: &mut Context<Self>) -> Self::Result {
        let Some(bridge) = self.bridge(ctx) else {
            return Box::pin(async { Some(Err(JoinError::NotPlugged)) });
        };
        let handle = self.call(join, bridge, ctx);
        let (entered, answer) = oneshot::channel();
        handle.call.do_send(Enter { channel: join.channel, entered });
        Box::pin(async move {
            match answer.await {
                Ok(Entered::There) => Some(Ok(handle)),
                Ok(Entered::Failed(error)) => Some(Err(error)),
                // That call was on its way out, or gone already; the next may.
                Ok(Entered::Over) | Err(_) => None,
            }
        })
    }
}

impl Handler<Disconnect> for VoiceManager {
    type Result = ResponseFuture<Option<CallStats>>;

    fn handle(&mut self, Disconnect { guild }: Disconnect, _: &mut Context<Self>) -> Self::Result {
        let (parted, done) = oneshot::channel();
        if let Some(known) = self.calls.get(&guild) {
            known.call.do_send(Part { reason: EndReason::Left, parted: Some(parted) });
        }
        Box::pin(async move { done.await.ok() })
    }
}

impl Handler<Speak> for VoiceManager {
    type Result = ResponseFuture<Result<TrackId, SpeakError>>;

    fn handle(&mut self, speak: Speak, _: &mut Context<Self>) -> Self::Result {
        let Speak { guild, generation, material, flags, volume } = speak;
        let meant = |known: &&Known| generation.is_none_or(|generation| generation == known.generation);
        let Some(call) = self.calls.get(&guild).filter(meant).map(|known| known.call.clone()) else {
            return Box::pin(async move { Err(SpeakError::NotJoined(guild)) });
        };
        self.born += 1;
        let track = TrackId(self.born);
        let arbiter = match &material {
            Material::Guest(_) => self.arbiters.guests(),
            _ => self.arbiters.players(),
        };
        Box::pin(async move {
            let starter = match material {
                Material::Guest(starter) | Material::Player(starter) => starter,
                #[cfg(feature = "decode")]
                Material::File(path) => open(path).await?,
            };
            let attach = AttachTrack { track, source: starter(arbiter.as_ref()), flags, volume };
            call.send(Attach(attach)).await.unwrap_or(Err(SpeakError::NotJoined(guild)))?;
            Ok(track)
        })
    }
}

/// Joins as soon as a main gateway is plugged in.
async fn join_later(
    join: Join,
    manager: Addr<VoiceManager>,
    mut plugged: watch::Receiver<()>,
) -> Result<CallHandle, JoinError> {
    match actix::clock::timeout(LOGIN, plugged.changed()).await {
        Ok(Ok(())) => manager.send(join).await.unwrap_or(Err(EndReason::Stopped.into())),
        Ok(Err(_)) | Err(_) => Err(JoinError::NotPlugged),
    }
}

/// Opens a file off the arbiter.
#[cfg(feature = "decode")]
async fn open(path: std::path::PathBuf) -> Result<message::Starter, crate::source::SourceError> {
    let name = path.display().to_string();
    let opening = actix_rt::task::spawn_blocking(move || crate::source::open(path)).await;
    let unreadable = |error: tokio::task::JoinError| crate::source::SourceError::Unreadable {
        name,
        cause: error.to_string(),
    };
    Ok(message::starter(super::Player::new(opening.map_err(unreadable)??)))
}

impl Handler<StopSpeaking> for VoiceManager {
    type Result = ();

    fn handle(&mut self, StopSpeaking { guild, track }: StopSpeaking, _: &mut Context<Self>) {
        if let Some(known) = self.calls.get(&guild) {
            known.call.do_send(Hush(track));
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
        let bitrate = bitrate.clamp(LEAST_BITRATE, MOST_BITRATE);
        self.bitrates.insert(channel, bitrate);
        for known in self.calls.values().filter(|known| known.channel == channel) {
            known.call.do_send(Bitrate(bitrate));
        }
    }
}

impl Handler<FromCall> for VoiceManager {
    type Result = ();

    fn handle(&mut self, FromCall { generation, event }: FromCall, _: &mut Context<Self>) {
        if let Some(known) = self.calls.get_mut(&event.guild).filter(|known| known.generation == generation) {
            match event.kind {
                CallEventKind::Moved(channel) => {
                    known.channel = channel;
                    let call = known.call.clone();
                    call.do_send(Bitrate(self.bitrate_of(channel)));
                }
                CallEventKind::Ended(_) => drop(self.calls.remove(&event.guild)),
                _ => {}
            }
        }
        event.log();
        self.subscribers.publish(&event);
    }
}

/// What Discord lets a channel have, in bits per second.
const LEAST_BITRATE: u32 = 8_000;
const MOST_BITRATE: u32 = 384_000;
/// Calls on their way out that a join may meet, before something is wrong.
const ATTEMPTS: usize = 3;
/// How long a join waits for the bot to log in.
const LOGIN: Duration = Duration::from_secs(30);

impl Handler<Shutdown> for VoiceManager {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        Box::pin(self.part_all().into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

#[cfg(feature = "faults")]
impl Handler<super::fault::Panic> for VoiceManager {
    type Result = ();

    fn handle(&mut self, fault: super::fault::Panic, _: &mut Context<Self>) {
        match (self.calls.get(&fault.guild), fault.victim) {
            (_, super::fault::Victim::Bridge) => self.tell_bridge(super::fault::PanicNow),
            (Some(known), _) => known.call.do_send(fault),
            (None, _) => {}
        }
    }
}
