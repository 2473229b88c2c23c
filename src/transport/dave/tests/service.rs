//! The server's half of MLS, as little of it as the tests and the bench need: an external sender that proposes.

use bytes::Bytes;
use openmls::prelude::tls_codec::{DeserializeBytes, Serialize};
use openmls::prelude::{
    BasicCredential, Ciphersuite, ExternalProposal, ExternalSender, GroupId, KeyPackageIn, LeafNodeIndex,
    MlsMessageIn, MlsMessageOut, OpenMlsProvider, ProtocolVersion, SenderExtensionIndex,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

/// A delivery service for one call.
pub struct Service {
    provider: OpenMlsRustCrypto,
    group: GroupId,
    signer: SignatureKeyPair,
    /// The epoch that proposals are made for.
    pub epoch: u64,
}

impl Service {
    pub fn new(channel: u64) -> Self {
        let suite = Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256;
        Self {
            provider: OpenMlsRustCrypto::default(),
            group: GroupId::from_slice(&channel.to_be_bytes()),
            signer: SignatureKeyPair::new(suite.signature_algorithm()).unwrap(),
            epoch: 0,
        }
    }

    /// The payload of op 25.
    pub fn external_sender(&self) -> Bytes {
        let credential = BasicCredential::new(vec![0]).into();
        ExternalSender::new(self.signer.public().into(), credential).tls_serialize_detached().unwrap().into()
    }

    /// A proposal to add the owner of a key package.
    pub fn add(&self, key_package: &[u8]) -> Vec<u8> {
        let key_package = KeyPackageIn::tls_deserialize_exact_bytes(key_package).unwrap();
        let key_package = key_package.validate(self.provider.crypto(), ProtocolVersion::Mls10).unwrap();
        let (group, epoch, sender) = (self.group.clone(), self.epoch.into(), SenderExtensionIndex::new(0));
        bytes_of(
            ExternalProposal::new_add::<OpenMlsRustCrypto>(key_package, group, epoch, &self.signer, sender)
                .unwrap(),
        )
    }

    /// A proposal to remove the member at a leaf.
    pub fn remove(&self, leaf: u32) -> Vec<u8> {
        let (group, epoch, sender) = (self.group.clone(), self.epoch.into(), SenderExtensionIndex::new(0));
        let leaf = LeafNodeIndex::new(leaf);
        bytes_of(
            ExternalProposal::new_remove::<OpenMlsRustCrypto>(leaf, group, epoch, &self.signer, sender)
                .unwrap(),
        )
    }
}

fn bytes_of(message: MlsMessageOut) -> Vec<u8> {
    message.tls_serialize_detached().unwrap()
}

/// Takes the payload of op 28 apart into the commit and the welcome, which is empty when nobody is added.
pub fn split(commit_welcome: &Bytes) -> (Bytes, Bytes) {
    let (_, welcome) = MlsMessageIn::tls_deserialize_bytes(commit_welcome).unwrap();
    let commit = commit_welcome.len() - welcome.len();
    (commit_welcome.slice(..commit), commit_welcome.slice(commit..))
}
