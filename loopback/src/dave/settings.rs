//! Where Discord's documents are silent or disagree, and where a test wants trouble: the switches of the delivery
//! service.

use std::time::Duration;

use super::{VERSION, identity::ExternalSenderKey};

/// How a delivery service behaves. The defaults are what live servers were seen to do.
#[derive(Debug, Clone)]
pub struct DaveSettings {
    /// Highest protocol version of the call: 1, or 0 for stage channels, which have no end-to-end encryption.
    pub max_version: u16,
    /// Whether clients without DAVE are to be refused with close code 4017 (default true); otherwise their joining
    /// downgrades the call.
    pub required: bool,
    /// Whether the first group of a call comes with transition id 0, to be executed at once (default true).
    pub first_transition_id_zero: bool,
    /// Whether those whose commit lost the race for the first group are sent op 29 as well (default false).
    pub losers_get_commit: bool,
    /// Whether members that wait to be welcomed to an established group are sent its proposals (default false).
    pub pending_get_proposals: bool,
    /// `protocol_version` of op 21 in the reset of a sole member (default 1).
    pub sole_member_op21_version: u16,
    /// Whether who joins an empty call is sent ops 24 and 21 (default false).
    pub op24_on_empty_join: bool,
    /// Whether op 25 comes before the Session Description, as the docs have it, and not after (default false).
    pub external_sender_first: bool,
    /// How long op 22 waits for op 23 from everybody (default 2 s).
    pub transition_timeout: Duration,
    /// What becomes of op 22.
    pub execution: Execution,
    /// Whether proposals wait for the open transition.
    pub pacing: Pacing,
    /// How long proposals are collected before they go out in one op 27 (default zero: at once).
    pub batch_window: Duration,
    /// How proposals that go out together are packed.
    pub packing: Packing,
    /// Whose commit counts.
    pub winner: Winner,
    /// How long to wait for the other commits when not the first one wins (default 500 ms).
    pub commit_window: Duration,
    /// Who shares the key of the external sender.
    pub sender_key: SenderKey,
    /// What op 31 of a member that is not in the group does.
    pub pending_flag: PendingFlag,
}

impl Default for DaveSettings {
    fn default() -> Self {
        Self {
            max_version: VERSION,
            required: true,
            first_transition_id_zero: true,
            losers_get_commit: false,
            pending_get_proposals: false,
            sole_member_op21_version: VERSION,
            op24_on_empty_join: false,
            external_sender_first: false,
            transition_timeout: Duration::from_secs(2),
            execution: Execution::Prompt,
            pacing: Pacing::Serial,
            batch_window: Duration::ZERO,
            packing: Packing::Together,
            winner: Winner::First,
            commit_window: Duration::from_millis(500),
            sender_key: SenderKey::PerCall,
            pending_flag: PendingFlag::DropKeyPackage,
        }
    }
}

/// What becomes of op 22 once all are ready or the wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// It is sent at once.
    Prompt,
    /// It is sent this much later.
    After(Duration),
    /// It is never sent.
    Never,
}

/// Whether the next change of the group waits for the transition of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// One transition at a time.
    Serial,
    /// Several transitions may be open.
    Overlapping,
}

/// How proposals that go to one member at one time are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// All in one op 27.
    Together,
    /// One op 27 for each.
    OneEach,
}

/// Whose commit counts in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// The first valid one.
    First,
    /// The last valid one.
    Last,
    /// The one of this user, if it comes in time.
    User(u64),
}

/// Who shares the key of the external sender.
#[derive(Debug, Clone)]
pub enum SenderKey {
    /// Every call has a key of its own.
    PerCall,
    /// This one, for several calls.
    Shared(ExternalSenderKey),
}

/// What op 31 of a member that is in no group yet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingFlag {
    /// Its key package is dropped and the Add revoked, until the next op 26.
    DropKeyPackage,
    /// Nothing.
    Ignore,
}

/// Something to go wrong once, to test what a client does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The next op 29 to this user has a bit flipped.
    CorruptCommit {
        /// The user id.
        to: u64,
    },
    /// The next op 30 to this user has a bit flipped.
    CorruptWelcome {
        /// The user id.
        to: u64,
    },
    /// The next op 25 to this user names a key that signs nothing.
    WrongExternalSender {
        /// The user id.
        to: u64,
    },
    /// Proposes to this user alone to add a stranger whom no op 11 named.
    UnknownUser {
        /// The user id.
        to: u64,
        /// The id the stranger claims.
        stranger: u64,
    },
    /// Proposes to this user, once in the group, to remove itself.
    OwnRemove {
        /// The user id.
        to: u64,
    },
    /// Proposes to this user to add itself.
    OwnAdd {
        /// The user id.
        to: u64,
    },
    /// Sends this user a Remove signed for an epoch that is far off.
    WrongEpoch {
        /// The user id.
        to: u64,
    },
    /// Revokes what the faults above have proposed to this user in this epoch.
    RevokeStrays {
        /// The user id.
        to: u64,
    },
    /// Sends this user op 27 again with the proposals it has got in this epoch already.
    RepeatProposals {
        /// The user id.
        to: u64,
    },
}
