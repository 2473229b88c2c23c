//! Watches every packet of an encrypted call for audio that was not encrypted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::dave::is_protocol_frame;
use crate::opus::SILENCE;
use crate::relay::{Relay, Tap};
use crate::rule::{Rule, Violation};

/// A tap on a call that decrypts nothing and only looks at the layout of frames.
pub(super) struct PlainAudioAudit {
    _tap: Tap,
    watched: Arc<Mutex<Watched>>,
}

#[derive(Default)]
struct Watched {
    /// Since when a user has to encrypt.
    encrypted: BTreeMap<u64, Instant>,
    plain: Vec<Violation>,
}

impl PlainAudioAudit {
    pub(super) fn new(relay: &Relay, call: u64) -> Self {
        let watched = Arc::new(Mutex::new(Watched::default()));
        let tap = relay.tap(call, NOBODY);
        let seen = Arc::clone(&watched);
        tap.decrypt_timed_with(Box::new(move |user, frame, received| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).frame(user, frame, received);
            None
        }));
        Self { _tap: tap, watched }
    }

    /// Takes note of who has to encrypt now.
    pub(super) fn encrypted(&self, users: impl IntoIterator<Item = u64>, now: Instant) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = std::mem::take(&mut watched.encrypted);
        watched.encrypted =
            users.into_iter().map(|user| (user, earlier.get(&user).copied().unwrap_or(now))).collect();
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).plain.clone()
    }
}

impl Watched {
    fn frame(&mut self, user: u64, frame: &[u8], received: Instant) {
        let Some(since) = self.encrypted.get(&user) else { return };
        // Clear silence is allowed: receivers take it for what it is.
        let excused = received < *since + IN_FLIGHT_TIMEOUT || frame == SILENCE || is_protocol_frame(frame);
        if !excused && self.plain.len() < VIOLATIONS_MAX {
            self.plain.push(Violation { at: received, user: Some(user), rule: Rule::PlainAudio });
        }
    }
}

const NOBODY: u64 = 0;
/// Packets that left before op 22 was read may still come in; what the emulated network adds is not counted.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_millis(200);
const VIOLATIONS_MAX: usize = 256;
