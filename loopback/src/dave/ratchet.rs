//! The ratchet that turns the base secret of one sender into a key for every generation of its frames.
//!
//! Discord's words: <https://daveprotocol.com/#sender-key-derivation>; the derivation is `DeriveTreeSecret` of
//! [RFC 9420, section 9](https://www.rfc-editor.org/rfc/rfc9420.html#section-9).

use hkdf::Hkdf;
use sha2::Sha256;

/// The key of one generation: AES-128.
pub(crate) type FrameKey = [u8; KEY_BYTES];

/// A chain of secrets of one sender in one epoch. It only goes forward.
pub(crate) struct Ratchet {
    secret: Vec<u8>,
    generation: u32,
}

impl Ratchet {
    /// Starts at generation 0 with the 16 bytes exported from the group.
    pub(crate) fn new(base: [u8; KEY_BYTES]) -> Self {
        Self { secret: base.to_vec(), generation: 0 }
    }

    /// The generation that [`advance`](Self::advance) yields next.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Derives the key of the current generation and moves on to the next.
    pub(crate) fn advance(&mut self) -> FrameKey {
        let mut key = [0; KEY_BYTES];
        derive_tree_secret(&self.secret, b"key", self.generation, &mut key);
        let mut next = vec![0; SECRET_BYTES];
        derive_tree_secret(&self.secret, b"secret", self.generation, &mut next);
        self.secret = next;
        self.generation = self.generation.wrapping_add(1);
        key
    }
}

/// `DeriveTreeSecret(secret, label, generation, out.len())`.
fn derive_tree_secret(secret: &[u8], label: &[u8], generation: u32, out: &mut [u8]) {
    let label_length = LABEL_PREFIX.len() + label.len();
    let mut info = Vec::with_capacity(8 + label_length);
    info.extend_from_slice(&[0, out.len() as u8, label_length as u8]);
    info.extend_from_slice(LABEL_PREFIX);
    info.extend_from_slice(label);
    info.push(4);
    info.extend_from_slice(&generation.to_be_bytes());
    expand(secret, &info, out);
}

/// HKDF-Expand with SHA-256. A secret shorter than a hash, such as the 16 bytes of the base, is fine as an HMAC key.
fn expand(secret: &[u8], info: &[u8], out: &mut [u8]) {
    let padded = pad_key(secret);
    // An HMAC key padded with zeros to the block is the same key, and long enough for the check in `from_prk`.
    let hkdf = Hkdf::<Sha256>::from_prk(&padded).expect("a block is longer than a hash");
    hkdf.expand(info, out).expect("two blocks at most");
}

fn pad_key(secret: &[u8]) -> [u8; HMAC_BLOCK] {
    let mut block = [0; HMAC_BLOCK];
    block[..secret.len()].copy_from_slice(secret);
    block
}

/// Bytes of an AES-128 key, and of the base secret.
pub(crate) const KEY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const HMAC_BLOCK: usize = 64;
const LABEL_PREFIX: &[u8] = b"MLS 1.0 ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dave::hex;

    #[test]
    fn keys_and_secrets_are_those_of_the_published_vectors() {
        let mut ratchet = Ratchet::new(hex("cedd61b1b8a1ca69046554282cf70b7b").try_into().unwrap());
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
        for (key, next) in expected {
            assert_eq!(ratchet.advance().to_vec(), hex(key));
            assert_eq!(ratchet.secret, hex(next));
        }
        assert_eq!(ratchet.generation(), 3);
    }

    #[test]
    fn the_unused_nonce_label_derives_what_the_vectors_say() {
        let mut nonce = [0; 12];
        derive_tree_secret(&hex("cedd61b1b8a1ca69046554282cf70b7b"), b"nonce", 0, &mut nonce);
        assert_eq!(nonce.to_vec(), hex("301e5f4b74090f985e726bb2"));
    }
}
