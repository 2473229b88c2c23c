//! Cipher: encrypts every packet between us and the voice server, in place.
//!
//! ```text
//! _rtpsize, AEAD      | RTP header, CSRCs, extension preamble | ciphertext … | tag 16 | nonce 4 |
//! _lite_rtpsize       | RTP header, CSRCs, extension preamble | tag 16 | ciphertext … | nonce 4 |
//!                     |<-------------- clear ---------------->|
//! ```
//!
//! The older modes leave only the first twelve bytes clear. The nonce on the wire is copied as it is to the
//! front of the cipher's nonce, so its byte order is the sender's business.
//!
//! <https://docs.discord.com/developers/topics/voice-connections#transport-encryption-modes>

use std::fmt;
use std::ops::Range;

use chacha20::cipher::consts::U10;
#[cfg(feature = "retired-modes")]
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::rtp::FIXED_HEADER;
use crate::id::SecretKey;

mod mode;
#[cfg(feature = "retired-modes")]
mod retired;

pub use mode::{Mode, UnknownMode};

/// One key in one mode, and the nonces that were not used with it yet.
pub struct Cipher {
    mode: Mode,
    key: SecretKey,
    suite: Suite,
    nonces: Nonces,
}

impl Cipher {
    /// Takes a session's key. The first sealed packet gets the nonce `first_counter`, each later one the
    /// next; `u32::MAX` is never used and stands for a key whose nonces are spent.
    pub fn new(mode: Mode, key: &SecretKey, first_counter: u32) -> Self {
        let suite = Suite::new(mode, key);
        Self { mode, key: key.clone(), suite, nonces: Nonces::from(first_counter) }
    }

    /// Takes a later session's key. The counter goes on, so that nothing repeats should the key be the same;
    /// under another key, spent nonces are all new again.
    pub fn rekey(&mut self, mode: Mode, key: &SecretKey) {
        if !self.is_under(key) {
            self.nonces = self.nonces.under_another_key();
        }
        self.suite = Suite::new(mode, key);
        self.key = key.clone();
        self.mode = mode;
    }

    /// Returns whether packets are sealed and opened with this key.
    pub(super) fn is_under(&self, key: &SecretKey) -> bool {
        self.key == *key
    }

    /// Returns the mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the nonce of the next packet.
    pub fn counter(&self) -> u32 {
        self.nonces.counter
    }

    /// Turns `packet`, a header of `clear` bytes and the plaintext after it, into what goes on the wire.
    /// Allocates nothing when the capacity has room for [`Mode::overhead`] more bytes.
    ///
    /// # Errors
    ///
    /// [`CipherError::Exhausted`] when every nonce was used with this key; [`CipherError::TooShort`] when the
    /// packet ends inside its clear part. The packet then still holds plaintext.
    pub fn seal(&mut self, packet: &mut Vec<u8>, clear: usize) -> Result<(), CipherError> {
        if packet.len() < clear.max(FIXED_HEADER) {
            return Err(CipherError::TooShort);
        }
        let nonce = self.next_nonce(packet)?;
        match &self.suite {
            Suite::Aes256Gcm(key) => seal_aead(key, gcm_nonce(&nonce), packet, clear)?,
            Suite::XChaCha20Poly1305 => {
                let (key, nonce) = xchacha(&self.key, &nonce);
                seal_aead(&key, nonce, packet, clear)?;
            }
            #[cfg(feature = "retired-modes")]
            Suite::SecretBox(key) => retired::seal(key, &nonce, packet, clear)?,
        }
        packet.extend_from_slice(&nonce[..self.mode.nonce_on_wire()]);
        Ok(())
    }

    /// Decrypts a packet in place and returns where in it the plaintext lies, which starts with what is left
    /// of the header: see [`Header::payload`](super::rtp::Header::payload).
    ///
    /// # Errors
    ///
    /// [`CipherError::TooShort`] when there is no room for tag and nonce, [`CipherError::WrongKey`] when the
    /// packet was sealed under another key or changed on its way. The bytes after the clear part are then
    /// worthless.
    pub fn open(&self, packet: &mut [u8], clear: usize) -> Result<Range<usize>, CipherError> {
        let end = packet.len().checked_sub(self.mode.nonce_on_wire()).ok_or(CipherError::TooShort)?;
        if end < clear.max(FIXED_HEADER) + TAG {
            return Err(CipherError::TooShort);
        }
        let nonce = self.nonce_of(packet, end);
        let (clear_part, sealed) = packet[..end].split_at_mut(clear);
        match &self.suite {
            Suite::Aes256Gcm(key) => open_aead(key, gcm_nonce(&nonce), clear_part, sealed)?,
            Suite::XChaCha20Poly1305 => {
                let (key, nonce) = xchacha(&self.key, &nonce);
                open_aead(&key, nonce, clear_part, sealed)?;
            }
            #[cfg(feature = "retired-modes")]
            Suite::SecretBox(key) => {
                retired::open(key, &nonce, sealed)?;
                return Ok(clear + TAG..end);
            }
        }
        Ok(clear..end - TAG)
    }

    #[cfg_attr(
        not(feature = "retired-modes"),
        expect(unused_variables, reason = "only a retired mode looks at it")
    )]
    fn next_nonce(&mut self, packet: &[u8]) -> Result<[u8; NONCE], CipherError> {
        match self.mode {
            #[cfg(feature = "retired-modes")]
            Mode::XSalsa20Poly1305 => self.nonces.turn.nonce(packet),
            _ => self.nonces.next(),
        }
    }

    fn nonce_of(&self, packet: &[u8], end: usize) -> [u8; NONCE] {
        let on_wire = match self.mode {
            #[cfg(feature = "retired-modes")]
            Mode::XSalsa20Poly1305 => &packet[..FIXED_HEADER],
            _ => &packet[end..],
        };
        let mut nonce = [0; NONCE];
        nonce[..on_wire.len()].copy_from_slice(on_wire);
        nonce
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher")
            .field("mode", &self.mode)
            .field("counter", &self.counter())
            .finish_non_exhaustive()
    }
}

/// Why a packet could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// The packet ends before its clear part, tag and nonce are complete.
    #[error("the packet is too short to be encrypted")]
    TooShort,
    /// The packet is longer than the cipher can seal.
    #[error("the packet is too long to be encrypted")]
    TooLong,
    /// The packet was not sealed under this key, or changed on its way.
    #[error("the packet was not sealed under this key, or changed on its way")]
    WrongKey,
    /// Every nonce was used with this key.
    #[error("every nonce was used with this key: make a new session, which brings a new key")]
    Exhausted,
}

/// The key as the algorithm wants it.
#[expect(clippy::large_enum_variant, reason = "one for each call, and the largest is the common one")]
enum Suite {
    Aes256Gcm(LessSafeKey),
    XChaCha20Poly1305,
    #[cfg(feature = "retired-modes")]
    SecretBox(XSalsa20Poly1305),
}

impl Suite {
    fn new(mode: Mode, SecretKey(key): &SecretKey) -> Self {
        match mode {
            Mode::Aes256GcmRtpsize => Self::Aes256Gcm(aead_key(&AES_256_GCM, key)),
            Mode::XChaCha20Poly1305Rtpsize => Self::XChaCha20Poly1305,
            #[cfg(feature = "retired-modes")]
            Mode::Aes256Gcm => Self::Aes256Gcm(aead_key(&AES_256_GCM, key)),
            #[cfg(feature = "retired-modes")]
            _ => Self::SecretBox(XSalsa20Poly1305::new(key.into())),
        }
    }
}

/// The nonces that were not used yet.
#[derive(Clone, Copy)]
struct Nonces {
    counter: u32,
    #[cfg(feature = "retired-modes")]
    turn: retired::Turn,
}

impl Nonces {
    fn from(counter: u32) -> Self {
        Self {
            counter,
            #[cfg(feature = "retired-modes")]
            turn: retired::Turn::default(),
        }
    }

    fn under_another_key(self) -> Self {
        Self::from(if self.counter == SPENT { 0 } else { self.counter })
    }

    fn next(&mut self) -> Result<[u8; NONCE], CipherError> {
        if self.counter == SPENT {
            return Err(CipherError::Exhausted);
        }
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        Ok(nonce)
    }
}

fn aead_key(algorithm: &'static ring::aead::Algorithm, key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("both algorithms take keys of 32 bytes"))
}

fn gcm_nonce(nonce: &[u8; NONCE]) -> Nonce {
    let [n0, n1, n2, n3, ..] = *nonce;
    Nonce::assume_unique_for_key([n0, n1, n2, n3, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// XChaCha20-Poly1305 is ChaCha20-Poly1305 under a key derived from the first 16 bytes of the nonce, with
/// four zeros and the other 8 as nonce (draft-irtf-cfrg-xchacha section 2.3). The nonce is never longer than
/// 4 bytes here.
fn xchacha(SecretKey(key): &SecretKey, nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
    let [n0, n1, n2, n3, ..] = *nonce;
    let input = [n0, n1, n2, n3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let key = chacha20::hchacha::<U10>(key.into(), &input.into());
    (aead_key(&CHACHA20_POLY1305, key.as_ref()), Nonce::assume_unique_for_key([0; 12]))
}

fn seal_aead(key: &LessSafeKey, nonce: Nonce, packet: &mut Vec<u8>, clear: usize) -> Result<(), CipherError> {
    let (clear, plain) = packet.split_at_mut(clear);
    let tag =
        key.seal_in_place_separate_tag(nonce, Aad::from(clear), plain).map_err(|_| CipherError::TooLong)?;
    packet.extend_from_slice(tag.as_ref());
    Ok(())
}

fn open_aead(key: &LessSafeKey, nonce: Nonce, clear: &[u8], sealed: &mut [u8]) -> Result<(), CipherError> {
    key.open_in_place(nonce, Aad::from(clear), sealed).map(|_| ()).map_err(|_| CipherError::WrongKey)
}

/// Poly1305's and GCM's.
const TAG: usize = 16;

/// The longest nonce, XChaCha20's and XSalsa20's.
const NONCE: usize = 24;

/// The counter that is never used, so that it can say that the others were.
const SPENT: u32 = u32::MAX;

#[cfg(test)]
mod tests;
