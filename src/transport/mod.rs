//! Link: one UDP path to the voice server, from finding our address to sealing and opening packets.
//!
//! ```text
//! AwaitAddress ── answer ──▶ Open        discovery, then a keepalive every five seconds
//!      └───── no answer ──▶ Failed
//! ```
//!
//! Beside it stands the key: there is none until the session is described, and later ones replace it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};

use cipher::{Cipher, CipherError, Mode, UnknownMode};
use discovery::Discovery;
use keepalive::Keepalive;
use replay::{Replay, Verdict};
use rtp::{FIXED_HEADER, Header, RtpError, Sequence, Timestamp};

use crate::id::{SecretKey, Ssrc};

pub mod cipher;
mod counts;
#[cfg(feature = "dave")]
pub mod dave;
pub mod discovery;
mod keepalive;
mod replay;
pub mod rtp;

pub use counts::{Counts, Ignored};
pub use keepalive::INTERVAL as KEEPALIVE_INTERVAL;

/// The longest datagram that is sent, in bytes: an Ethernet frame less the headers of IP and UDP, and some
/// for tunnels.
pub const MAX_DATAGRAM: usize = 1460;

/// One UDP path to the voice server.
#[derive(Debug)]
pub struct Link {
    ssrc: Ssrc,
    path: Path,
    cipher: Option<Cipher>,
    first_counter: u32,
    sequence: Sequence,
    timestamp: Timestamp,
    replay: Replay,
    counts: Counts,
}

#[derive(Debug)]
enum Path {
    AwaitAddress(Discovery),
    Open(Keepalive),
    Failed,
}

impl Link {
    /// Starts a path; discovery is due at once.
    pub fn new(ssrc: Ssrc, start: RtpStart, now: Instant) -> Self {
        Self {
            ssrc,
            path: Path::AwaitAddress(Discovery::new(ssrc, now)),
            cipher: None,
            first_counter: start.counter,
            sequence: Sequence(start.sequence),
            timestamp: Timestamp(start.timestamp),
            replay: Replay::default(),
            counts: Counts::default(),
        }
    }

    /// Takes mode and key of SessionDescription; from now on frames can be sealed. A later call is a new
    /// session on the same path: RTP goes on counting, and so does the nonce, so that no key ever sees one
    /// twice.
    ///
    /// # Errors
    ///
    /// [`LinkError::Mode`] for a mode that this build does not have; what was described before stays.
    pub fn described(&mut self, mode: &str, key: &SecretKey) -> Result<(), LinkError> {
        let mode: Mode = mode.parse()?;
        match &mut self.cipher {
            Some(cipher) => {
                if !cipher.is_under(key) {
                    self.replay.clear();
                }
                cipher.rekey(mode, key);
            }
            None => self.cipher = Some(Cipher::new(mode, key, self.first_counter)),
        }
        Ok(())
    }

    /// Writes the packet of one Opus or DAVE frame into `out`, replacing what it held. `elapsed` is the time
    /// since the packet before, in samples at 48 kHz: 960 for a frame of 20 ms. Allocates nothing when `out`
    /// has room.
    ///
    /// # Errors
    ///
    /// A [`LinkError`] that says what is missing; `out` is then empty and nothing was counted.
    pub fn seal(&mut self, frame: &[u8], elapsed: u32, out: &mut Vec<u8>) -> Result<(), LinkError> {
        out.clear();
        let cipher = self.cipher.as_mut().ok_or(LinkError::NotDescribed)?;
        let most = MAX_DATAGRAM - FIXED_HEADER - cipher.mode().overhead();
        if frame.len() > most {
            return Err(LinkError::FrameTooLong { length: frame.len(), most });
        }
        let header = Header::voice(self.sequence, self.timestamp.after(elapsed), self.ssrc);
        out.reserve(FIXED_HEADER + frame.len() + cipher.mode().overhead());
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(frame);
        cipher.seal(out, FIXED_HEADER).inspect_err(|_| out.clear())?;
        self.timestamp = header.timestamp;
        self.sequence = header.sequence.next();
        self.counts.sent_packets += 1;
        self.counts.sent_bytes += out.len() as u64;
        Ok(())
    }

    /// Takes a datagram from the voice server and opens it in place. What cannot be understood is counted.
    pub fn datagram<'a>(&mut self, datagram: &'a mut [u8], now: Instant) -> Received<'a> {
        self.counts.received_packets += 1;
        self.counts.received_bytes += datagram.len() as u64;
        let received = match Header::parse(datagram) {
            Ok(header) => self.voice(header, datagram),
            Err(RtpError::NotRtp) => self.control(datagram, now),
            Err(error) => Err(error.into()),
        };
        received.unwrap_or_else(|reason| {
            *self.counts.of_mut(reason) += 1;
            Received::Ignored(reason)
        })
    }

    /// Says what is due.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        match &mut self.path {
            Path::AwaitAddress(discovery) => match discovery.poll(now)? {
                discovery::Action::Send(request) => Some(Action::Send(Datagram::Discovery(request))),
                discovery::Action::Failed => {
                    self.path = Path::Failed;
                    Some(Action::Fail(LinkError::NoDiscovery))
                }
            },
            Path::Open(keepalive) => {
                let ping = keepalive.poll(now)?;
                self.counts.keepalives += 1;
                Some(Action::Send(Datagram::Keepalive(ping)))
            }
            Path::Failed => None,
        }
    }

    /// Says when to poll again; `None` once discovery has failed.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.path {
            Path::AwaitAddress(discovery) => discovery.deadline(),
            Path::Open(keepalive) => Some(keepalive.deadline()),
            Path::Failed => None,
        }
    }

    /// Returns the mode in use, once described.
    pub fn mode(&self) -> Option<Mode> {
        self.cipher.as_ref().map(Cipher::mode)
    }

    /// Returns what was sent, received and ignored so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Decrypts first and strips afterwards: the body of a header extension and the padding are encrypted
    /// too. A packet is remembered only once it has opened, so that nobody without the key can move a window.
    fn voice<'a>(&mut self, header: Header, datagram: &'a mut [u8]) -> Result<Received<'a>, Ignored> {
        if header.payload_type() != rtp::OPUS {
            return Err(Ignored::ForeignPayloadType);
        }
        let cipher = self.cipher.as_ref().ok_or(Ignored::NotYet)?;
        let clear = cipher.mode().clear(&header);
        let plain = cipher.open(datagram, clear)?;
        if self.replay.packet(header.ssrc, header.sequence) == Verdict::Replayed {
            return Err(Ignored::Replayed);
        }
        let (clear, plain) = (&datagram[..clear], &datagram[plain]);
        let payload = &plain[header.payload(clear, plain)?];
        self.counts.voice_packets += 1;
        let (Sequence(sequence), Timestamp(timestamp)) = (header.sequence, header.timestamp);
        Ok(Received::Voice { ssrc: header.ssrc, sequence, timestamp, payload })
    }

    fn control(&mut self, datagram: &[u8], now: Instant) -> Result<Received<'static>, Ignored> {
        if discovery::is_answer(datagram) {
            return self.discovered(datagram, now).ok_or(Ignored::StrayDiscovery);
        }
        let counter = keepalive::read_echo(datagram).ok_or(Ignored::NotRtp)?;
        let Path::Open(keepalive) = &mut self.path else { return Err(Ignored::StrayKeepalive) };
        keepalive.echoed(counter, now).map(Received::Pong).ok_or(Ignored::StrayKeepalive)
    }

    fn discovered(&mut self, answer: &[u8], now: Instant) -> Option<Received<'static>> {
        let Path::AwaitAddress(discovery) = &mut self.path else { return None };
        let external = discovery.datagram(answer).ok()?;
        self.path = Path::Open(Keepalive::new(now));
        Some(Received::Discovered(external))
    }
}

/// Where the counters of a sender start. RFC 3550 section 5.1 asks for a random sequence and timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpStart {
    /// The sequence number of the next packet.
    pub sequence: u16,
    /// The timestamp of the packet before, in samples at 48 kHz.
    pub timestamp: u32,
    /// The transport nonce of the next packet; it counts up to `u32::MAX`, which is never used, and never
    /// wraps.
    pub counter: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send this to the voice server.
    Send(Datagram),
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

/// What a datagram was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received<'a> {
    /// A voice packet, transport decryption and RTP taken off.
    Voice {
        /// The sender.
        ssrc: Ssrc,
        /// The number of the packet.
        sequence: u16,
        /// The time of its first sample, at 48 kHz.
        timestamp: u32,
        /// The Opus or DAVE frame, never empty.
        payload: &'a [u8],
    },
    /// The server told our address.
    Discovered(SocketAddr),
    /// The newest keepalive came back after this time.
    Pong(Duration),
    /// Nothing to be done; counted.
    Ignored(Ignored),
}

/// Why a path cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No answer to discovery came.
    #[error(
        "the voice server answered none of {tries} discovery packets in {tries} s: allow outgoing UDP and its \
         answers in the firewall, or try another network",
        tries = discovery::TRIES
    )]
    NoDiscovery,
    /// The session was described with a mode that this build does not have.
    #[error(transparent)]
    Mode(#[from] UnknownMode),
    /// There is no key yet.
    #[error("no key yet: frames can be sealed once the session is described")]
    NotDescribed,
    /// Every nonce was used with this key.
    #[error("every transport nonce was used with this key: make a new session, which brings a new key")]
    Exhausted,
    /// The frame does not fit in a datagram.
    #[error("a frame of {length} bytes does not fit in a datagram, which takes {most}: lower the bitrate")]
    FrameTooLong {
        /// The length of the frame in bytes.
        length: usize,
        /// The longest that fits.
        most: usize,
    },
    /// The packet could not be sealed.
    #[error(transparent)]
    Cipher(CipherError),
}

impl From<CipherError> for LinkError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Exhausted => Self::Exhausted,
            other => Self::Cipher(other),
        }
    }
}

#[cfg(test)]
mod tests;
