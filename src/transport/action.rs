//! What a link asks of its owner, and what it is told.

use std::net::SocketAddr;
use std::ops::Deref;

use super::discovery;
use super::error::{LinkError, PathLoss};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Take a new socket to the voice server, and leave the one before.
    Bind,
    /// Leave the socket: there is no voice server to send to.
    Unbind,
    /// Send this to the voice server.
    Send(Datagram),
    /// Tell the voice gateway that this is our address.
    SelectProtocol(SocketAddr),
    /// Say how the path fares.
    Report(PathStatus),
    /// Give the path up.
    Fail(LinkError),
}

/// A datagram that is not voice; dereferences to its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// The question for our address.
    Discovery([u8; discovery::LENGTH]),
    /// A keepalive.
    Keepalive([u8; 8]),
}

impl Deref for Datagram {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Discovery(bytes) => bytes,
            Self::Keepalive(bytes) => bytes,
        }
    }
}

/// How the UDP path to the voice server fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathStatus {
    /// Nothing arrives any more: another socket is tried. [`Self::Restored`] follows, or a new voice session.
    Dead(PathLoss),
    /// Audio arrives again; what was sent while the path was dead is lost.
    Restored,
}

/// How a websocket was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebsocketLoss {
    /// It broke, or nothing came over it any more.
    Network,
    /// It was closed, with a code.
    Closed,
}
