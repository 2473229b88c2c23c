//! Keys of one sender over generations and epochs: sealing with them, opening with them, refusing repeats.
//!
//! <https://daveprotocol.com/#frame-encryption-and-decryption>

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::dave::{
    frame::{Frame, seal},
    ratchet::{FrameKey, KEY_BYTES, Ratchet},
};

/// The secret of one sender in one epoch.
pub(super) type BaseSecret = [u8; KEY_BYTES];

/// Seals the frames of one epoch, each with a nonce of its own.
pub(super) struct Sealer {
    base: BaseSecret,
    ratchet: Ratchet,
    key: Option<FrameKey>,
    sealed: u64,
}

impl Sealer {
    pub(super) fn new(base: BaseSecret) -> Self {
        Self { base, ratchet: Ratchet::new(base), key: None, sealed: 0 }
    }

    /// Whether it seals with this secret already, so that replacing it would repeat nonces.
    pub(super) fn is_of(&self, base: &BaseSecret) -> bool {
        self.base == *base
    }

    pub(super) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.sealed += 1;
        let generation = (self.sealed >> GENERATION_SHIFT) as u32;
        let mut key = self.key.filter(|_| self.ratchet.generation() > generation);
        while self.ratchet.generation() <= generation {
            key = Some(self.ratchet.advance());
        }
        let key = *self.key.insert(key.expect("the ratchet has reached the generation"));
        seal(&key, self.sealed as u32, plain, &[])
    }
}

/// Why a frame stays shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no protocol frame, and plain frames are not allowed now.
    #[error("the frame is not encrypted")]
    NotEncrypted,
    /// There has never been a key of this user, or all have expired.
    #[error("there is no key of this user")]
    NoKey,
    /// The nonce was used before, or is too old to know.
    #[error("the frame is a repeat")]
    Repeated,
    /// The nonce belongs to a generation that cannot have come yet, or is long gone.
    #[error("the frame is of an impossible generation")]
    Generation,
    /// The tag does not fit: another key, or a frame that was changed.
    #[error("the frame is not authentic")]
    Forged,
}

/// Opens the frames of one sender with the keys of this epoch and, for a while, of those before.
#[derive(Default)]
pub(super) struct Opener {
    epochs: Vec<EpochKeys>,
}

impl Opener {
    /// Installs the secret of a new epoch; the ones before expire.
    pub(super) fn install(&mut self, base: BaseSecret, now: Instant) {
        self.drop_expired(now);
        if self.epochs.iter().any(|epoch| epoch.base == base) {
            return;
        }
        self.expire(now);
        self.epochs.push(EpochKeys::new(base, now));
    }

    /// Lets all keys expire.
    pub(super) fn expire(&mut self, now: Instant) {
        for epoch in &mut self.epochs {
            epoch.expires.get_or_insert(now + KEY_RETENTION);
        }
    }

    pub(super) fn open(&mut self, frame: &Frame<'_>, now: Instant) -> Result<Vec<u8>, OpenError> {
        self.drop_expired(now);
        let mut error = OpenError::NoKey;
        for epoch in self.epochs.iter_mut().rev() {
            match epoch.open(frame, now) {
                Ok(plain) => return Ok(plain),
                Err(OpenError::Forged) if error != OpenError::NoKey => {}
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// Whether any key is left.
    pub(super) fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    pub(super) fn drop_expired(&mut self, now: Instant) {
        self.epochs.retain(|epoch| epoch.expires.is_none_or(|expires| now < expires));
    }
}

/// The keys of one sender in one epoch.
struct EpochKeys {
    base: BaseSecret,
    installed: Instant,
    expires: Option<Instant>,
    ratchet: Ratchet,
    /// Generation → key, and when it goes.
    keys: BTreeMap<u32, (FrameKey, Option<Instant>)>,
    newest_generation: u32,
    replay_window: ReplayWindow,
}

impl EpochKeys {
    fn new(base: BaseSecret, now: Instant) -> Self {
        Self {
            base,
            installed: now,
            expires: None,
            ratchet: Ratchet::new(base),
            keys: BTreeMap::new(),
            newest_generation: 0,
            replay_window: ReplayWindow::default(),
        }
    }

    fn open(&mut self, frame: &Frame<'_>, now: Instant) -> Result<Vec<u8>, OpenError> {
        self.keys.retain(|_, (_, expires)| expires.is_none_or(|expires| now < expires));
        let generation = self.extend(frame.nonce >> GENERATION_SHIFT);
        let nonce = u64::from(generation) << GENERATION_SHIFT | u64::from(frame.nonce & NONCE_OF_GENERATION);
        if !self.replay_window.is_new(nonce) {
            return Err(OpenError::Repeated);
        }
        let key = self.key(generation, now).ok_or(OpenError::Generation)?;
        let plain = frame.open(&key).ok_or(OpenError::Forged)?;
        self.replay_window.mark(nonce);
        self.used(generation, now);
        Ok(plain)
    }

    /// The smallest generation not older than the oldest kept that ends in this byte.
    fn extend(&self, low: u32) -> u32 {
        let oldest = self.keys.keys().next().copied().unwrap_or(self.newest_generation);
        oldest + (low.wrapping_sub(oldest) & 0xff)
    }

    fn key(&mut self, generation: u32, now: Instant) -> Option<FrameKey> {
        let age = now.saturating_duration_since(self.installed).as_secs();
        let possible = (age * MAX_FRAMES_PER_SECOND) >> GENERATION_SHIFT;
        if u64::from(generation) > possible || generation > self.newest_generation + MAX_GENERATION_GAP {
            return None;
        }
        while self.ratchet.generation() <= generation {
            let at = self.ratchet.generation();
            self.keys.insert(at, (self.ratchet.advance(), None));
        }
        self.keys.get(&generation).map(|(key, _)| *key)
    }

    /// A generation has proved itself: those before it expire.
    fn used(&mut self, generation: u32, now: Instant) {
        self.newest_generation = self.newest_generation.max(generation);
        for (_, expires) in self.keys.range_mut(..self.newest_generation).map(|(_, key)| key) {
            expires.get_or_insert(now + KEY_RETENTION);
        }
    }
}

/// Which nonces have been used.
#[derive(Default)]
struct ReplayWindow {
    /// One more than the newest.
    next: u64,
    /// Older ones that have not come yet.
    missing: BTreeSet<u64>,
}

impl ReplayWindow {
    fn is_new(&self, nonce: u64) -> bool {
        nonce >= self.next || self.missing.contains(&nonce)
    }

    fn mark(&mut self, nonce: u64) {
        if nonce < self.next {
            self.missing.remove(&nonce);
            return;
        }
        self.missing.extend(nonce.saturating_sub(MAX_MISSING as u64).max(self.next)..nonce);
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
        }
        self.next = nonce + 1;
    }
}

/// How long keys of an older epoch or generation still open frames.
pub(super) const KEY_RETENTION: Duration = Duration::from_secs(10);
/// The high byte of a truncated nonce is its generation.
const GENERATION_SHIFT: u32 = 24;
const NONCE_OF_GENERATION: u32 = (1 << GENERATION_SHIFT) - 1;
/// Audio and video of one sender at most; bounds the generation by the age of the key.
const MAX_FRAMES_PER_SECOND: u64 = 50 + 2 * 60;
const MAX_GENERATION_GAP: u32 = 250;
/// How many late frames are waited for.
const MAX_MISSING: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dave::hex;

    fn base() -> BaseSecret {
        hex("cedd61b1b8a1ca69046554282cf70b7b").try_into().unwrap()
    }

    fn opener(now: Instant) -> Opener {
        let mut opener = Opener::default();
        opener.install(base(), now);
        opener
    }

    fn open(opener: &mut Opener, bytes: &[u8], now: Instant) -> Result<Vec<u8>, OpenError> {
        opener.open(&Frame::parse(bytes).unwrap(), now)
    }

    #[test]
    fn the_first_frame_of_an_epoch_is_the_published_one() {
        let plain: Vec<u8> = (1..=10).collect();
        let frame = Sealer::new(base()).seal(&plain);
        assert_eq!(frame, hex("d027a8ef4a86f715a2fcba04c1c774b21968010cfafa"));
    }

    #[test]
    fn a_sealer_that_reaches_a_generation_takes_its_key() {
        let mut sealer = Sealer::new(base());
        sealer.sealed = (1 << 24) - 1;
        let plain: Vec<u8> = (1..=10).collect();
        assert_eq!(sealer.seal(&plain), hex("37dd4f884f9154ce4bf1c785ddc246b11ebd808080080ffafa"));
    }

    #[test]
    fn after_256_generations_the_nonce_starts_over_under_a_new_key() {
        let mut sealer = Sealer::new(base());
        sealer.sealed = (1 << 32) - 1;
        let frame = sealer.seal(&[7; 20]);
        let frame = Frame::parse(&frame).unwrap();
        assert_eq!(frame.nonce, 0);
        assert_eq!(sealer.ratchet.generation(), 257);
        assert_eq!(frame.open(&Ratchet::new(base()).advance()), None);
    }

    #[test]
    fn frames_open_once_each_in_whatever_order_they_come() {
        let now = Instant::now();
        let (mut sealer, mut opener) = (Sealer::new(base()), opener(now));
        let frames: Vec<_> = (0..20u8).map(|byte| sealer.seal(&[byte; 30])).collect();
        for at in [5, 3, 19, 0, 4, 18] {
            assert_eq!(open(&mut opener, &frames[at], now), Ok(vec![at as u8; 30]));
            assert_eq!(open(&mut opener, &frames[at], now), Err(OpenError::Repeated));
        }
    }

    #[test]
    fn a_frame_more_than_a_thousand_late_counts_as_a_repeat() {
        let now = Instant::now();
        let (mut sealer, mut opener) = (Sealer::new(base()), opener(now));
        let frames: Vec<_> = (0..1003).map(|_| sealer.seal(&[1; 10])).collect();
        assert!(open(&mut opener, &frames[1002], now).is_ok());
        assert_eq!(open(&mut opener, &frames[0], now), Err(OpenError::Repeated));
        assert!(open(&mut opener, &frames[3], now).is_ok());
    }

    #[test]
    fn a_forged_frame_does_not_use_up_its_nonce() {
        let now = Instant::now();
        let mut opener = opener(now);
        let frame = Sealer::new(base()).seal(&[9; 40]);
        let mut forged = frame.clone();
        forged[0] ^= 0x80;
        assert_eq!(open(&mut opener, &forged, now), Err(OpenError::Forged));
        assert_eq!(open(&mut opener, &frame, now), Ok(vec![9; 40]));
    }

    #[test]
    fn a_generation_opens_only_after_as_much_time_as_it_takes_to_reach() {
        let now = Instant::now();
        let mut opener = opener(now);
        let frame = hex("37dd4f884f9154ce4bf1c785ddc246b11ebd808080080ffafa");
        assert_eq!(open(&mut opener, &frame, now), Err(OpenError::Generation));
        let later = now + Duration::from_secs((1 << 24) / 170 + 1);
        assert_eq!(open(&mut opener, &frame, later), Ok((1..=10).collect()));
    }

    #[test]
    fn keys_of_the_epoch_before_last_ten_seconds() {
        let now = Instant::now();
        let (mut old, mut opener) = (Sealer::new(base()), opener(now));
        opener.install([7; 16], now);
        let almost = now + Duration::from_millis(9_999);
        assert!(open(&mut opener, &old.seal(&[1; 20]), almost).is_ok());
        let over = now + KEY_RETENTION;
        assert_eq!(open(&mut opener, &old.seal(&[1; 20]), over), Err(OpenError::Forged));
    }

    #[test]
    fn installing_the_same_key_again_does_not_let_repeats_in() {
        let now = Instant::now();
        let (mut sealer, mut opener) = (Sealer::new(base()), opener(now));
        let frame = sealer.seal(&[1; 20]);
        assert!(open(&mut opener, &frame, now).is_ok());
        opener.install(base(), now);
        assert_eq!(open(&mut opener, &frame, now), Err(OpenError::Repeated));
        assert!(open(&mut opener, &sealer.seal(&[1; 20]), now + KEY_RETENTION).is_ok());
    }
}
