//! The media relay: one UDP socket that answers discovery.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::cipher::Mode;
use crate::netem::Netem;

/// What one listener heard of one user.
#[derive(Debug, Clone, Default)]
pub struct Hearing {
    /// Packets received.
    pub packets: u64,
}

/// A member's place at the relay.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) ssrc: u32,
    pub(crate) user: u64,
    pub(crate) call: u64,
}

/// What the relay tells the gateways.
#[derive(Debug)]
pub(crate) enum RelayEvent {
    Discovered { ssrc: u32, from: SocketAddr },
    AudioWithoutSpeaking { ssrc: u32 },
}

/// A simulated member's ear.
#[derive(Debug)]
pub(crate) struct Tap;

impl Tap {
    pub(crate) fn heard(&self, _user: u64) -> Hearing {
        Hearing::default()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Relay {
    address: SocketAddr,
    events: Arc<Mutex<Option<mpsc::Receiver<RelayEvent>>>>,
}

impl Relay {
    pub(crate) async fn start(ip: IpAddr, _seed: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0)).await?;
        let address = socket.local_addr()?;
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(answer(socket, sender));
        Ok(Self { address, events: Arc::new(Mutex::new(Some(receiver))) })
    }
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
    pub(crate) fn open(&self, peer: Peer) {
        tracing::trace!(?peer, user = peer.user, ssrc = peer.ssrc, call = peer.call);
    }
    pub(crate) fn describe(&self, _ssrc: u32, _mode: Mode, _key: [u8; 32]) {}
    pub(crate) fn speaking(&self, _ssrc: u32, _flags: u8) {}
    pub(crate) fn close(&self, _ssrc: u32) {}
    pub(crate) fn tap(&self, _call: u64, _user: u64) -> Tap {
        Tap
    }
    pub(crate) fn say(&self, _call: u64, _user: u64, _ssrc: u32, _opus: Bytes) {}
    pub(crate) fn recording(&self, _user: u64) -> Hearing {
        Hearing::default()
    }
    pub(crate) fn drop_discovery(&self, _requests: u32) {}
    pub(crate) fn netem(&self, _netem: Netem) {}
    pub(crate) fn send_raw(&self, _user: u64, _datagram: Vec<u8>) {}
    pub(crate) fn events(&self) -> mpsc::Receiver<RelayEvent> {
        let taken = self.events.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }
}

async fn answer(socket: UdpSocket, events: mpsc::Sender<RelayEvent>) {
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
        let _ = socket.send_to(&reply, from).await;
        let _ = events.try_send(RelayEvent::Discovered { ssrc, from });
    }
}
