//! What DAVE does to frames on their way in: one [`FrameOpener`] per user, all of them and the sealer in [`Frames`].
//!
//! ```text
//! frame ─▶ 3-byte silence? ─▶ taken as it is
//!      └─▶ DAVE frame? ─ no ─▶ passthrough open? ─ yes ─▶ taken as it is
//!                  └─ yes ─▶ user's epochs, newest first ─▶ nonce new? ─▶ generation's key ─▶ tag right? ─▶ opened
//! ```
//!
//! A new epoch's keys are installed when its commit or welcome arrives; the older ones go stale 10 s after our sender
//! changed over (op 22), so that a late op 22 costs no frame.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::{FrameSealer, Parts, SILENCE};
use super::keys::{BaseSecret, Cipher, GENERATION_SHIFT, Mark, Ratchet};
use super::order::{KeyChange, Passthrough, SenderKey};
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

/// Why a received frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is not encrypted although the call is.
    #[error("the frame is not encrypted although the call is")]
    NotEncrypted,
    /// There is no key of this user's.
    #[error("there is no key for the frame")]
    NoKey,
    /// Its nonce was used before, or is too old to tell.
    #[error("the frame was seen before")]
    Replayed,
    /// Its key generation is gone, or too far ahead to be honest.
    #[error("the frame's key generation is out of reach")]
    OutOfReach,
    /// Its tag is wrong under every key we have.
    #[error("the frame does not decrypt")]
    Forged,
}

/// Everyone's openers, and whether unencrypted frames are taken.
#[derive(Default)]
pub struct FrameOpeners {
    users: HashMap<UserId, FrameOpener>,
    passthrough: Window,
    failures: u32,
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
    /// Turns what a user sent into an Opus packet. `out` is replaced; it allocates only while it grows.
    pub fn open(
        &mut self,
        user: UserId,
        frame: &[u8],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Result<Opened, OpenError> {
        out.clear();
        if frame == SILENCE {
            out.extend_from_slice(frame);
            return Ok(Opened::Plain);
        }
        let Some(parts) = Parts::of(frame) else { return self.take_plain(frame, out, now) };
        let result = match self.users.get_mut(&user) {
            Some(opener) => opener.open(parts, &mut self.scratch, out, now),
            None => Err(OpenError::NoKey),
        };
        self.failures = if result.is_ok() { 0 } else { self.failures.saturating_add(1) };
        result
    }

    /// Whether more than 36 encrypted frames in a row could not be opened; then the count starts over, and the owner
    /// tells [`Group::failed_frames`](super::Group::failed_frames).
    pub fn take_failing(&mut self) -> bool {
        let failing = self.failures > TOLERATED_FAILURES;
        if failing {
            self.failures = 0;
        }
        failing
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
        self.failures = 0;
    }

    fn switched(&mut self, key: &SenderKey, now: Instant) {
        let newest = match key {
            SenderKey::Epoch { epoch, .. } => *epoch,
            SenderKey::Withhold | SenderKey::Plain => u64::MAX,
        };
        for opener in self.users.values_mut() {
            opener.expire_before(newest, now + RETENTION);
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
    }
}

/// Buffers for frames with clear ranges, which audio does not have: kept so that none is allocated per frame.
#[derive(Default)]
struct Scratch {
    clear: Vec<u8>,
    encrypted: Vec<u8>,
}

/// Decrypts the frames of one user, over all the epochs that are still good.
#[derive(Default)]
pub struct FrameOpener {
    epochs: VecDeque<EpochKeys>,
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
        self.epochs.push_back(EpochKeys::new(epoch, secret, mark, now));
    }

    fn expire_before(&mut self, newest: u64, end: Instant) {
        for keys in self.epochs.iter_mut().filter(|keys| keys.epoch < newest) {
            keys.expires = Some(keys.expires.map_or(end, |earlier| earlier.min(end)));
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
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        out.clear();
        Err(first_error.unwrap_or(OpenError::NoKey))
    }
}

/// One user's keys of one epoch, and the nonces seen under them.
struct EpochKeys {
    epoch: u64,
    mark: Mark,
    installed: Instant,
    expires: Option<Instant>,
    ratchet: Ratchet,
    generations: VecDeque<Generation>,
    newest_generation: u32,
    nonces: Nonces,
}

/// One generation's key; `expires` once a newer generation has been heard.
struct Generation {
    number: u32,
    cipher: Cipher,
    expires: Option<Instant>,
}

impl EpochKeys {
    fn new(epoch: u64, secret: &BaseSecret, mark: Mark, installed: Instant) -> Self {
        Self {
            epoch,
            mark,
            installed,
            expires: None,
            ratchet: Ratchet::new(secret),
            generations: VecDeque::new(),
            newest_generation: 0,
            nonces: Nonces::default(),
        }
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    fn open(
        &mut self,
        frame: Parts<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Result<(), OpenError> {
        self.generations.retain(|generation| generation.expires.is_none_or(|end| now < end));
        let number = self.extend_generation(frame.nonce >> GENERATION_SHIFT);
        let nonce = (u64::from(number) << GENERATION_SHIFT) | u64::from(frame.nonce & COUNTER_BITS);
        if !self.nonces.is_new(nonce) {
            return Err(OpenError::Replayed);
        }
        let cipher = self.generation(number, now).ok_or(OpenError::OutOfReach)?;
        if !decrypt(cipher, frame, scratch, out) {
            return Err(OpenError::Forged);
        }
        self.nonces.mark(nonce);
        self.heard(number, now);
        Ok(())
    }

    /// The generation that has these low eight bits and is not older than the oldest one kept.
    fn extend_generation(&self, low: u32) -> u32 {
        let oldest = self.generations.front().map_or(self.newest_generation, |generation| generation.number);
        oldest.saturating_add(low.wrapping_sub(oldest) & 0xff)
    }

    fn generation(&mut self, number: u32, now: Instant) -> Option<&Cipher> {
        let elapsed = now.saturating_duration_since(self.installed).as_secs();
        let honest = elapsed.saturating_mul(FRAMES_PER_SECOND) >> GENERATION_SHIFT;
        if u64::from(number) > honest || number > self.newest_generation.saturating_add(GENERATION_GAP) {
            return None;
        }
        while self.ratchet.next_generation() <= number {
            let drawn = self.ratchet.next_generation();
            let cipher = self.ratchet.draw();
            self.generations.push_back(Generation { number: drawn, cipher, expires: None });
        }
        self.generations
            .iter()
            .find(|generation| generation.number == number)
            .map(|generation| &generation.cipher)
    }

    fn heard(&mut self, number: u32, now: Instant) {
        if number <= self.newest_generation {
            return;
        }
        self.newest_generation = number;
        for generation in self.generations.iter_mut().filter(|generation| generation.number < number) {
            generation.expires.get_or_insert(now + RETENTION);
        }
    }
}

/// Decrypts into `out`; on false `out` holds rubbish.
fn decrypt(cipher: &Cipher, frame: Parts<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> bool {
    out.clear();
    out.extend_from_slice(frame.media);
    if frame.ranges.is_empty() {
        return cipher.open(frame.nonce, &[], out, frame.tag);
    }
    scratch.split(frame);
    if !cipher.open(frame.nonce, &scratch.clear, &mut scratch.encrypted, frame.tag) {
        return false;
    }
    let mut opened = &scratch.encrypted[..];
    let mut at = 0;
    for range in frame.ranges {
        let (part, rest) = opened.split_at(range.start - at);
        out[at..range.start].copy_from_slice(part);
        opened = rest;
        at = range.end;
    }
    out[at..].copy_from_slice(opened);
    true
}

impl Scratch {
    /// Sorts the media into its clear and its encrypted bytes.
    fn split(&mut self, frame: Parts<'_>) {
        self.clear.clear();
        self.encrypted.clear();
        let mut at = 0;
        for range in frame.ranges {
            self.encrypted.extend_from_slice(&frame.media[at..range.start]);
            at = range.end;
            self.clear.extend_from_slice(&frame.media[range]);
        }
        self.encrypted.extend_from_slice(&frame.media[at..]);
    }
}

/// The nonces that have been used: all up to the newest one, but for the missing ones.
#[derive(Default)]
struct Nonces {
    next: u64,
    missing: VecDeque<u64>,
}

impl Nonces {
    fn is_new(&self, nonce: u64) -> bool {
        nonce >= self.next || self.missing.binary_search(&nonce).is_ok()
    }

    fn mark(&mut self, nonce: u64) {
        if nonce < self.next {
            if let Ok(at) = self.missing.binary_search(&nonce) {
                self.missing.remove(at);
            }
            return;
        }
        let gap = (nonce - self.next).min(MISSING_NONCES as u64);
        let excess = (self.missing.len() + gap as usize).saturating_sub(MISSING_NONCES);
        self.missing.drain(..excess);
        self.missing.extend(nonce - gap..nonce);
        self.next = nonce + 1;
    }
}

/// How long superseded keys, and unencrypted frames after an upgrade, are still taken.
const RETENTION: Duration = Duration::from_secs(10);

/// Frames in a row that may fail before it is taken for a broken group.
const TOLERATED_FAILURES: u32 = 36;

/// Nonces that may be missing at a time and still be taken late.
const MISSING_NONCES: usize = 1000;

/// How far ahead of the newest generation heard a frame may be.
const GENERATION_GAP: u32 = 250;

/// The most frames a user can send in a second: 50 of audio and 120 of two videos.
const FRAMES_PER_SECOND: u64 = 170;

/// The nonce without its generation.
const COUNTER_BITS: u32 = (1 << GENERATION_SHIFT) - 1;

/// Epochs kept per user when the server never executes a transition.
const KEPT_EPOCHS: usize = 8;

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
