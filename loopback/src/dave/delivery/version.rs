//! The version of the call: the external sender, upgrades and downgrades, and groups that come to an end.

use serde_json::json;

use super::{DeliveryService, ExternalSenderState, Membership};
use crate::dave::{
    identity::ExternalSenderKey,
    op,
    settings::{Fault, Pacing},
};

impl DeliveryService {
    /// Sends op 25 to every member that has not got it; no other message of MLS may come before it.
    pub(super) fn send_external_sender(&mut self) {
        if self.in_force == 0 {
            return;
        }
        let alone = self.members.len() == 1;
        let newcomers = self
            .members
            .iter()
            .filter(|(_, member)| member.max_version > 0 && !member.knows_external_sender());
        for user in newcomers.map(|(user, _)| *user).collect::<Vec<_>>() {
            let wrong = self.take_fault(|fault| *fault == Fault::WrongExternalSender { to: user });
            let key = if wrong { ExternalSenderKey::generate() } else { self.sender.clone() };
            self.send_binary(user, op::EXTERNAL_SENDER, key.package());
            if let Some(member) = self.members.get_mut(&user) {
                member.external_sender =
                    if wrong { ExternalSenderState::WrongSent } else { ExternalSenderState::Sent };
            }
            if alone && self.settings.op24_on_empty_join {
                self.prepare_sole(user);
            }
        }
    }

    /// Downgrades or upgrades the call, once transitions allow.
    pub(super) fn update_version(&mut self) {
        let target = self.version();
        if target == self.in_force || (target == 0 && !self.may_open_transition()) {
            return;
        }
        if target == 0 { self.downgrade() } else { self.upgrade(target) }
    }

    /// Ends a group without members, and the group of a sole member.
    pub(super) fn update_group(&mut self) {
        if self.group.epoch == 0 {
            return;
        }
        match self.established()[..] {
            [] => self.reset_group(),
            [sole] if self.members.len() == 1 => self.reset_sole(sole),
            _ => {}
        }
    }

    pub(super) fn may_open_transition(&self) -> bool {
        self.settings.pacing == Pacing::Overlapping || self.transitions.is_settled()
    }

    /// Forgets the group. Members that wait keep their key packages.
    pub(super) fn reset_group(&mut self) {
        self.group.reset();
        self.candidates.clear();
    }

    fn reset_sole(&mut self, sole: u64) {
        self.reset_group();
        self.transitions.cancel();
        if let Some(member) = self.members.get_mut(&sole) {
            member.reset();
        }
        self.prepare_sole(sole);
    }

    /// Ops 24 and 21 to the only member. Transition 0 is executed at once.
    fn prepare_sole(&mut self, sole: u64) {
        self.send_prepare_epoch(sole);
        let version = self.settings.sole_member_op21_version;
        self.send_prepare_transition(sole, 0, version);
        if let Some(member) = self.members.get_mut(&sole) {
            member.media_version = version;
        }
    }

    fn downgrade(&mut self) {
        self.in_force = 0;
        self.reset_group();
        let informed = self.members.iter_mut().filter(|(_, member)| member.knows_external_sender());
        let users: Vec<u64> = informed
            .map(|(user, member)| {
                member.reset();
                *user
            })
            .collect();
        if users.is_empty() {
            return;
        }
        let id = self.transitions.next_id();
        for user in &users {
            self.send_prepare_transition(*user, id, 0);
        }
        self.open_transition(id, 0, users.into_iter().collect());
    }

    fn upgrade(&mut self, version: u16) {
        // A downgrade still open would later switch off what the upgrade switches on.
        self.execute_all();
        self.in_force = version;
        self.upgraded = true;
        self.send_external_sender();
        for user in self.members.keys().copied().collect::<Vec<_>>() {
            self.send_prepare_epoch(user);
        }
        self.members.values_mut().for_each(super::Member::reset);
    }

    fn send_prepare_transition(&mut self, user: u64, id: u16, version: u16) {
        self.send_json(
            user,
            op::PREPARE_TRANSITION,
            json!({ "transition_id": id, "protocol_version": version }),
        );
    }

    pub(super) fn is_established(&self, user: u64) -> bool {
        self.members.get(&user).is_some_and(|member| member.membership == Membership::Established)
    }
}
