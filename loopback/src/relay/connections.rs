//! The voice connections that the relay serves: who is in which call, and what their networks are like.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Peer;
use super::media_connection::MediaConnection;
use crate::builder::NewSource;
use crate::netem::Netem;

/// The owner of every [`MediaConnection`].
#[derive(Default)]
pub(super) struct Connections {
    by_ssrc: HashMap<u32, MediaConnection>,
    /// The SSRCs in each call.
    calls: HashMap<u64, Vec<u32>>,
    /// The network of connections to come.
    netem: Netem,
    /// How connections to come take to a new source.
    new_source: NewSource,
    /// How many discovery requests are still to be dropped.
    discovery_drops: u32,
}

/// What became of a discovery request.
pub(super) enum Discovery {
    /// It is answered; it came from this connection.
    Answered(Peer),
    /// It is dropped on order.
    Dropped,
    /// No connection has its SSRC.
    UnknownSsrc,
}

impl Connections {
    /// Lets a connection in; one of the same SSRC is closed.
    pub(super) fn open(&mut self, peer: Peer, random: &mut fastrand::Rng) {
        self.close(peer.ssrc);
        self.by_ssrc.insert(peer.ssrc, MediaConnection::new(peer, self.netem, self.new_source, random));
        self.calls.entry(peer.call).or_default().push(peer.ssrc);
    }

    pub(super) fn close(&mut self, ssrc: u32) {
        let Some(connection) = self.by_ssrc.remove(&ssrc) else { return };
        let call = connection.peer().call;
        if let Some(ssrcs) = self.calls.get_mut(&call) {
            ssrcs.retain(|other| *other != ssrc);
            if ssrcs.is_empty() {
                self.calls.remove(&call);
            }
        }
    }

    pub(super) fn get_mut(&mut self, ssrc: u32) -> Option<&mut MediaConnection> {
        self.by_ssrc.get_mut(&ssrc)
    }

    /// The SSRCs in a call.
    pub(super) fn in_call(&self, call: u64) -> Vec<u32> {
        self.calls.get(&call).cloned().unwrap_or_default()
    }

    /// The connections of one user.
    pub(super) fn of_user(&mut self, user: u64) -> impl Iterator<Item = &mut MediaConnection> {
        self.by_ssrc.values_mut().filter(move |connection| connection.peer().user == user)
    }

    /// The user whose connection is at this address.
    pub(super) fn user_at(&self, address: SocketAddr) -> Option<u64> {
        let mut connections = self.by_ssrc.values();
        let found = connections.find(|connection| connection.addresses().any(|one| one == address));
        found.map(|connection| connection.peer().user)
    }

    /// Where the connections of a user are.
    pub(super) fn addresses_of(&mut self, user: u64) -> Vec<SocketAddr> {
        self.of_user(user).flat_map(|connection| connection.addresses().collect::<Vec<_>>()).collect()
    }

    /// Where a connection sends from, once that is known.
    pub(super) fn address_of(&self, ssrc: u32) -> Option<SocketAddr> {
        self.by_ssrc.get(&ssrc)?.address()
    }

    /// Sets how connections to come take to a new source.
    pub(super) fn set_new_source(&mut self, new_source: NewSource) {
        self.new_source = new_source;
    }

    /// Sets the network of every connection, also of those to come.
    pub(super) fn set_netem(&mut self, netem: Netem) {
        self.netem = netem;
        self.by_ssrc.values_mut().for_each(|connection| connection.set_netem(netem));
    }

    /// Sets the network of the present connections of one user.
    pub(super) fn set_netem_of(&mut self, user: u64, netem: Netem) {
        self.of_user(user).for_each(|connection| connection.set_netem(netem));
    }

    /// Drops the next `requests` discovery requests.
    pub(super) fn drop_discovery(&mut self, requests: u32) {
        self.discovery_drops = requests;
    }

    /// Takes a discovery request in.
    pub(super) fn discover(&mut self, ssrc: u32, from: SocketAddr) -> Discovery {
        let Some(connection) = self.by_ssrc.get_mut(&ssrc) else { return Discovery::UnknownSsrc };
        if self.discovery_drops > 0 {
            self.discovery_drops -= 1;
            return Discovery::Dropped;
        }
        if !connection.discovered(from) {
            return Discovery::Dropped;
        }
        Discovery::Answered(connection.peer())
    }
}
