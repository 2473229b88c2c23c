//! VoiceSender: the way of a frame to the socket. The speaker sends through it, and the transport keeps it ready.
//!
//! A packet is a call and no message, which would wake a second actor and ask for memory. Both actors run on one arbiter,
//! so that neither ever waits for the other.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Message, Recipient};

use super::{driven::now, meters::meters, stats::TransportStats, udp::Socket};
use crate::{
    speaker::VoiceFrame,
    transport::{
        Link, LinkError,
        dave::{Frames, Sealed},
    },
};

/// **VoiceSender → Transport.** A frame was not sent: see to the path; with an error, this transport cannot send any more.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SendFailed(pub(super) Option<LinkError>);

/// Sends the frames of one voice session.
#[derive(Clone)]
pub(super) struct VoiceSender(Arc<Mutex<MediaSession>>);

/// What it takes to send and receive in one voice session.
pub(super) struct MediaSession {
    pub(super) link: Link,
    pub(super) frames: Frames,
    pub(super) socket: Option<Socket>,
    pub(super) stats: TransportStats,
    /// Who sees to the path; nobody before the transport has begun and after its end, when nothing is sent either.
    pub(super) transport: Option<Recipient<SendFailed>>,
    /// How late the last packets were. A call's histogram is written for many at once: it is too large to stay in the processor.
    late: Vec<Duration>,
    /// Samples whose frames were not sent since the last packet.
    skipped: u32,
    packet: Vec<u8>,
}

/// What became of a frame.
enum Fate {
    Sent,
    /// There is no key to encrypt it end to end.
    Withheld,
    /// The system did not take it, or there is no socket.
    Refused,
}

impl VoiceSender {
    pub(super) fn new(link: Link) -> Self {
        Self(Arc::new(Mutex::new(MediaSession {
            link,
            frames: Frames::new(),
            socket: None,
            stats: TransportStats::default(),
            transport: None,
            late: Vec::new(),
            skipped: 0,
            packet: Vec::new(),
        })))
    }

    /// The session, also after a panic of one of its two actors: nonces are drawn before they are used, so that what a panic
    /// leaves behind uses none twice.
    pub(super) fn session(&self) -> MutexGuard<'_, MediaSession> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame without waiting; what became of it is counted. False without a transport.
    pub(super) fn send(&self, frame: &VoiceFrame) -> bool {
        let mut session = self.session();
        if session.transport.is_none() {
            return false;
        }
        match session.speak(frame) {
            Ok(Fate::Sent) => {}
            Ok(Fate::Withheld) => session.withhold(),
            Ok(Fate::Refused) => session.failed(None),
            Err(LinkError::Exhausted) => session.failed(Some(LinkError::Exhausted)),
            Err(_) => session.count_unsent(),
        }
        true
    }
}

impl MediaSession {
    /// Sends without waiting: what the system does not take at once would be late anyway. Says whether it was taken.
    pub(super) fn send(&mut self, datagram: &[u8]) -> bool {
        let Some(socket) = &self.socket else { return false };
        let sent = socket.send(datagram);
        if let Err(error) = &sent
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.link.refused(error.kind(), now());
        }
        sent.is_ok()
    }

    /// What was sent and received so far.
    pub(super) fn stats(&mut self) -> TransportStats {
        self.record_late();
        TransportStats {
            counts: self.link.counts().clone(),
            mode: self.link.mode().map(|mode| mode.to_string()),
            ..self.stats.clone()
        }
    }

    fn count_late(&mut self, late: Duration) {
        self.late.push(late);
        if self.late.len() == RECORDED_AT_ONCE {
            self.record_late();
        }
    }

    fn record_late(&mut self) {
        for late in self.late.drain(..) {
            self.stats.lateness.record(late);
        }
    }

    fn withhold(&mut self) {
        self.stats.withheld += 1;
        meters().withheld();
    }

    fn count_unsent(&mut self) {
        self.stats.unsent += 1;
        meters().unsent();
    }

    fn failed(&mut self, error: Option<LinkError>) {
        self.count_unsent();
        if let Some(transport) = &self.transport {
            transport.do_send(SendFailed(error));
        }
    }

    /// Encrypts a frame end to end, seals it, and sends it. Nothing leaves that should be encrypted and is not.
    fn speak(&mut self, frame: &VoiceFrame) -> Result<Fate, LinkError> {
        let elapsed = frame.elapsed.wrapping_add(self.skipped);
        // Until the frame is sent.
        self.skipped = elapsed;
        let mut packet = std::mem::take(&mut self.packet);
        let sealer = &mut self.frames.sealer;
        let write_frame = |out: &mut Vec<u8>| sealer.seal(&frame.opus, out) != Sealed::Withheld;
        let sealed = self.link.seal(elapsed, &mut packet, write_frame);
        let sent = sealed.is_ok() && self.send(&packet);
        if sent {
            self.skipped = 0;
            self.link.voice_sent(packet.len());
            let late = now().saturating_duration_since(frame.due);
            self.count_late(late);
            meters().sent(packet.len(), late);
        }
        self.packet = packet;
        match sealed {
            Ok(()) if sent => Ok(Fate::Sent),
            Ok(()) => Ok(Fate::Refused),
            Err(LinkError::Withheld) => Ok(Fate::Withheld),
            Err(error) => Err(error),
        }
    }
}

/// Half a second of packets.
const RECORDED_AT_ONCE: usize = 25;
