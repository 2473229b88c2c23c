//! Call: one voice connection of one guild. Owns its gateway, transport and speaker, and replaces the dead.

mod backlog;
mod child;
mod ending;
mod error;
mod joins;
mod listening;
mod media_slot;
mod message;
mod reports;
mod requests;
mod tracks;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use actix::{Actor, ArbiterHandle, AsyncContext, Context, Recipient, WeakRecipient};
use rustls::ClientConfig;

pub use self::error::{JoinError, SpeakError};
pub(super) use self::{
    backlog::{Asked, Backlog, Released},
    media_slot::{MediaSlot, Slots},
    message::{
        AttachTrack, AwaitTrackEnd, CallEnded, DisconnectCall, FromCall, GetStats, GetVerificationCode,
        IsOver, JoinChannel, JoinedCall, NewBridge, Release,
    },
};
use self::{
    child::Child, ending::Ending, joins::Joins, listening::Listening, message::JoinOutcome, tracks::Tracks,
};
use super::{
    config::{Config, Encryption},
    dave::{Dave, DaveInput},
    driven::{Alarm, Driven, now},
    event::{CallEvent, CallEventKind},
    gateway::{Close, Gateway, Plan, Send, Speaking},
    listener::StopListening,
    meters::meters,
    speaker::{Connect, Speaker, SpeakingSent, StopTracks},
    stats::CallStats,
    transport::{self, Transport},
    voice_sender::VoiceSender,
};
use crate::{
    audio::{filter::Filters, opus::EncoderSettings},
    bridge::{CallRequest, Request},
    call::{Action, Cause, ConnectionStatus, Recovery},
    gateway::{
        payload::{Command, SpeakingFlags},
        session::{ChannelKind, Credentials, MAX_QUEUED_COMMANDS, Scheme, Start},
    },
    id::{GuildId, Ssrc},
    speaker::{Pacer, TrackEnd, TrackId},
    transport::{
        PathLoss,
        cipher::Mode,
        dave::{DaveError, Group, IdentityKey, PlainSpeech},
    },
};

/// What a call needs to know.
pub(super) struct CallContext {
    pub(super) guild: GuildId,
    pub(super) generation: u64,
    pub(super) bridge: Recipient<CallRequest>,
    pub(super) media: MediaSlot,
    pub(super) crypto: Option<ArbiterHandle>,
    pub(super) identity: IdentityKey,
    pub(super) config: Arc<Config>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) encoder: EncoderSettings,
}

/// To whom a call reports.
pub(super) struct CallOwner {
    pub(super) events: WeakRecipient<FromCall>,
    pub(super) end: WeakRecipient<CallEnded>,
    pub(super) released: WeakRecipient<Released>,
    /// Who is told that nobody takes any more what was listened for.
    pub(super) deaf: WeakRecipient<StopListening>,
}

/// The actor over [`Recovery`].
pub struct Call {
    context: CallContext,
    owner: CallOwner,
    recovery: Recovery,
    gateway: Child<Gateway>,
    dave: Child<Dave>,
    transport: Child<Transport>,
    /// The way out by way of the transport.
    sender: Option<VoiceSender>,
    speaker: Child<Speaker>,
    /// Transports that have not told yet what they have done.
    transports_alive: usize,
    resume_point: Option<ResumePoint>,
    /// Why the UDP path is dead, while it is.
    dead_path: Option<PathLoss>,
    /// What the voice gateway is to know about speaking.
    speaking: SpeakingFlags,
    /// What the group wants to send while there is no connection for it.
    queued_commands: VecDeque<Command>,
    stats: CallStats,
    joins: Joins,
    tracks: Tracks,
    /// What is done to all that is heard.
    filters: Filters,
    listening: Listening,
    ending: Ending,
    alarm: Alarm,
}

/// Where a websocket can take a voice session up again.
#[derive(Clone, Debug)]
struct ResumePoint {
    ssrc: Ssrc,
    mode: String,
    last_seq: Option<u16>,
}

impl Call {
    pub(super) fn new(context: CallContext, owner: CallOwner) -> Self {
        let modes = Mode::ALL.iter().map(|mode| mode.name().to_owned()).collect();
        let policy = context.config.supervision.clone();
        Self {
            recovery: Recovery::new(policy, modes, fastrand::f32(), now()),
            context,
            owner,
            gateway: Child::none(),
            dave: Child::none(),
            transport: Child::none(),
            sender: None,
            speaker: Child::none(),
            transports_alive: 0,
            resume_point: None,
            dead_path: None,
            speaking: SpeakingFlags::NONE,
            queued_commands: VecDeque::new(),
            stats: CallStats::default(),
            joins: Joins::default(),
            tracks: Tracks::default(),
            filters: Filters::default(),
            listening: Listening::default(),
            ending: Ending::default(),
            alarm: Alarm::default(),
        }
    }

    fn event(&self, kind: CallEventKind) -> CallEvent {
        CallEvent { guild: self.context.guild, kind }
    }

    fn publish(&self, kind: CallEventKind) {
        if let Some(owner) = self.owner.events.upgrade() {
            owner.do_send(FromCall { generation: self.context.generation, event: self.event(kind) });
        }
    }

    fn ask_bridge(&self, request: Request) {
        let CallContext { guild, generation, bridge, .. } = &self.context;
        bridge.do_send(CallRequest { guild: *guild, generation: *generation, request });
    }

    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Rejoin => self.ask_bridge(Request::Rejoin),
            Action::DoubtMainGateway => self.ask_bridge(Request::DoubtMainGateway),
            Action::Leave => self.ask_bridge(Request::Leave),
            Action::Identify(credentials) => self.identify(credentials, ctx),
            Action::Resume(credentials) => self.resume(credentials, ctx),
            Action::Close => self.close(),
            Action::StartSpeaker => self.start_speaker(ctx),
            Action::StopTracks => self.stop_tracks(),
            Action::Moved(channel) => self.publish(CallEventKind::Moved(channel)),
            Action::Report(status) => self.connection_changed(status, ctx),
            Action::End(reason) => self.end(reason, ctx),
        }
    }

    fn identify(&mut self, credentials: Credentials, ctx: &mut Context<Self>) {
        self.close();
        self.queued_commands.clear();
        self.resume_point = None;
        self.start_dave(&credentials, ctx);
        let start = Start::Identify {
            max_dave_protocol_version: self.context.config.max_dave_protocol_version,
            modes: self.recovery.modes().to_vec(),
        };
        self.start_gateway(credentials, start, ctx);
    }

    fn resume(&mut self, credentials: Credentials, ctx: &mut Context<Self>) {
        let Some(ResumePoint { ssrc, mode, last_seq }) = self.resume_point.clone() else {
            return self.recovery.gateway_lost(Cause::Zombie, now());
        };
        self.start_gateway(credentials, Start::Resume { seq_ack: last_seq, ssrc, mode }, ctx);
    }

    fn start_gateway(&mut self, credentials: Credentials, start: Start, ctx: &mut Context<Self>) {
        let scheme = match self.context.config.encryption {
            Encryption::Tls => Scheme::Tls,
            Encryption::None => Scheme::Plain,
        };
        let (tls, endpoints, speaking) =
            (Arc::clone(&self.context.tls), self.context.config.endpoints, self.speaking);
        let owner = ctx.address().downgrade().recipient();
        let old = self.gateway.replace(|generation| {
            Gateway::new(Plan { generation, tls, credentials, scheme, endpoints, start, speaking }, owner)
                .start()
        });
        self.queued_commands.drain(..).for_each(|command| self.gateway.send(Send(command)));
        if let Some(old) = old {
            old.do_send(Close);
        }
    }

    /// A new group for a new voice session: the old one's keys must not be used with nonces that start over.
    fn start_dave(&mut self, credentials: &Credentials, ctx: &mut Context<Self>) {
        let owner = ctx.address().downgrade().recipient();
        let (user, channel, identity) =
            (credentials.user, credentials.channel, self.context.identity.clone());
        let plain_speech = match credentials.channel_kind {
            ChannelKind::Voice if self.context.config.require_e2ee => PlainSpeech::Refused,
            ChannelKind::Voice | ChannelKind::Stage => PlainSpeech::Allowed,
        };
        let arbiter = self.context.crypto.as_ref();
        self.dave.replace(|generation| {
            let group = move || Group::new(user, channel, identity).plain_speech(plain_speech);
            Dave::start_on(arbiter, move || Dave::new(generation, group(), owner))
        });
    }

    /// What the group is told must not be lost: a group that is this far behind is given up, and the session with it.
    fn tell_dave(&mut self, input: DaveInput) {
        if self.dave.send_bounded(input).is_err() {
            self.dave.take();
            self.recovery.transport_lost(Cause::E2ee(DaveError::Overloaded), now());
        }
    }

    fn start_transport(&mut self, ssrc: Ssrc, server: SocketAddr, mode: String, ctx: &mut Context<Self>) {
        self.recovery.mode_chosen(mode.clone());
        self.resume_point = Some(ResumePoint { ssrc, mode, last_seq: None });
        self.dead_path = None;
        let owner = ctx.address().downgrade().recipient();
        let media = &self.context.media;
        let sender = Transport::voice_sender(ssrc);
        self.sender = Some(sender.clone());
        let old = self
            .transport
            .replace(|generation| media.start(move || Transport::new(generation, server, sender, owner)));
        self.transports_alive += 1;
        self.transport.send(transport::Hear(self.listening.inbox()));
        if let Some(old) = old {
            old.do_send(transport::Stop);
        }
    }

    fn start_speaker(&mut self, ctx: &mut Context<Self>) {
        let media = &self.context.media;
        let mut pacer = match Pacer::new(&self.context.encoder, media.phase()) {
            Ok(pacer) => pacer,
            Err(error) => return self.recovery.cannot_speak(error.to_string()),
        };
        pacer.set_filters(&self.filters);
        let (pace, owner) = (media.pace(), ctx.address().downgrade().recipient());
        self.speaker.replace(|generation| media.start(move || Speaker::new(generation, pacer, pace, owner)));
        self.connect_speaker();
    }

    /// Frames go nowhere unless the voice session is up.
    fn connect_speaker(&self) {
        let up = self.transport.addr().is_some() && self.recovery.is_live();
        self.speaker.send(Connect(self.sender.clone().filter(|_| up)));
    }

    /// Closes websocket and transport.
    fn close(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.do_send(Close);
        }
        if let Some(dave) = self.dave.take() {
            dave.do_send(DaveInput::Stop);
        }
        if let Some(transport) = self.transport.take() {
            transport.do_send(transport::Stop);
        }
        // Its keys go with it.
        self.sender = None;
        self.speaker.send(Connect(None));
        self.speaking = SpeakingFlags::NONE;
    }

    fn stop_tracks(&mut self) {
        self.speaker.send(StopTracks(None));
        if self.speaking.is_empty() {
            self.recovery.speech_ended();
        }
    }

    fn connection_changed(&mut self, status: ConnectionStatus, ctx: &Context<Self>) {
        match status {
            ConnectionStatus::Connected => {
                self.stats.reconnects = self.stats.sessions;
                self.stats.sessions += 1;
                self.connect_speaker();
                match self.joins.channel().filter(|wanted| self.recovery.channel() != Some(*wanted)) {
                    // It was asked for since, or after a move from there of which nobody had heard yet.
                    Some(wanted) => self.ask_bridge(self.joins.request(wanted)),
                    None => self.joins.answer(&self.joined(ctx)),
                }
            }
            ConnectionStatus::Resumed => {
                self.stats.resumes += 1;
                self.acknowledge_speaking();
            }
            ConnectionStatus::Resuming(_) | ConnectionStatus::Reconnecting(_) => {}
        }
        meters().connection(&status);
        self.publish(CallEventKind::Connection(status));
    }

    fn joined(&self, ctx: &Context<Self>) -> JoinOutcome {
        Ok(JoinedCall { generation: self.context.generation, call: ctx.address() })
    }

    /// Sends what the group wants to say: now, or on the next connection of this voice session.
    fn send_or_queue(&mut self, command: Command) {
        match self.gateway.addr() {
            Some(gateway) => gateway.do_send(Send(command)),
            None if self.queued_commands.len() < MAX_QUEUED_COMMANDS => {
                self.queued_commands.push_back(command)
            }
            None => self.stats.dropped_commands += 1,
        }
    }

    fn send_speaking(&mut self, flags: SpeakingFlags) {
        self.speaking = flags;
        match self.gateway.addr() {
            Some(gateway) => gateway.do_send(Speaking(flags)),
            None if flags.is_empty() => self.recovery.speaking_ended(now()),
            None => {}
        }
    }

    /// The voice gateway knows what the speaker ordered about speaking.
    fn acknowledge_speaking(&mut self) {
        if self.speaking.is_empty() {
            self.recovery.speaking_ended(now());
        } else {
            self.speaker.send(SpeakingSent);
        }
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
        self.finish_early(ctx);
    }
}

impl Actor for Call {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.complete_end();
    }
}
