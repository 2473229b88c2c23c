//! What the relay knows and decides; it never touches the socket and never waits.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::media_audit::MediaRule;
use super::member::Member;
use super::schedule::{Full, Schedule, Task};
use super::tap::{Delivery, TapShared};
use super::{Counters, Encryptor, Keep, MalformedPacket, PacketShape, Peer, RelayEvent, Tap, Violation};
use crate::cipher::Mode;
use crate::netem::{Fate, Netem};
use crate::opus;
use crate::recorder::{Hearing, Recorder};
use crate::rtp::{self, Datagram, Header};

pub(super) struct State {
    random: fastrand::Rng,
    members: HashMap<u32, Member>,
    calls: HashMap<u64, Vec<u32>>,
    taps: HashMap<u64, Vec<Weak<TapShared>>>,
    streams: HashMap<u32, MemberStream>,
    /// Call and user of those whose audio goes nowhere.
    suppressed: HashSet<(u64, u64)>,
    /// By call and user: a bot may speak in many calls at once.
    recordings: HashMap<(u64, u64), Recorder>,
    /// The call each user spoke in last.
    latest: HashMap<u64, u64>,
    netem: Netem,
    packet_shape: PacketShape,
    keep: Keep,
    discovery_drops: u32,
    schedule: Schedule,
    outbox: Vec<(SocketAddr, Vec<u8>)>,
    tap_queue: Vec<(Arc<TapShared>, Delivery)>,
    events: Option<mpsc::Sender<RelayEvent>>,
    violations: Vec<Violation>,
    pub(super) counters: Counters,
}

/// The stream of a simulated member.
struct MemberStream {
    sequence: u16,
    timestamp: u32,
    /// When its next packet is expected, once it has spoken.
    next: Option<Instant>,
    encryptor: Option<Encryptor>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            members: HashMap::new(),
            calls: HashMap::new(),
            taps: HashMap::new(),
            streams: HashMap::new(),
            suppressed: HashSet::new(),
            recordings: HashMap::new(),
            latest: HashMap::new(),
            netem: Netem::default(),
            packet_shape: PacketShape::default(),
            keep: Keep::default(),
            discovery_drops: 0,
            schedule: Schedule::default(),
            outbox: Vec::new(),
            tap_queue: Vec::new(),
            events: None,
            violations: Vec::new(),
            counters: Counters::default(),
        }
    }

    // Orders of the handle.

    pub(super) fn open(&mut self, peer: Peer) {
        self.close(peer.ssrc);
        let member = Member::new(peer, self.netem, &mut self.random);
        self.members.insert(peer.ssrc, member);
        self.calls.entry(peer.call).or_default().push(peer.ssrc);
    }

    pub(super) fn describe(&mut self, ssrc: u32, mode: Mode, key: [u8; 32]) {
        let first_counter = self.random.u32(..);
        if let Some(member) = self.members.get_mut(&ssrc) {
            member.describe(mode, key, first_counter);
        }
    }

    pub(super) fn speaking(&mut self, ssrc: u32, flags: u8, now: Instant) {
        if let Some(member) = self.members.get_mut(&ssrc) {
            member.audit.speaking(flags, now);
            self.schedule_check(ssrc);
        }
    }

    pub(super) fn set_listeners(&mut self, ssrc: u32, listeners: usize) {
        if let Some(member) = self.members.get_mut(&ssrc) {
            member.audit.set_listeners(listeners);
        }
    }

    pub(super) fn audit_leave(&mut self, ssrc: u32) -> Option<MediaRule> {
        self.members.get_mut(&ssrc)?.audit.end_talkspurt()
    }

    pub(super) fn detached(&mut self, ssrc: u32) {
        if let Some(member) = self.members.get_mut(&ssrc) {
            member.audit.detached();
        }
    }

    pub(super) fn resumed(&mut self, ssrc: u32, now: Instant) {
        if let Some(member) = self.members.get_mut(&ssrc) {
            member.audit.resumed(now);
        }
    }

    pub(super) fn close(&mut self, ssrc: u32) {
        let Some(member) = self.members.remove(&ssrc) else { return };
        if let Some(call) = self.calls.get_mut(&member.peer.call) {
            call.retain(|other| *other != ssrc);
            if call.is_empty() {
                self.calls.remove(&member.peer.call);
            }
        }
    }

    pub(super) fn tap(&mut self, call: u64, user: u64) -> Tap {
        let shared = Arc::new(TapShared::new(user, self.keep));
        let taps = self.taps.entry(call).or_default();
        taps.retain(|tap| tap.strong_count() > 0);
        taps.push(Arc::downgrade(&shared));
        Tap { shared }
    }

    pub(super) fn suppress(&mut self, call: u64, user: u64) {
        self.suppressed.insert((call, user));
    }

    pub(super) fn unsuppress(&mut self, call: u64, user: u64) {
        self.suppressed.remove(&(call, user));
    }

    pub(super) fn forget_stream(&mut self, ssrc: u32) {
        self.streams.remove(&ssrc);
    }

    pub(super) fn drop_discovery(&mut self, requests: u32) {
        self.discovery_drops = requests;
    }

    pub(super) fn netem(&mut self, netem: Netem) {
        self.netem = netem;
        self.members.values_mut().for_each(|member| member.netem = netem);
    }

    pub(super) fn netem_of(&mut self, user: u64, netem: Netem) {
        let members = self.members.values_mut().filter(|member| member.peer.user == user);
        members.for_each(|member| member.netem = netem);
    }

    pub(super) fn shape_packets(&mut self, packet_shape: PacketShape) {
        self.packet_shape = packet_shape;
    }

    pub(super) fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    pub(super) fn send_raw(&mut self, user: u64, datagram: &[u8]) {
        let members = self.members.values().filter(|member| member.peer.user == user);
        self.outbox.extend(members.filter_map(|member| member.address).map(|to| (to, datagram.to_vec())));
    }

    pub(super) fn sealed_for(&mut self, user: u64, ssrc: u32, opus: &[u8]) -> Vec<Vec<u8>> {
        let stream = self.stream(ssrc);
        let header = Header::opus(ssrc, stream.sequence, stream.timestamp);
        let clear = [&header.bytes()[..], opus].concat();
        let members = self.members.values_mut().filter(|member| member.peer.user == user);
        members.filter_map(|member| member.seal(&clear)).map(|(_, sealed)| sealed).collect()
    }

    pub(super) fn send_events_to(&mut self, events: mpsc::Sender<RelayEvent>) {
        self.events = Some(events);
    }

    // Questions of the handle.

    pub(super) fn latest_call(&self, user: u64) -> Option<u64> {
        self.latest.get(&user).copied()
    }

    pub(super) fn recording(&self, call: u64, user: u64) -> Option<Hearing> {
        let mut hearing = self.recordings.get(&(call, user))?.hearing();
        let own = |violation: &Violation| violation.peer.user == user && violation.peer.call == call;
        hearing.violations = self.violations.iter().copied().filter(own).collect();
        Some(hearing)
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.violations.clone()
    }

    pub(super) fn address_of(&self, ssrc: u32) -> Option<SocketAddr> {
        self.members.get(&ssrc)?.address
    }

    // Simulated members.

    pub(super) fn take_encryptor(&mut self, ssrc: u32) -> Option<Encryptor> {
        self.streams.get_mut(&ssrc)?.encryptor.take()
    }

    pub(super) fn return_encryptor(&mut self, ssrc: u32, encryptor: Encryptor) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.encryptor.get_or_insert(encryptor);
        }
    }

    pub(super) fn set_encryptor(&mut self, ssrc: u32, encryptor: Encryptor) {
        self.stream(ssrc).encryptor = Some(encryptor);
    }

    fn stream(&mut self, ssrc: u32) -> &mut MemberStream {
        let random = &mut self.random;
        self.streams.entry(ssrc).or_insert_with(|| MemberStream {
            sequence: random.u16(..),
            timestamp: random.u32(..),
            next: None,
            encryptor: None,
        })
    }

    /// `payload` is `opus` after end-to-end encryption, or `None` where that was refused.
    pub(super) fn send_opus(&mut self, peer: Peer, opus: &[u8], payload: Option<Bytes>, now: Instant) {
        let samples = opus::samples(opus).unwrap_or(960);
        let stream = self.stream(peer.ssrc);
        let pause = stream.next.map_or(Duration::ZERO, |next| now.saturating_duration_since(next));
        let frames = pause.as_millis() / 20;
        if frames >= PAUSE_FRAMES {
            stream.timestamp = stream.timestamp.wrapping_add((frames * 960) as u32);
        }
        let header = Header::opus(peer.ssrc, stream.sequence, stream.timestamp);
        stream.next = Some(now + Duration::from_micros(u64::from(samples) * 1000 / 48));
        stream.timestamp = stream.timestamp.wrapping_add(samples);
        let Some(payload) = payload else {
            self.counters.withheld += 1;
            return;
        };
        stream.sequence = stream.sequence.wrapping_add(1);
        self.deliver(delivery(peer, &header, payload, now));
    }

    pub(super) fn send_malformed(&mut self, peer: Peer, malformed: MalformedPacket, now: Instant) {
        let stream = self.stream(peer.ssrc);
        let header = Header::opus(peer.ssrc, stream.sequence, stream.timestamp);
        if malformed.counts() {
            stream.sequence = stream.sequence.wrapping_add(1);
        }
        let clear = malformed.packet(header);
        self.forward(peer, &clear, now, |sealed| malformed.spoil(sealed));
    }

    // What comes in.

    pub(super) fn datagram(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
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
        let Some(member) = self.members.get_mut(&ssrc) else {
            self.counters.unknown_ssrc += 1;
            return;
        };
        if self.discovery_drops > 0 {
            self.discovery_drops -= 1;
            self.counters.discoveries_dropped += 1;
            return;
        }
        member.address = Some(from);
        let peer = member.peer;
        self.counters.discoveries += 1;
        self.outbox.push((from, rtp::discovery_answer(ssrc, from).to_vec()));
        self.send_event(RelayEvent::Discovered { peer, from });
    }

    fn echo(&mut self, from: SocketAddr, answer: Vec<u8>) {
        self.counters.keepalives += 1;
        self.outbox.push((from, answer));
    }

    fn rtcp(&mut self, ssrc: u32, datagram: &[u8], now: Instant) {
        let Some(member) = self.members.get_mut(&ssrc) else {
            self.counters.unknown_ssrc += 1;
            return;
        };
        self.counters.rtcp += 1;
        let (peer, rule) = (member.peer, member.receive_rtcp(datagram));
        self.record_violations(peer, rule, now);
    }

    fn rtp(&mut self, header: &Header, datagram: &[u8], from: SocketAddr, now: Instant) {
        let Some(member) = self.members.get_mut(&header.ssrc) else {
            self.counters.unknown_ssrc += 1;
            return;
        };
        let peer = member.peer;
        let mut found = Vec::new();
        let payload = member.receive(header, datagram, from, now, &mut found);
        let fate = member.fate_up();
        self.record_violations(peer, found, now);
        self.schedule_check(peer.ssrc);
        let Some(payload) = payload else { return };
        for delay in self.deliveries(fate) {
            let arrival = now + delay;
            let delivery = Delivery { arrival, ..delivery(peer, header, payload.clone(), now) };
            if delay.is_zero() {
                self.deliver(delivery);
            } else {
                self.schedule_task(arrival, Task::Deliver(delivery));
            }
        }
    }

    /// Counts a packet as lost if no copy of it arrives.
    fn deliveries(&mut self, fate: Fate) -> impl Iterator<Item = Duration> + use<> {
        let mut arrivals = fate.arrivals().peekable();
        self.counters.lost += u64::from(arrivals.peek().is_none());
        arrivals
    }

    // What goes on.

    fn deliver(&mut self, delivery: Delivery) {
        let keep = self.keep;
        let Delivery { user, call, ssrc, sequence, timestamp, ref payload, arrival, .. } = delivery;
        if self.suppressed.contains(&(call, user)) {
            self.counters.suppressed += 1;
            return;
        }
        let recorder = self.recordings.entry((call, user)).or_insert_with(|| Recorder::new(keep));
        recorder.packet(arrival, ssrc, sequence, timestamp, Some(payload.clone()));
        self.latest.insert(user, call);
        let clear =
            self.packet_shape.packet(Header::opus(ssrc, sequence, timestamp), payload, &mut self.random);
        self.forward(Peer { ssrc, user, call }, &clear, arrival, |_| ());
        let taps = self.taps.get(&call).into_iter().flatten().filter_map(Weak::upgrade);
        self.tap_queue.extend(taps.filter(|tap| tap.user != user).map(|tap| (tap, delivery.clone())));
    }

    /// Seals a clear packet for everyone else in the call and sends it on its way.
    fn forward(&mut self, from: Peer, clear: &[u8], now: Instant, spoil: impl Fn(&mut Vec<u8>)) {
        for ssrc in self.calls.get(&from.call).cloned().unwrap_or_default() {
            let Some(member) = self.members.get_mut(&ssrc).filter(|member| member.peer.user != from.user)
            else {
                continue;
            };
            let Some((to, mut sealed)) = member.seal(clear) else { continue };
            spoil(&mut sealed);
            let fate = member.fate_down();
            for delay in self.deliveries(fate) {
                if delay.is_zero() {
                    self.outbox.push((to, sealed.clone()));
                } else {
                    self.schedule_task(now + delay, Task::Send(to, sealed.clone()));
                }
            }
        }
    }

    fn record_violations(&mut self, peer: Peer, rules: impl IntoIterator<Item = MediaRule>, at: Instant) {
        for rule in rules {
            let violation = Violation { at, peer, rule };
            if self.violations.len() < VIOLATIONS_MAX {
                self.violations.push(violation);
            } else {
                self.counters.unreported += 1;
            }
            self.send_event(RelayEvent::Violated(violation));
        }
    }

    fn send_event(&mut self, event: RelayEvent) {
        let Some(events) = &self.events else { return };
        match events.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.counters.unreported += 1,
            Err(mpsc::error::TrySendError::Closed(_)) => self.events = None,
        }
    }

    // The clock.

    fn schedule_task(&mut self, at: Instant, task: Task) {
        if let Err(Full) = self.schedule.add(at, task) {
            self.counters.overflow += 1;
        }
    }

    /// Has the conduct checked in time, if it is not already going to be.
    fn schedule_check(&mut self, ssrc: u32) {
        let Some(member) = self.members.get_mut(&ssrc) else { return };
        let Some(at) = member.audit.deadline() else { return };
        if member.check_at.is_none_or(|check_at| at < check_at) {
            member.check_at = Some(at);
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
                // The recorder wants to know when it came, not when it was planned to.
                Task::Deliver(delivery) => self.deliver(Delivery { arrival: now, ..delivery }),
                Task::Check(ssrc) => self.check(ssrc, scheduled, now),
            }
        }
    }

    fn check(&mut self, ssrc: u32, scheduled: Instant, now: Instant) {
        let Some(member) = self.members.get_mut(&ssrc) else { return };
        if member.check_at != Some(scheduled) {
            return;
        }
        member.check_at = None;
        let mut found = Vec::new();
        member.audit.check(now, &mut found);
        let peer = member.peer;
        self.record_violations(peer, found, now);
        self.schedule_check(ssrc);
    }

    pub(super) fn take_outbox(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.outbox)
    }

    pub(super) fn take_tap_queue(&mut self) -> Vec<(Arc<TapShared>, Delivery)> {
        std::mem::take(&mut self.tap_queue)
    }
}

/// A packet that arrives as it is received.
fn delivery(peer: Peer, header: &Header, payload: Bytes, received: Instant) -> Delivery {
    let (Peer { ssrc, user, call }, Header { sequence, timestamp, .. }) = (peer, *header);
    Delivery { user, call, ssrc, sequence, timestamp, payload, received, arrival: received }
}

/// A simulated member that comes later than this many frames has paused.
const PAUSE_FRAMES: u128 = 3;
const VIOLATIONS_MAX: usize = 4096;
