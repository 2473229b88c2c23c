//! Why a UDP path counts as dead, and why a link cannot be used.

use std::io::ErrorKind;
use std::time::Duration;

use super::cipher::{CipherError, UnknownMode};
use super::discovery;

/// Why a UDP path counts as dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathLoss {
    /// Keepalives that used to be echoed are not any more, and discovery is not answered.
    #[error("the voice server no longer answers over UDP")]
    EchoesStopped,
    /// The websocket was lost to the network, and discovery is not answered either.
    #[error("the network changed: the websocket was lost, and the voice server does not answer over UDP")]
    WebsocketLost,
    /// The system refuses to send.
    #[error("the system refuses to send to the voice server ({0}): look at the routes and the firewall")]
    SendsFailed(ErrorKind),
    /// The voice server sees the bot under another address.
    #[error("the bot's address changed")]
    AddressChanged,
    /// Discord named another media server, or is about to.
    #[error("Discord changes the media server")]
    ServerChanged,
}

/// Why a path cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No answer to discovery came.
    #[error(
        "the voice server answered none of {tries} discovery packets in {tries} s: allow outgoing UDP and its \
         answers in the firewall, or try another network",
        tries = discovery::TRIES
    )]
    NoDiscovery,
    /// No socket could be had.
    #[error("no UDP socket to the voice server ({0}): look at the routes and at the limit of open files")]
    NoSocket(ErrorKind),
    /// Select Protocol was not answered in an established session.
    #[error("the voice gateway did not answer a new address within {} s", DESCRIPTION_TIMEOUT.as_secs())]
    NoDescription,
    /// The media server was taken away, and no other named.
    #[error("Discord named no other media server within {} s", SERVER_TIMEOUT.as_secs())]
    NoServer,
    /// The path died soon after it was mended.
    #[error("the UDP path was restored and died again: {0}")]
    LostAgain(PathLoss),
    /// The session was described with a mode that this build does not have.
    #[error(transparent)]
    Mode(#[from] UnknownMode),
    /// There is no key yet.
    #[error("no key yet: frames can be sealed once the session is described")]
    NotDescribed,
    /// There is no frame that may leave.
    #[error("the frame is withheld: it cannot be encrypted end to end yet")]
    Withheld,
    /// Every nonce was used with this key.
    #[error("every transport nonce was used with this key: make a new session, which brings a new key")]
    Exhausted,
    /// The frame does not fit in a datagram.
    #[error("a frame of {length} bytes does not fit in a datagram, which takes {most}: lower the bitrate")]
    FrameTooLong {
        /// The length of the frame in bytes.
        length: usize,
        /// The longest that fits.
        most: usize,
    },
    /// The packet could not be sealed.
    #[error(transparent)]
    Cipher(CipherError),
}

impl From<CipherError> for LinkError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Exhausted => Self::Exhausted,
            other => Self::Cipher(other),
        }
    }
}

/// How long the voice gateway may take to answer a repeated Select Protocol: longer than it takes to notice that the
/// websocket is a zombie, which is then resumed.
pub(super) const DESCRIPTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long Discord may take to name another media server.
pub(super) const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
