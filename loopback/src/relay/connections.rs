//! The voice connections that the relay serves: who is in which call, and what their networks are like.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Peer;
use super::media_connection::MediaConnection;
use super::sources::{NewSource, Sources};
use crate::netem::Netem;

/// The owner of every [`MediaConnection`].
#[derive(Default)]
pub(super) struct Connections {
    by_ssrc: HashMap<u32, MediaConnection>,
    /// The SSRCs in each call.
    calls: HashMap<u64, Vec<u32>>,
    /// The network of connections to come.
    netem: Netem,
    /// How many discovery requests are still to be dropped.
    discovery_drops: u32,
    sources: Sources,
}

/// What became of a discovery request.
pub(super) enum Discovery {
    /// It is answered; it came from this connection.
    Answered(Peer),
    /// It is dropped on order.
    Dropped,
    /// No connection has its SSRC.
    UnknownSsrc,
    /// The connection may not send from there.
    Refused,
}

impl Connections {
    /// Lets a connection in; one of the same SSRC is closed.
    pub(super) fn open(&mut self, peer: Peer, random: &mut fastrand::Rng) {
        self.close(peer.ssrc);
        self.by_ssrc.insert(peer.ssrc, MediaConnection::new(peer, self.netem, random));
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

    /// Where a connection sends from, once that is known.
    pub(super) fn address_of(&self, ssrc: u32) -> Option<SocketAddr> {
        self.by_ssrc.get(&ssrc)?.address()
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
        match (connection.address(), self.sources.new) {
            (Some(known), NewSource::Select) if known != from => connection.set_candidate(from),
            (Some(known), NewSource::Pinned) if known != from => return Discovery::Refused,
            _ => connection.discovered(from),
        }
        Discovery::Answered(connection.peer())
    }

    pub(super) fn sources(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// Loses all from and to where a user's connections send from now.
    pub(super) fn kill_path(&mut self, user: u64) {
        for connection in self.by_ssrc.values_mut().filter(|connection| connection.peer().user == user) {
            if let Some(address) = connection.address() {
                self.sources.kill(address);
                connection.audit().path_lost();
            }
        }
    }

    /// Whether datagrams between this source and the relay are lost.
    pub(super) fn is_dead(&self, source: SocketAddr) -> bool {
        self.sources.is_dead(source)
    }

    /// Whether a connection may send audio from this source.
    pub(super) fn may_send(&self, ssrc: u32, from: SocketAddr) -> bool {
        let known = self.address_of(ssrc).is_none_or(|known| known == from);
        known || self.sources.new == NewSource::Follow
    }

    /// Whether keepalives from this source are echoed.
    pub(super) fn echoes(&self, from: SocketAddr) -> bool {
        let at = self.by_ssrc.values().find(|connection| connection.address() == Some(from));
        self.sources.echoes(at.map(|connection| connection.peer().user))
    }
}
