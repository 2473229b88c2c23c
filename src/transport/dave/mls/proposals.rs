//! What op 27 does to the session: which proposals are queued, and the one commit that covers them all.
//!
//! davey queues whatever is signed properly and then builds a commit of all that is queued. A proposal that can be
//! queued but not committed would spoil every commit until the epoch is over, so it must not get in.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use davey::ProposalsOperationType;

use super::Mls;
use crate::id::UserId;
use crate::transport::dave::action::Notice;
use crate::transport::dave::wire::{self, Content, Message, ProposalRef, Proposals, Sender};

/// A proposal to add somebody whom op 11 has not announced yet, or who has to be removed first.
pub(super) struct Held {
    user: UserId,
    reference: ProposalRef,
    message: Vec<u8>,
}

/// Who will be in the group once everything queued is committed.
struct Roster {
    members: HashMap<u32, UserId>,
    added: Vec<UserId>,
}

impl Roster {
    fn has(&self, user: UserId) -> bool {
        self.members.values().chain(&self.added).any(|member| *member == user)
    }

    fn apply(&mut self, content: Content) {
        match content {
            Content::Add(user) => self.added.push(user),
            Content::Remove(leaf) => drop(self.members.remove(&leaf)),
            Content::Commit => {}
        }
    }
}

impl Mls {
    /// Takes op 27; gives the op 28 that answers it.
    pub(in crate::transport::dave) fn proposals(
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
            Ok(Proposals::Append(messages)) => self.append(messages, announced, notices),
            Ok(Proposals::Revoke(references)) => self.revoke(&references, notices),
        }
    }

    /// Queues the proposals that were held until these users were announced.
    pub(in crate::transport::dave) fn announced(
        &mut self,
        announced: &HashSet<UserId>,
        notices: &mut Vec<Notice>,
    ) -> Option<Bytes> {
        let (ready, held): (Vec<Held>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|held| announced.contains(&held.user));
        self.held = held;
        let ready = ready.into_iter().flat_map(|held| held.message).collect::<Vec<_>>();
        self.append(wire::messages(&ready).unwrap_or_default(), announced, notices)
    }

    /// Forgets all proposals: the group they were for is gone, or has gone on.
    pub(super) fn forget_proposals(&mut self) {
        self.commit = None;
        self.held.clear();
        self.contents.clear();
    }

    fn append(
        &mut self,
        messages: Vec<Message<'_>>,
        announced: &HashSet<UserId>,
        notices: &mut Vec<Notice>,
    ) -> Option<Bytes> {
        // Who is removed may be somebody whose new Add has come before.
        let removes = messages.iter().any(|message| matches!(message.content, Content::Remove(_)));
        let held = if removes { std::mem::take(&mut self.held) } else { Vec::new() };
        let held: Vec<u8> = held.into_iter().flat_map(|held| held.message).collect();
        let mut messages: Vec<Message<'_>> = messages;
        messages.extend(wire::messages(&held).unwrap_or_default());
        // Whoever is removed can be added again, in whatever order the two come.
        messages.sort_by_key(|message| matches!(message.content, Content::Add(_)));
        let mut roster = self.roster();
        let mut known = self.queued();
        known.extend(self.held.iter().map(|held| held.reference));
        let mut batch = Vec::new();
        for message in messages {
            let reference = message.reference();
            if known.contains(&reference) {
                notices.push(Notice::Needless);
                continue;
            }
            match self.examine(&message, announced, &roster) {
                Ok(()) => {
                    roster.apply(message.content);
                    known.push(reference);
                    batch.push(message);
                }
                Err(notice) => {
                    if let Notice::Unannounced(user) | Notice::Duplicate(user) = &notice
                        && self.held.len() < MOST_HELD
                    {
                        self.held.push(Held { user: *user, reference, message: message.bytes.to_vec() });
                        known.push(reference);
                    }
                    notices.push(notice);
                }
            }
        }
        if batch.is_empty() { None } else { self.queue(&batch, notices) }
    }

    /// Keeps proposals from the queue that could never be committed.
    fn examine(
        &self,
        message: &Message<'_>,
        announced: &HashSet<UserId>,
        roster: &Roster,
    ) -> Result<(), Notice> {
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
            (Sender::External, Content::Add(user)) if roster.has(user) => Err(Notice::Duplicate(user)),
            (Sender::External, Content::Add(_)) => Ok(()),
            (Sender::External, Content::Remove(leaf)) => {
                let others = group.members().filter(|member| member.index != group.own_leaf_index());
                let found = others.map(|member| member.index.u32()).any(|index| index == leaf);
                if found { Ok(()) } else { Err(Notice::Needless) }
            }
            (_, Content::Commit) | (Sender::Member, _) => Err(Notice::Malformed(27)),
        }
    }

    /// Queues proposals. A refused one must neither stay in the queue nor keep the others out of it, so where there is
    /// one, they go in one by one.
    fn queue(&mut self, batch: &[Message<'_>], notices: &mut Vec<Notice>) -> Option<Bytes> {
        let before = self.queued();
        let bytes: Vec<u8> = batch.iter().flat_map(|message| message.bytes).copied().collect();
        let refusal = match self.process(ProposalsOperationType::APPEND, &bytes) {
            Ok(commit) => {
                self.contents.extend(batch.iter().map(|message| (message.reference(), message.content)));
                return commit;
            }
            Err(refusal) => refusal,
        };
        let stored: Vec<_> =
            self.queued().into_iter().filter(|reference| !before.contains(reference)).collect();
        let mut commit = self.withdraw(&stored, notices);
        if batch.len() == 1 {
            notices.push(refusal);
            return commit;
        }
        for message in batch {
            commit = self.queue(std::slice::from_ref(message), notices).or(commit);
        }
        commit
    }

    fn revoke(&mut self, references: &[ProposalRef], notices: &mut Vec<Notice>) -> Option<Bytes> {
        let mut queued = self.queued();
        let mut revoked = Vec::new();
        for reference in references {
            if let Some(at) = self.held.iter().position(|held| held.reference == *reference) {
                self.held.remove(at);
            } else if let Some(at) = queued.iter().position(|queued| queued == reference) {
                revoked.push(queued.swap_remove(at));
            } else {
                notices.push(Notice::UnknownProposal);
            }
        }
        self.withdraw(&revoked, notices)
    }

    /// Takes proposals out of the queue; gives the commit of what is left there.
    fn withdraw(&mut self, references: &[ProposalRef], notices: &mut Vec<Notice>) -> Option<Bytes> {
        if references.is_empty() {
            return None;
        }
        let mut list = Vec::new();
        for reference in references {
            wire::push_vector(reference, &mut list);
            self.contents.remove(reference);
        }
        self.process(ProposalsOperationType::REVOKE, &list).unwrap_or_else(|refusal| {
            self.commit = None;
            notices.push(refusal);
            None
        })
    }

    /// Has davey change its queue and build the commit of all that is in it then; none when it is empty.
    fn process(&mut self, operation: ProposalsOperationType, list: &[u8]) -> Result<Option<Bytes>, Notice> {
        let mut payload = Vec::new();
        wire::push_vector(list, &mut payload);
        let answer = self
            .session
            .process_proposals(operation, &payload, None)
            .map_err(|error| Notice::Refused(error.to_string()))?;
        self.commit =
            answer.map(|answer| [answer.commit, answer.welcome.unwrap_or_default()].concat().into());
        Ok(self.commit.clone())
    }

    fn roster(&self) -> Roster {
        let members = self.session.group().into_iter().flat_map(|group| group.members());
        let members = members.filter_map(|member| {
            let user = member.credential.serialized_content().try_into().ok()?;
            Some((member.index.u32(), UserId(u64::from_be_bytes(user))))
        });
        let mut roster = Roster { members: members.collect(), added: Vec::new() };
        let queued = self.queued();
        for content in queued.iter().filter_map(|reference| self.contents.get(reference)) {
            roster.apply(*content);
        }
        roster
    }

    /// What davey has in its queue.
    fn queued(&self) -> Vec<ProposalRef> {
        let queue = self.session.group().into_iter().flat_map(|group| group.pending_proposals());
        queue.filter_map(|proposal| proposal.proposal_reference_ref().as_slice().try_into().ok()).collect()
    }
}

/// Unannounced users whose proposals are kept; more than a channel has seats would be nonsense.
const MOST_HELD: usize = 128;
