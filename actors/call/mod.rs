//! Call: one voice connection of one guild. Owns its gateway, transport and speaker, and replaces the dead.

mod handle;
mod message;
mod orders;
mod place;
mod reports;
mod tracks;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{
    Actor, ActorContext, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, Recipient,
    WeakRecipient,
};
use rustls::ClientConfig;
use tokio::sync::oneshot;

pub use self::handle::CallHandle;
use self::tracks::Tracks;
pub(super) use self::{
    message::{Attach, AwaitEnd, Enter, Entered, FromCall, NewBridge, Part, TellStats, VerificationCode},
    place::Place,
};
use super::{
    Alarm, CallEvent, CallEventKind, Driven,
    bridge::{Bridge, Forget, Leave, SeekAgain},
    config::{Config, Encryption},
    dave::{Dave, Tell},
    gateway::{Close, Gateway, Plan, Send, Speaking},
    now,
    speaker::{self, Connect, Hush, Speaker, SpeakingSent},
    stats::CallStats,
    transport::{self, Transport},
};
use crate::{
    audio::opus::EncoderSettings,
    call::{Action, Cause, ConnectionStatus, EndReason, Recovery},
    gateway::{
        payload::{Command, SpeakingFlags},
        session::{Credentials, MOST_WAITING, Start},
    },
    id::{ChannelId, GuildId, Ssrc},
    speaker::{Pacer, TrackEnd, TrackId},
    transport::dave::{Group, IdentityKey},
};

/// What a call needs to know.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) guild: GuildId,
    pub(super) generation: u64,
    pub(super) bridge: Addr<Bridge>,
    pub(super) place: Place,
    pub(super) crypto: Option<ArbiterHandle>,
    pub(super) identity: IdentityKey,
    pub(super) config: Arc<Config>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) encoder: EncoderSettings,
}

/// The actor over [`Recovery`].
pub struct Call {
    terms: Terms,
    manager: WeakRecipient<FromCall>,
    recovery: Recovery,
    gateway: Option<Addr<Gateway>>,
    dave: Option<Addr<Dave>>,
    transport: Option<Addr<Transport>>,
    speaker: Option<Addr<Speaker>>,
    transports_alive: usize,
    born: u64,
    gateway_generation: u64,
    dave_generation: u64,
    transport_generation: u64,
    speaker_generation: u64,
    ssrc: Option<Ssrc>,
    last_seq: Option<u16>,
    speaking: SpeakingFlags,
    stats: CallStats,
    sessions: u64,
    seeking: Option<ChannelId>,
    /// Who waits for the channel that is being sought.
    entering: Vec<oneshot::Sender<Entered>>,
    /// Who asked for a channel when this call was over already.
    late: Vec<oneshot::Sender<Entered>>,
    parting: Vec<oneshot::Sender<CallStats>>,
    ended: Option<EndReason>,
    concluded: bool,
    tracks: Tracks,
    /// What the group wants to say while there is no connection to say it on.
    queued_commands: VecDeque<Command>,
    alarm: Alarm,
}

impl Call {
    pub(super) fn new(terms: Terms, manager: WeakRecipient<FromCall>) -> Self {
        terms.place.calls.fetch_add(1, Ordering::Relaxed);
        Self {
            terms,
            manager,
            recovery: Recovery::new(fastrand::f32(), now()),
            gateway: None,
            dave: None,
            transport: None,
            speaker: None,
            transports_alive: 0,
            born: 0,
            gateway_generation: 0,
            dave_generation: 0,
            transport_generation: 0,
            speaker_generation: 0,
            ssrc: None,
            last_seq: None,
            speaking: SpeakingFlags::NONE,
            stats: CallStats::default(),
            sessions: 0,
            seeking: None,
            entering: Vec::new(),
            late: Vec::new(),
            parting: Vec::new(),
            ended: None,
            concluded: false,
            tracks: Tracks::default(),
            queued_commands: VecDeque::new(),
            alarm: Alarm::default(),
        }
    }

    fn publish(&self, kind: CallEventKind) {
        if let Some(manager) = self.manager.upgrade() {
            let event = CallEvent { guild: self.terms.guild, kind };
            manager.do_send(FromCall { generation: self.terms.generation, event });
        }
    }

    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Rejoin => self.terms.bridge.do_send(SeekAgain(self.terms.guild)),
            Action::Leave => self.terms.bridge.do_send(Leave(self.terms.guild)),
            Action::Identify(credentials) => self.identify(credentials, ctx),
            Action::Resume(credentials) => self.resume(credentials, ctx),
            Action::Disconnect => self.disconnect(),
            Action::StartSpeaker => self.start_speaker(ctx),
            Action::Hush => self.hush(),
            Action::Report(progress) => self.progress(progress),
            Action::End(reason) => self.end(reason, ctx),
        }
    }

    fn identify(&mut self, credentials: Credentials, ctx: &mut Context<Self>) {
        self.disconnect();
        self.queued_commands.clear();
        self.ssrc = None;
        self.last_seq = None;
        self.start_dave(&credentials, ctx);
        let start = Start::Identify {
            max_dave_protocol_version: self.terms.config.max_dave_protocol_version,
            refused_modes: self.recovery.refused_modes().to_vec(),
        };
        self.start_gateway(credentials, start, ctx);
    }

    fn resume(&mut self, credentials: Credentials, ctx: &mut Context<Self>) {
        let Some(ssrc) = self.ssrc else { return self.recovery.gateway_lost(Cause::Zombie, now()) };
        let start = Start::Resume { seq_ack: self.last_seq, ssrc };
        self.start_gateway(credentials, start, ctx);
    }

    fn start_gateway(&mut self, mut credentials: Credentials, start: Start, ctx: &mut Context<Self>) {
        if let Encryption::None = self.terms.config.encryption {
            credentials.endpoint = format!("ws://{}", credentials.endpoint);
        }
        self.gateway_generation = self.next_generation();
        let plan = Plan {
            generation: self.gateway_generation,
            tls: Arc::clone(&self.terms.tls),
            credentials,
            start,
            speaking: self.speaking,
        };
        let gateway = Gateway::new(plan, ctx.address().downgrade().recipient()).start();
        self.queued_commands.drain(..).for_each(|command| gateway.do_send(Send(command)));
        if let Some(old) = self.gateway.replace(gateway) {
            old.do_send(Close);
        }
    }

    /// A new group for a new voice session: the old one's keys must not be used with nonces that start over.
    fn start_dave(&mut self, credentials: &Credentials, ctx: &mut Context<Self>) {
        let generation = self.next_generation();
        self.dave_generation = generation;
        let owner = ctx.address().downgrade().recipient();
        let (user, channel, identity) = (credentials.user, credentials.channel, self.terms.identity.clone());
        let dave = move || Dave::new(generation, Group::new(user, channel, identity), owner);
        self.dave = Some(match &self.terms.crypto {
            Some(arbiter) => Dave::start_in_arbiter(arbiter, |_| dave()),
            None => dave().start(),
        });
    }

    fn tell_dave(&self, tell: Tell) {
        if let Some(dave) = &self.dave {
            dave.do_send(tell);
        }
    }

    fn to_transport<M: Message<Result = ()> + std::marker::Send + 'static>(&self, message: M)
    where
        Transport: Handler<M>,
    {
        if let Some(transport) = &self.transport {
            transport.do_send(message);
        }
    }

    fn start_transport(&mut self, ssrc: Ssrc, server: std::net::SocketAddr, ctx: &mut Context<Self>) {
        self.ssrc = Some(ssrc);
        let generation = self.next_generation();
        self.transport_generation = generation;
        let owner = ctx.address().downgrade().recipient();
        let transport = self.terms.place.start(move || Transport::new(generation, ssrc, server, owner));
        self.transports_alive += 1;
        if let Some(old) = self.transport.replace(transport) {
            old.do_send(transport::Stop);
        }
    }

    fn start_speaker(&mut self, ctx: &mut Context<Self>) {
        let pacer = match Pacer::new(&self.terms.encoder, self.terms.place.phase()) {
            Ok(pacer) => pacer,
            Err(error) => return self.recovery.cannot_speak(error.to_string()),
        };
        let generation = self.next_generation();
        self.speaker_generation = generation;
        let (pace, owner) = (self.terms.place.pace(), ctx.address().downgrade().recipient());
        let speaker = self.terms.place.start(move || Speaker::new(generation, pacer, pace, owner));
        speaker.do_send(Connect(self.voice_frames()));
        self.speaker = Some(speaker);
    }

    /// Where frames go: nowhere unless the voice session is up.
    fn voice_frames(&self) -> Option<Recipient<crate::speaker::VoiceFrame>> {
        self.transport.clone().filter(|_| self.recovery.is_live()).map(Addr::recipient)
    }

    fn disconnect(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.do_send(Close);
        }
        if let Some(dave) = self.dave.take() {
            dave.do_send(Tell::Stop);
        }
        if let Some(transport) = self.transport.take() {
            transport.do_send(transport::Stop);
        }
        self.to_speaker(Connect(None));
        self.speaking = SpeakingFlags::NONE;
    }

    fn hush(&mut self) {
        self.to_speaker(Hush(None));
        if self.speaking.is_empty() {
            self.recovery.silent();
        }
    }

    fn progress(&mut self, progress: ConnectionStatus) {
        match progress {
            ConnectionStatus::Connected => {
                self.stats.reconnects = self.sessions;
                self.sessions += 1;
                self.to_speaker(Connect(self.voice_frames()));
                // Not if another channel was asked for since: that is still being sought.
                if self.seeking.is_none_or(|sought| self.recovery.channel() == Some(sought)) {
                    self.answer(&Entered::There);
                }
            }
            ConnectionStatus::Resumed => {
                self.stats.resumes += 1;
                self.acknowledge_speaking();
            }
            ConnectionStatus::Resuming(_) | ConnectionStatus::Reconnecting(_) => {}
        }
        self.publish(CallEventKind::Connection(progress));
    }

    /// Answers those who wait for the channel that is being sought.
    fn answer(&mut self, answer: &Entered) {
        self.seeking = None;
        for entered in self.entering.drain(..) {
            // Whoever asked may no longer wait.
            let _ = entered.send(answer.clone());
        }
    }

    /// What the group says: now, or on the next connection of this voice session.
    fn say(&mut self, command: Command) {
        match &self.gateway {
            Some(gateway) => gateway.do_send(Send(command)),
            None if self.queued_commands.len() < MOST_WAITING => self.queued_commands.push_back(command),
            None => self.stats.dropped_commands += 1,
        }
    }

    fn say_speaking(&mut self, flags: SpeakingFlags) {
        self.speaking = flags;
        if let Some(gateway) = &self.gateway {
            gateway.do_send(Speaking(flags));
        }
    }

    /// The voice gateway knows what the speaker ordered about speaking.
    fn acknowledge_speaking(&mut self) {
        if self.speaking.is_empty() {
            self.recovery.hushed(now());
        } else {
            self.to_speaker(SpeakingSent);
        }
    }

    fn to_speaker<M: Message<Result = ()> + std::marker::Send + 'static>(&self, message: M)
    where
        Speaker: Handler<M>,
    {
        if let Some(speaker) = &self.speaker {
            speaker.do_send(message);
        }
    }

    fn next_generation(&mut self) -> u64 {
        self.born += 1;
        self.born
    }

    fn end(&mut self, reason: EndReason, ctx: &mut Context<Self>) {
        self.answer(&Entered::Failed(reason.clone().into()));
        self.ended = Some(reason);
        self.to_speaker(speaker::Stop);
        ctx.run_later(LAST_WORDS, |call, ctx| call.conclude(ctx));
    }

    /// Concludes as soon as the last counts of the children are in.
    fn conclude_early(&mut self, ctx: &mut Context<Self>) {
        if self.speaker.is_none() && self.transports_alive == 0 {
            self.conclude(ctx);
        }
    }

    fn conclude(&mut self, ctx: &mut Context<Self>) {
        let Some(reason) = self.ended.take() else { return };
        for parted in self.parting.drain(..) {
            let _ = parted.send(self.stats.clone());
        }
        self.terms.bridge.do_send(Forget(self.terms.guild));
        // Those of a speaker that has not said goodbye in time.
        self.end_tracks(&TrackEnd::Stopped);
        self.over(reason);
        self.concluded = true;
        ctx.stop();
    }

    /// The last event; who came too late may try the next call.
    fn over(&mut self, reason: EndReason) {
        self.publish(CallEventKind::Ended(reason));
        for late in self.late.drain(..) {
            let _ = late.send(Entered::Over);
        }
    }

    /// After a panic, or when the whole system is stopped: the children would live on without a parent, and the bot stay
    /// in voice.
    fn abandon(&mut self) {
        let reason = if std::thread::panicking() { EndReason::Panicked } else { EndReason::Stopped };
        self.disconnect();
        self.to_speaker(speaker::Stop);
        self.answer(&Entered::Failed(reason.clone().into()));
        self.terms.bridge.do_send(Leave(self.terms.guild));
        self.terms.bridge.do_send(Forget(self.terms.guild));
        self.end_tracks(&TrackEnd::SpeakerLost);
        self.over(reason);
    }

    fn track_ended(&mut self, track: TrackId, end: TrackEnd) {
        self.tracks.ended(track, &end);
        self.publish(CallEventKind::TrackEnded(track, end));
    }

    /// Reports the end of every track that has not had one.
    fn end_tracks(&mut self, end: &TrackEnd) {
        for track in self.tracks.playing() {
            self.track_ended(track, end.clone());
        }
    }
}

impl Driven for Call {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.recovery.poll(now()) {
            self.carry_out(action, ctx);
        }
        self.alarm.set(self.recovery.deadline(), ctx);
        self.conclude_early(ctx);
    }
}

impl Actor for Call {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.terms.place.calls.fetch_sub(1, Ordering::Relaxed);
        if !self.concluded {
            self.abandon();
        }
    }
}

/// How long the children may take to tell what they have done.
const LAST_WORDS: Duration = Duration::from_secs(1);
