//! A member's own copy of the MLS group.
//!
//! Every message is walked by [`mls_messages`] before OpenMLS parses it.

use std::collections::BTreeSet;

use openmls::{
    group::{MlsGroup, MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, StagedWelcome},
    prelude::{
        Extension, Extensions, ExternalSender, MlsMessageBodyOut, MlsMessageIn, OpenMlsProvider,
        ProcessedMessageContent, Welcome,
    },
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::storage::StorageProvider;
use tls_codec::{DeserializeBytes, Serialize};

use super::{
    media::BaseSecret,
    members::{self, user_of},
};
use crate::dave::{
    APPEND, REVOKE,
    identity::{self, SUITE, group_id},
    mls_codec::{Malformed, Reader, Reference},
    mls_messages,
    ratchet::KEY_BYTES,
};

/// The group as one member sees it, or the wish to be in one.
pub(super) struct Session {
    user: u64,
    call: u64,
    provider: OpenMlsRustCrypto,
    key: SignatureKeyPair,
    sender: Option<ExternalSender>,
    group: Option<MlsGroup>,
    key_package: Option<Reference>,
    /// The commit that waits for the verdict of the delivery service.
    own_commit: Option<Vec<u8>>,
}

/// Why a message of the delivery service was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Refused(&'static str),
    #[error("OpenMLS: {0}")]
    Mls(String),
}

/// What to do with a commit.
#[derive(PartialEq, Debug)]
pub(super) enum Committed {
    /// It is none of our business yet.
    Ignored,
    /// The group is in its next epoch.
    Applied,
}

impl Session {
    pub(super) fn new(user: u64, call: u64) -> Self {
        Self {
            user,
            call,
            provider: OpenMlsRustCrypto::default(),
            key: identity::signing_key(),
            sender: None,
            group: None,
            key_package: None,
            own_commit: None,
        }
    }

    /// Forgets group, proposals and key package, and starts a pending group if the external sender is known.
    pub(super) fn reset(&mut self) -> Result<(), SessionError> {
        self.provider = OpenMlsRustCrypto::default();
        self.group = None;
        self.key_package = None;
        self.own_commit = None;
        self.start_pending_group()
    }

    /// Op 26: a fresh key package; the one before is good for nothing from now on.
    pub(super) fn key_package(&mut self) -> Vec<u8> {
        if let Some(old) = self.key_package.take() {
            self.delete_key_package(&old);
        }
        let package = identity::key_package(&self.provider, self.user, &self.key);
        let bytes = package.tls_serialize_detached().expect("a key package of 391 bytes");
        self.key_package = mls_messages::KeyPackage::parse(&bytes).map(|shape| shape.reference()).ok();
        bytes
    }

    /// Op 25.
    pub(super) fn set_sender(&mut self, payload: &[u8]) -> Result<(), SessionError> {
        if self.is_established() {
            return Err(SessionError::Refused("the external sender cannot change within a group"));
        }
        mls_messages::external_sender(payload)?;
        self.sender = Some(ExternalSender::tls_deserialize_exact_bytes(payload).map_err(mls)?);
        self.start_pending_group()
    }

    /// Op 27: queues or takes back proposals; returns the payload of op 28 if there is something to commit.
    pub(super) fn proposals(
        &mut self,
        payload: &[u8],
        recognised: &BTreeSet<u64>,
    ) -> Result<Option<Vec<u8>>, SessionError> {
        let mut reader = Reader::new(payload);
        let kind = reader.u8()?;
        let content = reader.inner()?;
        reader.finish()?;
        match kind {
            APPEND => self.append(&mls_messages::ProposalMessage::parse_all(content)?, recognised)?,
            REVOKE => self.withdraw(&mls_messages::references(content)?)?,
            _ => return Err(Malformed("append or revoke").into()),
        }
        self.commit()
    }

    /// Op 29, without the transition id.
    pub(super) fn announced(&mut self, bytes: &[u8]) -> Result<Committed, SessionError> {
        let Some(group) = &mut self.group else { return Ok(Committed::Ignored) };
        let is_own = self.own_commit.as_deref() == Some(bytes);
        if group.epoch().as_u64() == 0 && !is_own {
            return self.lost_race(bytes);
        }
        if is_own {
            group.merge_pending_commit(&self.provider).map_err(mls)?;
        } else {
            self.apply_commit(bytes)?;
        }
        self.own_commit = None;
        Ok(Committed::Applied)
    }

    /// Ignores the commit of another member that has won the race for the first group; a welcome will come. Such a commit
    /// adds us, which our own never does. A commit that covers the proposals of our own is our own, but damaged.
    fn lost_race(&self, bytes: &[u8]) -> Result<Committed, SessionError> {
        let Some(own) = &self.own_commit else { return Ok(Committed::Ignored) };
        let references =
            |bytes| mls_messages::Commit::read(&mut Reader::new(bytes)).map(|commit| commit.references);
        if references(bytes)? == references(own)? {
            return Err(SessionError::Refused("our own commit came back changed"));
        }
        Ok(Committed::Ignored)
    }

    /// Op 30, without the transition id.
    pub(super) fn welcomed(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if self.is_established() {
            return Err(SessionError::Refused("already in a group"));
        }
        let sender = self.sender.clone().ok_or(SessionError::Refused("no external sender known"))?;
        mls_messages::Welcome::parse(bytes)?;
        let welcome = Welcome::tls_deserialize_exact_bytes(bytes).map_err(mls)?;
        let config = MlsGroupJoinConfig::builder()
            .use_ratchet_tree_extension(true)
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .build();
        let staged = StagedWelcome::build_from_welcome(&self.provider, &config, welcome)
            .and_then(|builder| builder.replace_old_group().build())
            .map_err(mls)?;
        if *staged.group_context().group_id() != group_id(self.call) {
            return Err(SessionError::Refused("welcomed to another group"));
        }
        if staged.group_context().extensions().external_senders() != Some(&vec![sender]) {
            return Err(SessionError::Refused("the group trusts another external sender"));
        }
        check_distinct(staged.members().map(|member| user_of(member.credential.serialized_content())))?;
        self.group = Some(staged.into_group(&self.provider).map_err(mls)?);
        self.key_package = None;
        self.own_commit = None;
        Ok(())
    }

    pub(super) fn is_established(&self) -> bool {
        self.epoch() > 0
    }

    pub(super) fn epoch(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.epoch().as_u64())
    }

    /// Members of the established group: user id and signature key.
    pub(super) fn members(&self) -> Vec<(u64, Vec<u8>)> {
        let group = self.group.as_ref().filter(|_| self.is_established());
        let members = group.into_iter().flat_map(MlsGroup::members);
        members
            .filter_map(|member| {
                Some((user_of(member.credential.serialized_content())?, member.signature_key))
            })
            .collect()
    }

    /// The base secret of one member's frames in this epoch.
    pub(super) fn base_secret(&self, user: u64) -> Option<BaseSecret> {
        let group = self.group.as_ref().filter(|_| self.is_established())?;
        let crypto = self.provider.crypto();
        let secret = group.export_secret(crypto, EXPORT_LABEL, &user.to_le_bytes(), KEY_BYTES).ok()?;
        secret.try_into().ok()
    }

    /// The secret that all members of this epoch, and only they, can derive.
    pub(super) fn epoch_authenticator(&self) -> Option<Vec<u8>> {
        let group = self.group.as_ref().filter(|_| self.is_established())?;
        Some(group.epoch_authenticator().as_slice().to_vec())
    }

    fn start_pending_group(&mut self) -> Result<(), SessionError> {
        let Some(sender) = self.sender.clone() else { return Ok(()) };
        self.own_commit = None;
        let senders = Extensions::single(Extension::ExternalSenders(vec![sender])).map_err(mls)?;
        let group = MlsGroup::builder()
            .with_group_id(group_id(self.call))
            .replace_old_group()
            .ciphersuite(SUITE)
            .with_group_context_extensions(senders)
            .with_capabilities(identity::capabilities())
            .lifetime(identity::lifetime())
            .use_ratchet_tree_extension(true)
            .with_wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .build(&self.provider, &self.key, identity::credential(self.user, &self.key))
            .map_err(mls)?;
        self.group = Some(group);
        Ok(())
    }

    fn append(
        &mut self,
        messages: &[mls_messages::ProposalMessage<'_>],
        recognised: &BTreeSet<u64>,
    ) -> Result<(), SessionError> {
        for message in messages {
            if let Err(error) = self.enqueue(message, recognised) {
                tracing::debug!(user = self.user, %error, "proposal refused");
            }
        }
        self.withdraw_unusable()
    }

    fn enqueue(
        &mut self,
        message: &mls_messages::ProposalMessage<'_>,
        recognised: &BTreeSet<u64>,
    ) -> Result<(), SessionError> {
        let group = self.group.as_mut().ok_or(SessionError::Refused("no group to change"))?;
        if (message.group, message.epoch) != (self.call, group.epoch().as_u64()) {
            return Err(SessionError::Refused("a proposal for another group or epoch"));
        }
        if let mls_messages::Proposal::Add(package) = &message.proposal
            && !recognised.contains(&package.leaf.user)
        {
            return Err(SessionError::Refused("adds a user nobody has announced"));
        }
        let message = MlsMessageIn::tls_deserialize_exact_bytes(message.bytes).map_err(mls)?;
        let message = message.try_into_protocol_message().map_err(mls)?;
        let processed = group.process_message(&self.provider, message).map_err(mls)?;
        let ProcessedMessageContent::ProposalMessage(proposal) = processed.into_content() else {
            return Err(SessionError::Refused("not a proposal"));
        };
        if group
            .pending_proposals()
            .any(|known| known.proposal_reference_ref() == proposal.proposal_reference_ref())
        {
            return Err(SessionError::Refused("known already"));
        }
        group.store_pending_proposal(self.provider.storage(), *proposal).map_err(mls)
    }

    /// Takes back what could not be committed: our own removal, blank leaves, and users that would be members twice.
    fn withdraw_unusable(&mut self) -> Result<(), SessionError> {
        let Some(group) = &mut self.group else { return Ok(()) };
        for reference in members::unusable(group) {
            group.remove_pending_proposal(self.provider.storage(), &reference).map_err(mls)?;
        }
        Ok(())
    }

    fn withdraw(&mut self, references: &[Reference]) -> Result<(), SessionError> {
        let group = self.group.as_mut().ok_or(SessionError::Refused("no group to change"))?;
        let known: Vec<_> = group
            .pending_proposals()
            .map(|queued| queued.proposal_reference_ref().clone())
            .filter(|known| references.iter().any(|revoked| known.as_slice() == revoked))
            .collect();
        for reference in known {
            group.remove_pending_proposal(self.provider.storage(), &reference).map_err(mls)?;
        }
        Ok(())
    }

    /// Builds one commit of all that is queued, in place of an earlier one.
    fn commit(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        let Some(group) = &mut self.group else { return Ok(None) };
        group.clear_pending_commit(self.provider.storage()).map_err(mls)?;
        self.own_commit = None;
        if !group.has_pending_proposals() {
            return Ok(None);
        }
        let (commit, welcome, _) =
            group.commit_to_pending_proposals(&self.provider, &self.key).map_err(mls)?;
        let commit = commit.to_bytes().map_err(mls)?;
        let mut payload = commit.clone();
        if let Some(MlsMessageBodyOut::Welcome(welcome)) = welcome.as_ref().map(|message| message.body()) {
            payload.extend(welcome.tls_serialize_detached().map_err(mls)?);
        }
        self.own_commit = Some(commit);
        Ok(Some(payload))
    }

    fn apply_commit(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let mut reader = Reader::new(bytes);
        let shape = mls_messages::Commit::read(&mut reader)?;
        reader.finish()?;
        let group = self.group.as_mut().ok_or(SessionError::Refused("no group to change"))?;
        if (shape.group, shape.epoch) != (self.call, group.epoch().as_u64()) {
            return Err(SessionError::Refused("a commit for another group or epoch"));
        }
        let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).map_err(mls)?;
        let message = message.try_into_protocol_message().map_err(mls)?;
        let processed = group.process_message(&self.provider, message).map_err(mls)?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(SessionError::Refused("not a commit"));
        };
        if staged.self_removed() {
            return Err(SessionError::Refused("we are removed"));
        }
        check_distinct(members::after(group, &staged))?;
        group.merge_staged_commit(&self.provider, *staged).map_err(mls)
    }

    fn delete_key_package(&self, reference: &Reference) {
        let mut bytes = Vec::new();
        crate::dave::mls_codec::write_vector(&mut bytes, reference);
        if let Ok(reference) = openmls::prelude::KeyPackageRef::tls_deserialize_exact_bytes(&bytes) {
            // Storage in memory does not fail.
            let _ = self.provider.storage().delete_key_package(&reference);
        }
    }
}

fn check_distinct(users: impl Iterator<Item = Option<u64>>) -> Result<(), SessionError> {
    if members::are_distinct(users) {
        return Ok(());
    }
    Err(SessionError::Refused("a user is in the group twice, or a member is no user"))
}

fn mls(error: impl std::fmt::Display) -> SessionError {
    SessionError::Mls(error.to_string())
}

/// <https://daveprotocol.com/#sender-key-derivation>
const EXPORT_LABEL: &str = "Discord Secure Frames v0";
