//! The members of a group, now and after a commit: every member is a user, and no user is a member twice.

use std::collections::BTreeSet;

use openmls::{
    group::MlsGroup,
    prelude::{LeafNodeIndex, Proposal, QueuedProposal, StagedCommit, hash_ref::ProposalRef},
};

/// Queued proposals that could not be committed: our own removal, blank leaves, and users that would be members twice.
pub(super) fn unusable(group: &MlsGroup) -> Vec<ProposalRef> {
    let mut leaves: Vec<(LeafNodeIndex, Option<u64>)> = group
        .members()
        .map(|member| (member.index, user_of(member.credential.serialized_content())))
        .collect();
    let own = group.own_leaf_index();
    let mut unusable = Vec::new();
    for queued in group.pending_proposals() {
        if let Proposal::Remove(remove) = queued.proposal() {
            let before = leaves.len();
            leaves.retain(|(leaf, _)| *leaf != remove.removed() || *leaf == own);
            if leaves.len() == before {
                unusable.push(queued.proposal_reference_ref().clone());
            }
        }
    }
    let mut users: BTreeSet<_> = leaves.into_iter().map(|(_, user)| user).collect();
    for queued in group.pending_proposals() {
        if let Some(user) = added_user(queued)
            && !users.insert(Some(user))
        {
            unusable.push(queued.proposal_reference_ref().clone());
        }
    }
    unusable
}

/// The users a commit would leave in the group.
pub(super) fn after<'a>(
    group: &'a MlsGroup,
    commit: &'a StagedCommit,
) -> impl Iterator<Item = Option<u64>> + 'a {
    let removed: Vec<_> =
        commit.remove_proposals().map(|remove| remove.remove_proposal().removed()).collect();
    let kept = group.members().filter(move |member| !removed.contains(&member.index));
    let added = commit.add_proposals().map(|add| {
        let leaf = add.add_proposal().key_package().leaf_node();
        user_of(leaf.credential().serialized_content())
    });
    kept.map(|member| user_of(member.credential.serialized_content())).chain(added)
}

/// Whether every member is a user, and no user is a member twice.
pub(super) fn are_distinct(mut users: impl Iterator<Item = Option<u64>>) -> bool {
    let mut seen = BTreeSet::new();
    users.all(|user| user.is_some_and(|user| seen.insert(user)))
}

fn added_user(queued: &QueuedProposal) -> Option<u64> {
    let Proposal::Add(add) = queued.proposal() else { return None };
    user_of(add.key_package().leaf_node().credential().serialized_content())
}

pub(super) fn user_of(identity: &[u8]) -> Option<u64> {
    identity.try_into().ok().map(u64::from_be_bytes)
}
