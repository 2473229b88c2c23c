//! One voice connection as the relay sees it: where it is, its key, its network, its conduct.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Peer;
use super::media_audit::MediaAudit;
use crate::cipher::{Cipher, Mode};
use crate::netem::{Fate, Netem, Path};
use crate::rtp::{Header, OPUS_PAYLOAD_TYPE};
use crate::rule::MediaRule;

pub(super) struct MediaConnection {
    peer: Peer,
    /// Where it sends from, once that is known.
    address: Option<SocketAddr>,
    /// Where it will send from once Select Protocol says so.
    candidate: Option<SocketAddr>,
    audit: MediaAudit,
    /// When the schedule will have the audit checked; its other entries are stale.
    check_at: Option<Instant>,
    netem: Netem,
    transport: Option<Transport>,
    /// What the client seals with until the Session Description has reached it, and until when.
    previous: Option<(Transport, Instant)>,
    up: Path,
    down: Path,
}

struct Transport {
    cipher: Cipher,
    key: [u8; 32],
    counter: u32,
}

impl MediaConnection {
    pub(super) fn new(peer: Peer, netem: Netem, random: &mut fastrand::Rng) -> Self {
        let (up, down) = (Path::new(random.u64(..)), Path::new(random.u64(..)));
        let audit = MediaAudit::new();
        Self {
            peer,
            address: None,
            candidate: None,
            audit,
            check_at: None,
            netem,
            transport: None,
            previous: None,
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

    /// Takes note of where a discovery request came from.
    pub(super) fn discovered(&mut self, from: SocketAddr) {
        self.address = Some(from);
    }

    /// Takes note of where a discovery request came from that Select Protocol has yet to confirm.
    pub(super) fn set_candidate(&mut self, from: SocketAddr) {
        self.candidate = Some(from);
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

    /// Takes mode and key; those it has already change nothing. Select Protocol confirms where the connection is.
    pub(super) fn describe(&mut self, mode: Mode, key: [u8; 32], first_counter: u32, now: Instant) {
        self.address = self.candidate.take().or(self.address);
        let same = self.transport.as_ref().is_some_and(|old| old.key == key && old.cipher.mode() == mode);
        if !same {
            self.audit.rekeyed();
            let cipher = Cipher::new(mode, &key);
            let old = self.transport.replace(Transport { cipher, key, counter: first_counter });
            self.previous = old.map(|old| (old, now + OLD_KEY_TIMEOUT));
        }
    }

    /// Opens and audits one RTP packet; `None` where there is nothing in it to pass on.
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
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map(|(previous, _)| previous);
        let mut keys = [Some(transport), previous].into_iter().flatten();
        let opened = keys.find_map(|key| Some((key, key.cipher.open(datagram).ok()?)));
        let Some((key, opened)) = opened else {
            found.push(MediaRule::Undecryptable);
            return None;
        };
        let Ok(payload) = key.cipher.payload(datagram, &opened) else {
            found.push(MediaRule::Undecryptable);
            return None;
        };
        // Only an authentic packet may move the address: NAT mappings change.
        self.address = Some(from);
        if key.key == transport.key {
            found.extend(opened.nonce.counter().and_then(|nonce| self.audit.nonce(nonce)));
        }
        self.audit.packet(header, payload, now, found);
        let is_audio = header.payload_type == OPUS_PAYLOAD_TYPE && !payload.is_empty();
        is_audio.then(|| Bytes::copy_from_slice(payload))
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

/// How long packets under the key before may still come after another Session Description.
const OLD_KEY_TIMEOUT: Duration = Duration::from_secs(1);
