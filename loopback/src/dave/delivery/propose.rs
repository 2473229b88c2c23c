//! Proposals: what the group should become, compared with what its members have been sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use openmls::prelude::{
    ExternalProposal, GroupEpoch, KeyPackage, LeafNodeIndex, MlsMessageOut, SenderExtensionIndex,
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use tokio::time::Instant;

use super::{DeliveryService, Membership, transition::Timer};
use crate::dave::{
    APPEND, REVOKE,
    identity::group_id,
    mls_codec::{Reference, write_vector},
    mls_messages::proposal_reference,
    op,
    settings::Packing,
};

/// The group as public messages show it.
#[derive(Default)]
pub(super) struct Group {
    /// 0 until the first commit.
    pub(super) epoch: u64,
    pub(super) leaves: BTreeMap<u32, Leaf>,
    /// The proposals of this epoch that are not revoked.
    pub(super) in_flight: Vec<InFlight>,
    /// Proposals sent by a fault, and to whom.
    pub(super) stray_proposals: Vec<(u64, Reference)>,
    /// The last proposals, to distinguish an outdated commit from a wrong one.
    history: VecDeque<Reference>,
}

/// An occupied leaf of the tree.
pub(super) struct Leaf {
    pub(super) user: u64,
    pub(super) signature_key: Vec<u8>,
}

/// A proposal, and the members that it was sent to.
pub(super) struct InFlight {
    pub(super) change: Change,
    pub(super) reference: Reference,
    message: Vec<u8>,
    sent_to: BTreeSet<u64>,
}

/// What a proposal would change.
#[derive(Clone, PartialEq)]
pub(super) enum Change {
    Remove { leaf: u32, user: u64 },
    Add { user: u64, key_package: Reference, signature_key: Vec<u8> },
}

impl Group {
    pub(super) fn reset(&mut self) {
        *self = Self { history: std::mem::take(&mut self.history), ..Self::default() };
    }

    /// Goes to the next epoch: all proposals of this one are void.
    pub(super) fn advance(&mut self) {
        self.epoch += 1;
        self.in_flight.clear();
        self.stray_proposals.clear();
    }

    /// Forgets what a user was sent: its local queue is empty again.
    pub(super) fn forget_sent_to(&mut self, user: u64) {
        for proposal in &mut self.in_flight {
            proposal.sent_to.remove(&user);
        }
    }

    /// The left-most blank leaf, where the next Add goes.
    pub(super) fn free_leaf(&self) -> u32 {
        let occupied = self.leaves.keys();
        occupied.zip(0..).find(|(leaf, at)| *leaf != at).map_or(self.leaves.len() as u32, |(_, at)| at)
    }

    /// What a commit of this user has to cover.
    pub(super) fn addressed_to(&self, user: u64) -> BTreeSet<Reference> {
        let sent_to = self.in_flight.iter().filter(|proposal| proposal.sent_to.contains(&user));
        sent_to.map(|proposal| proposal.reference).collect()
    }

    pub(super) fn was_proposed(&self, reference: &Reference) -> bool {
        self.history.contains(reference)
    }

    pub(super) fn remember(&mut self, reference: Reference) {
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(reference);
    }
}

/// A change, and the members that it has to be sent to.
type Wanted = (Change, BTreeSet<u64>);

impl DeliveryService {
    /// Takes back proposals that are wanted no more.
    pub(super) fn revoke(&mut self) {
        let wanted = self.wanted();
        let (kept, revoked): (Vec<_>, Vec<_>) = std::mem::take(&mut self.group.in_flight)
            .into_iter()
            .partition(|proposal| wanted.iter().any(|(change, _)| *change == proposal.change));
        self.group.in_flight = kept;
        let mut references: BTreeMap<u64, Vec<Reference>> = BTreeMap::new();
        for proposal in revoked {
            for user in proposal.sent_to.into_iter().filter(|user| self.members.contains_key(user)) {
                references.entry(user).or_default().push(proposal.reference);
            }
        }
        for (user, references) in references {
            self.send_revoke(user, &references);
        }
        self.drop_outdated_candidates();
    }

    /// Sends the wanted changes that were not sent yet, removals first.
    pub(super) fn propose(&mut self, now: Instant) {
        let wanted = self.wanted();
        if !self.has_unsent(&wanted) || !self.may_open_transition() {
            return;
        }
        if !self.settings.batch_window.is_zero() {
            if self.proposal_timer.is_off() {
                self.proposal_timer = Timer::In(self.settings.batch_window);
            }
            if !self.proposal_timer.is_due(now) {
                return;
            }
        }
        self.proposal_timer = Timer::Off;
        for (user, messages) in self.unsent(wanted) {
            match self.settings.packing {
                Packing::Together => self.send_append(user, &messages),
                Packing::OneEach => {
                    for message in messages {
                        self.send_append(user, &[message]);
                    }
                }
            }
        }
        self.drop_outdated_candidates();
    }

    pub(super) fn send_append(&mut self, user: u64, messages: &[Vec<u8>]) {
        let mut payload = vec![APPEND];
        write_vector(&mut payload, &messages.concat());
        self.send_binary(user, op::PROPOSALS, payload);
    }

    pub(super) fn send_revoke(&mut self, user: u64, references: &[Reference]) {
        let mut entries = Vec::new();
        for reference in references {
            write_vector(&mut entries, reference);
        }
        let mut payload = vec![REVOKE];
        write_vector(&mut payload, &entries);
        self.send_binary(user, op::PROPOSALS, payload);
    }

    /// The messages of this epoch a user has been sent.
    pub(super) fn sent_to(&self, user: u64) -> Vec<Vec<u8>> {
        let sent_to = self.group.in_flight.iter().filter(|proposal| proposal.sent_to.contains(&user));
        sent_to.map(|proposal| proposal.message.clone()).collect()
    }

    pub(super) fn remove_message(&self, leaf: u32, epoch: u64) -> Option<Vec<u8>> {
        let proposal = ExternalProposal::new_remove::<OpenMlsRustCrypto>(
            LeafNodeIndex::new(leaf),
            group_id(self.call),
            GroupEpoch::from(epoch),
            &self.sender,
            SenderExtensionIndex::new(0),
        );
        written(proposal)
    }

    pub(super) fn add_message(&self, key_package: KeyPackage) -> Option<Vec<u8>> {
        let proposal = ExternalProposal::new_add::<OpenMlsRustCrypto>(
            key_package,
            group_id(self.call),
            GroupEpoch::from(self.group.epoch),
            &self.sender,
            SenderExtensionIndex::new(0),
        );
        written(proposal)
    }

    /// The changes that would make the group equal to the call, each with the members it concerns.
    fn wanted(&self) -> Vec<Wanted> {
        let waiting: BTreeSet<u64> = self.waiting().map(|(user, _)| user).collect();
        if self.group.epoch == 0 {
            let adds = self.waiting().map(|(user, change)| (change, without(&waiting, user)));
            return adds.filter(|(_, audience)| !audience.is_empty()).collect();
        }
        let established: BTreeSet<u64> = self.established().into_iter().collect();
        // One member must not be left in a group of its own while another is still to send its key package.
        if established.len() == 1 && waiting.is_empty() {
            return Vec::new();
        }
        let gone = self.group.leaves.iter().filter(|(_, leaf)| !self.is_established(leaf.user));
        let removes = gone.map(|(leaf, gone)| Change::Remove { leaf: *leaf, user: gone.user });
        let mut wanted: Vec<Wanted> = removes.map(|change| (change, established.clone())).collect();
        for (user, change) in self.waiting() {
            let mut audience = established.clone();
            if self.settings.pending_get_proposals {
                audience.extend(without(&waiting, user));
            }
            wanted.push((change, audience));
        }
        wanted
    }

    /// The members that are in no group and have sent a key package, with the Add of each.
    fn waiting(&self) -> impl Iterator<Item = (u64, Change)> + '_ {
        self.members.iter().filter(|(_, member)| member.membership == Membership::Pending).filter_map(
            |(user, member)| {
                let cached = member.key_package.as_ref()?;
                let signature_key = cached.signature_key.clone();
                Some((*user, Change::Add { user: *user, key_package: cached.reference, signature_key }))
            },
        )
    }

    fn has_unsent(&self, wanted: &[Wanted]) -> bool {
        wanted.iter().any(|(change, audience)| {
            let known = self.group.in_flight.iter().find(|proposal| proposal.change == *change);
            known.is_none_or(|proposal| !audience.is_subset(&proposal.sent_to))
        })
    }

    /// Creates the missing proposals and notes which users they go to; returns the messages for each user.
    fn unsent(&mut self, wanted: Vec<Wanted>) -> BTreeMap<u64, Vec<Vec<u8>>> {
        let mut unsent: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for (change, audience) in wanted {
            let known = self.group.in_flight.iter().position(|proposal| proposal.change == change);
            let Some(at) = known.or_else(|| self.create(change)) else { continue };
            let proposal = &mut self.group.in_flight[at];
            for user in audience {
                if proposal.sent_to.insert(user) {
                    unsent.entry(user).or_default().push(proposal.message.clone());
                }
            }
        }
        unsent
    }

    /// Signs a proposal; returns its place among those in flight.
    fn create(&mut self, change: Change) -> Option<usize> {
        let message = match &change {
            Change::Remove { leaf, .. } => self.remove_message(*leaf, self.group.epoch)?,
            Change::Add { user, .. } => {
                let cached = self.members.get(user)?.key_package.as_ref()?;
                self.add_message(cached.package.clone())?
            }
        };
        let reference = proposal_reference(&message);
        self.group.remember(reference);
        self.group.in_flight.push(InFlight { change, reference, message, sent_to: BTreeSet::new() });
        Some(self.group.in_flight.len() - 1)
    }
}

fn without(users: &BTreeSet<u64>, user: u64) -> BTreeSet<u64> {
    users.iter().copied().filter(|one| *one != user).collect()
}

/// A proposal as it goes on the wire.
fn written<E>(proposal: Result<MlsMessageOut, E>) -> Option<Vec<u8>> {
    proposal.ok()?.to_bytes().ok()
}

const MAX_HISTORY: usize = 4096;
