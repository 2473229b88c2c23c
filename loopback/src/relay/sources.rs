//! Where clients send from: which sources are dead, whose keepalives are not echoed, and what a new source may do.

use std::collections::HashSet;
use std::net::SocketAddr;

/// What the relay makes of a client that goes on from another address. It is not known what Discord does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewSource {
    /// It follows: audio that opens with the client's key moves the client.
    #[default]
    Follow,
    /// It answers discovery, and takes and sends audio there once Select Protocol (op 1) has come again.
    Select,
    /// It answers nothing that comes from there.
    Pinned,
}

/// The owner of what is particular about sources.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) new: NewSource,
    /// Datagrams from and to these are lost.
    dead: HashSet<SocketAddr>,
    /// Users whose keepalives are not echoed.
    muted: HashSet<u64>,
}

impl Sources {
    pub(super) fn kill(&mut self, source: SocketAddr) {
        self.dead.insert(source);
    }

    pub(super) fn is_dead(&self, source: SocketAddr) -> bool {
        self.dead.contains(&source)
    }

    pub(super) fn mute(&mut self, user: u64) {
        self.muted.insert(user);
    }

    /// Whether the keepalives of this user are echoed; it is none where no connection is known at the source.
    pub(super) fn echoes(&self, user: Option<u64>) -> bool {
        match user {
            Some(user) => !self.muted.contains(&user),
            None => self.new != NewSource::Pinned,
        }
    }
}
