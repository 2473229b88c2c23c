//! Keys and packages as version 1 of DAVE wants them: cipher suite, credentials, capabilities and lifetimes.
//!
//! <https://daveprotocol.com/#mls-parameters>

use std::sync::Arc;

use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialType, CredentialWithKey, ExternalSender, GroupId,
    KeyPackage, Lifetime, ProtocolVersion, SignatureScheme,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::signatures::{Signer, SignerError};
use tls_codec::Serialize;

/// The signing key of an external sender; cheap to clone.
#[derive(Clone)]
pub struct ExternalSenderKey(Arc<SignatureKeyPair>);

impl ExternalSenderKey {
    /// Makes a fresh key.
    pub fn generate() -> Self {
        Self(Arc::new(signing_key()))
    }

    /// The payload of op 25; the identity is a single zero byte, as live servers have it.
    pub(crate) fn package(&self) -> Vec<u8> {
        let credential = BasicCredential::new(vec![0]).into();
        let sender = ExternalSender::new(self.0.public().into(), credential);
        sender.tls_serialize_detached().expect("a sender of 71 bytes")
    }
}

impl std::fmt::Debug for ExternalSenderKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ExternalSenderKey(***)")
    }
}

impl Signer for ExternalSenderKey {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.0.sign(payload)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.0.signature_scheme()
    }
}

pub(crate) fn signing_key() -> SignatureKeyPair {
    SignatureKeyPair::new(SUITE.signature_algorithm()).expect("the scheme is P-256's, which is supported")
}

pub(crate) fn credential(user: u64, key: &SignatureKeyPair) -> CredentialWithKey {
    let credential = BasicCredential::new(user.to_be_bytes().to_vec()).into();
    CredentialWithKey { credential, signature_key: key.public().into() }
}

pub(crate) fn group_id(call: u64) -> GroupId {
    GroupId::from_slice(&call.to_be_bytes())
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities::builder()
        .versions(vec![ProtocolVersion::Mls10])
        .ciphersuites(vec![SUITE])
        .extensions(Vec::new())
        .proposals(Vec::new())
        .credentials(vec![CredentialType::Basic])
        .build()
}

/// Forever, as all leaves of DAVE last.
pub(crate) fn lifetime() -> Lifetime {
    Lifetime::init(UNLIMITED.0, UNLIMITED.1)
}

/// Makes a key package of `user` and keeps its private keys in the provider.
pub(crate) fn key_package(provider: &OpenMlsRustCrypto, user: u64, key: &SignatureKeyPair) -> KeyPackage {
    KeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .key_package_lifetime(lifetime())
        .build(SUITE, provider, key, credential(user, key))
        .expect("keys in memory and fresh randomness")
        .key_package()
        .clone()
}

pub(crate) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256;
/// The lifetime of every leaf: `not_before` and `not_after`.
pub(crate) const UNLIMITED: (u64, u64) = (0, u64::MAX);
