//! What is to be done about a [`Group`](super::Group), and what it reports, and the key changes that travel to the packet path.

use std::fmt;

use super::error::DaveError;
use super::keys::BaseSecret;
use crate::gateway::payload::Command;
use crate::id::UserId;

/// What is to be done about the group.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Send this to the voice gateway.
    Send(Command),
    /// Hand this to the packet path, in order.
    Install(KeyChange),
    /// The call's encryption has changed: tell the user.
    State(E2eeState),
    /// The group we were let into has a member whom op 11 has not announced: someone listens unseen, or the announcement
    /// was lost.
    UnannouncedMember(UserId),
    /// Something was out of the ordinary; worth a line in the log.
    Notice(Notice),
    /// Encryption cannot go on: end the voice session with this reason.
    Fail(DaveError),
}

/// A change of keys, to be installed in the [`Frames`](super::Frames) beside the socket, exactly once and in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyChange {
    /// The members of a new epoch can be heard from now on.
    Receivers {
        /// The epoch, by the [`Group`](super::Group)'s own count, which never starts over.
        epoch: u64,
        /// Everyone's base secret but ours.
        secrets: Vec<(UserId, BaseSecret)>,
    },
    /// Our own frames change over; everything older than this epoch goes stale in 10 s.
    Sender(SenderKey),
    /// Whether others may be heard without encryption.
    Passthrough(Passthrough),
    /// This user has left: his keys go at once.
    Forget(UserId),
}

/// What our own frames are sealed with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SenderKey {
    /// Encryption is required, and there is nothing to encrypt with yet.
    Withhold,
    /// The call is at protocol version 0.
    Plain,
    /// The key of an epoch.
    Epoch {
        /// The epoch, as in [`KeyChange::Receivers`].
        epoch: u64,
        /// Our own base secret in it.
        secret: BaseSecret,
    },
}

/// Whether a bot may speak in a call without end-to-end encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlainSpeech {
    /// It says nothing, and ends the session as soon as others are there.
    #[default]
    Refused,
    /// It may: stage channels are never encrypted.
    Allowed,
}

/// Whether frames without encryption are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Passthrough {
    /// From now on.
    Open,
    /// For 10 s more, if they are taken at all.
    Close,
}

/// How the call is encrypted end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct E2eeState {
    /// The DAVE protocol version; 0 is no end-to-end encryption.
    pub version: u16,
    /// The epoch of the MLS group whose keys are in use; 0 while there is none.
    pub epoch: u64,
    /// The [voice privacy code](https://daveprotocol.com/#displayable-codes), six groups of five digits without spaces,
    /// the same for every member; `None` while there is no group.
    pub privacy_code: Option<String>,
}

impl fmt::Display for E2eeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.privacy_code, self.version) {
            (Some(code), version) => {
                write!(f, "end-to-end encrypted (DAVE {version}, epoch {}), privacy code", self.epoch)?;
                code.as_bytes()
                    .chunks(5)
                    .try_for_each(|group| write!(f, " {}", String::from_utf8_lossy(group)))
            }
            (None, 0) => f.write_str("not end-to-end encrypted"),
            (None, version) => write!(f, "end-to-end encryption required (DAVE {version}), no group yet"),
        }
    }
}

/// Something out of the ordinary that the group has dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// This opcode's payload cannot be read; ignored.
    Malformed(u8),
    /// This opcode came before the session description (op 4), or while there is no group; ignored.
    Unexpected(u8),
    /// This opcode's message belongs to another group; ignored.
    Foreign(u8),
    /// This opcode's message belongs to another epoch; ignored.
    Stale(u8),
    /// A commit, welcome or external sender that only a member (or only a newcomer) could use; ignored.
    WrongMoment(u8),
    /// This opcode says what has been said; ignored.
    Repeated(u8),
    /// A proposal that adds or removes ourselves, or that is already queued; ignored.
    Needless,
    /// A proposal adds someone who is in the group, or about to be; ignored.
    Duplicate(UserId),
    /// A proposal adds someone whom op 11 has not announced; kept until it does.
    Unannounced(UserId),
    /// The MLS library refused the proposals, for this reason; ignored.
    Refused(String),
    /// A revoked proposal is not in the queue; ignored.
    UnknownProposal,
    /// An op 22 without a transition to execute; ignored.
    UnknownTransition(u16),
    /// The server names a protocol version that does not exist; ignored.
    UnknownVersion(u16),
    /// The commit or welcome of this transition is invalid: op 31 and a new key package went out.
    Invalid {
        /// The transition.
        transition_id: u16,
        /// What the MLS library says.
        cause: String,
    },
    /// Too many frames in a row could not be opened: op 31 and a new key package went out.
    DecryptionFailing,
    /// Too many frames in a row could not be opened, but a transition is open or a recovery was just made; ignored.
    DecryptionFailingForNow,
    /// Nothing came back since the resume: what was unanswered went out again.
    SentAgain,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(op) => write!(f, "op {op} is malformed, ignored"),
            Self::Unexpected(op) => write!(f, "op {op} came without a group to use it on, ignored"),
            Self::Foreign(op) => write!(f, "op {op} belongs to another group, ignored"),
            Self::Stale(op) => write!(f, "op {op} belongs to another epoch, ignored"),
            Self::WrongMoment(op) => write!(f, "op {op} is not meant for us at this moment, ignored"),
            Self::Repeated(op) => write!(f, "op {op} was sent before, ignored"),
            Self::Needless => f.write_str("a proposal is our own or repeated, ignored"),
            Self::Duplicate(user) => write!(f, "op 27 adds user {user} a second time, ignored"),
            Self::Unannounced(user) => write!(f, "op 27 adds user {user} before op 11 announces them, kept"),
            Self::Refused(cause) => write!(f, "the proposals were refused: {cause}"),
            Self::UnknownProposal => f.write_str("op 27 revokes a proposal that is not queued, ignored"),
            Self::UnknownTransition(id) => {
                write!(f, "op 22 executes transition {id}, which is not open, ignored")
            }
            Self::UnknownVersion(version) => write!(f, "DAVE version {version} does not exist, ignored"),
            Self::Invalid { transition_id, cause } => {
                write!(f, "transition {transition_id} is invalid, joining the group anew: {cause}")
            }
            Self::DecryptionFailing => {
                f.write_str("too many frames could not be decrypted, joining the group anew")
            }
            Self::DecryptionFailingForNow => f.write_str("many frames cannot be decrypted at the moment"),
            Self::SentAgain => f.write_str("no answer since the resume, the last message was sent again"),
        }
    }
}

/// How often each kind of thing happened since the group was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupCounts {
    /// Messages and parts of messages that were ignored, each with a [`Notice`].
    pub ignored: u64,
    /// Times we had to leave and join the group anew.
    pub recoveries: u64,
    /// Epochs whose keys were installed.
    pub epochs: u64,
    /// Transitions executed.
    pub transitions: u64,
}
