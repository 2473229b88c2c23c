//! VoiceManager: what a bot talks to. Owns the bridge and the calls.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use actix::{
    Actor, ActorContext, Addr, Arbiter, ArbiterHandle, ArbiterService, AsyncContext, Context, Handler,
    Message, Recipient, ResponseFuture, Supervised, SystemService,
};
use rustls::ClientConfig;
use tokio::sync::oneshot;

use super::{
    CallEvent, CallHandle, CallStats, Config, Demand, Player, UpdateVoiceState, What,
    bridge::{Bridge, GuildGone, SessionReplaced, VoiceServerUpdate, VoiceStateUpdate},
    call::{Attach, Call, Enter, FromCall, Part, Place, Terms},
    metronome, now,
    speaker::{Attach as AttachTrack, Bitrate, Hush},
};
use crate::{
    bridge::JoinFailure,
    call::EndReason,
    gateway::payload::SpeakingFlags,
    id::{ChannelId, GuildId, UserId},
    source::{Source, SourceError},
    speaker::TrackId,
    transport::dave::IdentityKey,
};

/// **Your bot → VoiceManager.** Use this main gateway: who the bot is, and where its op 4 goes.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Plug {
    /// The bot's own user.
    pub user: UserId,
    /// Takes [`UpdateVoiceState`] and sends it to Discord as op 4.
    pub gateway: Recipient<UpdateVoiceState>,
}

/// **Your bot → VoiceManager.** Join a voice channel, or move to it. Answered once the call can speak.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<CallHandle, JoinError>")]
pub struct Join {
    /// The guild.
    pub guild: GuildId,
    /// The voice or stage channel.
    pub channel: ChannelId,
}

/// **Your bot → VoiceManager.** Leave the voice channel of this guild. Answered with what the call has done, once it
/// has ended its speech and left; with none if there was no call.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<CallStats>")]
pub struct Disconnect {
    /// The guild.
    pub guild: GuildId,
}

/// **Your bot → VoiceManager.** Play something in the call of this guild. Several tracks are mixed.
#[derive(Message)]
#[rtype(result = "Result<TrackId, SpeakError>")]
pub struct Speak {
    pub(super) guild: GuildId,
    material: Material,
    flags: SpeakingFlags,
    volume: f32,
}

/// **Your bot → VoiceManager.** Stop a track, or all of the guild's.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopSpeaking {
    /// The guild.
    pub guild: GuildId,
    /// The track; none means all.
    pub track: Option<TrackId>,
}

/// **Your bot → VoiceManager.** Tell this actor what happens in the calls.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// Only of this guild; none means all.
    pub guild: Option<GuildId>,
    /// Who is told.
    pub to: Recipient<CallEvent>,
}

/// **MainGateway or your bot → VoiceManager.** The bitrate of a voice channel, in bits per second; audio that is encoded
/// here uses it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ChannelBitrate {
    /// The channel.
    pub channel: ChannelId,
    /// Bits per second, 8,000 to 384,000.
    pub bitrate: u32,
}

/// Why a channel was not joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No main gateway is plugged in.
    #[error("no main gateway is plugged in: send Plug first, or start a MainGateway")]
    NotPlugged,
    /// The call ended before it could speak.
    #[error(transparent)]
    Ended(#[from] EndReason),
    /// The channel was refused, or another was asked for since; a call that was there before goes on where it is.
    #[error(transparent)]
    NotMoved(JoinFailure),
}

/// Why nothing is played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpeakError {
    /// There is no call in this guild.
    #[error("there is no call in guild {0}: join first")]
    NotJoined(GuildId),
    /// The file cannot be played.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Why a manager could not be started as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A certificate to be trusted cannot be read.
    #[error("the certificate to trust cannot be read: {0}")]
    Certificate(String),
    /// The system gave no thread, or no actix System began on it.
    #[error("no thread for the manager: {0}")]
    Thread(String),
}

/// What is to be played.
enum Material {
    File(PathBuf),
    Actor(Starter),
}

/// Starts a source, on the arbiter of sources if there is one.
type Starter = Box<dyn FnOnce(Option<&ArbiterHandle>) -> Recipient<Demand> + Send>;

impl Speak {
    /// Plays a file: anything that [`source::open`](crate::source::open) reads.
    pub fn file(guild: GuildId, path: impl Into<PathBuf>) -> Self {
        Self::new(guild, Material::File(path.into()))
    }

    /// Plays a [`Source`], run by a [`Player`] of its own.
    pub fn source<S: Source + Unpin>(guild: GuildId, source: S) -> Self {
        Self::start(guild, Player::new(source))
    }

    /// Starts this actor on the arbiter of sources, and plays what it supplies.
    pub fn start<A>(guild: GuildId, actor: A) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Demand> + Send,
    {
        let starter: Starter = Box::new(move |arbiter| match arbiter {
            Some(arbiter) => A::start_in_arbiter(arbiter, |_| actor).recipient(),
            None => actor.start().recipient(),
        });
        Self::new(guild, Material::Actor(starter))
    }

    /// Plays what an actor supplies that runs already.
    pub fn actor(guild: GuildId, source: Recipient<Demand>) -> Self {
        Self::new(guild, Material::Actor(Box::new(|_| source)))
    }

    fn new(guild: GuildId, material: Material) -> Self {
        Self { guild, material, flags: SpeakingFlags::MICROPHONE, volume: 1.0 }
    }

    /// How the track speaks: microphone unless said otherwise. Priority counts only with the permission for it.
    #[must_use]
    pub fn flags(self, flags: SpeakingFlags) -> Self {
        Self { flags, ..self }
    }

    /// How loud the track is: 1.0 as it comes, 0.5 half the amplitude. Other than 1.0 means decoding and encoding.
    #[must_use]
    pub fn volume(self, volume: f32) -> Self {
        Self { volume, ..self }
    }
}

/// The actor that a bot starts, or registers, and sends its messages to.
pub struct VoiceManager {
    config: Arc<Config>,
    tls: Arc<ClientConfig>,
    bridge: Option<Addr<Bridge>>,
    calls: HashMap<GuildId, Known>,
    subscribers: Vec<Subscribe>,
    bitrates: HashMap<ChannelId, u32>,
    media: Vec<Media>,
    sources: Option<Arbiter>,
    crypto: Option<Arbiter>,
    identity: IdentityKey,
    epoch: Instant,
    born: u64,
}

struct Known {
    call: Addr<Call>,
    generation: u64,
    channel: ChannelId,
}

/// One media arbiter, and how much it has to do.
struct Media {
    arbiter: Arbiter,
    calls: Arc<AtomicUsize>,
}

impl VoiceManager {
    /// A manager to be started in the caller's arbiter.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            tls: config.tls(),
            identity: config.identity.clone().unwrap_or_else(IdentityKey::generate),
            config: Arc::new(config),
            bridge: None,
            calls: HashMap::new(),
            subscribers: Vec::new(),
            bitrates: HashMap::new(),
            media: Vec::new(),
            sources: None,
            crypto: None,
            epoch: now(),
            born: 0,
        }
    }

    /// Starts a manager in an actix system on a thread of its own, for programs that run on plain tokio.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn spawn(config: Config) -> Result<Addr<Self>, StartError> {
        let (started, address) = std::sync::mpsc::channel();
        let system = move || {
            let system = actix::System::new();
            system.block_on(async { started.send(Self::new(config).start()) }).ok();
            system.run()
        };
        std::thread::Builder::new()
            .name("actix-voice".into())
            .spawn(system)
            .map_err(|error| StartError::Thread(error.to_string()))?;
        address.recv().map_err(|error| StartError::Thread(error.to_string()))
    }

    /// The media arbiter with the fewest calls, started when it is first needed.
    fn place(&mut self) -> Place {
        if self.media.len() < self.config.media_arbiters {
            let arbiter = Arbiter::new();
            arbiter.spawn_fn(metronome::tune_thread);
            self.media.push(Media { arbiter, calls: Arc::default() });
        }
        let slot = u32::try_from(self.born % u64::from(u32::MAX)).unwrap_or_default();
        let least = self.media.iter().min_by_key(|media| media.calls.load(Ordering::Relaxed));
        Place {
            arbiter: least.map(|media| media.arbiter.handle()),
            calls: least.map(|media| Arc::clone(&media.calls)).unwrap_or_default(),
            epoch: self.epoch,
            slot,
        }
    }

    /// Sources have an arbiter of their own, so that neither a busy bot nor the media arbiters are in their way.
    fn source_arbiter(&mut self) -> Option<ArbiterHandle> {
        if self.config.media_arbiters == 0 {
            return None;
        }
        Some(self.sources.get_or_insert_with(Arbiter::new).handle())
    }

    /// MLS takes milliseconds, which neither packets nor heartbeats have.
    fn crypto_arbiter(&mut self) -> Option<ArbiterHandle> {
        if self.config.media_arbiters == 0 {
            return None;
        }
        Some(self.crypto.get_or_insert_with(Arbiter::new).handle())
    }

    /// The call of the guild, a new one if there is none.
    fn call(&mut self, join: Join, bridge: Addr<Bridge>, ctx: &mut Context<Self>) -> Addr<Call> {
        if let Some(known) = self.calls.get(&join.guild).filter(|known| known.call.connected()) {
            return known.call.clone();
        }
        self.born += 1;
        let mut encoder = self.config.encoder.clone();
        if let Some(&bitrate) = self.bitrates.get(&join.channel) {
            encoder.bitrate = bitrate;
        }
        let terms = Terms {
            guild: join.guild,
            generation: self.born,
            bridge,
            place: self.place(),
            crypto: self.crypto_arbiter(),
            identity: self.identity.clone(),
            config: Arc::clone(&self.config),
            tls: Arc::clone(&self.tls),
            encoder,
        };
        let call = Call::new(terms, ctx.address().downgrade().recipient()).start();
        let known = Known { call: call.clone(), generation: self.born, channel: join.channel };
        self.calls.insert(join.guild, known);
        call
    }

    fn publish(&mut self, event: &CallEvent) {
        self.subscribers.retain(|subscriber| subscriber.to.connected());
        for Subscribe { guild, to } in &self.subscribers {
            if guild.is_none_or(|guild| guild == event.guild) {
                to.do_send(event.clone());
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
        for known in self.calls.values() {
            known.call.do_send(Part { reason: EndReason::Stopped, parted: None });
        }
    }
}

impl Supervised for VoiceManager {}
impl SystemService for VoiceManager {}
impl ArbiterService for VoiceManager {}

impl Handler<Plug> for VoiceManager {
    type Result = ();

    fn handle(&mut self, plug: Plug, _: &mut Context<Self>) {
        match &self.bridge {
            Some(bridge) => bridge.do_send(plug),
            None => self.bridge = Some(Bridge::new(plug.user, plug.gateway).start()),
        }
    }
}

impl Handler<Join> for VoiceManager {
    type Result = ResponseFuture<Result<CallHandle, JoinError>>;

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) -> Self::Result {
        let Some(bridge) = self.bridge.clone() else {
            return Box::pin(async { Err(JoinError::NotPlugged) });
        };
        let call = self.call(join, bridge, ctx);
        let (entered, answer) = oneshot::channel();
        call.do_send(Enter { channel: join.channel, entered });
        let handle = CallHandle { guild: join.guild, call, manager: ctx.address() };
        Box::pin(async move {
            // A call that stops without an answer was stopped from outside.
            answer.await.unwrap_or(Err(JoinError::Ended(EndReason::Stopped)))?;
            Ok(handle)
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
        let Some(call) = self.calls.get(&speak.guild).map(|known| known.call.clone()) else {
            return Box::pin(async move { Err(SpeakError::NotJoined(speak.guild)) });
        };
        self.born += 1;
        let (track, arbiter) = (TrackId(self.born), self.source_arbiter());
        Box::pin(async move {
            let Speak { guild, material, flags, volume } = speak;
            let starter = match material {
                Material::Actor(starter) => starter,
                Material::File(path) => open(path).await?,
            };
            let attach = AttachTrack { track, source: starter(arbiter.as_ref()), flags, volume };
            call.send(Attach(attach)).await.map_err(|_| SpeakError::NotJoined(guild))?;
            Ok(track)
        })
    }
}

/// Opens a file off the arbiter.
async fn open(path: PathBuf) -> Result<Starter, SourceError> {
    let name = path.display().to_string();
    let opening = actix_rt::task::spawn_blocking(move || crate::source::open(path)).await;
    let source = opening.map_err(|error| SourceError::Unreadable { name, cause: error.to_string() })??;
    Ok(Box::new(move |arbiter| match arbiter {
        Some(arbiter) => Player::start_in_arbiter(arbiter, |_| Player::new(source)).recipient(),
        None => Player::new(source).start().recipient(),
    }))
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

    fn handle(&mut self, subscribe: Subscribe, _: &mut Context<Self>) {
        self.subscribers.push(subscribe);
    }
}

impl Handler<ChannelBitrate> for VoiceManager {
    type Result = ();

    fn handle(&mut self, ChannelBitrate { channel, bitrate }: ChannelBitrate, _: &mut Context<Self>) {
        self.bitrates.insert(channel, bitrate);
        for known in self.calls.values().filter(|known| known.channel == channel) {
            known.call.do_send(Bitrate(bitrate));
        }
    }
}

impl Handler<FromCall> for VoiceManager {
    type Result = ();

    fn handle(&mut self, FromCall { generation, event }: FromCall, _: &mut Context<Self>) {
        let Some(known) = self.calls.get_mut(&event.guild).filter(|known| known.generation == generation)
        else {
            return;
        };
        match event.what {
            What::Moved(channel) => known.channel = channel,
            What::Ended(_) => {
                self.calls.remove(&event.guild);
            }
            _ => {}
        }
        self.publish(&event);
    }
}

impl Handler<VoiceStateUpdate> for VoiceManager {
    type Result = ();

    fn handle(&mut self, update: VoiceStateUpdate, _: &mut Context<Self>) {
        if let Some(bridge) = &self.bridge {
            bridge.do_send(update);
        }
    }
}

impl Handler<VoiceServerUpdate> for VoiceManager {
    type Result = ();

    fn handle(&mut self, update: VoiceServerUpdate, _: &mut Context<Self>) {
        if let Some(bridge) = &self.bridge {
            bridge.do_send(update);
        }
    }
}

impl Handler<SessionReplaced> for VoiceManager {
    type Result = ();

    fn handle(&mut self, replaced: SessionReplaced, _: &mut Context<Self>) {
        if let Some(bridge) = &self.bridge {
            bridge.do_send(replaced);
        }
    }
}

impl Handler<GuildGone> for VoiceManager {
    type Result = ();

    fn handle(&mut self, gone: GuildGone, _: &mut Context<Self>) {
        if let Some(bridge) = &self.bridge {
            bridge.do_send(gone);
        }
    }
}

/// **Your bot → VoiceManager.** Leave all calls and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Shutdown;

impl Handler<Shutdown> for VoiceManager {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(feature = "faults")]
impl Handler<super::fault::Panic> for VoiceManager {
    type Result = ();

    fn handle(&mut self, fault: super::fault::Panic, _: &mut Context<Self>) {
        if let Some(known) = self.calls.get(&fault.guild) {
            known.call.do_send(fault);
        }
    }
}
