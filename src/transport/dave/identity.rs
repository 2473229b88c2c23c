//! Who is who: our identity key, and the codes people compare to be sure that nobody listens in.
//!
//! See [displayable codes](https://daveprotocol.com/#displayable-codes) and
//! [verification fingerprint](https://daveprotocol.com/#verification-fingerprint).

use std::fmt;

use davey::{SigningKeyPair, generate_displayable_code, pairwise_fingerprints_internal};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

/// The ECDSA P-256 key that signs for us in every group; prints as `***`.
///
/// A fresh one per process is what Discord expects of bots. Keep one (see [`IdentityKey::to_bytes`]) where people are to
/// see the same verification code after a restart.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityKey(SigningKeyPair);

/// The bytes are not an identity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an identity key: 97 bytes are wanted, a P-256 private key and the public key that belongs to it"
)]
pub struct IdentityKeyError;

impl IdentityKey {
    /// Draws a new key.
    pub fn generate() -> Self {
        Self(SigningKeyPair::generate())
    }

    /// Reads a key that [`IdentityKey::to_bytes`] gave.
    ///
    /// # Errors
    ///
    /// When the length is wrong, the private key is out of range, or the public key is another one's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdentityKeyError> {
        let (private, public) = bytes.split_at_checked(PRIVATE).ok_or(IdentityKeyError)?;
        let (curve, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        EcdsaKeyPair::from_private_key_and_public_key(curve, private, public, &random)
            .map_err(|_| IdentityKeyError)?;
        Ok(Self(SigningKeyPair { private: private.to_vec(), public: public.to_vec() }))
    }

    /// Gives the key as bytes to be kept secret: the private scalar (32 bytes), then the public point (65 bytes,
    /// uncompressed).
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.0.private.as_slice(), &self.0.public].concat()
    }

    /// Gives the public point, 65 bytes uncompressed ([SEC 1](https://www.secg.org/sec1-v2.pdf) 2.3.3).
    pub fn public(&self) -> &[u8] {
        &self.0.public
    }

    pub(super) fn pair(&self) -> &SigningKeyPair {
        &self.0
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(***)")
    }
}

/// Our key's and another member's fingerprint, from which both sides work out the same verification code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints(pub(super) [Vec<u8>; 2]);

impl Fingerprints {
    /// Works out the verification code: nine groups of five digits, without spaces. `None` where it cannot be worked
    /// out, so that no two failures pass for the same code.
    ///
    /// Deliberately slow: scrypt with 16 MiB, some 50 ms. Run it off the actor's thread, in a blocking task.
    pub fn verification_code(self) -> Option<String> {
        let hash = pairwise_fingerprints_internal(self.0).ok()?;
        generate_displayable_code(&hash, VERIFICATION_DIGITS, GROUP_DIGITS).ok()
    }
}

/// Works out the [voice privacy code](https://daveprotocol.com/#voice-privacy-code) of an epoch: six groups of five
/// digits, without spaces.
pub(super) fn privacy_code(epoch_authenticator: &[u8]) -> Option<String> {
    generate_displayable_code(epoch_authenticator, PRIVACY_DIGITS, GROUP_DIGITS).ok()
}

/// Length of a P-256 private key in bytes.
const PRIVATE: usize = 32;

/// Length of the voice privacy code.
const PRIVACY_DIGITS: u32 = 30;

/// Length of a verification code.
const VERIFICATION_DIGITS: u32 = 45;

/// Digits per group of a code.
const GROUP_DIGITS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::dave::tests::support::hex;

    #[test]
    fn the_privacy_code_is_the_vectors() {
        let authenticator = hex("311d97c97f315a0eda932e28b60cdfcfa73b548de2cf4d4ec11933cd86c80fff");
        assert_eq!(privacy_code(&authenticator).unwrap(), "842872040315103136135904189800");
        let data = hex("aabbccddeebbccddeeffccddeeffaaddeeffaabbeeffaabbccffaabbccdd");
        assert_eq!(privacy_code(&data).unwrap(), "058708105556138052119572494877");
        assert_eq!(generate_displayable_code(&hex("aabbccddee"), 5, 5).unwrap(), "05870");
        assert_eq!(privacy_code(&data[..29]), None);
    }

    #[test]
    fn the_verification_code_is_the_vectors_from_either_side() {
        let fingerprint = |key: usize, user: u64| [&[0, 0], &vec![0; key][..], &user.to_be_bytes()].concat();
        let (ours, theirs) = (fingerprint(33, 1234), fingerprint(65, 5678));
        let hash = pairwise_fingerprints_internal([ours.clone(), theirs.clone()]).unwrap();
        let expected = "8581f12c24874fc31b1c97457cc5bd29c007102d4ff78a3a7ea1b2880c6d60a4\
                        a95c02e888ae4a9cad90bfb8222df28829850e9e774fcc3006dc7906f20ba43c";
        assert_eq!(hash, hex(expected));
        let code = "167087148466685475014767895181229783641225826";
        assert_eq!(Fingerprints([ours.clone(), theirs.clone()]).verification_code().as_deref(), Some(code));
        assert_eq!(Fingerprints([theirs, ours]).verification_code().as_deref(), Some(code));
    }

    #[test]
    fn an_identity_key_survives_being_written_down() {
        let key = IdentityKey::generate();
        assert_eq!(key.to_bytes().len(), 97);
        assert_eq!(IdentityKey::from_bytes(&key.to_bytes()).unwrap(), key);
    }

    #[test]
    fn a_damaged_identity_key_is_refused() {
        let good = IdentityKey::generate().to_bytes();
        for at in [0, 31, 32, 60, 96] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(IdentityKey::from_bytes(&bad), Err(IdentityKeyError), "byte {at}");
        }
        assert_eq!(IdentityKey::from_bytes(&good[..96]), Err(IdentityKeyError));
        assert_eq!(IdentityKey::from_bytes(&[]), Err(IdentityKeyError));
        assert_eq!(IdentityKey::from_bytes(&[0; 97]), Err(IdentityKeyError));
    }

    #[test]
    fn an_identity_key_does_not_print() {
        assert_eq!(format!("{:?}", IdentityKey::generate()), "IdentityKey(***)");
    }
}
