//! What a session asks of its owner, and why it fails.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use super::STATE_TIMEOUT;
use crate::gateway::close::Verdict;
use crate::gateway::payload::{DaveEvent, Outgoing, SessionDescription, SpeakingFlags};
use crate::id::{Ssrc, UserId};

/// What the session's owner has to do.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Sends a websocket frame.
    Send(Outgoing),
    /// Starts heartbeats with the server's interval, or starts them over.
    Beat(Duration),
    /// Beats at once: the server asks for it.
    BeatNow,
    /// Tells the heartbeats of an answer.
    Acknowledged {
        /// The nonce of the beat.
        nonce: u64,
    },
    /// Begins IP discovery, then calls [`Session::discovered`](super::Session::discovered).
    Ready {
        /// The SSRC of our packets.
        ssrc: Ssrc,
        /// Where they go.
        server: SocketAddr,
        /// The encryption mode that the session chose of those offered.
        mode: String,
    },
    /// The established session goes on at this media server, with the same mode: begin IP discovery there. With none,
    /// another is still to be named.
    MediaServer(Option<SocketAddr>),
    /// Audio may flow with this key. Comes again if the server changes the key.
    Established(SessionDescription),
    /// The session goes on where the earlier websocket left it.
    Resumed,
    /// Somebody's SSRC, and how it speaks.
    Speaking {
        /// Who.
        user: Option<UserId>,
        /// The SSRC of its packets.
        ssrc: Ssrc,
        /// How it speaks.
        flags: SpeakingFlags,
    },
    /// Somebody's SSRC, learnt without its speaking.
    SsrcAssigned {
        /// Who.
        user: UserId,
        /// The SSRC of its packets.
        ssrc: Ssrc,
    },
    /// These users are in the call too; add them, ourselves not included.
    ClientsConnect(Vec<UserId>),
    /// This user has left the call.
    ClientDisconnect(UserId),
    /// A message for the DAVE group.
    Dave(DaveEvent),
    /// Closes the websocket; [`SessionError::verdict`] says how to go on. The last action.
    Fail(SessionError),
}

/// Why a session cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The server, or our IP discovery, did not answer.
    #[error("waited {} s for {awaited} in vain", STATE_TIMEOUT.as_secs())]
    Timeout {
        /// The message.
        awaited: &'static str,
    },
    /// The server broke the order of the handshake.
    #[error("awaited {awaited} and got {came}")]
    OutOfOrder {
        /// The message awaited.
        awaited: &'static str,
        /// The message that came.
        came: &'static str,
    },
    /// The media server that the session is to move to does not have its encryption mode.
    #[error("the media server that Discord moves the session to lacks its encryption mode")]
    ModeWithdrawn,
    /// No encryption mode in common.
    #[error("none of the encryption modes offered is known or left to try: {}", offered.join(", "))]
    NoMode {
        /// What the server offered.
        offered: Vec<String>,
    },
}

impl SessionError {
    /// Says how to go on.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Timeout { .. } | Self::OutOfOrder { .. } | Self::ModeWithdrawn => Verdict::Rejoin,
            Self::NoMode { .. } => Verdict::Stop,
        }
    }
}
