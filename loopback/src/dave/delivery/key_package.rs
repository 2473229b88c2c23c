//! Key packages: whether op 26 brought one that can be used.

use openmls::prelude::{KeyPackage, KeyPackageIn, OpenMlsProvider, ProtocolVersion};
use openmls_rust_crypto::OpenMlsRustCrypto;
use tls_codec::DeserializeBytes;

use super::DeliveryError;
use crate::dave::{identity::UNLIMITED, mls_messages};

/// Checks all that [op 26](https://daveprotocol.com/#dave_mls_key_package-26) promises, signatures included.
pub(super) fn verify_key_package(
    provider: &OpenMlsRustCrypto,
    user: u64,
    bytes: &[u8],
) -> Result<KeyPackage, DeliveryError> {
    let shape = mls_messages::KeyPackage::parse(bytes)?;
    if shape.leaf.user != user {
        return Err(DeliveryError::InvalidKeyPackage("it is of another user"));
    }
    if shape.leaf.lifetime != Some(UNLIMITED) {
        return Err(DeliveryError::InvalidKeyPackage("its lifetime is not unlimited"));
    }
    let unverified = KeyPackageIn::tls_deserialize_exact_bytes(bytes)
        .map_err(|_| DeliveryError::InvalidKeyPackage("it cannot be read"))?;
    unverified
        .validate(provider.crypto(), ProtocolVersion::Mls10)
        .map_err(|_| DeliveryError::InvalidKeyPackage("a signature or a key is wrong"))
}
