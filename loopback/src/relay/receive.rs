//! Receives datagrams in batches, each with the time of its arrival.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::socket_loop::BATCH;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub(super) use linux::Receiver;
#[cfg(not(target_os = "linux"))]
pub(super) use portable::Receiver;

/// A datagram that came.
pub(super) struct Received<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) from: SocketAddr,
    /// When it came to the socket.
    pub(super) arrival: Instant,
    /// When it was taken from there.
    pub(super) taken: Instant,
}

/// How much came at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchSize {
    Empty,
    Partial,
    /// As many datagrams as fit, so more may wait.
    Full,
}

impl BatchSize {
    fn of(datagrams: usize) -> Self {
        match datagrams {
            0 => Self::Empty,
            BATCH => Self::Full,
            _ => Self::Partial,
        }
    }
}

/// What is to be said of a batch besides its datagrams.
pub(super) struct Batch {
    pub(super) size: BatchSize,
    /// Datagrams that the socket has dropped since it was opened, for want of room.
    pub(super) dropped: u64,
}
