//! What the relay does with each packet; it never touches the socket and never waits.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::connections::{Connections, Discovery};
use super::events::Events;
use super::measurement::{Measurement, Meter};
use super::member_stream::{MemberStream, MemberStreams};
use super::paths::Paths;
use super::recordings::Recordings;
use super::schedule::{Full, Schedule, Task};
use super::tap::{RelayedPacket, Taps};
use super::{Counters, Encryptor, MalformedPacket, PacketShape, Peer, RelayEvent, Tap};
use crate::cipher::Mode;
use crate::netem::Fate;
use crate::opus;
use crate::recorder::{Arrived, Hearing};
use crate::rtp::{self, Datagram, Header};

/// Everything behind the relay's lock; each part owns what it holds.
pub(super) struct Router {
    random: fastrand::Rng,
    pub(super) connections: Connections,
    pub(super) streams: MemberStreams,
    pub(super) recordings: Recordings,
    pub(super) taps: Taps,
    pub(super) events: Events,
    /// Call and user of those whose audio goes nowhere.
    suppressed: HashSet<(u64, u64)>,
    echoes: Echoes,
    paths: Paths,
    packet_shape: PacketShape,
    schedule: Schedule,
    outbox: Vec<(SocketAddr, Vec<u8>)>,
    counters: Counters,
    meter: Meter,
}

impl Router {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            connections: Connections::default(),
            streams: MemberStreams::default(),
            recordings: Recordings::default(),
            taps: Taps::default(),
            events: Events::default(),
            suppressed: HashSet::new(),
            echoes: Echoes::default(),
            paths: Paths::default(),
            packet_shape: PacketShape::default(),
            schedule: Schedule::default(),
            outbox: Vec::new(),
            counters: Counters::default(),
            meter: Meter::default(),
        }
    }

    // What the handle asks for and more than one part has to do with.

    pub(super) fn open(&mut self, peer: Peer) {
        self.connections.open(peer, &mut self.random);
    }

    pub(super) fn describe(&mut self, ssrc: u32, mode: Mode, key: [u8; 32]) {
        let first_counter = self.random.u32(..);
        if let Some(connection) = self.connections.get_mut(ssrc) {
            connection.describe(mode, key, first_counter);
        }
    }

    pub(super) fn speaking(&mut self, ssrc: u32, flags: u8, now: Instant) {
        if let Some(connection) = self.connections.get_mut(ssrc) {
            connection.audit().speaking(flags, now);
            self.schedule_check(ssrc);
        }
    }

    pub(super) fn tap(&mut self, call: u64, user: u64) -> Tap {
        self.taps.add(call, user, self.recordings.keep())
    }

    pub(super) fn suppress(&mut self, call: u64, user: u64) {
        self.suppressed.insert((call, user));
    }

    pub(super) fn unsuppress(&mut self, call: u64, user: u64) {
        self.suppressed.remove(&(call, user));
    }

    /// Stops echoing the keepalives of a user.
    pub(super) fn mute_echoes(&mut self, user: u64) {
        self.echoes.muted.insert(user);
    }

    /// Never echoes a keepalive.
    pub(super) fn mute_all_echoes(&mut self) {
        self.echoes.never = true;
    }

    /// Kills the paths of a user's present connections.
    pub(super) fn kill_path(&mut self, user: u64) {
        for address in self.connections.addresses_of(user) {
            self.paths.kill(address);
        }
        self.connections.of_user(user).for_each(|connection| connection.audit().interrupted());
    }

    /// Lets the relay see a user's present connections somewhere else.
    pub(super) fn move_path(&mut self, user: u64) {
        for address in self.connections.addresses_of(user) {
            self.paths.relocate(address);
        }
    }

    pub(super) fn shape_packets(&mut self, shape: PacketShape) {
        self.packet_shape = shape;
    }

    /// The stream of a simulated member.
    pub(super) fn stream(&mut self, ssrc: u32) -> &mut MemberStream {
        self.streams.stream(ssrc, &mut self.random)
    }

    pub(super) fn replace_stream(&mut self, old: u32, new: u32) {
        self.streams.replace(old, new, &mut self.random);
    }

    pub(super) fn set_encryptor(&mut self, ssrc: u32, encryptor: Encryptor) {
        self.streams.set_encryptor(ssrc, encryptor, &mut self.random);
    }

    pub(super) fn send_raw(&mut self, user: u64, datagram: &[u8]) {
        let addresses = self.connections.of_user(user).filter_map(|connection| connection.address());
        self.outbox.extend(addresses.map(|to| (to, datagram.to_vec())));
    }

    pub(super) fn sealed_for(&mut self, user: u64, ssrc: u32, opus: &[u8]) -> Vec<Vec<u8>> {
        let header = self.streams.stream(ssrc, &mut self.random).header();
        let clear = [&header.bytes()[..], opus].concat();
        let sealed = self.connections.of_user(user).filter_map(|connection| connection.seal(&clear));
        sealed.map(|(_, sealed)| sealed).collect()
    }

    pub(super) fn recording(&self, call: u64, user: u64) -> Option<Hearing> {
        let mut hearing = self.recordings.hearing(call, user)?;
        hearing.violations = self.events.violations_of(call, user);
        Some(hearing)
    }

    pub(super) fn counters(&self) -> Counters {
        Counters { unreported: self.events.unreported(), ..self.counters }
    }

    /// Measures what has come since this was asked last.
    pub(super) fn measure(&mut self) -> Measurement {
        self.meter.measure(self.recordings.lost())
    }

    // Packets of simulated members.

    /// `payload` is `opus` after end-to-end encryption, or `None` where that was refused.
    pub(super) fn send_opus(&mut self, peer: Peer, opus: &[u8], payload: Option<Bytes>, now: Instant) {
        let samples = opus::samples(opus).unwrap_or(960);
        let stream = self.streams.stream(peer.ssrc, &mut self.random);
        let header = stream.opus_header(samples, now);
        let Some(payload) = payload else {
            self.counters.withheld += 1;
            return;
        };
        stream.take_sequence();
        let fate = stream.fate();
        self.send_up(&RelayedPacket::new(peer, &header, payload, now), fate);
    }

    pub(super) fn send_malformed(&mut self, peer: Peer, malformed: MalformedPacket, now: Instant) {
        let stream = self.streams.stream(peer.ssrc, &mut self.random);
        let header = stream.header();
        if malformed.takes_sequence() {
            stream.take_sequence();
        }
        let clear = malformed.packet(header);
        self.forward(peer, &clear, now, |sealed| malformed.spoil(sealed));
    }

    // Datagrams that come in.

    /// Takes a datagram that came a while ago.
    pub(super) fn measured_datagram(
        &mut self,
        datagram: &[u8],
        socket: SocketAddr,
        arrival: Instant,
        now: Instant,
    ) {
        self.meter.waited(now.saturating_duration_since(arrival));
        self.datagram(datagram, socket, arrival);
    }

    /// Takes note of how many datagrams the socket has dropped so far.
    pub(super) fn datagrams_dropped(&mut self, dropped: u64) {
        self.meter.dropped(dropped);
    }

    /// Takes a datagram from a client's socket.
    pub(super) fn datagram(&mut self, datagram: &[u8], socket: SocketAddr, now: Instant) {
        let Some(from) = self.paths.seen(socket) else {
            self.counters.dead += 1;
            return;
        };
        self.counters.received += 1;
        match Datagram::parse(datagram) {
            Datagram::Rtp(header) => self.rtp(&header, datagram, from, now),
            Datagram::Rtcp(ssrc) => self.rtcp(ssrc, datagram, now),
            Datagram::Discovery(ssrc) => self.discovery(ssrc, from),
            Datagram::Ping(sequence) => self.echo(from, rtp::pong(sequence).to_vec()),
            Datagram::Keepalive => self.echo(from, datagram.to_vec()),
            Datagram::Unknown => self.counters.unknown += 1,
        }
    }

    fn discovery(&mut self, ssrc: u32, from: SocketAddr) {
        match self.connections.discover(ssrc, from) {
            Discovery::UnknownSsrc => self.counters.unknown_ssrc += 1,
            Discovery::Dropped => self.counters.discoveries_dropped += 1,
            Discovery::Answered(peer) => {
                self.counters.discoveries += 1;
                self.outbox.push((from, rtp::discovery_answer(ssrc, from).to_vec()));
                self.events.send(RelayEvent::Discovered { peer, from });
            }
        }
    }

    fn echo(&mut self, from: SocketAddr, answer: Vec<u8>) {
        self.counters.keepalives += 1;
        if self.echoes.come_to(self.connections.user_at(from)) {
            self.outbox.push((from, answer));
        }
    }

    fn rtcp(&mut self, ssrc: u32, datagram: &[u8], now: Instant) {
        let Some(connection) = self.connections.get_mut(ssrc) else {
            self.counters.unknown_ssrc += 1;
            return;
        };
        self.counters.rtcp += 1;
        self.events.record_violations(connection.peer(), connection.receive_rtcp(datagram), now);
    }

    fn rtp(&mut self, header: &Header, datagram: &[u8], from: SocketAddr, now: Instant) {
        let Some(connection) = self.connections.get_mut(header.ssrc) else {
            self.counters.unknown_ssrc += 1;
            return;
        };
        let peer = connection.peer();
        let mut found = Vec::new();
        let payload = connection.receive(header, datagram, from, now, &mut found);
        let fate = connection.fate_up();
        self.events.record_violations(peer, found, now);
        self.schedule_check(peer.ssrc);
        let Some(payload) = payload else { return };
        self.send_up(&RelayedPacket::new(peer, header, payload, now), fate);
    }

    /// Lets a packet come to the relay, or be lost on the way.
    fn send_up(&mut self, packet: &RelayedPacket, fate: Fate) {
        for delay in self.deliveries(fate) {
            let packet = RelayedPacket { arrival: packet.arrival + delay, ..packet.clone() };
            if delay.is_zero() {
                self.deliver(packet);
            } else {
                self.schedule_task(packet.arrival, Task::Deliver(packet));
            }
        }
    }

    /// The delays of the copies that arrive; a packet without any counts as lost.
    fn deliveries(&mut self, fate: Fate) -> impl Iterator<Item = Duration> + use<> {
        let mut arrivals = fate.arrivals().peekable();
        self.counters.lost += u64::from(arrivals.peek().is_none());
        arrivals
    }

    // Packets that go out.

    /// Records a packet and passes it on to everyone else in its call.
    fn deliver(&mut self, packet: RelayedPacket) {
        if self.suppressed.contains(&(packet.call, packet.user)) {
            self.counters.suppressed += 1;
            return;
        }
        match self.recordings.record(&packet) {
            Arrived::Next(step) => self.meter.packet((packet.call, packet.user), Some(step)),
            Arrived::First => self.meter.packet((packet.call, packet.user), None),
            Arrived::Before => {}
        }
        let shape = self.streams.shape_of(packet.ssrc).unwrap_or(self.packet_shape);
        let clear = shape.packet(packet.header(), &packet.payload, &mut self.random);
        self.forward(packet.peer(), &clear, packet.arrival, |_| ());
        self.taps.queue(&packet);
    }

    /// Seals a clear packet for everyone else in the call and sends it on its way.
    fn forward(&mut self, from: Peer, clear: &[u8], now: Instant, spoil: impl Fn(&mut Vec<u8>)) {
        for ssrc in self.connections.in_call(from.call) {
            let connection = self.connections.get_mut(ssrc);
            let Some(connection) = connection.filter(|other| other.peer().user != from.user) else {
                continue;
            };
            let Some((to, mut sealed)) = connection.seal(clear) else { continue };
            spoil(&mut sealed);
            let fate = connection.fate_down();
            for delay in self.deliveries(fate) {
                if delay.is_zero() {
                    self.outbox.push((to, sealed.clone()));
                } else {
                    self.schedule_task(now + delay, Task::Send(to, sealed.clone()));
                }
            }
        }
    }

    /// Takes the datagrams that wait to be sent, each with the socket that it goes to.
    pub(super) fn take_outbox(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.retain_mut(|(to, _)| match self.paths.arrives(*to) {
            Some(socket) => {
                *to = socket;
                true
            }
            None => {
                self.counters.dead += 1;
                false
            }
        });
        outbox
    }

    /// Counts a datagram that was sent, or that the socket refused.
    pub(super) fn count_sent<E>(&mut self, sent: &Result<usize, E>) {
        match sent {
            Ok(_) => self.counters.sent += 1,
            Err(_) => self.counters.overflow += 1,
        }
    }

    // The clock.

    fn schedule_task(&mut self, at: Instant, task: Task) {
        if let Err(Full) = self.schedule.add(at, task) {
            self.counters.overflow += 1;
        }
    }

    /// Has a connection's audit checked in time, if it is not already going to be.
    fn schedule_check(&mut self, ssrc: u32) {
        let check = self.connections.get_mut(ssrc).and_then(|connection| connection.plan_check());
        if let Some(at) = check {
            self.schedule_task(at, Task::Check(ssrc));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.schedule.deadline()
    }

    pub(super) fn run_due(&mut self, now: Instant) {
        while let Some((scheduled, task)) = self.schedule.due(now) {
            match task {
                Task::Send(to, datagram) => self.outbox.push((to, datagram)),
                // The recorder wants to know when the packet came, not when it was scheduled to come.
                Task::Deliver(packet) => self.deliver(RelayedPacket { arrival: now, ..packet }),
                Task::Check(ssrc) => self.check(ssrc, scheduled, now),
            }
        }
    }

    fn check(&mut self, ssrc: u32, scheduled: Instant, now: Instant) {
        let Some(connection) = self.connections.get_mut(ssrc) else { return };
        let Some(found) = connection.check(scheduled, now) else { return };
        self.events.record_violations(connection.peer(), found, now);
        self.schedule_check(ssrc);
    }
}

/// Whose keepalives are not echoed.
#[derive(Debug, Default)]
struct Echoes {
    never: bool,
    muted: HashSet<u64>,
}

impl Echoes {
    fn come_to(&self, user: Option<u64>) -> bool {
        !self.never && user.is_none_or(|user| !self.muted.contains(&user))
    }
}
