//! Cipher: encrypts every packet between us and the voice server, in place.
//!
//! ```text
//! _rtpsize, AEAD      | RTP header, CSRCs, extension preamble | ciphertext … | tag 16 | nonce 4 |
//! _lite_rtpsize       | RTP header, CSRCs, extension preamble | tag 16 | ciphertext … | nonce 4 |
//!                     |<-------------- clear ---------------->|
//! ```
//!
//! The older modes leave only the first twelve bytes clear. The nonce on the wire is copied as it is to the front
//! of the cipher's nonce, so its byte order is the sender's business.
//!
//! <https://docs.discord.com/developers/topics/voice-connections#transport-encryption-modes>

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use chacha20::cipher::consts::U10;
#[cfg(feature = "retired-modes")]
use crypto_secretbox::{AeadInPlace, KeyInit, Tag, XSalsa20Poly1305};
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::rtp::{FIXED_HEADER, Header};
use crate::id::SecretKey;

/// A way to encrypt packets, as Ready offers and SessionDescription names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// `aead_aes256_gcm_rtpsize`, the fastest; missing where the server's hardware has no AES.
    Aes256GcmRtpsize,
    /// `aead_xchacha20_poly1305_rtpsize`, which every server offers.
    XChaCha20Poly1305Rtpsize,
    /// `xsalsa20_poly1305_lite_rtpsize`, retired.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305LiteRtpsize,
    /// `aead_aes256_gcm`, retired.
    #[cfg(feature = "retired-modes")]
    Aes256Gcm,
    /// `xsalsa20_poly1305_lite`, retired.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305Lite,
    /// `xsalsa20_poly1305_suffix`, retired.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305Suffix,
    /// `xsalsa20_poly1305`, retired. Its nonce is the RTP header, so a key lasts for one turn of the timestamp,
    /// which is a day.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305,
}

impl Mode {
    /// Every mode of this build, the best first.
    pub const ALL: &'static [Self] = &[
        Self::Aes256GcmRtpsize,
        Self::XChaCha20Poly1305Rtpsize,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305LiteRtpsize,
        #[cfg(feature = "retired-modes")]
        Self::Aes256Gcm,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305Lite,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305Suffix,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305,
    ];

    /// Returns Discord's name of the mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256GcmRtpsize => "aead_aes256_gcm_rtpsize",
            Self::XChaCha20Poly1305Rtpsize => "aead_xchacha20_poly1305_rtpsize",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305LiteRtpsize => "xsalsa20_poly1305_lite_rtpsize",
            #[cfg(feature = "retired-modes")]
            Self::Aes256Gcm => "aead_aes256_gcm",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305Lite => "xsalsa20_poly1305_lite",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305Suffix => "xsalsa20_poly1305_suffix",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305 => "xsalsa20_poly1305",
        }
    }

    /// Returns how many bytes the mode leaves clear at the front of a packet with this header.
    pub fn clear(self, header: &Header) -> usize {
        match self {
            Self::Aes256GcmRtpsize | Self::XChaCha20Poly1305Rtpsize => header.rtpsize(),
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305LiteRtpsize => header.rtpsize(),
            #[cfg(feature = "retired-modes")]
            _ => FIXED_HEADER,
        }
    }

    /// Returns by how many bytes sealing lengthens a packet.
    pub const fn overhead(self) -> usize {
        TAG + self.nonce_on_wire()
    }

    const fn nonce_on_wire(self) -> usize {
        match self {
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305 => 0,
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305Suffix => NONCE,
            _ => 4,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        let known = Self::ALL.iter().find(|mode| mode.name() == name);
        known.copied().ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// A mode that this build cannot speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "transport mode {0:?} is unknown; if it is one that Discord retired, build with the feature `retired-modes`"
)]
pub struct UnknownMode(pub String);

/// One key in one mode, and the nonces that were not used with it yet.
pub struct Cipher {
    mode: Mode,
    key: SecretKey,
    suite: Suite,
    nonces: Nonces,
}

impl Cipher {
    /// Takes a session's key. The first sealed packet gets the nonce `first_counter`, each later one the next;
    /// `u32::MAX` is never used and stands for a key whose nonces are spent.
    pub fn new(mode: Mode, key: &SecretKey, first_counter: u32) -> Self {
        let suite = Suite::new(mode, key);
        Self { mode, key: key.clone(), suite, nonces: Nonces::from(first_counter) }
    }

    /// Takes a later session's key. The counter goes on, so that nothing repeats should the key be the same; under
    /// another key, spent nonces are all new again.
    pub fn rekey(&mut self, mode: Mode, key: &SecretKey) {
        if self.key != *key {
            self.nonces = self.nonces.under_another_key();
        }
        self.suite = Suite::new(mode, key);
        self.key = key.clone();
        self.mode = mode;
    }

    /// Returns the mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the nonce of the next packet.
    pub fn counter(&self) -> u32 {
        self.nonces.counter
    }

    /// Turns `packet`, a header of `clear` bytes and the plaintext after it, into what goes on the wire. Allocates
    /// nothing when the capacity has room for [`Mode::overhead`] more bytes.
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
            Suite::SecretBox(key) => seal_secretbox(key, &nonce, packet, clear)?,
        }
        packet.extend_from_slice(&nonce[..self.mode.nonce_on_wire()]);
        Ok(())
    }

    /// Decrypts a packet in place and returns where in it the plaintext lies, which starts with what is left of the
    /// header: see [`Header::payload`].
    ///
    /// # Errors
    ///
    /// [`CipherError::TooShort`] when there is no room for tag and nonce, [`CipherError::WrongKey`] when the packet
    /// was sealed under another key or changed on its way. The bytes after the clear part are then worthless.
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
                open_secretbox(key, &nonce, sealed)?;
                return Ok(clear + TAG..end);
            }
        }
        Ok(clear..end - TAG)
    }

    fn next_nonce(&mut self, packet: &[u8]) -> Result<[u8; NONCE], CipherError> {
        #[cfg(feature = "retired-modes")]
        if self.mode == Mode::XSalsa20Poly1305 {
            return self.nonces.of_header(packet);
        }
        let _ = packet;
        self.nonces.next()
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
    turn: Turn,
}

impl Nonces {
    fn from(counter: u32) -> Self {
        Self {
            counter,
            #[cfg(feature = "retired-modes")]
            turn: Turn::default(),
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

    #[cfg(feature = "retired-modes")]
    fn of_header(&mut self, packet: &[u8]) -> Result<[u8; NONCE], CipherError> {
        let header = packet.first_chunk::<FIXED_HEADER>().ok_or(CipherError::TooShort)?;
        let mut nonce = [0; NONCE];
        nonce[..FIXED_HEADER].copy_from_slice(header);
        self.turn.reach(u32::from_be_bytes([header[4], header[5], header[6], header[7]]))?;
        Ok(nonce)
    }
}

/// How far the RTP timestamp has come since the key was new. While it only moves on, and by less than one turn of 2³²
/// samples, no two headers are the same.
#[cfg(feature = "retired-modes")]
#[derive(Clone, Copy, Default)]
struct Turn {
    last: Option<u32>,
    passed: u32,
}

#[cfg(feature = "retired-modes")]
impl Turn {
    fn reach(&mut self, timestamp: u32) -> Result<(), CipherError> {
        if let Some(last) = self.last {
            let step = timestamp.wrapping_sub(last);
            let passed = self.passed.checked_add(step).filter(|_| step > 0);
            self.passed = passed.ok_or(CipherError::Exhausted)?;
        }
        self.last = Some(timestamp);
        Ok(())
    }
}

fn aead_key(algorithm: &'static ring::aead::Algorithm, key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("both algorithms take keys of 32 bytes"))
}

fn gcm_nonce(nonce: &[u8; NONCE]) -> Nonce {
    let [n0, n1, n2, n3, ..] = *nonce;
    Nonce::assume_unique_for_key([n0, n1, n2, n3, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// XChaCha20-Poly1305 is ChaCha20-Poly1305 under a key derived from the first 16 bytes of the nonce, with four zeros
/// and the other 8 as nonce (draft-irtf-cfrg-xchacha section 2.3). The nonce is never longer than 4 bytes here.
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

#[cfg(feature = "retired-modes")]
fn seal_secretbox(
    key: &XSalsa20Poly1305,
    nonce: &[u8; NONCE],
    packet: &mut Vec<u8>,
    clear: usize,
) -> Result<(), CipherError> {
    let end = packet.len();
    packet.extend_from_slice(&[0; TAG]);
    packet.copy_within(clear..end, clear + TAG);
    let (tag, plain) = packet[clear..].split_at_mut(TAG);
    let sealed = key.encrypt_in_place_detached(nonce.into(), &[], plain).map_err(|_| CipherError::TooLong)?;
    tag.copy_from_slice(&sealed);
    Ok(())
}

#[cfg(feature = "retired-modes")]
fn open_secretbox(key: &XSalsa20Poly1305, nonce: &[u8; NONCE], sealed: &mut [u8]) -> Result<(), CipherError> {
    let (tag, sealed) = sealed.split_at_mut(TAG);
    let tag = Tag::from_slice(tag);
    key.decrypt_in_place_detached(nonce.into(), &[], sealed, tag).map_err(|_| CipherError::WrongKey)
}

/// Poly1305's and GCM's.
const TAG: usize = 16;

/// The longest nonce, XChaCha20's and XSalsa20's.
const NONCE: usize = 24;

/// The counter that is never used, so that it can say that the others were.
const SPENT: u32 = u32::MAX;

#[cfg(test)]
mod tests;
