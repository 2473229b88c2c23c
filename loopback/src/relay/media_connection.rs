//! One voice connection as the relay sees it: where it is, its key, its network, its conduct.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::time::Instant;

use super::Peer;
use super::media_audit::MediaAudit;
use crate::builder::NewSource;
use crate::cipher::{Cipher, Mode};
use crate::netem::{Fate, Netem, Path};
use crate::rtp::{Header, OPUS_PAYLOAD_TYPE};
use crate::rule::MediaRule;

pub(super) struct MediaConnection {
    peer: Peer,
    /// Where audio goes to and comes from, once that is known.
    address: Option<SocketAddr>,
    /// Where its last discovery request came from.
    discovered: Option<SocketAddr>,
    new_source: NewSource,
    audit: MediaAudit,
    /// When the schedule will have the audit checked; its other entries are stale.
    check_at: Option<Instant>,
    netem: Netem,
    transport: Option<Transport>,
    /// Opens packets that were under way when another key was given.
    last_cipher: Option<Cipher>,
    up: Path,
    down: Path,
}

struct Transport {
    cipher: Cipher,
    key: [u8; 32],
    counter: u32,
}

impl MediaConnection {
    pub(super) fn new(peer: Peer, netem: Netem, new_source: NewSource, random: &mut fastrand::Rng) -> Self {
        let (up, down) = (Path::new(random.u64(..)), Path::new(random.u64(..)));
        let audit = MediaAudit::new();
        Self {
            peer,
            address: None,
            discovered: None,
            new_source,
            audit,
            check_at: None,
            netem,
            transport: None,
            last_cipher: None,
            up,
            down,
        }
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where it is, and where it asked from last.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let other = self.discovered.filter(|discovered| Some(*discovered) != self.address);
        self.address.into_iter().chain(other)
    }

    /// Takes note of where a discovery request came from; returns whether it is answered.
    pub(super) fn discovered(&mut self, from: SocketAddr) -> bool {
        let elsewhere = self.transport.is_some() && self.address != Some(from);
        if elsewhere && self.new_source == NewSource::Pinned {
            return false;
        }
        self.discovered = Some(from);
        if self.transport.is_none() || self.new_source == NewSource::Follow {
            self.address = Some(from);
        }
        true
    }

    /// Takes a Select Protocol, which may name another address than the one before.
    fn selected(&mut self) {
        self.address = self.discovered.or(self.address);
    }

    /// Whether audio from this source counts.
    fn accepts(&self, from: SocketAddr) -> bool {
        self.new_source == NewSource::Follow || self.address.is_none_or(|address| address == from)
    }

    pub(super) fn set_netem(&mut self, netem: Netem) {
        self.netem = netem;
    }

    pub(super) fn audit(&mut self) -> &mut MediaAudit {
        &mut self.audit
    }

    /// Says when the audit is to be checked, if it is not already going to be by then.
    pub(super) fn plan_check(&mut self) -> Option<Instant> {
        let at = self.audit.deadline()?;
        if self.check_at.is_some_and(|planned| planned <= at) {
            return None;
        }
        self.check_at = Some(at);
        Some(at)
    }

    /// Checks the audit; `None` where this check is stale.
    pub(super) fn check(&mut self, scheduled: Instant, now: Instant) -> Option<Vec<MediaRule>> {
        self.check_at.take_if(|at| *at == scheduled)?;
        let mut found = Vec::new();
        self.audit.check(now, &mut found);
        Some(found)
    }

    /// Takes mode and key; those it has already change nothing.
    pub(super) fn describe(&mut self, mode: Mode, key: [u8; 32], first_counter: u32) {
        self.selected();
        let same = self.transport.as_ref().is_some_and(|old| old.key == key && old.cipher.mode() == mode);
        if !same {
            self.audit.rekeyed();
            let cipher = Cipher::new(mode, &key);
            let last = self.transport.replace(Transport { cipher, key, counter: first_counter });
            self.last_cipher = last.map(|last| last.cipher);
        }
    }

    /// Opens and audits one RTP packet; `None` where there is nothing in it to pass on, or it came from a source that
    /// does not count.
    pub(super) fn receive(
        &mut self,
        header: &Header,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
        found: &mut Vec<MediaRule>,
    ) -> Option<Bytes> {
        let Some(transport) = &self.transport else {
            found.push(MediaRule::AudioBeforeDescription);
            return None;
        };
        if !self.accepts(from) {
            self.audit.interrupted();
            return None;
        }
        let present = transport.cipher.open(datagram);
        let rekeyed = present.is_ok();
        let cipher = self.last_cipher.as_ref().filter(|_| !rekeyed).unwrap_or(&transport.cipher);
        let opened = present.or_else(|_| cipher.open(datagram)).ok();
        let payload = opened.as_ref().and_then(|opened| cipher.payload(datagram, opened).ok());
        let (Some(opened), Some(payload)) = (&opened, payload) else {
            found.push(MediaRule::Undecryptable);
            return None;
        };
        // Only an authentic packet may move the address: NAT mappings change.
        self.address = Some(from);
        if rekeyed {
            found.extend(opened.nonce.counter().and_then(|nonce| self.audit.nonce(nonce)));
        }
        self.audit.packet(header, payload, now, found);
        let is_audio = header.payload_type == OPUS_PAYLOAD_TYPE && !payload.is_empty();
        let audio = is_audio.then(|| Bytes::copy_from_slice(payload));
        if rekeyed {
            self.last_cipher = None;
        }
        audio
    }

    /// Opens and audits one RTCP packet; `None` where nothing is wrong with it.
    pub(super) fn receive_rtcp(&mut self, datagram: &[u8]) -> Option<MediaRule> {
        match self.transport.as_ref()?.cipher.open(datagram) {
            Ok(opened) => opened.nonce.counter().and_then(|nonce| self.audit.nonce(nonce)),
            Err(_) => Some(MediaRule::Undecryptable),
        }
    }

    /// Seals a clear packet for this member; `None` while it cannot be reached.
    pub(super) fn seal(&mut self, clear: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let (to, transport) = (self.address?, self.transport.as_mut()?);
        transport.counter = transport.counter.wrapping_add(1);
        Some((to, transport.cipher.seal(clear, transport.counter).ok()?))
    }

    pub(super) fn fate_up(&mut self) -> Fate {
        self.up.fate(&self.netem.up())
    }

    pub(super) fn fate_down(&mut self) -> Fate {
        self.down.fate(&self.netem.down())
    }
}
