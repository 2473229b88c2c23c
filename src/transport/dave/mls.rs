//! One MLS session from its key package on: what goes into davey, what comes out, and which refusals matter.

mod proposals;

use std::collections::HashMap;
use std::num::NonZeroU16;

use bytes::Bytes;
use davey::DaveSession;
use davey::errors::{ProcessCommitError, ProcessWelcomeError};
use openmls_rust_crypto::RustCrypto;

use self::proposals::Held;
use super::action::{E2eeState, Notice};
use super::error::DaveError;
use super::identity::{Fingerprints, IdentityKey, privacy_code};
use super::keys::BaseSecret;
use super::wire::{self, Content, ProposalRef};
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
    /// What each proposal says that davey has in its queue.
    contents: HashMap<ProposalRef, Content>,
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
pub(super) struct Exported {
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
        Ok(Self {
            session,
            crypto,
            version,
            user,
            channel,
            key_package,
            commit: None,
            held: Vec::new(),
            contents: HashMap::new(),
        })
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
        self.forget_proposals();
        self.session.set_external_sender(payload).map_err(|error| error.to_string())
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
        self.forget_proposals();
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
    pub(super) fn keys(&self) -> Option<Exported> {
        if !self.is_established() {
            return None;
        }
        let own = self.export(self.user)?;
        let others = self.members().into_iter().filter(|&user| user != self.user);
        let others = others.map(|user| Some((user, self.export(user)?))).collect::<Option<_>>()?;
        let privacy_code = privacy_code(self.session.get_epoch_authenticator()?.as_slice());
        let state = E2eeState { version: self.version(), epoch: self.epoch(), privacy_code };
        Some(Exported { own, others, state })
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
