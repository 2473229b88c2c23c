//! The media relay: one UDP socket that answers discovery and passes every member's audio on to the others of its call.
//!
//! ```text
//!  member ── datagram ──▶ socket ──▶ MediaAudit ──▶ Netem up ──▶ Recorder of the sender
//!                                    (audits)                    │
//!                                                                ├──▶ seal for each other member ──▶ Netem down ──▶
//!  simulated member ── send_opus ─────────────────────────────────┘──▶ Tap of each simulated member
//! ```
//!
//! Payloads are opaque, end-to-end encrypted or not. The relay keeps sequence, timestamp and SSRC, and seals with each
//! receiver's own key and its own packet counter. Arrival times are tokio's, so paused time works.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use media_audit::MediaAudit;
use router::Router;
use runner::Runner;

use crate::builder::{NewSource, RelayThread};
use crate::cipher::Mode;
use crate::netem::{Netem, Trace};
use crate::recorder::Hearing;
use crate::rule::{MediaRule, Violation};

pub use measurement::{Measurement, RelayLimit};
pub use packet_shape::{MalformedPacket, PacketShape};
pub use tap::{Decryptor, Tap};

pub use crate::recorder::Keep;

mod connections;
mod events;
mod measurement;
mod media_audit;
mod media_connection;
mod member_stream;
mod packet_shape;
mod paths;
mod receive;
mod recordings;
mod router;
mod runner;
mod schedule;
mod socket_loop;
mod socket_thread;
mod tap;
#[cfg(test)]
mod tests;

/// One voice connection at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The SSRC that its Ready named.
    pub ssrc: u32,
    /// Whose connection it is.
    pub user: u64,
    /// Which call it is in; audio stays in the call.
    pub call: u64,
}

/// What the relay reports as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayEvent {
    /// A discovery request was answered.
    Discovered {
        /// Whose.
        peer: Peer,
        /// Where it came from.
        from: SocketAddr,
    },
    /// A member broke a rule; after [`MediaRule::AudioWithoutSpeaking`] Discord closes the connection.
    Violated {
        /// Which connection.
        peer: Peer,
        /// Which rule, and when.
        violation: Violation,
    },
}

/// What the relay counts over all members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams that were sent.
    pub sent: u64,
    /// Discovery requests that were answered.
    pub discoveries: u64,
    /// Discovery requests that were dropped on order.
    pub discoveries_dropped: u64,
    /// Keepalives and pings that were echoed.
    pub keepalives: u64,
    /// RTCP packets.
    pub rtcp: u64,
    /// Datagrams of SSRCs that no member has.
    pub unknown_ssrc: u64,
    /// Datagrams that were nothing known, malformed discovery requests among them.
    pub unknown: u64,
    /// Datagrams from and to clients whose path is dead or has moved.
    pub dead: u64,
    /// Packets that the emulated network lost.
    pub lost: u64,
    /// Packets dropped because 65 536 were under way in the emulated network, or the socket refused them.
    pub overflow: u64,
    /// Packets of suppressed users, which go nowhere.
    pub suppressed: u64,
    /// Packets of simulated members that their encryptor refused.
    pub withheld: u64,
    /// Events dropped because nobody took them, and violations beyond the 4096 that are kept.
    pub unreported: u64,
}

/// Encrypts a simulated member's packet end to end; `None` while it has no key.
pub type Encryptor = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A handle on a relay; the relay ends with its last handle.
#[derive(Clone)]
pub struct Relay {
    running: Arc<Running>,
}

struct Running {
    shared: Arc<Shared>,
    _runner: Runner,
}

struct Shared {
    /// Read without asking a runtime whether there is something.
    socket: std::net::UdpSocket,
    address: SocketAddr,
    router: Mutex<Router>,
    /// Something waits to be sent or is due earlier than before.
    wake: Notify,
    activity: watch::Sender<u64>,
}

impl Shared {
    fn router(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts a relay on a free port of this address and on the runtime; everything random in it follows from the seed.
    ///
    /// # Errors
    /// What binding a UDP socket there returns.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(ip: IpAddr, seed: u64) -> io::Result<Self> {
        Self::start_on(ip, seed, RelayThread::Shared)
    }

    /// Starts a relay as [`start`](Self::start) does, on this thread.
    ///
    /// # Errors
    /// What binding a UDP socket there returns, or starting a thread.
    ///
    /// # Panics
    /// On [`RelayThread::Shared`] outside a tokio runtime.
    pub fn start_on(ip: IpAddr, seed: u64, thread: RelayThread) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            address: socket.local_addr()?,
            socket,
            router: Mutex::new(Router::new(seed)),
            wake: Notify::new(),
            activity: watch::Sender::new(0),
        });
        let runner = Runner::start(shared.clone(), thread)?;
        Ok(Self { running: Arc::new(Running { shared, _runner: runner }) })
    }

    /// Measures what has come of all members since it was asked last, or since the start.
    pub fn measure(&self) -> Measurement {
        self.shared().router().measure()
    }

    /// Where it listens; what Ready names.
    pub fn address(&self) -> SocketAddr {
        self.running.shared.address
    }

    /// Lets a connection in; its discovery requests are answered from now on.
    pub fn open(&self, peer: Peer) {
        self.shared().router().open(peer);
    }

    /// Gives a connection its mode and key, as its Session Description did; media flows from now on.
    ///
    /// The same mode and key again change nothing; others restart the audit of its packet counter.
    pub fn describe(&self, ssrc: u32, mode: Mode, key: [u8; 32]) {
        self.shared().router().describe(ssrc, mode, key);
    }

    /// Takes note of the flags of a connection's op 5.
    pub fn speaking(&self, ssrc: u32, flags: u8) {
        self.shared().router().speaking(ssrc, flags, Instant::now());
        self.shared().wake.notify_one();
    }

    /// Takes note of how many others are in the call of a connection; 1 until said otherwise.
    pub fn set_listeners(&self, ssrc: u32, others: usize) {
        self.audit(ssrc, |audit| audit.set_listeners(others));
    }

    /// Audits a connection whose client leaves of its own accord: the client should have ended its audio with silence.
    pub fn audit_leave(&self, ssrc: u32) -> Option<MediaRule> {
        socket_loop::drain(self.shared());
        self.audit(ssrc, MediaAudit::end_talkspurt).flatten()
    }

    /// Takes note that a connection's websocket is lost or stalled: nothing can be said on it until a resume.
    pub fn detached(&self, ssrc: u32) {
        self.audit(ssrc, MediaAudit::detached);
    }

    /// Takes note that a connection was resumed: a client that was speaking has to announce it again.
    pub fn resumed(&self, ssrc: u32) {
        self.audit(ssrc, |audit| audit.resumed(Instant::now()));
    }

    /// Closes a connection. Packets that it sent before still count, and the recording of its user stays.
    pub fn close(&self, ssrc: u32) {
        socket_loop::drain(self.shared());
        self.shared().router().connections.close(ssrc);
        self.shared().wake.notify_one();
    }

    /// Puts a tap on a call for a user; it hears everyone else there until it is dropped.
    pub fn tap(&self, call: u64, user: u64) -> Tap {
        self.shared().router().tap(call, user)
    }

    /// Sends one Opus packet from a simulated member to everyone else in the call.
    ///
    /// The first packet of an SSRC begins its stream at a random place. Timestamps advance by the packet's length, and
    /// over a pause by the time passed. Pacing is the caller's.
    pub fn send_opus(&self, call: u64, user: u64, ssrc: u32, opus: Bytes) {
        let encryptor = self.shared().router().streams.take_encryptor(ssrc);
        // Called outside the lock: it may well ask this relay something.
        let (payload, encryptor) = match encryptor {
            None => (Some(opus.clone()), None),
            Some(mut encryptor) => (encryptor(&opus).map(Bytes::from), Some(encryptor)),
        };
        let mut router = self.shared().router();
        if let Some(encryptor) = encryptor {
            router.streams.return_encryptor(ssrc, encryptor);
        }
        router.send_opus(Peer { ssrc, user, call }, &opus, payload, Instant::now());
        drop(router);
        self.shared().wake.notify_one();
    }

    /// Sends a payload as it is from a simulated member, in the place of this Opus packet: not encrypted end to end, or not
    /// as it should be.
    pub fn send_payload(&self, call: u64, user: u64, ssrc: u32, opus: &[u8], payload: Bytes) {
        self.shared().router().send_opus(Peer { ssrc, user, call }, opus, Some(payload), Instant::now());
        self.shared().wake.notify_one();
    }

    /// Lets media time pass in a simulated member's stream in which it sends nothing, in samples at 48 kHz.
    pub fn skip(&self, ssrc: u32, samples: u32) {
        self.shared().router().stream(ssrc).skip(samples);
    }

    /// Does to what a simulated member sends what the trace says, before it comes to the relay.
    pub fn trace(&self, ssrc: u32, trace: Trace) {
        self.shared().router().stream(ssrc).set_trace(trace);
    }

    /// Chooses what the packets of one simulated member look like.
    pub fn shape_packets_of(&self, ssrc: u32, shape: PacketShape) {
        self.shared().router().stream(ssrc).set_shape(shape);
    }

    /// Goes on with a simulated member's stream under another SSRC, from a random place.
    pub fn replace_stream(&self, old: u32, new: u32) {
        self.shared().router().replace_stream(old, new);
    }

    /// Encrypts what this simulated member says from now on, end to end.
    pub fn encrypt_with(&self, ssrc: u32, encryptor: Encryptor) {
        self.shared().router().set_encryptor(ssrc, encryptor);
    }

    /// Sends a malformed packet from a simulated member, in its place in the member's stream.
    pub fn send_malformed(&self, call: u64, user: u64, ssrc: u32, malformed: MalformedPacket) {
        self.shared().router().send_malformed(Peer { ssrc, user, call }, malformed, Instant::now());
        self.shared().wake.notify_one();
    }

    /// Drops what a user says in a call, without a word, as Discord does with the audience of a stage.
    pub fn suppress(&self, call: u64, user: u64) {
        self.shared().router().suppress(call, user);
    }

    /// Lets a user be heard in a call again.
    pub fn unsuppress(&self, call: u64, user: u64) {
        self.shared().router().unsuppress(call, user);
    }

    /// Forgets a simulated member's stream.
    pub fn forget_stream(&self, ssrc: u32) {
        self.shared().router().streams.forget(ssrc);
    }

    /// Leaves the next `requests` discovery requests unanswered.
    pub fn drop_discovery(&self, requests: u32) {
        self.shared().router().connections.drop_discovery(requests);
    }

    /// Stops echoing the keepalives and pings of a user, also on its connections to come.
    pub fn mute_echoes(&self, user: u64) {
        self.shared().router().mute_echoes(user);
    }

    /// Never echoes a keepalive or ping, as some voice servers do not.
    pub fn mute_all_echoes(&self) {
        self.shared().router().mute_all_echoes();
    }

    /// Ignores what comes from the sockets of a user's present connections, and sends nothing to them.
    pub fn kill_path(&self, user: u64) {
        self.shared().router().kill_path(user);
    }

    /// Sees a user's present connections at other addresses from now on, as after a NAT has forgotten them.
    pub fn move_path(&self, user: u64) {
        self.shared().router().move_path(user);
    }

    /// Chooses how connections to come take to audio from a new source.
    pub fn take_new_source(&self, new_source: NewSource) {
        self.shared().router().connections.set_new_source(new_source);
    }

    /// Makes the network of every connection like this, for what is sent from now on.
    pub fn netem(&self, netem: Netem) {
        self.shared().router().connections.set_netem(netem);
    }

    /// Makes the network of one user's present connections like this.
    pub fn netem_of(&self, user: u64, netem: Netem) {
        self.shared().router().connections.set_netem_of(user, netem);
    }

    /// Chooses what packets look like on their way to the members.
    pub fn shape_packets(&self, shape: PacketShape) {
        self.shared().router().shape_packets(shape);
    }

    /// Chooses what is kept of members that have not sent anything yet.
    pub fn keep(&self, keep: Keep) {
        self.shared().router().recordings.set_keep(keep);
    }

    /// Sends a datagram as it is to every connection of a user whose address is known.
    pub fn send_raw(&self, user: u64, datagram: Vec<u8>) {
        self.shared().router().send_raw(user, &datagram);
        self.shared().wake.notify_one();
    }

    /// Seals an Opus packet of this SSRC as it would go to each connection of a user, and does not send it.
    pub fn sealed_for(&self, user: u64, ssrc: u32, opus: &[u8]) -> Vec<Vec<u8>> {
        self.shared().router().sealed_for(user, ssrc, opus)
    }

    /// Takes the reports from now on; the last taker gets them. At most 1024 wait, further ones are counted.
    pub fn events(&self) -> mpsc::Receiver<RelayEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        self.shared().router().events.send_to(sender);
        receiver
    }

    /// Changes whenever the relay did something with a datagram or reported something; for waiting on a condition.
    pub fn activity(&self) -> watch::Receiver<u64> {
        self.shared().activity.subscribe()
    }

    /// What came from a user so far in the call it spoke in last; `None` if nothing did.
    ///
    /// Reconnections are one recording. Under end-to-end encryption its packets are ciphertext: listen through a
    /// [`Tap`] then.
    pub fn recording(&self, user: u64) -> Option<Hearing> {
        let router = self.shared().router();
        router.recording(router.recordings.latest_call(user)?, user)
    }

    /// What came from a user so far in one call; `None` if nothing did.
    pub fn recording_in(&self, call: u64, user: u64) -> Option<Hearing> {
        self.shared().router().recording(call, user)
    }

    /// The rules broken so far, at most the first 4096.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared().router().events.violations()
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.shared().router().counters()
    }

    /// Where a connection sends from, once it is known.
    pub fn address_of(&self, ssrc: u32) -> Option<SocketAddr> {
        self.shared().router().connections.address_of(ssrc)
    }

    /// Does something with the audit of a connection, if there is one of this SSRC.
    fn audit<R>(&self, ssrc: u32, act: impl FnOnce(&mut MediaAudit) -> R) -> Option<R> {
        Some(act(self.shared().router().connections.get_mut(ssrc)?.audit()))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }
}

const EVENTS_MAX: usize = 1024;
