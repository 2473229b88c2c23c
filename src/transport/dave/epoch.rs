//! One user's keys of one epoch, drawn generation by generation, and the nonces seen under them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::error::OpenError;
use super::frame::Parts;
use super::keys::{BaseSecret, FrameCipher, GENERATION_SHIFT, Mark, Ratchet};

/// One user's keys of one epoch, and the nonces seen under them.
pub(super) struct MemberKeys {
    pub(super) epoch: u64,
    pub(super) mark: Mark,
    pub(super) expires: Option<Instant>,
    installed: Instant,
    ratchet: Ratchet,
    generations: VecDeque<Generation>,
    newest_generation: u32,
    nonces: Nonces,
}

/// One generation's key; `expires` once a newer generation has been heard.
struct Generation {
    number: u32,
    cipher: FrameCipher,
    expires: Option<Instant>,
}

impl MemberKeys {
    pub(super) fn new(epoch: u64, secret: &BaseSecret, mark: Mark, installed: Instant) -> Self {
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

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    pub(super) fn open(
        &mut self,
        frame: Parts<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Result<(), OpenError> {
        self.generations.retain(|generation| generation.expires.is_none_or(|end| now < end));
        let number = self.extend_generation(frame.nonce >> GENERATION_SHIFT);
        let nonce = (u64::from(number) << GENERATION_SHIFT) | u64::from(frame.nonce & COUNTER_BITS);
        let cipher = self.generation(number, now).ok_or(OpenError::OutOfReach)?;
        if !decrypt(cipher, frame, scratch, out) {
            return Err(OpenError::Forged);
        }
        // Only what decrypts is known to be a replay, and not a forgery that borrows an old nonce.
        if !self.nonces.is_new(nonce) {
            return Err(OpenError::Replayed);
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

    fn generation(&mut self, number: u32, now: Instant) -> Option<&FrameCipher> {
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
fn decrypt(cipher: &FrameCipher, frame: Parts<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> bool {
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

/// Buffers for frames with clear ranges, which audio does not have: kept so that none is allocated per frame.
#[derive(Default)]
pub(super) struct Scratch {
    clear: Vec<u8>,
    encrypted: Vec<u8>,
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

/// Nonces that may be missing at a time and still be taken late.
const MISSING_NONCES: usize = 1000;

/// How far ahead of the newest generation heard a frame may be.
const GENERATION_GAP: u32 = 250;

/// The most frames a user can send in a second: 50 of audio and 120 of two videos.
const FRAMES_PER_SECOND: u64 = 170;

/// The nonce without its generation.
const COUNTER_BITS: u32 = (1 << GENERATION_SHIFT) - 1;

/// How long superseded keys, and unencrypted frames after an upgrade, are still taken.
pub(super) const RETENTION: Duration = Duration::from_secs(10);
