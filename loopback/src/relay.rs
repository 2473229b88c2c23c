//! The media relay: one UDP socket that answers discovery.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::cipher::Mode;
use crate::netem::Netem;
use crate::recorder::Hearing;

/// One voice connection at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The SSRC that its Ready named.
    pub ssrc: u32,
    /// Whose connection it is.
    pub user: u64,
    /// Which call it is in.
    pub call: u64,
}

/// What the relay reports as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayEvent {
    /// A discovery request was answered.
    Discovered {
        /// Whose.
        peer: Peer,
        /// Where it came from.
        from: SocketAddr,
    },
    /// A member broke a rule.
    Violated(Violation),
}

/// A rule broken, by whom and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was noticed.
    pub at: Instant,
    /// By which connection.
    pub peer: Peer,
    /// Which rule.
    pub breach: Breach,
}

/// A rule that a member's media broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Breach {
    /// Audio went on for 100 ms without a Speaking payload.
    AudioWithoutSpeaking,
}

/// Decrypts what a user sent, end to end.
pub type Decryptor = Box<dyn FnMut(u64, &[u8]) -> Option<Vec<u8>> + Send>;
/// Encrypts a simulated member's packet end to end.
pub type Encryptor = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A simulated member's ear.
#[derive(Debug)]
pub struct Tap;

impl Tap {
    /// Decrypts what is heard from now on.
    pub fn decrypt_with(&self, _decryptor: Decryptor) {}
    /// What was heard of a user so far.
    pub fn heard(&self, _user: u64) -> Option<Hearing> {
        None
    }
}

/// A handle on a relay.
#[derive(Debug, Clone)]
pub struct Relay {
    address: SocketAddr,
    events: Arc<Mutex<Option<mpsc::Receiver<RelayEvent>>>>,
    peers: Arc<Mutex<Vec<Peer>>>,
    activity: watch::Sender<u64>,
}

impl Relay {
    /// Starts a relay on a free port.
    ///
    /// # Errors
    /// What binding returns.
    pub fn start(ip: IpAddr, _seed: u64) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (sender, receiver) = mpsc::channel(64);
        let peers = Arc::default();
        tokio::spawn(answer(UdpSocket::from_std(socket)?, sender, Arc::clone(&peers)));
        let events = Arc::new(Mutex::new(Some(receiver)));
        Ok(Self { address, events, peers, activity: watch::Sender::new(0) })
    }
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Lets a connection in.
    pub fn open(&self, peer: Peer) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).push(peer);
    }
    /// Gives a connection its mode and key.
    pub fn describe(&self, _ssrc: u32, _mode: Mode, _key: [u8; 32]) {}
    /// Takes note of speaking flags.
    pub fn speaking(&self, _ssrc: u32, _flags: u8) {}
    /// Lets go of a connection.
    pub fn close(&self, _ssrc: u32) {}
    /// A simulated member's ear.
    pub fn tap(&self, _call: u64, _user: u64) -> Tap {
        Tap
    }
    /// Sends one Opus packet from a simulated member.
    pub fn say(&self, _call: u64, _user: u64, _ssrc: u32, _opus: Bytes) {}
    /// Encrypts what a simulated member says.
    pub fn encrypt_with(&self, _ssrc: u32, _encryptor: Encryptor) {}
    /// Forgets a simulated member's stream.
    pub fn hush(&self, _ssrc: u32) {}
    /// What came from a user.
    pub fn recording(&self, _user: u64) -> Option<Hearing> {
        None
    }
    /// The rules broken so far.
    pub fn violations(&self) -> Vec<Violation> {
        Vec::new()
    }
    /// Changes with the traffic.
    pub fn activity(&self) -> watch::Receiver<u64> {
        self.activity.subscribe()
    }
    /// Leaves discovery requests unanswered.
    pub fn drop_discovery(&self, _requests: u32) {}
    /// Makes the network worse.
    pub fn netem(&self, _netem: Netem) {}
    /// Sends a datagram as it is.
    pub fn send_raw(&self, _user: u64, _datagram: Vec<u8>) {}
    /// Takes the reports.
    pub fn events(&self) -> mpsc::Receiver<RelayEvent> {
        let taken = self.events.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }
}

async fn answer(socket: UdpSocket, events: mpsc::Sender<RelayEvent>, peers: Arc<Mutex<Vec<Peer>>>) {
    let mut datagram = [0; 128];
    while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
        if length != 74 || datagram[..4] != [0, 1, 0, 70] {
            continue;
        }
        let ssrc = u32::from_be_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]);
        let mut reply = [0; 74];
        reply[..8].copy_from_slice(&datagram[..8]);
        reply[1] = 2;
        let text = from.ip().to_string();
        reply[8..8 + text.len()].copy_from_slice(text.as_bytes());
        reply[72..].copy_from_slice(&from.port().to_be_bytes());
        let peers = peers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(peer) = peers.into_iter().find(|peer| peer.ssrc == ssrc) else { continue };
        let _ = socket.send_to(&reply, from).await;
        let _ = events.try_send(RelayEvent::Discovered { peer, from });
    }
}
