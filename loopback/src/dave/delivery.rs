//! The delivery service: what the voice gateway does for the MLS group of one call.
//!
//! ```text
//!           join                    op 26                       commit announced
//! (outside) ────► pending, no key ────────► pending, proposed ──────────────────► established
//!                     ▲                          │ leaves: revoke                     │ leaves: Remove
//!                     └──────────── op 31 ───────┴────────────── op 31: Remove ◄──────┘
//! ```
//!
//! Facts only change the state. [`poll`](DeliveryService::poll) then compares what the group is with what it should
//! be and says what to send, so the order in which facts arrive between two polls does not matter.
//! <https://daveprotocol.com/#voice-gateway-responsibilities>

mod commit;
mod fault;
mod key_package;
mod propose;
mod transition;
mod version;

use std::collections::{BTreeMap, VecDeque};

use openmls::prelude::KeyPackage;
use openmls_rust_crypto::OpenMlsRustCrypto;
use serde_json::json;
use tokio::time::Instant;

use self::{
    commit::Candidate,
    key_package::verify_key_package,
    propose::Group,
    transition::{Timer, Transitions},
};
use super::{
    ServerMessage, VERSION,
    identity::ExternalSenderKey,
    mls_codec::{Malformed, Reference},
    mls_messages, op,
    settings::{DaveSettings, Fault, PendingFlag, SenderKey},
};

/// The delivery service of one call.
pub struct DeliveryService {
    call: u64,
    settings: DaveSettings,
    provider: OpenMlsRustCrypto,
    sender: ExternalSenderKey,
    members: BTreeMap<u64, Member>,
    group: Group,
    /// The version in force; the one asked for is [`version`](Self::version).
    in_force: u16,
    /// The next first group follows an upgrade, so people are already talking.
    upgraded: bool,
    transitions: Transitions,
    candidates: Vec<Candidate>,
    commit_timer: Timer,
    proposal_timer: Timer,
    faults: Vec<Fault>,
    /// The last key packages: each may be used once.
    used: VecDeque<Reference>,
    outbox: Vec<(u64, ServerMessage)>,
}

/// What became of a commit that is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFate {
    /// It is the commit of this epoch.
    Announced,
    /// It waits for the others, by [`Winner`](super::Winner).
    Waiting,
}

/// Why the delivery service did not act on a message of a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The bytes are no such message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The user is not in the call, or came without DAVE.
    #[error("user {0} is no DAVE member of the call")]
    NotAMember(u64),
    /// The key package breaks a rule.
    #[error("the key package is invalid: {0}")]
    InvalidKeyPackage(&'static str),
    /// The key package has been sent before; each is for one use.
    #[error("the key package is not fresh")]
    ReusedKeyPackage,
    /// The commit breaks a rule.
    #[error("the commit is invalid: {0}")]
    InvalidCommit(&'static str),
    /// The commit lost a race; nothing is wrong with it.
    #[error("the commit is of another epoch or covers proposals of the past")]
    OutdatedCommit,
    /// Op 23 names a transition this user was not asked to get ready for.
    #[error("transition {0} is not one to be ready for")]
    UnknownTransition(u16),
    /// Op 23 came twice.
    #[error("readiness for transition {0} was said before")]
    RepeatedReady(u16),
}

impl DeliveryError {
    /// The close code to answer with; `None` means to ignore the message.
    pub fn close_code(&self) -> Option<u16> {
        matches!(self, Self::Malformed(_)).then_some(4020)
    }

    /// Whether a correct client would never have caused this.
    pub fn is_violation(&self) -> bool {
        !matches!(self, Self::OutdatedCommit | Self::NotAMember(_))
    }
}

impl DeliveryService {
    /// Makes the service of the call in one channel, whose id is the id of the MLS group.
    pub fn new(call_channel_id: u64, settings: DaveSettings) -> Self {
        let sender = match &settings.sender_key {
            SenderKey::PerCall => ExternalSenderKey::generate(),
            SenderKey::Shared(key) => key.clone(),
        };
        Self {
            call: call_channel_id,
            in_force: settings.max_version.min(VERSION),
            settings,
            provider: OpenMlsRustCrypto::default(),
            sender,
            members: BTreeMap::new(),
            group: Group::default(),
            upgraded: false,
            transitions: Transitions::default(),
            candidates: Vec::new(),
            commit_timer: Timer::Off,
            proposal_timer: Timer::Off,
            faults: Vec::new(),
            used: VecDeque::new(),
            outbox: Vec::new(),
        }
    }

    /// Whether a client with this `max_dave_protocol_version` may join; otherwise close it with 4017.
    pub fn admits(&self, max_version: u16) -> bool {
        !self.settings.required || max_version >= self.settings.max_version
    }

    /// A client has joined the call. Name it to the others in op 11 before the next [`poll`](Self::poll).
    ///
    /// A user that is in the call already has come back with a new session.
    pub fn join(&mut self, user: u64, max_version: u16, now: Instant) {
        self.transitions.forget(user);
        self.group.forget_sent_to(user);
        self.members.insert(user, Member::new(max_version));
        let described = self.version();
        if let Some(member) = self.members.get_mut(&user) {
            member.media_version = described.min(max_version);
        }
        self.arm(now);
    }

    /// A client has left for good; a dropped connection that may resume has not. Send op 13 before the next
    /// [`poll`](Self::poll).
    pub fn leave(&mut self, user: u64) {
        self.members.remove(&user);
        self.transitions.forget(user);
        self.group.forget_sent_to(user);
        if self.members.is_empty() {
            self.reset_group();
            self.transitions.cancel();
            self.upgraded = false;
            self.in_force = self.version();
        }
    }

    /// The protocol version of the call: the lowest of its members and the channel, for op 4.
    pub fn version(&self) -> u16 {
        let lowest = self.members.values().map(|member| member.max_version).min();
        lowest.unwrap_or(VERSION).min(self.settings.max_version).min(VERSION)
    }

    /// Op 26. Accepts a bare key package, and one wrapped in an MLSMessage.
    pub fn key_package(&mut self, user: u64, payload: &[u8]) -> Result<(), DeliveryError> {
        let bytes = payload.strip_prefix(&WRAPPED_KEY_PACKAGE).unwrap_or(payload);
        self.dave_member(user)?;
        let package = verify_key_package(&self.provider, user, bytes)?;
        let shape = mls_messages::KeyPackage::parse(bytes)?;
        let reference = shape.reference();
        if self.used.contains(&reference) {
            return Err(DeliveryError::ReusedKeyPackage);
        }
        if self.used.len() == MAX_USED {
            self.used.pop_front();
        }
        self.used.push_back(reference);
        let signature_key = shape.leaf.signature_key.to_vec();
        self.dave_member(user)?.key_package = Some(CachedKeyPackage { package, reference, signature_key });
        Ok(())
    }

    /// Op 23.
    pub fn transition_ready(&mut self, user: u64, transition_id: u16) -> Result<(), DeliveryError> {
        self.dave_member(user)?;
        self.transitions.ready(user, transition_id)
    }

    /// Op 31: the user could not follow and starts anew.
    pub fn invalid_commit_welcome(&mut self, user: u64, _transition_id: u16) -> Result<(), DeliveryError> {
        let flag = self.settings.pending_flag;
        let member = self.dave_member(user)?;
        if member.membership == Membership::Pending && flag == PendingFlag::Ignore {
            return Ok(());
        }
        member.reset();
        // Without the right key it could only fail for ever.
        if member.external_sender == ExternalSenderState::WrongSent {
            member.external_sender = ExternalSenderState::Unsent;
        }
        self.transitions.forget(user);
        self.group.forget_sent_to(user);
        Ok(())
    }

    /// Says what to send now, in order. Call it after every fact and at every [`deadline`](Self::deadline).
    pub fn poll(&mut self, now: Instant) -> Vec<(u64, ServerMessage)> {
        self.arm(now);
        self.send_external_sender();
        self.execute_transitions(now);
        self.update_version();
        self.update_group();
        if self.in_force > 0 {
            self.revoke();
            self.choose_commit(now);
            self.propose(now);
            self.commit_faults();
        }
        self.arm(now);
        std::mem::take(&mut self.outbox)
    }

    /// Says what to send to newcomers before their Session Description, where
    /// [`external_sender_first`](DaveSettings::external_sender_first) is on: op 25.
    pub fn poll_before_description(&mut self) -> Vec<(u64, ServerMessage)> {
        if self.settings.external_sender_first {
            self.send_external_sender();
        }
        std::mem::take(&mut self.outbox)
    }

    /// When [`poll`](Self::poll) has something to do although nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        let timers = [self.commit_timer.at(), self.proposal_timer.at(), self.transitions.deadline()];
        timers.into_iter().flatten().min()
    }

    /// Whether this user must not send plain audio: others are in the call, and its Session Description, or the last
    /// transition since, is for a version above 0. A member without a key must be silent.
    pub fn is_encrypted(&self, user: u64) -> bool {
        let encrypts = self.members.get(&user).is_some_and(|member| member.media_version > 0);
        encrypts && self.members.len() > 1
    }

    /// The epoch of the group; 0 while there is none.
    pub fn epoch(&self) -> u64 {
        self.group.epoch
    }

    /// Users in the group, by id.
    pub fn established(&self) -> Vec<u64> {
        let established =
            self.members.iter().filter(|(_, member)| member.membership == Membership::Established);
        established.map(|(user, _)| *user).collect()
    }

    /// Whether a transition waits for readiness or execution.
    pub fn in_transition(&self) -> bool {
        !self.transitions.is_settled()
    }

    /// The users that did not send op 23 before the time of a transition was up, each with the transition's id, since
    /// the last call of this. Their op 23 may still be on the way.
    pub fn take_overdue(&mut self) -> Vec<(u64, u16)> {
        self.transitions.take_overdue()
    }

    /// Makes something go wrong at the next opportunity.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// The switches, to be turned at any time; another highest version downgrades or upgrades the call, and the
    /// sender's key stays as it was.
    pub fn settings_mut(&mut self) -> &mut DaveSettings {
        &mut self.settings
    }

    fn dave_member(&mut self, user: u64) -> Result<&mut Member, DeliveryError> {
        let member = self.members.get_mut(&user).filter(|member| member.max_version > 0);
        member.ok_or(DeliveryError::NotAMember(user))
    }

    fn send_json(&mut self, user: u64, op: u8, d: serde_json::Value) {
        self.outbox.push((user, ServerMessage::Json { op, d }));
    }

    fn send_binary(&mut self, user: u64, op: u8, payload: Vec<u8>) {
        self.outbox.push((user, ServerMessage::Binary { op, payload }));
    }

    fn send_prepare_epoch(&mut self, user: u64) {
        self.send_json(user, op::PREPARE_EPOCH, json!({ "protocol_version": self.in_force, "epoch": 1 }));
    }

    /// Starts every alarm that was set since the last call.
    fn arm(&mut self, now: Instant) {
        self.commit_timer.arm(now);
        self.proposal_timer.arm(now);
        self.transitions.arm(now);
    }
}

/// One client of the call.
struct Member {
    max_version: u16,
    membership: Membership,
    key_package: Option<CachedKeyPackage>,
    external_sender: ExternalSenderState,
    /// The version it was described the call with, or of the last transition it executed.
    media_version: u16,
}

impl Member {
    fn new(max_version: u16) -> Self {
        Self {
            max_version,
            membership: Membership::Pending,
            key_package: None,
            external_sender: ExternalSenderState::Unsent,
            media_version: 0,
        }
    }

    /// Whether it was sent op 25, with whatever key.
    fn knows_external_sender(&self) -> bool {
        self.external_sender != ExternalSenderState::Unsent
    }

    /// Forgets the group, as ops 24 and 31 make a client do.
    fn reset(&mut self) {
        self.membership = Membership::Pending;
        self.key_package = None;
    }
}

/// Whether a member was sent op 25.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExternalSenderState {
    Unsent,
    Sent,
    /// It was sent with another key, by a fault.
    WrongSent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// In no group, or not to be trusted to be in one.
    Pending,
    /// In the group, as of the last commit announced.
    Established,
}

struct CachedKeyPackage {
    package: KeyPackage,
    reference: Reference,
    signature_key: Vec<u8>,
}

/// What comes before the key package in an MLSMessage: version 1, wire format 5.
const WRAPPED_KEY_PACKAGE: [u8; 4] = [0, 1, 0, 5];
/// How many key packages are remembered, to recognise those that were used.
const MAX_USED: usize = 4096;
