//! One MLS session from its key package on: what goes into davey, what comes out, and which refusals matter.

use std::collections::HashSet;
use std::num::NonZeroU16;

use bytes::Bytes;
use davey::errors::{ProcessCommitError, ProcessWelcomeError};
use davey::{DaveSession, ProposalsOperationType};
use openmls_rust_crypto::RustCrypto;

use super::identity::{Fingerprints, IdentityKey, privacy_code};
use super::keys::BaseSecret;
use super::order::{DaveError, E2eeState, Notice};
use super::wire::{self, Content, Message, ProposalRef, Proposals, Sender};
use crate::id::{ChannelId, UserId};

/// An MLS session: pending (epoch 0, only ourselves) until a commit or a welcome makes it a member of the group.
pub(super) struct Mls {
    session: DaveSession,
    crypto: RustCrypto,
    version: NonZeroU16,
    user: UserId,
    channel: ChannelId,
    /// What op 26 carried last.
    pub(super) key_package: Bytes,
    /// What op 28 carried last, until the epoch it is for is over.
    pub(super) commit: Option<Bytes>,
    /// Proposals to add users whom op 11 has not announced yet.
    held: Vec<Held>,
}

struct Held {
    user: UserId,
    reference: ProposalRef,
    message: Vec<u8>,
}

/// Why a commit or welcome did not lead to a new epoch.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not for us, or not for now.
    Ignore(Notice),
    /// The group has gone on without us: leave and join anew.
    Invalid(String),
}

/// The media keys of the epoch the session is in.
pub(super) struct EpochKeys {
    pub(super) own: BaseSecret,
    pub(super) others: Vec<(UserId, BaseSecret)>,
    pub(super) state: E2eeState,
}

impl Mls {
    /// Starts a session with a new key package, and with a pending group when the external sender is known.
    pub(super) fn start(
        version: u16,
        user: UserId,
        channel: ChannelId,
        identity: &IdentityKey,
        external_sender: Option<&[u8]>,
    ) -> Result<Self, DaveError> {
        let unsupported = DaveError::UnsupportedVersion(version);
        let version =
            NonZeroU16::new(version).filter(|&version| version <= NEWEST_VERSION).ok_or(unsupported)?;
        let mut session =
            DaveSession::new(version, user.0, channel.0, Some(identity.pair())).map_err(session_error)?;
        if let Some(external_sender) = external_sender {
            session.set_external_sender(external_sender).map_err(session_error)?;
        }
        let key_package = session.create_key_package().map_err(session_error)?.into();
        let crypto = RustCrypto::default();
        Ok(Self { session, crypto, version, user, channel, key_package, commit: None, held: Vec::new() })
    }

    pub(super) fn version(&self) -> u16 {
        self.version.get()
    }

    /// The epoch of the local group; 0 while it is pending.
    pub(super) fn epoch(&self) -> u64 {
        self.session.epoch().map_or(0, |epoch| epoch.as_u64())
    }

    /// Whether we are a member of the call's group.
    pub(super) fn is_established(&self) -> bool {
        self.epoch() != 0
    }

    /// Takes the external sender (op 25) and makes the pending group anew with it.
    pub(super) fn external_sender(&mut self, payload: &[u8]) -> Result<(), String> {
        self.commit = None;
        self.held.clear();
        self.session.set_external_sender(payload).map_err(|error| error.to_string())
    }

    /// Takes op 27; gives the op 28 that answers it.
    pub(super) fn proposals(
        &mut self,
        payload: &[u8],
        announced: &HashSet<UserId>,
        notices: &mut Vec<Notice>,
    ) -> Option<Bytes> {
        match wire::proposals(payload) {
            Err(_) => {
                notices.push(Notice::Malformed(27));
                None
            }
            Ok(Proposals::Append(messages)) => self.append(&messages, announced, notices),
            Ok(Proposals::Revoke(references)) => self.revoke(&references, notices),
        }
    }

    /// Queues the proposals that were held until these users were announced.
    pub(super) fn announced(
        &mut self,
        announced: &HashSet<UserId>,
        notices: &mut Vec<Notice>,
    ) -> Option<Bytes> {
        let (ready, held) =
            std::mem::take(&mut self.held).into_iter().partition(|held| announced.contains(&held.user));
        self.held = held;
        let ready: Vec<Held> = ready;
        if ready.is_empty() {
            return None;
        }
        let mut list = Vec::new();
        wire::push_vector(&ready.into_iter().flat_map(|held| held.message).collect::<Vec<_>>(), &mut list);
        self.process(ProposalsOperationType::APPEND, &list, notices)
    }

    fn append(
        &mut self,
        messages: &[Message<'_>],
        announced: &HashSet<UserId>,
        notices: &mut Vec<Notice>,
    ) -> Option<Bytes> {
        let mut known = self.queued();
        let mut batch = Vec::new();
        for message in messages {
            let reference = message.reference();
            if known.contains(&reference) {
                notices.push(Notice::Needless);
            } else if let Err(notice) = self.examine(message, announced) {
                if let (Notice::Unannounced(user), true) = (&notice, self.held.len() < MOST_HELD) {
                    self.held.push(Held { user: *user, reference, message: message.bytes.to_vec() });
                }
                notices.push(notice);
            } else {
                known.push(reference);
                batch.extend_from_slice(message.bytes);
            }
        }
        if batch.is_empty() {
            return None;
        }
        let mut list = Vec::new();
        wire::push_vector(&batch, &mut list);
        self.process(ProposalsOperationType::APPEND, &list, notices)
    }

    /// Keeps proposals from the queue that could never be committed: once queued they would spoil every commit of
    /// this epoch.
    fn examine(&self, message: &Message<'_>, announced: &HashSet<UserId>) -> Result<(), Notice> {
        let group = self.session.group().ok_or(Notice::Unexpected(27))?;
        if message.group != self.channel.0.to_be_bytes() {
            return Err(Notice::Foreign(27));
        }
        if message.epoch != self.epoch() {
            return Err(Notice::Stale(27));
        }
        match (message.sender, message.content) {
            (Sender::External, Content::Add(user)) if user == self.user => Err(Notice::Needless),
            (Sender::External, Content::Add(user)) if !announced.contains(&user) => {
                Err(Notice::Unannounced(user))
            }
            (Sender::External, Content::Add(_)) => Ok(()),
            (Sender::External, Content::Remove(leaf)) => {
                let others = group.members().filter(|member| member.index != group.own_leaf_index());
                let found = others.map(|member| member.index.u32()).any(|index| index == leaf);
                if found { Ok(()) } else { Err(Notice::Needless) }
            }
            (_, Content::Commit) | (Sender::Member, _) => Err(Notice::Malformed(27)),
        }
    }

    fn revoke(&mut self, references: &[ProposalRef], notices: &mut Vec<Notice>) -> Option<Bytes> {
        let queued = self.queued();
        let mut list = Vec::new();
        for reference in references {
            if queued.contains(reference) {
                wire::push_vector(reference, &mut list);
            } else if let Some(at) = self.held.iter().position(|held| held.reference == *reference) {
                self.held.remove(at);
            } else {
                notices.push(Notice::UnknownProposal);
            }
        }
        if list.is_empty() {
            return None;
        }
        let mut payload = Vec::new();
        wire::push_vector(&list, &mut payload);
        self.process(ProposalsOperationType::REVOKE, &payload, notices)
    }

    fn queued(&self) -> Vec<ProposalRef> {
        let queue = self.session.group().into_iter().flat_map(|group| group.pending_proposals());
        let references =
            queue.filter_map(|proposal| proposal.proposal_reference_ref().as_slice().try_into().ok());
        references.chain(self.held.iter().map(|held| held.reference)).collect()
    }

    fn process(
        &mut self,
        operation: ProposalsOperationType,
        list: &[u8],
        notices: &mut Vec<Notice>,
    ) -> Option<Bytes> {
        match self.session.process_proposals(operation, list, None) {
            Ok(answer) => {
                self.commit =
                    answer.map(|answer| [answer.commit, answer.welcome.unwrap_or_default()].concat().into());
                self.commit.clone()
            }
            Err(error) => {
                notices.push(Notice::Refused(error.to_string()));
                None
            }
        }
    }

    /// Takes the commit of op 29 and goes on to the epoch it makes.
    pub(super) fn commit(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let established = self.is_established();
        let message = match wire::commit(payload) {
            Ok(message) => message,
            Err(_) if established => return Err(Refusal::Invalid("the commit is malformed".into())),
            Err(_) => return Err(Refusal::Ignore(Notice::Malformed(29))),
        };
        if message.group != self.channel.0.to_be_bytes() {
            return Err(Refusal::Ignore(Notice::Foreign(29)));
        }
        if established && message.epoch < self.epoch() {
            return Err(Refusal::Ignore(Notice::Stale(29)));
        }
        match self.session.process_commit(payload) {
            Ok(true) => self.entered_epoch(),
            Ok(false) | Err(ProcessCommitError::CommitBeforeWelcome) => {
                Err(Refusal::Ignore(Notice::WrongMoment(29)))
            }
            Err(ProcessCommitError::NoQueuedProposals) if !established => {
                Err(Refusal::Ignore(Notice::WrongMoment(29)))
            }
            Err(error) => Err(Refusal::Invalid(error.to_string())),
        }
    }

    /// Takes the welcome of op 30 and becomes a member of the group.
    pub(super) fn welcome(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        if self.is_established() {
            return Err(Refusal::Ignore(Notice::WrongMoment(30)));
        }
        wire::welcome(payload).map_err(|_| Refusal::Invalid("the welcome is malformed".into()))?;
        match self.session.process_welcome(payload, None) {
            Ok(()) => self.entered_epoch(),
            Err(ProcessWelcomeError::AlreadyInGroup) => Err(Refusal::Ignore(Notice::WrongMoment(30))),
            Err(error) => Err(Refusal::Invalid(error.to_string())),
        }
    }

    fn entered_epoch(&mut self) -> Result<(), Refusal> {
        self.commit = None;
        self.held.clear();
        match self.session.group() {
            Some(group) if group.is_active() => Ok(()),
            _ => Err(Refusal::Invalid("the commit removes us".into())),
        }
    }

    /// The users in the group.
    pub(super) fn members(&self) -> Vec<UserId> {
        self.session.get_user_ids().unwrap_or_default().into_iter().map(UserId).collect()
    }

    /// Exports everyone's media keys of this epoch; `None` while there is no group.
    pub(super) fn keys(&self) -> Option<EpochKeys> {
        if !self.is_established() {
            return None;
        }
        let own = self.export(self.user)?;
        let others = self.members().into_iter().filter(|&user| user != self.user);
        let others = others.map(|user| Some((user, self.export(user)?))).collect::<Option<_>>()?;
        let privacy_code = privacy_code(self.session.get_epoch_authenticator()?.as_slice());
        let state = E2eeState { version: self.version(), epoch: self.epoch(), privacy_code };
        Some(EpochKeys { own, others, state })
    }

    fn export(&self, user: UserId) -> Option<BaseSecret> {
        let group = self.session.group()?;
        let secret =
            group.export_secret(&self.crypto, MEDIA_KEY_LABEL, &user.0.to_le_bytes(), MEDIA_KEY).ok()?;
        secret.try_into().ok().map(BaseSecret::new)
    }

    /// Our fingerprint and another member's.
    pub(super) fn fingerprints(&self, user: UserId) -> Option<Fingerprints> {
        if !self.is_established() || user == self.user {
            return None;
        }
        self.session.get_key_fingerprint_pair(FINGERPRINT_VERSION, user.0).ok().map(Fingerprints)
    }
}

fn session_error(error: impl std::error::Error) -> DaveError {
    DaveError::Session(error.to_string())
}

/// The only protocol version there is.
const NEWEST_VERSION: NonZeroU16 = NonZeroU16::MIN;

/// What media keys are exported under.
const MEDIA_KEY_LABEL: &str = "Discord Secure Frames v0";

/// Length of an exported base secret in bytes.
const MEDIA_KEY: usize = 16;

/// The only fingerprint format there is.
const FINGERPRINT_VERSION: u16 = 0;

/// Unannounced users whose proposals are kept; more than a channel has seats would be nonsense.
const MOST_HELD: usize = 128;
