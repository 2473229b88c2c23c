//! Transport: the UDP side of one voice session: one socket to the voice server, and another when the path dies.

mod message;

use std::{io, net::SocketAddr, sync::MutexGuard};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, MessageResult, SpawnHandle, StreamHandler,
    WeakRecipient,
};

pub(super) use self::message::{
    FromTransport, GetStats, Hear, Report, ServerChanged, SsrcAssigned, Stop, UserLeft, Websocket,
};
use super::{
    driven::{Alarm, Driven, Exit, now},
    meters::meters,
    packet_inbox::PacketInbox,
    stats::TransportStats,
    udp::Socket,
    voice_sender::{MediaSession, SendFailed, VoiceSender},
};
use crate::{
    call::Cause,
    gateway::payload::SessionDescription,
    id::Ssrc,
    transport::{
        Action, Datagram, DeafAlarm, Ignored, Link, Received, Reception, RtpStart, SealedVoice,
        dave::KeyChange,
    },
};

/// The actor over [`Link`].
pub(super) struct Transport {
    generation: u64,
    server: SocketAddr,
    sender: VoiceSender,
    reception: Reception,
    /// Where goes what opens, while anyone listens.
    inbox: Option<PacketInbox>,
    deaf: DeafAlarm,
    /// The stream that tells what arrives on the socket.
    arrivals: Option<SpawnHandle>,
    owner: WeakRecipient<FromTransport>,
    /// Where datagrams are received, once there are any.
    received: Vec<u8>,
    alarm: Alarm,
    exit: Exit,
}

impl Transport {
    pub(super) fn new(
        generation: u64,
        server: SocketAddr,
        sender: VoiceSender,
        owner: WeakRecipient<FromTransport>,
    ) -> Self {
        Self {
            generation,
            server,
            sender,
            reception: Reception::default(),
            inbox: None,
            deaf: DeafAlarm::default(),
            arrivals: None,
            owner,
            received: Vec::new(),
            alarm: Alarm::default(),
            exit: Exit::Unforeseen,
        }
    }

    /// The way out of a new voice session.
    pub(super) fn voice_sender(ssrc: Ssrc) -> VoiceSender {
        // Random starts, as RFC 3550 section 5.1 asks.
        let start = RtpStart { sequence: fastrand::u16(..), timestamp: fastrand::u32(..), counter: 0 };
        VoiceSender::new(Link::new(ssrc, start, now()))
    }

    fn session(&self) -> MutexGuard<'_, MediaSession> {
        self.sender.session()
    }

    fn report(&self, report: Report) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(FromTransport { generation: self.generation, report });
        }
    }

    fn fail(&mut self, why: String, ctx: &mut Context<Self>) {
        self.exit = Exit::Failed(Cause::Transport(why));
        ctx.stop();
    }

    fn send_control(&self, datagram: &Datagram) {
        let mut session = self.session();
        if session.send(datagram) {
            session.link.datagram_sent(datagram);
        }
    }

    /// Takes a new socket; datagrams that come to the one before are not heard any more.
    fn bind(&mut self, ctx: &mut Context<Self>) {
        self.unbind(ctx);
        match Socket::connect(self.server) {
            Ok(socket) => {
                self.arrivals = Some(ctx.add_stream(socket.arrivals()));
                self.session().socket = Some(socket);
            }
            Err(error) => self.session().link.bind_failed(error.kind()),
        }
    }

    fn unbind(&mut self, ctx: &mut Context<Self>) {
        self.session().socket = None;
        if let Some(arrivals) = self.arrivals.take() {
            ctx.cancel_future(arrivals);
        }
    }

    fn receive(&mut self) {
        self.received.resize(MAX_RECEIVED_DATAGRAM, 0);
        for _ in 0..BATCH {
            let session = self.sender.session();
            let Some(socket) = &session.socket else { return };
            let received = socket.receive(&mut self.received);
            drop(session);
            match received {
                Ok(length) => self.take(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP message about an earlier datagram; the server may be back for the next.
                Err(error) => {
                    let mut session = self.session();
                    session.stats.refused += 1;
                    session.link.refused(error.kind(), now());
                }
            }
        }
        self.hand_over();
    }

    /// Hands over what has opened, all at once.
    fn hand_over(&mut self) {
        match &self.inbox {
            Some(inbox) => inbox.put(self.reception.ready()),
            None => self.reception.clear(),
        }
        if self.reception.take_spoken() {
            self.deaf.opened();
        }
        if self.session().frames.openers.take_failing().is_some() {
            self.report(Report::FailedFrames);
        }
    }

    fn take(&mut self, length: usize) {
        meters().received(length);
        let mut session = self.sender.session();
        let MediaSession { link, frames, stats, .. } = &mut *session;
        match link.datagram(&mut self.received[..length], now()) {
            Received::Pong(round_trip) => {
                stats.round_trip = Some(round_trip);
                meters().udp_round_trip(round_trip);
            }
            Received::Voice { ssrc, sequence, timestamp, payload } => {
                let voice = SealedVoice { ssrc, sequence, timestamp, payload };
                match self.reception.voice(voice, &mut frames.openers, now()) {
                    true => self.deaf.came(),
                    false => self.deaf.packet(now()),
                }
            }
            Received::Ignored(reason) => {
                if matches!(reason, Ignored::WrongKey | Ignored::NotYet) {
                    self.deaf.packet(now());
                }
                meters().ignored(reason);
            }
            Received::Discovered(_) => {}
        }
    }

    /// Lets go of what was held for too long.
    fn expire_early(&mut self) {
        if self.reception.deadline().is_some_and(|deadline| deadline <= now()) {
            let mut session = self.sender.session();
            self.reception.expire(&mut session.frames.openers, now());
            drop(session);
            self.hand_over();
        }
    }

    /// Tries what is held with the keys and users that there are now.
    fn retry_early(&mut self) {
        let mut session = self.sender.session();
        self.reception.retry(&mut session.frames.openers, now());
        drop(session);
        self.hand_over();
    }

    fn stats(&self) -> TransportStats {
        let reception = self.reception.counts();
        TransportStats {
            opened: reception.opened,
            unopened: reception.unopened,
            unmapped: reception.unmapped,
            held: reception.held,
            ..self.session().stats()
        }
    }
}

impl Driven for Transport {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        loop {
            let action = self.session().link.poll(now());
            match action {
                Some(Action::Bind) => self.bind(ctx),
                Some(Action::Unbind) => self.unbind(ctx),
                Some(Action::Send(datagram)) => self.send_control(&datagram),
                Some(Action::SelectProtocol(address)) => self.report(Report::Discovered(address)),
                Some(Action::Report(status)) => self.report(Report::Path(status)),
                Some(Action::Fail(error)) => return self.fail(error.to_string(), ctx),
                None => break,
            }
        }
        self.expire_early();
        while let Some((deafness, remedy)) = self.deaf.poll(now()) {
            self.report(Report::Deaf(deafness, remedy));
        }
        let deadlines = [self.session().link.deadline(), self.reception.deadline(), self.deaf.deadline()];
        self.alarm.set(deadlines.into_iter().flatten().min(), ctx);
    }
}

impl Actor for Transport {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        {
            let mut session = self.session();
            session.transport = Some(ctx.address().recipient());
            session.link.listen(false);
        }
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        {
            let mut session = self.session();
            session.transport = None;
            // The speaker and the call may hold the session for longer than the path.
            session.socket = None;
        }
        let cause = self.exit.cause("Transport");
        self.report(Report::Exited { cause, stats: Box::new(self.stats()) });
    }
}

impl StreamHandler<io::Result<()>> for Transport {
    fn handle(&mut self, _: io::Result<()>, ctx: &mut Context<Self>) {
        self.receive();
        self.drive(ctx);
    }
}

impl Handler<SendFailed> for Transport {
    type Result = ();

    fn handle(&mut self, SendFailed(error): SendFailed, ctx: &mut Context<Self>) {
        match error {
            Some(error) => self.fail(error.to_string(), ctx),
            None => self.drive(ctx),
        }
    }
}

impl Handler<SessionDescription> for Transport {
    type Result = ();

    fn handle(&mut self, description: SessionDescription, ctx: &mut Context<Self>) {
        let described = self.session().link.described(&description.mode, &description.secret_key, now());
        match described {
            Ok(()) => self.report(Report::Opened),
            Err(error) => return self.fail(error.to_string(), ctx),
        }
        self.drive(ctx);
    }
}

impl Handler<Websocket> for Transport {
    type Result = ();

    fn handle(&mut self, websocket: Websocket, ctx: &mut Context<Self>) {
        match websocket {
            Websocket::Lost(loss) => self.session().link.websocket_lost(loss, now()),
            Websocket::Heard => self.session().link.websocket_heard(),
            Websocket::Resumed => self.session().link.websocket_resumed(now()),
        }
        self.drive(ctx);
    }
}

impl Handler<ServerChanged> for Transport {
    type Result = ();

    fn handle(&mut self, ServerChanged(server): ServerChanged, ctx: &mut Context<Self>) {
        match server {
            Some(server) => {
                self.server = server;
                self.session().link.server_changed(now());
            }
            None => self.session().link.server_lost(now()),
        }
        self.drive(ctx);
    }
}

impl Handler<KeyChange> for Transport {
    type Result = ();

    fn handle(&mut self, change: KeyChange, ctx: &mut Context<Self>) {
        self.session().frames.install(change, now());
        self.retry_early();
        self.drive(ctx);
    }
}

impl Handler<SsrcAssigned> for Transport {
    type Result = ();

    fn handle(&mut self, SsrcAssigned { user, ssrc, flags }: SsrcAssigned, ctx: &mut Context<Self>) {
        if !flags.is_empty() {
            self.deaf.marked(now());
        }
        let mut session = self.sender.session();
        self.reception.assign(ssrc, user, &mut session.frames.openers, now());
        drop(session);
        self.hand_over();
        self.drive(ctx);
    }
}

impl Handler<UserLeft> for Transport {
    type Result = ();

    fn handle(&mut self, UserLeft(user): UserLeft, _: &mut Context<Self>) {
        self.reception.left(user);
    }
}

impl Handler<Hear> for Transport {
    type Result = ();

    fn handle(&mut self, Hear(inbox): Hear, ctx: &mut Context<Self>) {
        self.session().link.listen(inbox.is_some());
        self.deaf.listen(inbox.is_some());
        self.inbox = inbox;
        self.hand_over();
        self.drive(ctx);
    }
}

impl Handler<GetStats> for Transport {
    type Result = MessageResult<GetStats>;

    fn handle(&mut self, _: GetStats, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.stats())
    }
}

impl Handler<Stop> for Transport {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.exit = Exit::Asked;
        ctx.stop();
    }
}

/// Longer than any datagram that the voice server sends.
const MAX_RECEIVED_DATAGRAM: usize = 2048;
/// Datagrams taken in one go, before others have their turn.
const BATCH: usize = 64;

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Transport);

#[cfg(feature = "faults")]
impl Handler<super::fault::RefuseSends> for Transport {
    type Result = ();

    fn handle(&mut self, fault: super::fault::RefuseSends, _: &mut Context<Self>) {
        if let Some(socket) = &mut self.session().socket {
            socket.refuse(fault.kind);
        }
    }
}

#[cfg(test)]
mod tests;
