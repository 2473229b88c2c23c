//! Link: the UDP side of one voice session, from finding our address to sealing and opening packets.
//!
//! The path finds our address, keeps the way to the server open, and finds another when it dies. Beside it stands the key:
//! there is none until the session is described, and later ones replace it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cipher::{Cipher, Mode};
use path::MediaPath;
use replay::{Replay, Verdict};
use rtp::{FIXED_HEADER, Header, RtpError, Sequence, Timestamp};

use crate::id::{SecretKey, Ssrc};

mod action;
pub mod cipher;
mod counts;
#[cfg(feature = "dave")]
pub mod dave;
mod deafness;
pub mod discovery;
#[cfg(feature = "dave")]
mod early;
mod error;
mod keepalive;
mod path;
#[cfg(feature = "dave")]
mod reception;
mod replay;
pub mod rtp;

pub use action::{Action, Datagram, PathStatus, WebsocketLoss};
pub use counts::{Counts, Ignored};
pub use deafness::{DeafAlarm, Deafness, DeafnessRemedy};
pub use error::{LinkError, PathLoss};
pub use keepalive::INTERVAL as KEEPALIVE_INTERVAL;
#[cfg(feature = "dave")]
pub use reception::{Reception, ReceptionCounts, SealedVoice};

/// The longest datagram that is sent, in bytes: an Ethernet frame less the headers of IP and UDP, and some
/// for tunnels.
pub const MAX_DATAGRAM: usize = 1460;

/// The UDP side of one voice session.
#[derive(Debug)]
pub struct Link {
    ssrc: Ssrc,
    path: MediaPath,
    cipher: Option<Cipher>,
    first_counter: u32,
    sequence: Sequence,
    timestamp: Timestamp,
    /// The timestamp of a packet that was sealed, until it is sent.
    sealed: Option<Timestamp>,
    replay: Replay,
    /// Whether anyone wants to hear: else voice is not even decrypted.
    listens: bool,
    counts: Counts,
}

impl Link {
    /// Starts a path; a socket and discovery are due at once.
    pub fn new(ssrc: Ssrc, start: RtpStart, now: Instant) -> Self {
        Self {
            ssrc,
            path: MediaPath::new(ssrc, now),
            cipher: None,
            first_counter: start.counter,
            sequence: Sequence(start.sequence),
            timestamp: Timestamp(start.timestamp),
            sealed: None,
            replay: Replay::default(),
            listens: true,
            counts: Counts::default(),
        }
    }

    /// Takes mode and key of SessionDescription; from now on frames can be sealed. A later call is a new
    /// session on the same path: RTP goes on counting, and so does the nonce, so that no key ever sees one
    /// twice. It is also the answer to [`Action::SelectProtocol`].
    ///
    /// # Errors
    ///
    /// [`LinkError::Mode`] for a mode that this build does not have; what was described before stays.
    pub fn described(&mut self, mode: &str, key: &SecretKey, now: Instant) -> Result<(), LinkError> {
        let mode: Mode = mode.parse()?;
        self.path.described(now);
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

    /// Writes the packet of one Opus or DAVE frame into `out`, replacing what it held. `write_frame` appends the frame to the
    /// header that it finds, and says whether there is one. `elapsed` is the time since the last packet that was sent, in
    /// samples at 48 kHz: 960 for a frame of 20 ms. Allocates nothing when `out` has room.
    ///
    /// [`Self::voice_sent`] says that it was sent; a packet that the system refused leaves its sequence number to
    /// the next, and only its nonce is spent.
    ///
    /// # Errors
    ///
    /// A [`LinkError`] that says what is missing; `out` is then empty and nothing was counted.
    pub fn seal(
        &mut self,
        elapsed: u32,
        out: &mut Vec<u8>,
        write_frame: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<(), LinkError> {
        self.sealed = None;
        let sealed = self.write_packet(elapsed, out, write_frame);
        match sealed {
            Ok(timestamp) => self.sealed = Some(timestamp),
            Err(_) => out.clear(),
        }
        sealed.map(drop)
    }

    fn write_packet(
        &mut self,
        elapsed: u32,
        out: &mut Vec<u8>,
        write_frame: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<Timestamp, LinkError> {
        out.clear();
        let cipher = self.cipher.as_mut().ok_or(LinkError::NotDescribed)?;
        let timestamp = self.timestamp.after(elapsed);
        out.extend_from_slice(&Header::voice(self.sequence, timestamp, self.ssrc).to_bytes());
        if !write_frame(out) {
            return Err(LinkError::Withheld);
        }
        let most = MAX_DATAGRAM - FIXED_HEADER - cipher.mode().overhead();
        let length = out.len().saturating_sub(FIXED_HEADER);
        if length > most {
            return Err(LinkError::FrameTooLong { length, most });
        }
        cipher.seal(out, FIXED_HEADER)?;
        Ok(timestamp)
    }

    /// The system took the packet that was sealed last, which has this many bytes.
    pub fn voice_sent(&mut self, length: usize) {
        let Some(timestamp) = self.sealed.take() else { return };
        self.timestamp = timestamp;
        self.sequence = self.sequence.next();
        self.counts.sent_packets += 1;
        self.counts.sent_bytes += length as u64;
    }

    /// The system took a datagram that is not voice.
    pub fn datagram_sent(&mut self, datagram: &Datagram) {
        self.counts.keepalives += u64::from(matches!(datagram, Datagram::Keepalive(_)));
    }

    /// The system did not take a datagram, or reports that an earlier one came back.
    pub fn refused(&mut self, kind: ErrorKind, now: Instant) {
        self.path.refused(kind, now);
    }

    /// The socket that [`Action::Bind`] asks for could not be had.
    pub fn bind_failed(&mut self, kind: ErrorKind) {
        self.path.bind_failed(kind);
    }

    /// The websocket is gone.
    pub fn websocket_lost(&mut self, loss: WebsocketLoss, now: Instant) {
        self.path.websocket_lost(loss, now);
    }

    /// Something came over the websocket; of use while the path is dead.
    pub fn websocket_heard(&mut self) {
        self.path.websocket_heard();
    }

    /// The voice session goes on over another websocket.
    pub fn websocket_resumed(&mut self, now: Instant) {
        self.path.websocket_resumed(now);
    }

    /// The voice session goes on at another media server, to which sockets are bound from now on.
    pub fn server_changed(&mut self, now: Instant) {
        self.path.server_changed(now);
    }

    /// The media server is gone; Discord is to name another.
    pub fn server_lost(&mut self, now: Instant) {
        self.path.server_lost(now);
    }

    /// Says whether anyone wants to hear, as is so at first.
    pub fn listen(&mut self, listens: bool) {
        self.listens = listens;
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
        self.path.poll(now)
    }

    /// Says when to poll again; `None` once the path is given up.
    pub fn deadline(&self) -> Option<Instant> {
        self.path.deadline()
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
        if !self.listens {
            return Err(Ignored::Unheard);
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
            return self.path.answer(datagram, now).map(Received::Discovered).ok_or(Ignored::StrayDiscovery);
        }
        let counter = keepalive::read_echo(datagram).ok_or(Ignored::NotRtp)?;
        self.path.echoed(counter, now).map(Received::Pong).ok_or(Ignored::StrayKeepalive)
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
    /// The server told our address; where it is news, [`Action::SelectProtocol`] follows.
    Discovered(SocketAddr),
    /// The newest keepalive came back after this time.
    Pong(Duration),
    /// Nothing to be done; counted.
    Ignored(Ignored),
}

#[cfg(test)]
mod tests;
