//! Why encryption cannot go on, and why a received frame is dropped.

/// Why encryption cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DaveError {
    /// Others are in the call, it is not end-to-end encrypted, and the bot may not speak plainly.
    #[error("the call is not end-to-end encrypted, and this bot says nothing that others can listen to")]
    NotEncrypted,
    /// Messages came faster than they could be worked off.
    #[error("the voice gateway sends messages for the encryption faster than they can be worked off")]
    Overloaded,
    /// The server wants a protocol version newer than ours.
    #[error("the call uses DAVE version {0}, and only version 1 is known: update actix-voice")]
    UnsupportedVersion(u16),
    /// The MLS library cannot start a session.
    #[error("the MLS session cannot be started: {0}")]
    Session(String),
    /// Commit after commit, or welcome after welcome, was invalid.
    #[error("{times} commits or welcomes in a row were invalid; the last: {cause}")]
    Invalid {
        /// How many.
        times: u32,
        /// What the MLS library said of the last.
        cause: String,
    },
}

/// Why a received frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is not encrypted although the call is.
    #[error("the frame is not encrypted although the call is")]
    NotEncrypted,
    /// There is no key of this user's.
    #[error("there is no key for the frame")]
    NoKey,
    /// Its nonce was used before, or is too old to tell.
    #[error("the frame was seen before")]
    Replayed,
    /// Its key generation is gone, or too far ahead to be honest.
    #[error("the frame's key generation is out of reach")]
    OutOfReach,
    /// Its tag is wrong under every key we have.
    #[error("the frame does not decrypt")]
    Forged,
}
