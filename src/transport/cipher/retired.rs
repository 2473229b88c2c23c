//! What only the modes need that Discord retired in November 2024: NaCl's secretbox, and nonces that are RTP
//! headers.

use crypto_secretbox::{AeadInPlace, Tag, XSalsa20Poly1305};

use super::{CipherError, NONCE, TAG};
use crate::transport::rtp::FIXED_HEADER;

/// Seals what follows the clear part. Secretbox puts its tag first, so the plaintext moves up to make room.
pub(super) fn seal(
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

/// Opens a tag and the ciphertext after it.
pub(super) fn open(
    key: &XSalsa20Poly1305,
    nonce: &[u8; NONCE],
    sealed: &mut [u8],
) -> Result<(), CipherError> {
    let (tag, sealed) = sealed.split_at_mut_checked(TAG).ok_or(CipherError::TooShort)?;
    let tag = Tag::from_slice(tag);
    key.decrypt_in_place_detached(nonce.into(), &[], sealed, tag).map_err(|_| CipherError::WrongKey)
}

/// How far the RTP timestamp has come since the key was new. While it only moves on, and by less than one
/// turn of 2³² samples, no two headers are the same.
#[derive(Clone, Copy, Default)]
pub(super) struct Turn {
    last: Option<u32>,
    passed: u32,
}

impl Turn {
    /// Returns the nonce of a packet: its header.
    pub(super) fn nonce(&mut self, packet: &[u8]) -> Result<[u8; NONCE], CipherError> {
        let header = packet.first_chunk::<FIXED_HEADER>().ok_or(CipherError::TooShort)?;
        self.reach(u32::from_be_bytes([header[4], header[5], header[6], header[7]]))?;
        let mut nonce = [0; NONCE];
        nonce[..FIXED_HEADER].copy_from_slice(header);
        Ok(nonce)
    }

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
