//! Transport: one UDP socket to the voice server, for one voice session.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult, StreamHandler, WeakRecipient,
};
use futures_util::Stream;
use tokio::net::UdpSocket;

use super::{
    driven::{Alarm, Driven, Exit, now},
    stats::TransportStats,
};
use crate::{
    call::Cause,
    gateway::payload::SessionDescription,
    id::{Ssrc, UserId},
    speaker::VoiceFrame,
    transport::{
        Action, Link, LinkError, Received, RtpStart,
        dave::{Frames, KeyChange, Sealed},
    },
};

impl Message for SessionDescription {
    type Result = ();
}

impl Message for VoiceFrame {
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
    socket: Option<Socket>,
    owner: WeakRecipient<FromTransport>,
    /// Samples whose frames were withheld since the last packet.
    withheld: u32,
    media: Vec<u8>,
    packet: Vec<u8>,
    datagram: Box<[u8; MAX_RECEIVED_DATAGRAM]>,
    stats: TransportStats,
    alarm: Alarm,
    exit: Exit,
}

impl Transport {
    pub(super) fn new(
        generation: u64,
        ssrc: Ssrc,
        server: SocketAddr,
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
            withheld: 0,
            media: Vec::with_capacity(MAX_RECEIVED_DATAGRAM),
            packet: Vec::with_capacity(MAX_RECEIVED_DATAGRAM),
            datagram: Box::new([0; MAX_RECEIVED_DATAGRAM]),
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

    /// Sends without waiting: what the system does not take at once would be late anyway.
    fn send(&mut self, datagram: &[u8]) {
        let sent = self.socket.as_ref().map(|socket| socket.out.send(datagram));
        if !matches!(sent, Some(Ok(_))) {
            self.stats.unsent += 1;
        }
    }

    fn receive(&mut self) {
        let Some(socket) = self.socket.as_ref().map(|socket| Rc::clone(&socket.input)) else { return };
        for _ in 0..BATCH {
            match socket.try_recv(&mut self.datagram[..]) {
                Ok(length) => self.take(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP message about an earlier datagram; the server may be back for the next.
                Err(_) => self.stats.refused += 1,
            }
        }
    }

    fn take(&mut self, length: usize) {
        match self.link.datagram(&mut self.datagram[..length], now()) {
            Received::Discovered(address) => self.report(Report::Discovered(address)),
            Received::Pong(round_trip) => self.stats.round_trip = Some(round_trip),
            Received::Voice { ssrc, payload, .. } => {
                let Some(user) = self.users.get(&ssrc) else {
                    self.stats.unmapped += 1;
                    return;
                };
                match self.frames.openers.open(*user, payload, &mut self.media, now()) {
                    Ok(_) => self.stats.opened += 1,
                    Err(_) => self.stats.unopened += 1,
                }
                if self.frames.openers.take_failing().is_some() {
                    self.report(Report::FailedFrames);
                }
            }
            Received::Ignored(_) => {}
        }
    }

    /// Encrypts a frame end to end, seals it, and sends it. Nothing leaves that should be encrypted and is not.
    fn speak(&mut self, frame: &VoiceFrame) -> Result<(), LinkError> {
        let elapsed = frame.elapsed.wrapping_add(self.withheld);
        if self.frames.sealer.seal(&frame.opus, &mut self.media) == Sealed::Withheld {
            self.withheld = elapsed;
            self.stats.withheld += 1;
            return Ok(());
        }
        self.withheld = 0;
        let mut packet = std::mem::take(&mut self.packet);
        let sealed = self.link.seal(&self.media, elapsed, &mut packet);
        if sealed.is_ok() {
            self.send(&packet);
            self.stats.lateness.record(now().saturating_duration_since(frame.due));
        }
        self.packet = packet;
        sealed
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
                Action::Send(datagram) => self.send(&datagram),
                Action::Fail(error) => return self.fail(error.to_string(), ctx),
            }
        }
        self.alarm.set(self.link.deadline(), ctx);
    }
}

impl Actor for Transport {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match bind(self.server) {
            Ok(socket) => {
                ctx.add_stream(Arrivals(Rc::clone(&socket.input)));
                self.socket = Some(socket);
                self.drive(ctx);
            }
            Err(error) => self.fail(format!("no UDP socket to {}: {error}", self.server), ctx),
        }
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
        match self.link.described(&description.mode, &description.secret_key) {
            Ok(()) => self.report(Report::Opened),
            Err(error) => self.fail(error.to_string(), ctx),
        }
    }
}

impl Handler<VoiceFrame> for Transport {
    type Result = ();

    fn handle(&mut self, frame: VoiceFrame, ctx: &mut Context<Self>) {
        match self.speak(&frame) {
            Ok(()) => {}
            Err(error @ LinkError::Exhausted) => self.fail(error.to_string(), ctx),
            Err(_) => self.stats.unsent += 1,
        }
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
        self.exit = Exit::Asked;
        ctx.stop();
    }
}

/// Two handles on one socket: tokio tells when there is something to read, and the system itself whether it takes
/// what is written, which needs no round through the reactor.
struct Socket {
    out: std::net::UdpSocket,
    input: Rc<UdpSocket>,
}

/// Says whenever datagrams have arrived.
struct Arrivals(Rc<UdpSocket>);

impl Stream for Arrivals {
    type Item = io::Result<()>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<io::Result<()>>> {
        self.0.poll_recv_ready(cx).map(Some)
    }
}

/// A socket that sends to and hears only the voice server.
fn bind(server: SocketAddr) -> io::Result<Socket> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(Socket { out: socket.try_clone()?, input: Rc::new(UdpSocket::from_std(socket)?) })
}

/// SSRCs that are remembered; a voice channel holds no more users than this.
const MAX_USERS: usize = 1 << 16;
/// Longer than any datagram that the voice server sends.
const MAX_RECEIVED_DATAGRAM: usize = 2048;
/// Datagrams taken in one go, before others have their turn.
const BATCH: usize = 64;

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Transport);
