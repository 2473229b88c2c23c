//! Transport: the UDP side of one voice session: one socket to the voice server, and another when the path dies.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, rc::Rc};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult, SpawnHandle, StreamHandler,
    WeakRecipient,
};
use futures_util::stream;
use tokio::sync::mpsc;

use super::{
    driven::{Alarm, Driven, Exit, now},
    stats::TransportStats,
    udp::Socket,
};
use crate::{
    call::Cause,
    gateway::payload::SessionDescription,
    id::{Ssrc, UserId},
    speaker::VoiceFrame,
    transport::{
        Action, Datagram, Link, LinkError, PathStatus, Received, RtpStart, WebsocketLoss,
        dave::{Frames, KeyChange, Sealed},
    },
};

/// **Speaker → Transport.** Send these frames. A queue and no messages: packets are too many for a mailbox, which asks for
/// memory for each.
pub(super) type FrameSender = mpsc::Sender<VoiceFrame>;

/// The two ends of a queue of frames, which takes a burst that makes up for 100 ms, and refuses more.
pub(super) fn frame_queue() -> (FrameSender, mpsc::Receiver<VoiceFrame>) {
    mpsc::channel(MAX_QUEUED_FRAMES)
}

impl Message for SessionDescription {
    type Result = ();
}

/// **Call → Transport.** This user's packets have this SSRC.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SsrcAssigned {
    pub(super) user: UserId,
    pub(super) ssrc: Ssrc,
}

/// **Call → Transport.** This user has left.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct UserLeft(pub(super) UserId);

/// **Call → Transport.** How the websocket of the voice session fares.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Websocket {
    Lost(WebsocketLoss),
    /// Something came over it, while the path is dead.
    Heard,
    Resumed,
}

/// **Call → Transport.** The voice session goes on at this media server; with none, another is still to be named.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ServerChanged(pub(super) Option<SocketAddr>);

/// **Call → Transport.** Stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

/// **Call → Transport.** Say what was sent and received.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "TransportStats")]
pub(super) struct GetStats;

/// **Transport → Call.** What the transport with this number says.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct FromTransport {
    pub(super) generation: u64,
    pub(super) report: Report,
}

#[derive(Clone, Debug)]
pub(super) enum Report {
    /// Our address as the voice server sees it.
    Discovered(SocketAddr),
    /// There is a key to seal packets with.
    Opened,
    /// The UDP path died, or is back.
    Path(PathStatus),
    /// Too many frames in a row did not open end to end.
    FailedFrames,
    /// The transport is no more; `cause` is none when it was asked to stop.
    Exited { cause: Option<Cause>, stats: Box<TransportStats> },
}

/// The actor over [`Link`].
pub(super) struct Transport {
    generation: u64,
    server: SocketAddr,
    link: Link,
    frames: Frames,
    users: HashMap<Ssrc, UserId>,
    /// The socket, and the stream that tells what arrives on it.
    socket: Option<(Socket, SpawnHandle)>,
    owner: WeakRecipient<FromTransport>,
    queued: Rc<RefCell<mpsc::Receiver<VoiceFrame>>>,
    /// Samples whose frames were not sent since the last packet.
    skipped: u32,
    packet: Vec<u8>,
    /// Where datagrams are received and opened, once there are any.
    received: Vec<u8>,
    opened: Vec<u8>,
    stats: TransportStats,
    alarm: Alarm,
    exit: Exit,
}

impl Transport {
    pub(super) fn new(
        generation: u64,
        ssrc: Ssrc,
        server: SocketAddr,
        queued: mpsc::Receiver<VoiceFrame>,
        owner: WeakRecipient<FromTransport>,
    ) -> Self {
        // Random starts, as RFC 3550 section 5.1 asks.
        let start = RtpStart { sequence: fastrand::u16(..), timestamp: fastrand::u32(..), counter: 0 };
        Self {
            generation,
            server,
            link: Link::new(ssrc, start, now()),
            frames: Frames::new(),
            users: HashMap::new(),
            socket: None,
            owner,
            queued: Rc::new(RefCell::new(queued)),
            skipped: 0,
            packet: Vec::new(),
            received: Vec::new(),
            opened: Vec::new(),
            stats: TransportStats::default(),
            alarm: Alarm::default(),
            exit: Exit::Unforeseen,
        }
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

    /// Sends without waiting: what the system does not take at once would be late anyway. Says whether it was taken.
    fn send(&mut self, datagram: &[u8]) -> bool {
        let Some((socket, _)) = &self.socket else { return false };
        let sent = socket.send(datagram);
        if let Err(error) = &sent
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.link.refused(error.kind(), now());
        }
        sent.is_ok()
    }

    fn send_control(&mut self, datagram: &Datagram) {
        if self.send(datagram) {
            self.link.datagram_sent(datagram);
        }
    }

    /// Takes a new socket; datagrams that come to the one before are not heard any more.
    fn bind(&mut self, ctx: &mut Context<Self>) {
        self.unbind(ctx);
        match Socket::connect(self.server) {
            Ok(socket) => {
                let arrivals = ctx.add_stream(socket.arrivals());
                self.socket = Some((socket, arrivals));
            }
            Err(error) => self.link.bind_failed(error.kind()),
        }
    }

    fn unbind(&mut self, ctx: &mut Context<Self>) {
        if let Some((_, arrivals)) = self.socket.take() {
            ctx.cancel_future(arrivals);
        }
    }

    fn receive(&mut self) {
        self.received.resize(MAX_RECEIVED_DATAGRAM, 0);
        for _ in 0..BATCH {
            let Some((socket, _)) = &self.socket else { return };
            match socket.receive(&mut self.received) {
                Ok(length) => self.take(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP message about an earlier datagram; the server may be back for the next.
                Err(error) => {
                    self.stats.refused += 1;
                    self.link.refused(error.kind(), now());
                }
            }
        }
    }

    fn take(&mut self, length: usize) {
        match self.link.datagram(&mut self.received[..length], now()) {
            Received::Pong(round_trip) => self.stats.round_trip = Some(round_trip),
            Received::Voice { ssrc, payload, .. } => {
                let Some(user) = self.users.get(&ssrc) else {
                    self.stats.unmapped += 1;
                    return;
                };
                match self.frames.openers.open(*user, payload, &mut self.opened, now()) {
                    Ok(_) => self.stats.opened += 1,
                    Err(_) => self.stats.unopened += 1,
                }
                if self.frames.openers.take_failing().is_some() {
                    self.report(Report::FailedFrames);
                }
            }
            Received::Discovered(_) | Received::Ignored(_) => {}
        }
    }

    /// Encrypts a frame end to end, seals it, and sends it. Nothing leaves that should be encrypted and is not.
    fn speak(&mut self, frame: &VoiceFrame) -> Result<Fate, LinkError> {
        let elapsed = frame.elapsed.wrapping_add(self.skipped);
        // Until the frame is sent.
        self.skipped = elapsed;
        let mut packet = std::mem::take(&mut self.packet);
        let sealer = &mut self.frames.sealer;
        let sealed =
            self.link.seal(elapsed, &mut packet, |out| sealer.seal(&frame.opus, out) != Sealed::Withheld);
        let sent = sealed.is_ok() && self.send(&packet);
        if sent {
            self.skipped = 0;
            self.link.voice_sent(packet.len());
            self.stats.lateness.record(now().saturating_duration_since(frame.due));
        }
        self.packet = packet;
        match sealed {
            Ok(()) if sent => Ok(Fate::Sent),
            Ok(()) => Ok(Fate::Refused),
            Err(LinkError::Withheld) => Ok(Fate::Withheld),
            Err(error) => Err(error),
        }
    }

    fn next_queued(&self) -> Option<VoiceFrame> {
        self.queued.borrow_mut().try_recv().ok()
    }

    fn stats(&self) -> TransportStats {
        TransportStats {
            counts: self.link.counts().clone(),
            mode: self.link.mode().map(|mode| mode.to_string()),
            ..self.stats.clone()
        }
    }
}

impl Driven for Transport {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.link.poll(now()) {
            match action {
                Action::Bind => self.bind(ctx),
                Action::Unbind => self.unbind(ctx),
                Action::Send(datagram) => self.send_control(&datagram),
                Action::SelectProtocol(address) => self.report(Report::Discovered(address)),
                Action::Report(status) => self.report(Report::Path(status)),
                Action::Fail(error) => return self.fail(error.to_string(), ctx),
            }
        }
        self.alarm.set(self.link.deadline(), ctx);
    }
}

impl Actor for Transport {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let queued = Rc::clone(&self.queued);
        ctx.add_stream(stream::poll_fn(move |cx| queued.borrow_mut().poll_recv(cx)));
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
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

impl Handler<SessionDescription> for Transport {
    type Result = ();

    fn handle(&mut self, description: SessionDescription, ctx: &mut Context<Self>) {
        match self.link.described(&description.mode, &description.secret_key, now()) {
            Ok(()) => self.report(Report::Opened),
            Err(error) => return self.fail(error.to_string(), ctx),
        }
        self.drive(ctx);
    }
}

impl StreamHandler<VoiceFrame> for Transport {
    /// The speaker is no more; the next has another end of the queue.
    fn finished(&mut self, _: &mut Context<Self>) {}

    fn handle(&mut self, frame: VoiceFrame, ctx: &mut Context<Self>) {
        match self.speak(&frame) {
            Ok(Fate::Sent) => {}
            Ok(Fate::Withheld) => self.stats.withheld += 1,
            Ok(Fate::Refused) => {
                self.stats.unsent += 1;
                self.drive(ctx);
            }
            Err(error) => {
                self.stats.unsent += 1;
                if error == LinkError::Exhausted {
                    self.fail(error.to_string(), ctx);
                }
            }
        }
    }
}

impl Handler<Websocket> for Transport {
    type Result = ();

    fn handle(&mut self, websocket: Websocket, ctx: &mut Context<Self>) {
        match websocket {
            Websocket::Lost(loss) => self.link.websocket_lost(loss, now()),
            Websocket::Heard => self.link.websocket_heard(),
            Websocket::Resumed => self.link.websocket_resumed(now()),
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
                self.link.server_changed(now());
            }
            None => self.link.server_lost(now()),
        }
        self.drive(ctx);
    }
}

impl Handler<KeyChange> for Transport {
    type Result = ();

    fn handle(&mut self, change: KeyChange, _: &mut Context<Self>) {
        self.frames.install(change, now());
    }
}

impl Handler<SsrcAssigned> for Transport {
    type Result = ();

    fn handle(&mut self, SsrcAssigned { user, ssrc }: SsrcAssigned, _: &mut Context<Self>) {
        if self.users.len() < MAX_USERS {
            self.users.insert(ssrc, user);
        }
    }
}

impl Handler<UserLeft> for Transport {
    type Result = ();

    fn handle(&mut self, UserLeft(user): UserLeft, _: &mut Context<Self>) {
        self.users.retain(|_, mapped| *mapped != user);
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
        // What was queued before is sent before.
        while let Some(frame) = self.next_queued() {
            StreamHandler::<VoiceFrame>::handle(self, frame, ctx);
        }
        self.exit = Exit::Asked;
        ctx.stop();
    }
}

/// What became of a frame.
enum Fate {
    Sent,
    /// There is no key to encrypt it end to end.
    Withheld,
    /// The system did not take it, or there is no socket.
    Refused,
}

/// SSRCs that are remembered; a voice channel holds no more users than this.
const MAX_USERS: usize = 1 << 16;
/// More than a speaker sends at once to make up for 100 ms.
const MAX_QUEUED_FRAMES: usize = 16;
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
        if let Some((socket, _)) = &mut self.socket {
            socket.refuse(fault.kind);
        }
    }
}

#[cfg(test)]
mod tests;
