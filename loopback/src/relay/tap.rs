//! A simulated member's ear.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use super::Keep;
use crate::opus::SILENCE;
use crate::recorder::{Hearing, Recorder};

/// Decrypts what a user sent, end to end; `None` where that fails.
pub type Decryptor = Box<dyn FnMut(u64, &[u8]) -> Option<Vec<u8>> + Send>;

/// Decrypts what a user sent, and is told when that came to the relay, before the emulated network held it up.
pub(crate) type TimedDecryptor = Box<dyn FnMut(u64, &[u8], Instant) -> Option<Vec<u8>> + Send>;

/// Hears and records everyone else in a call, until it is dropped.
pub struct Tap {
    pub(super) shared: Arc<TapShared>,
}

impl Tap {
    /// Decrypts what is heard from now on, end to end. Clear silence frames pass by it.
    pub fn decrypt_with(&self, mut decryptor: Decryptor) {
        self.decrypt_timed_with(Box::new(move |user, frame, _| decryptor(user, frame)));
    }

    /// Like [`decrypt_with`](Self::decrypt_with).
    pub(crate) fn decrypt_timed_with(&self, decryptor: TimedDecryptor) {
        self.shared.ear().decryptor = Some(decryptor);
    }

    /// What was heard of a user so far; `None` if nothing was.
    pub fn heard(&self, user: u64) -> Option<Hearing> {
        self.shared.ear().recorders.get(&user).map(Recorder::hearing)
    }

    /// How many packets were heard of a user so far, without duplicates; cheaper than [`heard`](Self::heard).
    pub fn packets(&self, user: u64) -> u64 {
        self.shared.ear().recorders.get(&user).map_or(0, Recorder::packets)
    }

    /// Whom it heard so far, in order of their ids.
    pub fn speakers(&self) -> Vec<u64> {
        let mut users: Vec<_> = self.shared.ear().recorders.keys().copied().collect();
        users.sort_unstable();
        users
    }

    /// Whose ear it is.
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
pub(super) struct Delivery {
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

pub(super) struct TapShared {
    pub user: u64,
    keep: Keep,
    ear: Mutex<Ear>,
}

#[derive(Default)]
struct Ear {
    recorders: HashMap<u64, Recorder>,
    decryptor: Option<TimedDecryptor>,
}

impl TapShared {
    pub(super) fn new(user: u64, keep: Keep) -> Self {
        Self { user, keep, ear: Mutex::default() }
    }

    pub(super) fn hear(&self, packet: &Delivery) {
        let opus = self.decrypt(packet);
        let keep = self.keep;
        let mut ear = self.ear();
        let recorder = ear.recorders.entry(packet.user).or_insert_with(|| Recorder::new(keep));
        recorder.packet(packet.arrival, packet.ssrc, packet.sequence, packet.timestamp, opus);
    }

    /// The decryptor is taken out for the call, so that it may ask this tap something.
    fn decrypt(&self, packet: &Delivery) -> Option<Bytes> {
        if packet.payload == SILENCE[..] {
            return Some(packet.payload.clone());
        }
        let Some(mut decryptor) = self.ear().decryptor.take() else {
            return Some(packet.payload.clone());
        };
        let opus = decryptor(packet.user, &packet.payload, packet.received).map(Bytes::from);
        self.ear().decryptor.get_or_insert(decryptor);
        opus
    }

    fn ear(&self) -> MutexGuard<'_, Ear> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
