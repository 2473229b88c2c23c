//! One track: its frames, its credit, its end.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    action::{Action, ReadAhead, TrackId},
    reason::TrackEnd,
};
use crate::{
    audio::{
        frame::{FRAME_SAMPLES, Frame, Pcm},
        mixer,
        opus::{self, Decoder, OpusError},
    },
    gateway::payload::SpeakingFlags,
};

#[derive(Debug)]
pub(super) struct Track {
    id: TrackId,
    flags: SpeakingFlags,
    volume: f32,
    read_ahead: ReadAhead,
    queue: VecDeque<Frame>,
    /// Frames that the source was asked for and has not supplied.
    credit: usize,
    playback: Playback,
    missing: u32,
    end: Option<TrackEnd>,
    decoder: Option<Box<Decoding>>,
}

/// What it takes to mix packets.
#[derive(Debug)]
struct Decoding {
    decoder: Decoder,
    samples: Pcm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Playback {
    New,
    Playing,
}

/// What a tick took from a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// An untouched packet.
    Opus,
    /// Samples, decoded if need be.
    Pcm,
}

impl Track {
    pub(super) fn new(id: TrackId, flags: SpeakingFlags, volume: f32, read_ahead: ReadAhead) -> Self {
        // Without any flag Discord takes no audio from us.
        let flags = if flags.is_empty() { SpeakingFlags::MICROPHONE } else { flags };
        Self {
            id,
            flags,
            volume,
            read_ahead,
            queue: VecDeque::with_capacity(read_ahead.frames()),
            credit: 0,
            playback: Playback::New,
            missing: 0,
            end: None,
            decoder: None,
        }
    }

    pub(super) fn id(&self) -> TrackId {
        self.id
    }

    pub(super) fn flags(&self) -> SpeakingFlags {
        self.flags
    }

    /// Whether its packets can go out as they are.
    pub(super) fn is_unchanged(&self) -> bool {
        self.volume == 1.0
    }

    /// Whether a frame can be taken.
    pub(super) fn is_ready(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How many frames the source is to be asked for: outside of a refill none until half of what it may be ahead is used up.
    pub(super) fn demand(&mut self, refill: bool) -> Option<Action> {
        let (wanted, on_the_way) = (self.read_ahead.frames(), self.queue.len() + self.credit);
        let enough = if refill && self.read_ahead == ReadAhead::Stored { wanted - 1 } else { wanted / 2 };
        if self.end.is_some() || on_the_way > enough {
            return None;
        }
        self.credit += wanted - on_the_way;
        Some(Action::Demand(self.id, wanted - on_the_way))
    }

    /// Queues a frame if the source was granted one.
    pub(super) fn push(&mut self, frame: Frame) -> bool {
        let granted = self.credit > 0 && self.end.is_none();
        if granted {
            self.credit -= 1;
            self.queue.push_back(frame);
        }
        granted
    }

    pub(super) fn finish(&mut self, end: TrackEnd) {
        self.end.get_or_insert(end);
    }

    pub(super) fn stop(&mut self, end: TrackEnd) {
        self.queue.clear();
        self.end = Some(end);
    }

    pub(super) fn is_drained(&self) -> bool {
        self.end.is_some() && self.queue.is_empty()
    }

    /// The end of a track that has played all it had.
    pub(super) fn take_end(&mut self) -> Option<TrackEnd> {
        if self.queue.is_empty() { self.end.take() } else { None }
    }

    /// Whether it has begun, and has no frame.
    pub(super) fn is_dry(&self) -> bool {
        self.playback == Playback::Playing && !self.is_ready()
    }

    /// A frame was due and not here: how many that makes in a row.
    pub(super) fn miss(&mut self) -> u32 {
        self.missing = self.missing.saturating_add(1);
        self.missing
    }

    /// The next packet, if it can go out as it is: Opus of 20 ms at volume 1, that fits into a datagram.
    pub(super) fn pass(&mut self) -> Option<Bytes> {
        let Some(Frame::Opus(packet)) = self.queue.front() else { return None };
        let passes = self.is_unchanged()
            && packet.len() <= opus::MAX_PACKET
            && opus::samples(packet) == Ok(FRAME_SAMPLES as u32);
        // Taken out, as a packet that is cloned asks for memory.
        match passes.then(|| self.queue.pop_front())? {
            Some(Frame::Opus(packet)) => Some(packet),
            _ => None,
        }
    }

    /// Adds the next frame to the mix.
    pub(super) fn mix_into(&mut self, mix: &mut Pcm) -> Result<(), OpusError> {
        match self.queue.pop_front() {
            Some(Frame::Pcm(samples)) => mixer::mix(mix, &samples, self.volume),
            Some(Frame::Opus(packet)) => {
                let Decoding { decoder, samples } = match &mut self.decoder {
                    Some(decoding) => &mut **decoding,
                    none => {
                        none.insert(Box::new(Decoding { decoder: Decoder::new()?, samples: Pcm::default() }))
                    }
                };
                decoder.decode_frame(Some(&packet), samples)?;
                mixer::mix(mix, samples, self.volume);
            }
            None => {}
        }
        Ok(())
    }

    /// A frame was taken: what follows from it.
    pub(super) fn took(&mut self, taken: Taken, refill: bool) -> impl Iterator<Item = Action> + use<> {
        if taken == Taken::Opus {
            // What a decoder remembers is of a moment ago, and would be heard as a click.
            self.decoder = None;
        }
        let started = self.playback == Playback::New;
        self.playback = Playback::Playing;
        self.missing = 0;
        let started = started.then_some(Action::Started(self.id));
        started.into_iter().chain(self.demand(refill))
    }
}
