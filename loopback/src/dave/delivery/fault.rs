//! Faults: what a delivery service should never do, done once on request.

use openmls_rust_crypto::OpenMlsRustCrypto;

use super::{DeliveryService, Member};
use crate::dave::{identity, mls_messages::proposal_reference, settings::Fault};

impl DeliveryService {
    /// Takes the first fault that fits; says whether there was one.
    pub(super) fn take_fault(&mut self, fits: impl Fn(&Fault) -> bool) -> bool {
        let found = self.faults.iter().position(fits);
        found.map(|at| self.faults.remove(at)).is_some()
    }

    /// Carries out the faults that are messages of their own; a fault that does not fit yet stays.
    pub(super) fn commit_faults(&mut self) {
        let faults = std::mem::take(&mut self.faults);
        self.faults = faults.into_iter().filter(|fault| !self.commit_fault(*fault)).collect();
    }

    /// Says whether it is done.
    fn commit_fault(&mut self, fault: Fault) -> bool {
        let is_member = |user: &u64| self.members.get(user).is_some_and(Member::knows_external_sender);
        match fault {
            Fault::UnknownUser { to, stranger } if is_member(&to) => self.propose_add(to, stranger),
            Fault::OwnAdd { to } if is_member(&to) => self.propose_add(to, to),
            Fault::OwnRemove { to } => {
                let leaf = self.group.leaves.iter().find(|(_, leaf)| leaf.user == to).map(|(leaf, _)| *leaf);
                let message = leaf.and_then(|leaf| self.remove_message(leaf, self.group.epoch));
                message.is_some_and(|message| self.send_stray(to, message))
            }
            Fault::WrongEpoch { to } if is_member(&to) => {
                let message = self.remove_message(0, self.group.epoch + FAR_OFF);
                message.is_some_and(|message| self.send_stray(to, message))
            }
            Fault::RevokeStrays { to } if is_member(&to) => self.revoke_strays(to),
            Fault::RepeatProposals { to } => self.repeat_proposals(to),
            _ => false,
        }
    }

    fn propose_add(&mut self, to: u64, user: u64) -> bool {
        let cached = self.members.get(&user).and_then(|member| member.key_package.as_ref());
        let package = cached.map(|cached| cached.package.clone()).unwrap_or_else(|| {
            identity::key_package(&OpenMlsRustCrypto::default(), user, &identity::signing_key())
        });
        self.add_message(package).is_some_and(|message| self.send_stray(to, message))
    }

    fn send_stray(&mut self, to: u64, message: Vec<u8>) -> bool {
        let reference = proposal_reference(&message);
        self.group.remember(reference);
        self.group.stray_proposals.push((to, reference));
        self.send_append(to, &[message]);
        true
    }

    fn revoke_strays(&mut self, to: u64) -> bool {
        let (of_user, rest): (Vec<_>, _) =
            std::mem::take(&mut self.group.stray_proposals).into_iter().partition(|(user, _)| *user == to);
        self.group.stray_proposals = rest;
        let references: Vec<_> = of_user.into_iter().map(|(_, reference)| reference).collect();
        if references.is_empty() {
            return false;
        }
        self.send_revoke(to, &references);
        true
    }

    fn repeat_proposals(&mut self, to: u64) -> bool {
        let messages = self.sent_to(to);
        if messages.is_empty() {
            return false;
        }
        self.send_append(to, &messages);
        true
    }
}

/// How far off the epoch of [`Fault::WrongEpoch`] is.
const FAR_OFF: u64 = 7;
