//! The DAVE payloads of the voice gateway.

use bytes::Bytes;

/// A message to the voice gateway.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Op 23.
    TransitionReady {
        /// The transition.
        transition_id: u16,
    },
    /// Op 31.
    InvalidCommitWelcome {
        /// The transition.
        transition_id: u16,
    },
    /// Op 26.
    KeyPackage(Bytes),
    /// Op 28.
    CommitWelcome(Bytes),
}

/// A DAVE message from the voice gateway.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DaveEvent {
    /// Op 21.
    PrepareTransition {
        /// The transition.
        transition_id: u16,
        /// The version it leads to.
        protocol_version: u16,
    },
    /// Op 22.
    ExecuteTransition {
        /// The transition.
        transition_id: u16,
    },
    /// Op 24.
    PrepareEpoch {
        /// The version of the epoch.
        protocol_version: u16,
        /// The epoch; 1 means a new group.
        epoch: u64,
    },
    /// Op 25.
    ExternalSender(Bytes),
    /// Op 27.
    Proposals(Bytes),
    /// Op 29.
    AnnounceCommit {
        /// The transition.
        transition_id: u16,
        /// The MLS commit.
        commit: Bytes,
    },
    /// Op 30.
    Welcome {
        /// The transition.
        transition_id: u16,
        /// The MLS welcome.
        welcome: Bytes,
    },
}
