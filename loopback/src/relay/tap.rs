//! Taps: what listens to everyone else in a call without a socket.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::time::Instant;

use super::Peer;
use crate::opus::SILENCE;
use crate::recorder::{Hearing, Keep, Recorder};
use crate::rtp::Header;

/// Decrypts what a user sent, end to end; `None` where that fails.
pub type Decryptor = Box<dyn FnMut(u64, &[u8]) -> Option<Vec<u8>> + Send>;

/// Decrypts what a user sent, and is told when that came to the relay, before the emulated network held it up.
pub(crate) type TimedDecryptor = Box<dyn FnMut(u64, &[u8], Instant) -> Option<Vec<u8>> + Send>;

/// Hears and records everyone else in a call, until it is dropped.
pub struct Tap {
    shared: Arc<TapShared>,
}

impl Tap {
    /// Decrypts what is heard from now on, end to end. Clear silence frames pass by it.
    pub fn decrypt_with(&self, mut decryptor: Decryptor) {
        self.decrypt_timed_with(Box::new(move |user, frame, _| decryptor(user, frame)));
    }

    /// Like [`decrypt_with`](Self::decrypt_with).
    pub(crate) fn decrypt_timed_with(&self, decryptor: TimedDecryptor) {
        self.shared.heard().decryptor = Some(decryptor);
    }

    /// What was heard of a user so far; `None` if nothing was.
    pub fn heard(&self, user: u64) -> Option<Hearing> {
        self.shared.heard().recorders.get(&user).map(Recorder::hearing)
    }

    /// How many packets were heard of a user so far, without duplicates; cheaper than [`heard`](Self::heard).
    pub fn packets(&self, user: u64) -> u64 {
        self.shared.heard().recorders.get(&user).map_or(0, Recorder::packets)
    }

    /// Whom it heard so far, in order of their ids.
    pub fn speakers(&self) -> Vec<u64> {
        let mut users: Vec<_> = self.shared.heard().recorders.keys().copied().collect();
        users.sort_unstable();
        users
    }

    /// The user that listens.
    pub fn user(&self) -> u64 {
        self.shared.user
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("user", &self.shared.user).finish_non_exhaustive()
    }
}

/// One packet on its way through the relay.
#[derive(Clone, Debug)]
pub(super) struct RelayedPacket {
    pub user: u64,
    pub call: u64,
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload: Bytes,
    /// When it came to the relay.
    pub received: Instant,
    /// When it comes through the emulated network, or came.
    pub arrival: Instant,
}

impl RelayedPacket {
    /// A packet that arrives as it is received.
    pub(super) fn new(peer: Peer, header: &Header, payload: Bytes, received: Instant) -> Self {
        let (Peer { ssrc, user, call }, Header { sequence, timestamp, .. }) = (peer, *header);
        Self { user, call, ssrc, sequence, timestamp, payload, received, arrival: received }
    }

    pub(super) fn header(&self) -> Header {
        Header::opus(self.ssrc, self.sequence, self.timestamp)
    }

    /// The connection that it came from.
    pub(super) fn peer(&self) -> Peer {
        Peer { ssrc: self.ssrc, user: self.user, call: self.call }
    }
}

/// The owner of the taps in all calls, and of the packets that wait for them.
#[derive(Default)]
pub(super) struct Taps {
    by_call: HashMap<u64, Vec<Weak<TapShared>>>,
    queue: Vec<(Arc<TapShared>, RelayedPacket)>,
}

impl Taps {
    pub(super) fn add(&mut self, call: u64, user: u64, keep: Keep) -> Tap {
        let shared = Arc::new(TapShared::new(user, keep));
        let taps = self.by_call.entry(call).or_default();
        taps.retain(|tap| tap.strong_count() > 0);
        taps.push(Arc::downgrade(&shared));
        Tap { shared }
    }

    /// Queues a packet for everyone else who listens to its call.
    pub(super) fn queue(&mut self, packet: &RelayedPacket) {
        let taps = self.by_call.get(&packet.call).into_iter().flatten().filter_map(Weak::upgrade);
        self.queue.extend(taps.filter(|tap| tap.user != packet.user).map(|tap| (tap, packet.clone())));
    }

    /// Takes the packets that wait, each with its tap; the tap decrypts, and so wants no lock to be held.
    pub(super) fn take_queue(&mut self) -> Vec<(Arc<TapShared>, RelayedPacket)> {
        std::mem::take(&mut self.queue)
    }
}

pub(super) struct TapShared {
    user: u64,
    keep: Keep,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    recorders: HashMap<u64, Recorder>,
    decryptor: Option<TimedDecryptor>,
}

impl TapShared {
    fn new(user: u64, keep: Keep) -> Self {
        Self { user, keep, heard: Mutex::default() }
    }

    pub(super) fn hear(&self, packet: &RelayedPacket) {
        let opus = self.decrypt(packet);
        let keep = self.keep;
        let mut heard = self.heard();
        let recorder = heard.recorders.entry(packet.user).or_insert_with(|| Recorder::new(keep));
        recorder.packet(packet.arrival, packet.ssrc, packet.sequence, packet.timestamp, opus);
    }

    /// The decryptor is taken out for the call, so that it may ask this tap something.
    fn decrypt(&self, packet: &RelayedPacket) -> Option<Bytes> {
        if packet.payload == SILENCE[..] {
            return Some(packet.payload.clone());
        }
        let Some(mut decryptor) = self.heard().decryptor.take() else {
            return Some(packet.payload.clone());
        };
        let opus = decryptor(packet.user, &packet.payload, packet.received).map(Bytes::from);
        self.heard().decryptor.get_or_insert(decryptor);
        opus
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
