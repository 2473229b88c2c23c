//! The media keys of one member in one epoch: a base secret, and the ratchet that draws one AES-128-GCM key per
//! generation of 2²⁴ frames from it.
//!
//! ```text
//! base secret s0 ─┬─ "key" ▶ key of generation 0        frames 1 … 2²⁴-1
//!                 └─ "secret" ▶ s1 ─┬─ "key" ▶ key of generation 1
//!                                   └─ "secret" ▶ s2 …
//! ```
//!
//! See [sender key derivation](https://daveprotocol.com/#sender-key-derivation).

use std::fmt;

use davey::aes::Aes128;
use davey::aes::cipher::consts::{U8, U12};
use davey::{AeadInPlace, AesGcm, KeyInit};
use ring::{digest, hmac};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The 16 bytes the MLS exporter gives for one member in one epoch; prints as `***`, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BaseSecret([u8; 16]);

impl BaseSecret {
    /// Wraps what the MLS exporter gave.
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// Names this secret without giving it away, to tell a key that was used before from a new one.
    pub(super) fn mark(&self) -> Mark {
        let mut mark = [0; 32];
        mark.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        mark
    }
}

impl fmt::Debug for BaseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BaseSecret(***)")
    }
}

/// The SHA-256 of a base secret.
pub(super) type Mark = [u8; 32];

/// Draws the keys of growing generations; what it has passed cannot be drawn again.
pub(super) struct Ratchet {
    secret: Secret,
    next: u32,
}

/// The ratchet's state, overwritten when the next takes its place: 16 bytes from the exporter at first, 32 bytes of its own making afterwards.
#[derive(Zeroize, ZeroizeOnDrop)]
enum Secret {
    Base([u8; 16]),
    Next([u8; 32]),
}

impl Ratchet {
    pub(super) fn new(base: &BaseSecret) -> Self {
        Self { secret: Secret::Base(base.0), next: 0 }
    }

    /// The generation whose key comes next.
    pub(super) fn next_generation(&self) -> u32 {
        self.next
    }

    /// Draws the next generation's key.
    pub(super) fn draw(&mut self) -> FrameCipher {
        FrameCipher::new(&self.draw_key())
    }

    fn draw_key(&mut self) -> [u8; 16] {
        let secret: &[u8] = match &self.secret {
            Secret::Base(secret) => secret,
            Secret::Next(secret) => secret,
        };
        let key = derive(secret, "key", self.next);
        self.secret = Secret::Next(derive(secret, "secret", self.next));
        self.next = self.next.wrapping_add(1);
        key
    }
}

/// `DeriveTreeSecret` of [RFC 9420 section 9](https://www.rfc-editor.org/rfc/rfc9420#section-9): at most 32 bytes, so
/// HKDF-Expand is one HMAC. By hand because the MLS libraries refuse the 16-byte secret that DAVE starts from.
fn derive<const N: usize>(secret: &[u8], label: &str, generation: u32) -> [u8; N] {
    const { assert!(N <= 32) };
    let mut hmac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    hmac.update(&(N as u16).to_be_bytes());
    hmac.update(&[(LABEL_PREFIX.len() + label.len()) as u8]);
    hmac.update(LABEL_PREFIX);
    hmac.update(label.as_bytes());
    hmac.update(&[4]);
    hmac.update(&generation.to_be_bytes());
    hmac.update(&[1]);
    let mut derived = [0; N];
    derived.copy_from_slice(&hmac.sign().as_ref()[..N]);
    derived
}

/// AES-128-GCM with the tag cut to 8 bytes.
pub(super) struct FrameCipher(AesGcm<Aes128, U12, U8>);

impl FrameCipher {
    fn new(key: &[u8; 16]) -> Self {
        Self(AesGcm::new(key.into()))
    }

    /// Encrypts in place and gives the tag; `None` only for more than 64 GiB.
    pub(super) fn seal(&self, nonce: u32, clear: &[u8], media: &mut [u8]) -> Option<[u8; TAG]> {
        self.0.encrypt_in_place_detached((&expand(nonce)).into(), clear, media).ok().map(Into::into)
    }

    /// Verifies the tag, then decrypts in place; false leaves `media` as it was.
    pub(super) fn open(&self, nonce: u32, clear: &[u8], media: &mut [u8], tag: &[u8; TAG]) -> bool {
        self.0.decrypt_in_place_detached((&expand(nonce)).into(), clear, media, tag.into()).is_ok()
    }
}

/// The full nonce: eight zero bytes, then the counter in little-endian order.
fn expand(nonce: u32) -> [u8; 12] {
    let mut full = [0; 12];
    full[8..].copy_from_slice(&nonce.to_le_bytes());
    full
}

/// Length of the tag in bytes: the first half of AES-GCM's own.
pub(super) const TAG: usize = 8;

/// The top byte of the 32-bit nonce is the generation.
pub(super) const GENERATION_SHIFT: u32 = 24;

/// What MLS writes before every derivation label.
const LABEL_PREFIX: &[u8] = b"MLS 1.0 ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::dave::tests::support::hex;

    #[test]
    fn the_ratchet_draws_the_keys_of_the_vector() {
        let mut ratchet =
            Ratchet::new(&BaseSecret::new(hex("cedd61b1b8a1ca69046554282cf70b7b").try_into().unwrap()));
        let expected = [
            (
                "7530f9a9945e2d2e06d0651f7b2a864b",
                "94c10756040f20134afedc3cd3b6985051c3335128e127d770f2fada84a2c50c",
            ),
            (
                "cddd06e0f3437596bacb9c06a0329c49",
                "94b00a84baf11639ba0742203ffca75f231b475fd9975aff6713e2a86fc1c2e2",
            ),
            (
                "651f0856cc3dbd6496079901a6b56d4d",
                "823ef06651aae8ee22c9deb51892f0a1e243dfebd062b2b696a9ea3da83ceb09",
            ),
        ];
        for (generation, (key, next)) in expected.into_iter().enumerate() {
            assert_eq!(ratchet.next_generation(), generation as u32);
            assert_eq!(ratchet.draw_key().as_slice(), hex(key));
            let Secret::Next(secret) = &ratchet.secret else { panic!("the base secret is kept after use") };
            assert_eq!(secret.as_slice(), hex(next));
        }
    }

    #[test]
    fn a_base_secret_does_not_print() {
        assert_eq!(format!("{:?}", BaseSecret::new([0xab; 16])), "BaseSecret(***)");
    }
}
