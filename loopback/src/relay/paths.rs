//! The way between the clients' sockets and the relay: some paths are dead, some begin elsewhere than they did.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The owner of what has happened to the paths.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// The sockets from which nothing comes any more, and to which nothing goes; oldest first.
    dead: VecDeque<SocketAddr>,
    /// Where the relay sees a socket that was moved.
    moved: HashMap<SocketAddr, SocketAddr>,
    moves: u16,
}

impl Paths {
    /// Where the relay sees a datagram of a client's socket come from; `None` where the path is dead.
    pub(super) fn seen(&self, socket: SocketAddr) -> Option<SocketAddr> {
        if self.dead.contains(&socket) {
            return None;
        }
        Some(self.moved.get(&socket).copied().unwrap_or(socket))
    }

    /// The socket that a datagram to this address arrives at, if it arrives.
    pub(super) fn arrives(&self, address: SocketAddr) -> Option<SocketAddr> {
        let socket = self.socket_of(address);
        (self.seen(socket) == Some(address)).then_some(socket)
    }

    /// Kills the path of what is seen at this address.
    pub(super) fn kill(&mut self, address: SocketAddr) {
        let socket = self.socket_of(address);
        if self.dead.contains(&socket) {
            return;
        }
        if self.dead.len() == DEAD_MAX {
            self.dead.pop_front();
        }
        self.dead.push_back(socket);
    }

    /// Lets what is seen at this address be seen at another one from now on.
    pub(super) fn relocate(&mut self, address: SocketAddr) {
        let socket = self.socket_of(address);
        if self.moved.len() >= MOVED_MAX && !self.moved.contains_key(&socket) {
            return;
        }
        self.moves = self.moves.wrapping_add(1);
        let [high, low] = self.moves.to_be_bytes();
        let elsewhere = IpAddr::V4(Ipv4Addr::new(198, 18, high, low));
        self.moved.insert(socket, SocketAddr::new(elsewhere, socket.port()));
    }

    fn socket_of(&self, address: SocketAddr) -> SocketAddr {
        let moved = self.moved.iter().find(|(_, seen)| **seen == address);
        moved.map_or(address, |(socket, _)| *socket)
    }
}

/// How many dead paths are remembered; a test kills a handful.
const DEAD_MAX: usize = 4_096;
const MOVED_MAX: usize = 4_096;
