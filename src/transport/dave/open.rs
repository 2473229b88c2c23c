//! What DAVE does to frames on their way in: one `FrameOpener` per user, all of them and the sealer in [`Frames`].
//!
//! ```text
//! frame ─▶ 3-byte silence? ─▶ taken as it is
//!      └─▶ DAVE frame? ─ no ─▶ passthrough open? ─ yes ─▶ taken as it is
//!                  └─ yes ─▶ user's epochs, newest first ─▶ generation's key ─▶ tag right? ─▶ nonce new? ─▶ opened
//! ```
//!
//! A new epoch's keys are installed when its commit or welcome arrives; the older ones go stale 10 s after our sender
//! changed over (op 22), so that a late op 22 costs no frame.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::action::{KeyChange, Passthrough, SenderKey};
use super::epoch::{MemberKeys, RETENTION, Scratch};
use super::error::OpenError;
use super::frame::{FrameSealer, Parts};
use super::keys::BaseSecret;
use crate::audio::frame::SILENCE;
use crate::id::UserId;

/// The DAVE side of the packet path: our sealer and everyone's openers.
#[derive(Default)]
pub struct Frames {
    /// Encrypts what we send.
    pub sealer: FrameSealer,
    /// Decrypts what we receive.
    pub openers: FrameOpeners,
}

impl Frames {
    /// Builds a packet path that has no key: it withholds everything and takes nothing but silence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Installs what the group has ordered.
    pub fn install(&mut self, change: KeyChange, now: Instant) {
        match change {
            KeyChange::Receivers { epoch, secrets } => self.openers.receive(epoch, &secrets, now),
            KeyChange::Sender(key) => {
                self.sealer.switch(&key);
                self.openers.switched(&key, now);
            }
            KeyChange::Passthrough(passthrough) => self.openers.pass(passthrough, now),
            KeyChange::Forget(user) => self.openers.forget(user),
        }
    }
}

/// What a received frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opened {
    /// It was encrypted; the output is the Opus packet.
    Decrypted,
    /// It was not encrypted, and that is allowed now, or it was the 3-byte silence frame.
    Plain,
}

/// Everyone's openers, and whether unencrypted frames are taken.
#[derive(Default)]
pub struct FrameOpeners {
    users: HashMap<UserId, FrameOpener>,
    passthrough: Window,
    /// The newest epoch that our sender has changed over to.
    executed: u64,
    failures: Failures,
    scratch: Scratch,
}

/// Whether unencrypted frames are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Window {
    #[default]
    Closed,
    Open,
    Until(Instant),
}

impl FrameOpeners {
    /// Turns what a user sent into an Opus packet, and counts whether it opened. `out` is replaced; it allocates only while it grows.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says why the frame does not open.
    pub fn open(
        &mut self,
        user: UserId,
        frame: &[u8],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Result<Opened, OpenError> {
        let result = self.try_open(user, frame, out, now);
        match result {
            Ok(Opened::Decrypted) => self.opened(user),
            Ok(Opened::Plain) => {}
            Err(error) => self.failed_for(user, error),
        }
        result
    }

    /// As [`Self::open`], but counts nothing: the frame may be tried again.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says why the frame does not open.
    pub fn try_open(
        &mut self,
        user: UserId,
        frame: &[u8],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Result<Opened, OpenError> {
        out.clear();
        // Silence may come in the clear from anyone at any time.
        if frame == SILENCE {
            out.extend_from_slice(frame);
            return Ok(Opened::Plain);
        }
        let Some(parts) = Parts::of(frame) else { return self.take_plain(frame, out, now) };
        match self.users.get_mut(&user) {
            Some(opener) => opener.open(parts, &mut self.scratch, out, now),
            None => Err(OpenError::NoKey),
        }
    }

    /// An encrypted frame of this user opened.
    pub fn opened(&mut self, user: UserId) {
        self.failures.forget(user);
    }

    /// An encrypted frame of this user did not open, and will not.
    pub fn failed(&mut self, user: UserId) {
        self.failures.count(user);
    }

    /// A frame of this user did not open for this reason.
    fn failed_for(&mut self, user: UserId, error: OpenError) {
        match error {
            // The keys are right; anyone on the path can send a frame a second time.
            OpenError::Replayed | OpenError::NotEncrypted => {}
            OpenError::NoKey | OpenError::OutOfReach | OpenError::Forged => self.failures.count(user),
        }
    }

    /// Tells a user of whom more than 36 encrypted frames in a row could not be opened, replays left out; then that
    /// user's count starts over, and the owner tells [`Group::failed_frames`](super::Group::failed_frames).
    pub fn take_failing(&mut self) -> Option<UserId> {
        self.failures.take_failing()
    }

    fn take_plain(&mut self, frame: &[u8], out: &mut Vec<u8>, now: Instant) -> Result<Opened, OpenError> {
        let open = match self.passthrough {
            Window::Closed => false,
            Window::Open => true,
            Window::Until(end) => now < end,
        };
        if !open {
            return Err(OpenError::NotEncrypted);
        }
        out.extend_from_slice(frame);
        Ok(Opened::Plain)
    }

    fn receive(&mut self, epoch: u64, secrets: &[(UserId, BaseSecret)], now: Instant) {
        for (user, secret) in secrets {
            self.users.entry(*user).or_default().install(epoch, secret, now);
        }
        self.users.retain(|_, opener| opener.is_alive(now));
        self.failures.clear();
    }

    fn switched(&mut self, key: &SenderKey, now: Instant) {
        let current = match key {
            SenderKey::Epoch { epoch, .. } => {
                self.executed = *epoch;
                *epoch
            }
            // A newer epoch that is still to be executed has yet to be heard.
            SenderKey::Withhold | SenderKey::Plain => self.executed + 1,
        };
        for opener in self.users.values_mut() {
            opener.switch_to(current, now + RETENTION);
        }
        self.users.retain(|_, opener| opener.is_alive(now));
    }

    fn pass(&mut self, passthrough: Passthrough, now: Instant) {
        self.passthrough = match (passthrough, self.passthrough) {
            (Passthrough::Open, _) => Window::Open,
            (Passthrough::Close, Window::Open) => Window::Until(now + RETENTION),
            (Passthrough::Close, closing) => closing,
        };
    }

    fn forget(&mut self, user: UserId) {
        self.users.remove(&user);
        self.failures.forget(user);
    }
}

/// How many frames in a row could not be opened, for each user of whom the last could not.
#[derive(Default)]
struct Failures(HashMap<UserId, u32>);

impl Failures {
    fn count(&mut self, user: UserId) {
        if self.0.len() == MAX_FAILING && !self.0.contains_key(&user) {
            self.drop_fewest();
        }
        let count = self.0.entry(user).or_default();
        *count = count.saturating_add(1);
    }

    fn take_failing(&mut self) -> Option<UserId> {
        let (&user, _) = self.0.iter().find(|(_, count)| **count > TOLERATED_FAILURES)?;
        self.forget(user);
        Some(user)
    }

    fn forget(&mut self, user: UserId) {
        self.0.remove(&user);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn drop_fewest(&mut self) {
        let fewest = self.0.iter().min_by_key(|(_, count)| **count).map(|(user, _)| *user);
        if let Some(user) = fewest {
            self.forget(user);
        }
    }
}

/// Decrypts the frames of one user, over all the epochs that are still good.
#[derive(Default)]
struct FrameOpener {
    epochs: VecDeque<MemberKeys>,
}

impl FrameOpener {
    fn install(&mut self, epoch: u64, secret: &BaseSecret, now: Instant) {
        self.drop_expired(now);
        let mark = secret.mark();
        // A second set of the same keys would take every frame of the epoch a second time.
        if self.epochs.iter().any(|keys| keys.mark == mark) {
            return;
        }
        if self.epochs.len() == KEPT_EPOCHS {
            self.epochs.pop_front();
        }
        self.epochs.push_back(MemberKeys::new(epoch, secret, mark, now));
    }

    /// Lets the epochs before the current one go stale, and no other.
    fn switch_to(&mut self, current: u64, end: Instant) {
        for keys in &mut self.epochs {
            let stale = keys.epoch < current;
            keys.expires = stale.then(|| keys.expires.map_or(end, |earlier| earlier.min(end)));
        }
    }

    fn drop_expired(&mut self, now: Instant) {
        self.epochs.retain(|keys| !keys.is_expired(now));
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.epochs.iter().any(|keys| !keys.is_expired(now))
    }

    fn open(
        &mut self,
        frame: Parts<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Result<Opened, OpenError> {
        if self.epochs.iter().any(|keys| keys.is_expired(now)) {
            self.drop_expired(now);
        }
        let mut first_error = None;
        for keys in self.epochs.iter_mut().rev() {
            match keys.open(frame, scratch, out, now) {
                Ok(()) => return Ok(Opened::Decrypted),
                // It is of this epoch, whatever a newer one made of it.
                Err(OpenError::Replayed) => {
                    out.clear();
                    return Err(OpenError::Replayed);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        out.clear();
        Err(first_error.unwrap_or(OpenError::NoKey))
    }
}

/// Frames of one user in a row that may fail before it is taken for a broken group.
const TOLERATED_FAILURES: u32 = 36;

/// Users whose failures are counted at a time, of which the one with the fewest is dropped for another: far more than
/// speak at once.
const MAX_FAILING: usize = 1_024;

/// Epochs kept per user when the server never executes a transition.
const KEPT_EPOCHS: usize = 8;

#[cfg(test)]
mod tests;
