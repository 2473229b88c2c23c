//! Transport encryption between a member and the relay, written on RustCrypto.
//!
//! Whole packets go in and out, because what is encrypted and what is only authenticated depends on the header.
//! See Discord's docs, "Voice Connections", paragraph "Transport Encryption Modes".

use std::fmt;

use aes_gcm::Aes256Gcm;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::generic_array::GenericArray;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use crypto_secretbox::XSalsa20Poly1305;

use crate::rtp::{self, HEADER_LEN, Header};

/// A transport encryption mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// `aead_aes256_gcm_rtpsize`, preferred.
    Aes256GcmRtpsize,
    /// `aead_xchacha20_poly1305_rtpsize`, always offered.
    XChaCha20Poly1305Rtpsize,
    /// `xsalsa20_poly1305_lite_rtpsize`, retired in November 2024.
    XSalsa20Poly1305LiteRtpsize,
    /// `aead_aes256_gcm`, retired in November 2024.
    Aes256Gcm,
    /// `xsalsa20_poly1305_lite`, retired in November 2024.
    XSalsa20Poly1305Lite,
    /// `xsalsa20_poly1305_suffix`, retired in November 2024.
    XSalsa20Poly1305Suffix,
    /// `xsalsa20_poly1305`, retired in November 2024.
    XSalsa20Poly1305,
}

impl Mode {
    /// The two modes Discord offers, preferred first.
    pub const OFFERED: [Self; 2] = [Self::Aes256GcmRtpsize, Self::XChaCha20Poly1305Rtpsize];

    /// Every mode, also the retired.
    pub const ALL: [Self; 7] = [
        Self::Aes256GcmRtpsize,
        Self::XChaCha20Poly1305Rtpsize,
        Self::XSalsa20Poly1305LiteRtpsize,
        Self::Aes256Gcm,
        Self::XSalsa20Poly1305Lite,
        Self::XSalsa20Poly1305Suffix,
        Self::XSalsa20Poly1305,
    ];

    /// Names the mode as Ready and Select Protocol do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256GcmRtpsize => "aead_aes256_gcm_rtpsize",
            Self::XChaCha20Poly1305Rtpsize => "aead_xchacha20_poly1305_rtpsize",
            Self::XSalsa20Poly1305LiteRtpsize => "xsalsa20_poly1305_lite_rtpsize",
            Self::Aes256Gcm => "aead_aes256_gcm",
            Self::XSalsa20Poly1305Lite => "xsalsa20_poly1305_lite",
            Self::XSalsa20Poly1305Suffix => "xsalsa20_poly1305_suffix",
            Self::XSalsa20Poly1305 => "xsalsa20_poly1305",
        }
    }

    /// Finds the mode of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    fn is_rtpsize(self) -> bool {
        matches!(
            self,
            Self::Aes256GcmRtpsize | Self::XChaCha20Poly1305Rtpsize | Self::XSalsa20Poly1305LiteRtpsize
        )
    }

    /// How many bytes of nonce travel at the end of the packet.
    fn suffix_len(self) -> usize {
        match self {
            Self::XSalsa20Poly1305Suffix => 24,
            Self::XSalsa20Poly1305 => 0,
            _ => 4,
        }
    }

    /// How many bytes at the front of this packet stay clear; `None` where it is shorter than that.
    fn clear_len(self, packet: &[u8]) -> Option<usize> {
        let header = Header::parse(packet)?;
        let len = match packet[1] {
            192..=223 if self.is_rtpsize() => RTCP_CLEAR_LEN,
            _ if self.is_rtpsize() => header.rtpsize_len(),
            _ => HEADER_LEN,
        };
        (packet.len() >= len).then_some(len)
    }
}

/// Why a packet could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The packet has no room for header, tag and nonce.
    #[error("packet of {0} bytes is too short for header, tag and nonce")]
    Short(usize),
    /// The tag does not fit: another key, another mode, or a changed packet.
    #[error("the tag does not fit: another key, another mode, or a changed packet")]
    Forged,
    /// The decrypted part does not hold the extension and padding that the header announces.
    #[error("the payload does not hold the extension and padding its header announces")]
    Malformed,
}

/// The part of a nonce that travels with a packet, padded with zeros to 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceSuffix {
    bytes: [u8; 24],
    len: usize,
}

impl NonceSuffix {
    /// The four bytes on the wire, where the mode counts packets; their order is the sender's choice.
    pub fn counter(&self) -> Option<[u8; 4]> {
        (self.len == 4).then(|| [self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3]])
    }
}

/// An opened RTP or RTCP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What came decrypted, with extension body and padding still on.
    pub plain: Vec<u8>,
    /// How many bytes of the packet were clear.
    pub clear_len: usize,
    /// The nonce on the wire.
    pub nonce: NonceSuffix,
}

/// Seals and opens the packets of one member; both directions use the same key.
pub struct Cipher {
    mode: Mode,
    engine: Engine,
}

enum Engine {
    Gcm(Box<Aes256Gcm>),
    XChaCha(XChaCha20Poly1305),
    XSalsa(XSalsa20Poly1305),
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("mode", &self.mode).field("key", &"***").finish()
    }
}

impl Cipher {
    /// Makes the cipher of a Session Description's `mode` and `secret_key`.
    pub fn new(mode: Mode, key: &[u8; 32]) -> Self {
        let key = GenericArray::from_slice(key);
        let engine = match mode {
            Mode::Aes256GcmRtpsize | Mode::Aes256Gcm => Engine::Gcm(Box::new(Aes256Gcm::new(key))),
            Mode::XChaCha20Poly1305Rtpsize => Engine::XChaCha(XChaCha20Poly1305::new(key)),
            _ => Engine::XSalsa(XSalsa20Poly1305::new(key)),
        };
        Self { mode, engine }
    }

    /// The mode it was made for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Seals a whole RTP or RTCP packet, counting big-endian.
    ///
    /// # Errors
    /// [`OpenError::Short`] where `packet` is shorter than its own header says.
    pub fn seal(&self, packet: &[u8], counter: u32) -> Result<Vec<u8>, OpenError> {
        let clear = self.mode.clear_len(packet).ok_or(OpenError::Short(packet.len()))?;
        let nonce = self.outgoing_nonce(packet, counter);
        let suffix = &nonce[..self.mode.suffix_len()];
        let mut body = packet[clear..].to_vec();
        let tag = self.encrypt(&nonce, &packet[..clear], &mut body).map_err(|_| OpenError::Forged)?;
        let (before, after) = if self.tag_comes_first() { (&tag[..], &[][..]) } else { (&[][..], &tag[..]) };
        Ok([&packet[..clear], before, &body, after, suffix].concat())
    }

    /// Opens a whole RTP or RTCP packet.
    ///
    /// # Errors
    /// [`OpenError::Short`] or [`OpenError::Forged`].
    pub fn open(&self, packet: &[u8]) -> Result<Opened, OpenError> {
        let short = OpenError::Short(packet.len());
        let clear_len = self.mode.clear_len(packet).ok_or(short)?;
        let end = packet.len().checked_sub(self.mode.suffix_len()).ok_or(short)?;
        let sealed = packet.get(clear_len..end).filter(|body| body.len() >= TAG_LEN).ok_or(short)?;
        let (clear, suffix) = (&packet[..clear_len], &packet[end..]);
        let mut nonce = [0; 24];
        nonce[..suffix.len()].copy_from_slice(suffix);
        let wire = NonceSuffix { bytes: nonce, len: suffix.len() };
        if self.mode == Mode::XSalsa20Poly1305 {
            nonce[..HEADER_LEN].copy_from_slice(&packet[..HEADER_LEN]);
        }
        let (tag, body) = if self.tag_comes_first() {
            sealed.split_at(TAG_LEN)
        } else {
            let (body, tag) = sealed.split_at(sealed.len() - TAG_LEN);
            (tag, body)
        };
        let mut plain = body.to_vec();
        self.decrypt(&nonce, clear, &mut plain, tag)?;
        Ok(Opened { plain, clear_len, nonce: wire })
    }

    /// Finds the payload in an opened RTP packet: without contributing sources, extension and padding.
    ///
    /// # Errors
    /// [`OpenError::Malformed`] where the announced lengths do not fit.
    pub fn payload<'a>(&self, packet: &[u8], opened: &'a Opened) -> Result<&'a [u8], OpenError> {
        let header = Header::parse(packet).ok_or(OpenError::Malformed)?;
        let hidden = if self.mode.is_rtpsize() { 0 } else { header.rtpsize_len() - HEADER_LEN };
        let extension = match (header.extension, hidden) {
            (false, _) => Some(0),
            (true, 0) => rtp::extension_len(&packet[opened.clear_len - 4..opened.clear_len]),
            (true, _) => opened.plain.get(header.csrc_len()..).and_then(rtp::extension_len),
        };
        extension
            .and_then(|extension| rtp::strip(&header, hidden + extension, &opened.plain))
            .ok_or(OpenError::Malformed)
    }

    fn tag_comes_first(&self) -> bool {
        matches!(self.engine, Engine::XSalsa(_))
    }

    fn outgoing_nonce(&self, packet: &[u8], counter: u32) -> [u8; 24] {
        let mut nonce = [0; 24];
        match self.mode {
            Mode::XSalsa20Poly1305 => nonce[..HEADER_LEN].copy_from_slice(&packet[..HEADER_LEN]),
            // Random in a real client; a counter over all 24 bytes is as unique, and repeatable.
            Mode::XSalsa20Poly1305Suffix => nonce[20..].copy_from_slice(&counter.to_be_bytes()),
            _ => nonce[..4].copy_from_slice(&counter.to_be_bytes()),
        }
        nonce
    }

    fn encrypt(&self, nonce: &[u8; 24], aad: &[u8], body: &mut [u8]) -> Result<[u8; TAG_LEN], OpenError> {
        let long = GenericArray::from_slice(nonce);
        let tag = match &self.engine {
            Engine::Gcm(gcm) => {
                gcm.encrypt_in_place_detached(GenericArray::from_slice(&nonce[..12]), aad, body)
            }
            Engine::XChaCha(chacha) => chacha.encrypt_in_place_detached(long, aad, body),
            Engine::XSalsa(salsa) => salsa.encrypt_in_place_detached(long, &[], body),
        };
        tag.map(Into::into).map_err(|_| OpenError::Forged)
    }

    fn decrypt(&self, nonce: &[u8; 24], aad: &[u8], body: &mut [u8], tag: &[u8]) -> Result<(), OpenError> {
        let (long, tag) = (GenericArray::from_slice(nonce), GenericArray::from_slice(tag));
        let opened = match &self.engine {
            Engine::Gcm(gcm) => {
                gcm.decrypt_in_place_detached(GenericArray::from_slice(&nonce[..12]), aad, body, tag)
            }
            Engine::XChaCha(chacha) => chacha.decrypt_in_place_detached(long, aad, body, tag),
            Engine::XSalsa(salsa) => salsa.decrypt_in_place_detached(long, &[], body, tag),
        };
        opened.map_err(|_| OpenError::Forged)
    }
}

const TAG_LEN: usize = 16;
/// RTCP keeps its header and sender SSRC clear in the `rtpsize` modes.
const RTCP_CLEAR_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Cipher, Mode, OpenError};

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn key() -> [u8; 32] {
        std::array::from_fn(|i| i as u8)
    }

    /// Mode, the clear packet, the sealed packet: made with Python's cryptography and PyNaCl.
    const VECTORS: [(Mode, &str, &str); 5] = [
        (
            Mode::Aes256GcmRtpsize,
            "80780102030405060708090af8fffe",
            "80780102030405060708090abcc93366230adb18a21518dcc81d22e4a9cb5000000001",
        ),
        (
            Mode::XChaCha20Poly1305Rtpsize,
            "80780102030405060708090af8fffe",
            "80780102030405060708090af158afc25503a236d98e15b92ce8fc41529cbf00000001",
        ),
        (
            Mode::Aes256GcmRtpsize,
            "90780102030405060708090abede000110ff9002f8fffe",
            "90780102030405060708090abede000154c95da8f4a50a236392fc8e46c2d7ef022da1c4c122d600000001",
        ),
        (
            Mode::XChaCha20Poly1305Rtpsize,
            "90780102030405060708090abede000110ff9002f8fffe",
            "90780102030405060708090abede00011958c12297ff6f2ef75eced68981a974c092e2860a7c5100000001",
        ),
        (
            Mode::Aes256GcmRtpsize,
            "b0780102030405060708090abede000110ff9002f8fffe00000004",
            "b0780102030405060708090abede000154c95da8f4a50aa85f3c61d5399d4501e5334ca6f807f38141b89200000001",
        ),
    ];

    #[test]
    fn packets_are_sealed_to_the_known_bytes() {
        for (mode, clear, sealed) in VECTORS {
            assert_eq!(
                Cipher::new(mode, &key()).seal(&hex(clear), 1).unwrap(),
                hex(sealed),
                "{mode:?} {clear}"
            );
        }
    }

    #[test]
    fn known_packets_open_to_their_payload() {
        for (mode, _, sealed) in VECTORS {
            let (cipher, sealed) = (Cipher::new(mode, &key()), hex(sealed));
            let opened = cipher.open(&sealed).unwrap();
            assert_eq!(cipher.payload(&sealed, &opened).unwrap(), [0xF8, 0xFF, 0xFE], "{mode:?}");
            assert_eq!(opened.nonce.counter(), Some([0, 0, 0, 1]));
        }
    }

    #[test]
    fn a_changed_header_or_tag_or_key_does_not_open() {
        for mode in Mode::OFFERED {
            let cipher = Cipher::new(mode, &key());
            let good = cipher.seal(&hex("80780102030405060708090af8fffe"), 9).unwrap();
            for at in [1, 2, 5, 9, 13, 20, good.len() - 1] {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert_eq!(cipher.open(&bad), Err(OpenError::Forged), "{mode:?} byte {at}");
            }
            assert_eq!(Cipher::new(mode, &[7; 32]).open(&good), Err(OpenError::Forged));
        }
    }

    #[test]
    fn no_length_of_packet_panics() {
        for mode in Mode::ALL {
            let cipher = Cipher::new(mode, &key());
            for first in [0x80, 0x9F, 0xBF, 0xB0] {
                for len in 0..120 {
                    let mut packet = vec![0x78; len];
                    packet.iter_mut().take(1).for_each(|byte| *byte = first);
                    assert!(cipher.open(&packet).is_err());
                    let sealed = cipher.seal(&packet, 3);
                    if let Ok(sealed) = sealed {
                        let opened = cipher.open(&sealed).unwrap();
                        let _ = cipher.payload(&sealed, &opened);
                    }
                }
            }
        }
    }

    #[test]
    fn every_retired_mode_opens_what_it_sealed() {
        let packet = hex("90780102030405060708090abede000110ff9002f8fffe");
        for mode in Mode::ALL {
            let cipher = Cipher::new(mode, &key());
            let sealed = cipher.seal(&packet, 5).unwrap();
            assert_ne!(sealed[16..20], packet[16..20], "{mode:?} left the payload clear");
            let opened = cipher.open(&sealed).unwrap();
            assert_eq!(cipher.payload(&sealed, &opened).unwrap(), [0xF8, 0xFF, 0xFE], "{mode:?}");
        }
    }

    #[test]
    fn a_mode_is_found_by_its_name_only() {
        assert!(Mode::ALL.into_iter().all(|mode| Mode::from_name(mode.name()) == Some(mode)));
        assert_eq!(Mode::from_name("plain"), None);
    }

    #[test]
    fn rtcp_keeps_eight_bytes_clear() {
        let cipher = Cipher::new(Mode::Aes256GcmRtpsize, &key());
        let report = hex("80c80006010203040a0b0c0d0e0f1011");
        let sealed = cipher.seal(&report, 2).unwrap();
        assert_eq!(sealed[..8], report[..8]);
        assert_eq!(cipher.open(&sealed).unwrap().plain, report[8..]);
    }
}
