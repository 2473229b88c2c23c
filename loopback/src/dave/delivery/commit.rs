//! Commits: which are acceptable, which one counts, and which members it is sent to.

use std::collections::BTreeSet;

use super::{
    CommitFate, DeliveryError, DeliveryService, Membership,
    propose::{Change, Leaf},
    transition::Timer,
};
use crate::dave::{
    VERSION,
    mls_codec::{Reader, Reference},
    mls_messages::{Commit, Welcome},
    op,
    settings::{Fault, Winner},
};
use tokio::time::Instant;

/// A valid commit that may become the one of its epoch.
pub(super) struct Candidate {
    user: u64,
    payload: Vec<u8>,
}

/// A commit taken apart, and the welcome that came with it.
struct CommitWelcome<'a> {
    commit: Commit<'a>,
    welcome: Option<Welcome<'a>>,
}

impl<'a> CommitWelcome<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, DeliveryError> {
        let mut reader = Reader::new(payload);
        let commit = Commit::read(&mut reader)?;
        let welcome = if reader.is_empty() { None } else { Some(Welcome::parse(reader.rest())?) };
        Ok(Self { commit, welcome })
    }
}

impl DeliveryService {
    /// Op 28. Signatures cannot be verified here: the service does not know the tree.
    pub fn commit_welcome(&mut self, user: u64, payload: &[u8]) -> Result<CommitFate, DeliveryError> {
        self.dave_member(user)?;
        let parts = CommitWelcome::parse(payload)?;
        // A commit must not add somebody who has left since the last poll.
        self.revoke();
        self.check(user, &parts)?;
        let candidate = Candidate { user, payload: payload.to_vec() };
        let announce_now = match self.settings.winner {
            Winner::First => true,
            Winner::User(winner) => winner == user,
            Winner::Last => false,
        };
        if announce_now {
            self.announce(&candidate);
            return Ok(CommitFate::Announced);
        }
        self.candidates.retain(|earlier| earlier.user != user);
        self.candidates.push(candidate);
        if self.commit_timer.is_off() {
            self.commit_timer = Timer::In(self.settings.commit_window);
        }
        Ok(CommitFate::Waiting)
    }

    /// Announces a waiting commit, once all are in or the wait is over.
    pub(super) fn choose_commit(&mut self, now: Instant) {
        let complete = self.candidates.len() >= self.committers() || self.commit_timer.is_due(now);
        if self.candidates.is_empty() || !complete {
            return;
        }
        let candidates = std::mem::take(&mut self.candidates);
        let chosen = match self.settings.winner {
            Winner::Last => candidates.last(),
            Winner::First | Winner::User(_) => candidates.first(),
        };
        if let Some(chosen) = chosen {
            self.announce(chosen);
        }
    }

    pub(super) fn drop_outdated_candidates(&mut self) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.retain(|candidate| {
            CommitWelcome::parse(&candidate.payload)
                .and_then(|parts| self.check(candidate.user, &parts))
                .is_ok()
        });
        self.candidates = candidates;
        if self.candidates.is_empty() {
            self.commit_timer = Timer::Off;
        }
    }

    /// How many members could commit now.
    fn committers(&self) -> usize {
        let users = self.members.keys();
        users.filter(|user| self.may_commit(**user) && !self.group.addressed_to(**user).is_empty()).count()
    }

    fn may_commit(&self, user: u64) -> bool {
        self.group.epoch == 0 || self.is_established(user)
    }

    fn check(&self, user: u64, parts: &CommitWelcome<'_>) -> Result<(), DeliveryError> {
        let commit = &parts.commit;
        if commit.group != self.call {
            return Err(DeliveryError::InvalidCommit("it is of another group"));
        }
        if commit.epoch != self.group.epoch || !self.may_commit(user) {
            return Err(DeliveryError::OutdatedCommit);
        }
        self.check_references(user, &commit.references)?;
        let key = self.committer_key(user, commit.sender)?;
        if let Some(leaf) = &commit.path
            && (leaf.user != user || leaf.signature_key != key)
        {
            return Err(DeliveryError::InvalidCommit("its path changes credential or signature key"));
        }
        self.check_welcome(commit, parts.welcome.as_ref())
    }

    /// The commit must cover every proposal that its sender was sent, and nothing else.
    fn check_references(&self, user: u64, references: &[Reference]) -> Result<(), DeliveryError> {
        let covered: BTreeSet<_> = references.iter().copied().collect();
        if covered.is_empty() || covered.len() != references.len() {
            return Err(DeliveryError::InvalidCommit("it covers nothing, or something twice"));
        }
        if covered == self.group.addressed_to(user) {
            return Ok(());
        }
        if covered.iter().all(|reference| self.group.was_proposed(reference)) {
            return Err(DeliveryError::OutdatedCommit);
        }
        Err(DeliveryError::InvalidCommit("it covers what was never proposed"))
    }

    /// The signature key on record for the leaf the sender claims.
    fn committer_key(&self, user: u64, leaf: u32) -> Result<&[u8], DeliveryError> {
        let key = if self.group.epoch == 0 {
            let cached = self.members.get(&user).and_then(|member| member.key_package.as_ref());
            cached.filter(|_| leaf == 0).map(|cached| cached.signature_key.as_slice())
        } else {
            let on_record = self.group.leaves.get(&leaf).filter(|on_record| on_record.user == user);
            on_record.map(|on_record| on_record.signature_key.as_slice())
        };
        key.ok_or(DeliveryError::InvalidCommit("the sender has no such leaf"))
    }

    /// The welcome must be for exactly those that the commit adds; a Remove needs a path.
    fn check_welcome(&self, commit: &Commit<'_>, welcome: Option<&Welcome<'_>>) -> Result<(), DeliveryError> {
        let changes = self.changes(&commit.references);
        let added: BTreeSet<Reference> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Add { key_package, .. } => Some(*key_package),
                Change::Remove { .. } => None,
            })
            .collect();
        if added.len() < changes.len() && commit.path.is_none() {
            return Err(DeliveryError::InvalidCommit("it removes somebody without a path"));
        }
        let welcomed: BTreeSet<Reference> = welcome.into_iter().flat_map(Welcome::references).collect();
        if welcomed != added || (welcome.is_some() && added.is_empty()) {
            return Err(DeliveryError::InvalidCommit("not just those it adds are welcomed"));
        }
        Ok(())
    }

    fn changes(&self, references: &[Reference]) -> Vec<Change> {
        let find =
            |reference: &Reference| self.group.in_flight.iter().find(|one| one.reference == *reference);
        references.iter().filter_map(find).map(|proposal| proposal.change.clone()).collect()
    }

    /// Makes a checked commit the one of its epoch.
    fn announce(&mut self, candidate: &Candidate) {
        let Ok(parts) = CommitWelcome::parse(&candidate.payload) else { return };
        let initial = self.group.epoch == 0;
        let mut informed: BTreeSet<u64> = self.established().into_iter().collect();
        informed.insert(candidate.user);
        let added = self.apply(candidate.user, self.changes(&parts.commit.references));
        self.candidates.clear();
        self.commit_timer = Timer::Off;

        let id = self.transition_id(initial);
        for user in &informed {
            self.send_commit(*user, id, parts.commit.bytes);
        }
        for (user, key_package) in added {
            if initial && self.settings.losers_get_commit {
                self.send_commit(user, id, parts.commit.bytes);
            }
            if let Some(welcome) = parts.welcome.as_ref().and_then(|welcome| welcome.only(&key_package)) {
                self.send_welcome(user, id, &welcome);
                informed.insert(user);
            }
        }
        self.open_transition(id, VERSION, informed);
    }

    /// Moves the group to its next epoch; returns the users that were added, with their key packages.
    fn apply(&mut self, committer: u64, changes: Vec<Change>) -> Vec<(u64, Reference)> {
        if self.group.epoch == 0 {
            let key = self.committer_key(committer, 0).map(<[u8]>::to_vec).unwrap_or_default();
            self.group.leaves.insert(0, Leaf { user: committer, signature_key: key });
            self.establish(committer);
        }
        for change in &changes {
            if let Change::Remove { leaf, .. } = change {
                self.group.leaves.remove(leaf);
            }
        }
        let mut added = Vec::new();
        for change in changes {
            if let Change::Add { user, key_package, signature_key } = change {
                self.group.leaves.insert(self.group.free_leaf(), Leaf { user, signature_key });
                self.establish(user);
                added.push((user, key_package));
            }
        }
        self.group.advance();
        added
    }

    fn establish(&mut self, user: u64) {
        if let Some(member) = self.members.get_mut(&user) {
            member.membership = Membership::Established;
            member.key_package = None;
        }
    }

    fn transition_id(&mut self, initial: bool) -> u16 {
        let upgraded = initial && std::mem::take(&mut self.upgraded);
        if initial && !upgraded && self.settings.first_transition_id_zero {
            return 0;
        }
        self.transitions.next_id()
    }

    fn send_commit(&mut self, user: u64, id: u16, commit: &[u8]) {
        let mut payload = [&id.to_be_bytes(), commit].concat();
        if self.take_fault(|fault| *fault == Fault::CorruptCommit { to: user }) {
            flip_last_bit(&mut payload);
        }
        self.send_binary(user, op::ANNOUNCE_COMMIT, payload);
    }

    fn send_welcome(&mut self, user: u64, id: u16, welcome: &[u8]) {
        let mut payload = [&id.to_be_bytes(), welcome].concat();
        if self.take_fault(|fault| *fault == Fault::CorruptWelcome { to: user }) {
            flip_last_bit(&mut payload);
        }
        self.send_binary(user, op::WELCOME, payload);
    }
}

/// The last byte belongs to a tag in both messages, so their shape stays.
fn flip_last_bit(payload: &mut [u8]) {
    if let Some(last) = payload.last_mut() {
        *last ^= 1;
    }
}
