//! One track: its frames, its credit, its end.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    CREDIT,
    action::{Action, TrackId},
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
    queue: VecDeque<Frame>,
    credit: usize,
    playback: Playback,
    missing: u32,
    end: Option<TrackEnd>,
    decoder: Option<Decoder>,
    scratch: Pcm,
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
    pub(super) fn new(id: TrackId, flags: SpeakingFlags, volume: f32) -> Self {
        // Without any flag Discord takes no audio from us.
        let flags = if flags.is_empty() { SpeakingFlags::MICROPHONE } else { flags };
        Self {
            id,
            flags,
            volume,
            queue: VecDeque::with_capacity(CREDIT),
            credit: CREDIT,
            playback: Playback::New,
            missing: 0,
            end: None,
            decoder: None,
            scratch: Pcm::default(),
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
        let whole = self.is_unchanged();
        match self.queue.front() {
            Some(Frame::Opus(packet))
                if whole
                    && packet.len() <= opus::MAX_PACKET
                    && opus::samples(packet) == Ok(FRAME_SAMPLES as u32) =>
            {
                let packet = packet.clone();
                self.queue.pop_front();
                Some(packet)
            }
            _ => None,
        }
    }

    /// Adds the next frame to the mix.
    pub(super) fn mix_into(&mut self, mix: &mut Pcm) -> Result<(), OpusError> {
        match self.queue.pop_front() {
            Some(Frame::Pcm(samples)) => mixer::mix(mix, &samples, self.volume),
            Some(Frame::Opus(packet)) => {
                let decoder = match &mut self.decoder {
                    Some(decoder) => decoder,
                    none => none.insert(Decoder::new()?),
                };
                decoder.decode_frame(Some(&packet), &mut self.scratch)?;
                mixer::mix(mix, &self.scratch, self.volume);
            }
            None => {}
        }
        Ok(())
    }

    /// A frame was taken: what follows from it.
    pub(super) fn took(&mut self, taken: Taken) -> impl Iterator<Item = Action> + use<> {
        if taken == Taken::Opus {
            // What a decoder remembers is of a moment ago, and would be heard as a click.
            self.decoder = None;
        }
        let started = self.playback == Playback::New;
        self.playback = Playback::Playing;
        self.missing = 0;
        let more = self.end.is_none();
        if more {
            self.credit += 1;
        }
        let id = self.id;
        started.then_some(Action::Started(id)).into_iter().chain(more.then_some(Action::Demand(id, 1)))
    }
}
