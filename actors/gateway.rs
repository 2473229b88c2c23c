//! Gateway: one websocket to the voice gateway, from its opening to its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, StreamHandler,
    WeakRecipient, WrapFuture,
};
use rustls::ClientConfig;

use super::{
    driven::{Alarm, Driven, Exit, now},
    heartbeat::{Beat, BeatNow, HeartbeatAck, Heartbeater, Stop as StopBeating},
    websocket::{self, Incoming, Reader, Writer},
};
use crate::{
    call::Cause,
    gateway::{
        close::{CLOSE_FOR_GOOD, CloseCode},
        heartbeat::Heartbeat,
        payload::{Command, SessionDescription, SpeakingFlags},
        session::{Action, Credentials, Endpoints, MAX_QUEUED_COMMANDS, Scheme, Session, Start},
    },
    id::{Ssrc, UserId},
};

/// **Call → Gateway.** IP discovery found this address of ours, or another than before.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Discovered(pub(super) SocketAddr);

/// **Call → Gateway.** Say that the bot speaks, or no longer speaks.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Speaking(pub(super) SpeakingFlags);

/// **Call → Gateway.** Send this once the voice session is up.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Send(pub(super) Command);

/// **Call → Gateway.** Close the connection for good.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Close;

/// **Gateway → Call.** What the connection with this number says.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct FromGateway {
    pub(super) generation: u64,
    pub(super) report: Report,
}

#[derive(Clone, Debug)]
pub(super) enum Report {
    Ready {
        ssrc: Ssrc,
        server: SocketAddr,
        mode: String,
    },
    Established(SessionDescription),
    /// The media server of the established session is this now; with none, it is still to be named.
    MediaServer(Option<SocketAddr>),
    Resumed,
    /// What was last said about speaking has been written.
    SpeakingSent,
    Speaking {
        user: Option<UserId>,
        ssrc: Ssrc,
        flags: SpeakingFlags,
    },
    ClientsConnect(Vec<UserId>),
    ClientDisconnect(UserId),
    SsrcAssigned {
        user: UserId,
        ssrc: Ssrc,
    },
    Dave(crate::gateway::payload::DaveEvent),
    RoundTrip(Duration),
    /// A message could not be understood, and was skipped.
    Malformed,
    /// A command was dropped: too many came before the connection was open.
    CommandDropped,
    /// The connection is no more; these commands were not sent.
    Exited {
        cause: Cause,
        last_seq: Option<u16>,
        queued_commands: Vec<Command>,
    },
}

/// Where and how to connect, and what to begin with.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) generation: u64,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) credentials: Credentials,
    pub(super) scheme: Scheme,
    pub(super) endpoints: Endpoints,
    pub(super) start: Start,
    pub(super) speaking: SpeakingFlags,
}

/// The actor over [`Session`].
pub(super) struct Gateway {
    plan: Plan,
    owner: WeakRecipient<FromGateway>,
    connection: Connection,
    /// What was to be sent while the connection was being opened, for as long as that may take.
    queued_commands: Vec<Command>,
    alarm: Alarm,
    exit: Exit,
}

enum Connection {
    Opening,
    Open { session: Box<Session>, writer: Writer, heartbeats: Option<Heartbeats> },
    Closed { last_seq: Option<u16> },
}

/// The heartbeater, and the interval to start another with.
struct Heartbeats {
    beater: Addr<Heartbeater>,
    interval: Duration,
}

impl Gateway {
    pub(super) fn new(plan: Plan, owner: WeakRecipient<FromGateway>) -> Self {
        Self {
            plan,
            owner,
            connection: Connection::Opening,
            queued_commands: Vec::new(),
            alarm: Alarm::default(),
            exit: Exit::Unforeseen,
        }
    }

    fn report(&self, report: Report) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(FromGateway { generation: self.plan.generation, report });
        }
    }

    fn opened(&mut self, opened: Result<(Writer, Reader), String>, ctx: &mut Context<Self>) {
        match opened {
            Ok((writer, reader)) => {
                let Plan { credentials, start, speaking, .. } = self.plan.clone();
                let mut session = Session::new(credentials, start, now());
                session.speaking(speaking);
                self.queued_commands.drain(..).for_each(|command| session.command(command));
                self.connection = Connection::Open { session: Box::new(session), writer, heartbeats: None };
                ctx.add_stream(reader);
                self.drive(ctx);
            }
            Err(error) => self.fail(Cause::Lost(error), ctx),
        }
    }

    fn fail(&mut self, cause: Cause, ctx: &mut Context<Self>) {
        if matches!(self.exit, Exit::Unforeseen) {
            self.exit = Exit::Failed(cause);
        }
        ctx.stop();
    }

    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Send(outgoing) => {
                if let Connection::Open { writer, .. } = &self.connection
                    && let Err(stuck) = writer.send(outgoing)
                {
                    self.fail(Cause::Lost(stuck.to_string()), ctx);
                }
            }
            Action::Beat(interval) => self.begin_beating(interval, ctx),
            Action::BeatNow => self.to_heartbeater(BeatNow),
            Action::Acknowledged { nonce } => self.to_heartbeater(HeartbeatAck(nonce)),
            Action::Ready { ssrc, server, mode } => self.report(Report::Ready { ssrc, server, mode }),
            Action::MediaServer(server) => self.report(Report::MediaServer(server)),
            Action::Established(description) => self.report(Report::Established(description)),
            Action::Resumed => self.report(Report::Resumed),
            Action::Speaking { user, ssrc, flags } => self.report(Report::Speaking { user, ssrc, flags }),
            Action::SsrcAssigned { user, ssrc } => self.report(Report::SsrcAssigned { user, ssrc }),
            Action::ClientsConnect(users) => self.report(Report::ClientsConnect(users)),
            Action::ClientDisconnect(user) => self.report(Report::ClientDisconnect(user)),
            Action::Dave(event) => self.report(Report::Dave(event)),
            Action::Fail(error) => self.fail(Cause::Handshake(error), ctx),
        }
    }

    fn begin_beating(&mut self, interval: Duration, ctx: &mut Context<Self>) {
        let Connection::Open { heartbeats, .. } = &mut self.connection else { return };
        let heartbeat = Heartbeat::new(interval, fastrand::u64(..1 << 48), now());
        let beater = Heartbeater::new(heartbeat, ctx.address().downgrade().recipient()).start();
        if let Some(old) = heartbeats.replace(Heartbeats { beater, interval }) {
            old.beater.do_send(StopBeating);
        }
    }

    fn to_heartbeater<M: Message<Result = ()> + std::marker::Send + 'static>(&self, message: M)
    where
        Heartbeater: Handler<M>,
    {
        if let Connection::Open { heartbeats: Some(heartbeats), .. } = &self.connection {
            heartbeats.beater.do_send(message);
        }
    }

    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.connection {
            Connection::Open { session, .. } => Some(session),
            Connection::Opening | Connection::Closed { .. } => None,
        }
    }

    /// Closes the connection; what is still queued for it is written first.
    fn close(&mut self, code: Option<u16>) {
        let before = std::mem::replace(&mut self.connection, Connection::Closed { last_seq: None });
        if let Connection::Open { mut session, writer, heartbeats } = before {
            self.connection = Connection::Closed { last_seq: session.last_seq() };
            self.queued_commands = session.take_waiting();
            if let Some(heartbeats) = heartbeats {
                heartbeats.beater.do_send(StopBeating);
            }
            if let Some(code) = code {
                writer.close(code);
            }
        }
    }
}

impl Driven for Gateway {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.session().and_then(|session| session.poll(now())) {
            self.carry_out(action, ctx);
        }
        let deadline = self.session().and_then(|session| session.deadline());
        self.alarm.set(deadline, ctx);
    }
}

impl Actor for Gateway {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Plan { credentials, scheme, endpoints, tls, .. } = &self.plan;
        let url = match credentials.url(*scheme, *endpoints) {
            Ok(url) => url,
            Err(bad) => return self.fail(Cause::Lost(bad.to_string()), ctx),
        };
        let opening = websocket::open(url, Arc::clone(tls), websocket::MAX_VOICE_MESSAGE).into_actor(self);
        ctx.spawn(opening.map(|opened, gateway, ctx| gateway.opened(opened, ctx)));
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.close(None);
        let Connection::Closed { last_seq } = self.connection else { return };
        let Some(cause) = self.exit.cause("Gateway") else { return };
        let queued_commands = std::mem::take(&mut self.queued_commands);
        self.report(Report::Exited { cause, last_seq, queued_commands });
    }
}

impl StreamHandler<Incoming> for Gateway {
    fn handle(&mut self, incoming: Incoming, ctx: &mut Context<Self>) {
        let Some(session) = self.session() else { return };
        let malformed = session.malformed();
        match incoming {
            Incoming::Text(text) => session.text(&text, now()),
            Incoming::Binary(frame) => session.binary(&frame, now()),
            Incoming::Closed(Some(code)) => return self.fail(Cause::Closed(CloseCode(code)), ctx),
            Incoming::Closed(None) => return self.fail(Cause::Lost("closed without a code".into()), ctx),
            Incoming::Lost(why) => return self.fail(Cause::Lost(why), ctx),
        }
        if session.malformed() > malformed {
            self.report(Report::Malformed);
        }
        self.drive(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Discovered> for Gateway {
    type Result = ();

    fn handle(&mut self, Discovered(address): Discovered, ctx: &mut Context<Self>) {
        if let Some(session) = self.session() {
            session.discovered(address, now());
        }
        self.drive(ctx);
    }
}

impl Handler<Speaking> for Gateway {
    type Result = ();

    fn handle(&mut self, Speaking(flags): Speaking, ctx: &mut Context<Self>) {
        self.plan.speaking = flags;
        let Some(session) = self.session() else { return };
        session.speaking(flags);
        let sent = session.is_established();
        self.drive(ctx);
        if sent {
            self.report(Report::SpeakingSent);
        }
    }
}

impl Handler<Send> for Gateway {
    type Result = ();

    fn handle(&mut self, Send(command): Send, ctx: &mut Context<Self>) {
        match &mut self.connection {
            Connection::Open { session, .. } => {
                let dropped = session.dropped();
                session.command(command);
                if session.dropped() > dropped {
                    self.report(Report::CommandDropped);
                }
            }
            _ if self.queued_commands.len() < MAX_QUEUED_COMMANDS => self.queued_commands.push(command),
            _ => self.report(Report::CommandDropped),
        }
        self.drive(ctx);
    }
}

impl Handler<Close> for Gateway {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Context<Self>) {
        self.exit = Exit::Asked;
        self.close(Some(CLOSE_FOR_GOOD));
        ctx.stop();
    }
}

impl Handler<Beat> for Gateway {
    type Result = ();

    fn handle(&mut self, beat: Beat, ctx: &mut Context<Self>) {
        match beat {
            Beat::Due(nonce) => {
                if let Some(session) = self.session() {
                    session.beat(nonce);
                }
                self.drive(ctx);
            }
            Beat::RoundTrip(round_trip) => self.report(Report::RoundTrip(round_trip)),
            Beat::Zombie => self.fail(Cause::Zombie, ctx),
            Beat::Exited => {
                if let Connection::Open { heartbeats: Some(Heartbeats { interval, .. }), .. } =
                    &self.connection
                {
                    self.begin_beating(*interval, ctx);
                }
            }
        }
    }
}

#[cfg(feature = "faults")]
impl Handler<super::fault::Panic> for Gateway {
    type Result = ();

    fn handle(&mut self, _: super::fault::Panic, _: &mut Context<Self>) {
        self.to_heartbeater(super::fault::PanicNow);
    }
}

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Gateway);
