//! Samples: the frames of one track on their way to the mix, or past it as packets.
//!
//! An Opus track is mixed a little ahead of its packets, by as much as the encoder delays what it is given. So it is heard where
//! its packets would be heard, and whether one is passed on or encoded anew can change from one frame to the next.
//!
//! ```text
//!    passed     held ─ the packet that is passed next, should the track be alone again
//!   ┌──────┐┌──────────┬──────┐┌──────┐┌──────┐
//!   │recent││ mixed    │ next ││      ││      │ queue
//!   └──────┘└──────────┴──────┘└──────┘└──────┘
//!               ahead ─┘
//! ```

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use crate::audio::{
    frame::{CHANNELS, FRAME_SAMPLES, Frame, Pcm},
    opus::{self, Decoder},
    recent::RecentPackets,
};

/// The frames of one track.
#[derive(Debug)]
pub(super) struct Samples {
    queue: VecDeque<Queued>,
    /// Silence that goes before the first packet, so that packets begin where those of others do; in samples per channel.
    lead: usize,
    current: Option<Current>,
    /// The packets that were passed last.
    recent: RecentPackets,
    decoder: Option<Decoder>,
    /// By how much what is mixed is ahead of the packets.
    ahead: usize,
    /// How much was taken since the track began, started over or was cleared; in samples per channel.
    played: u64,
    /// How often it started over since this was last asked.
    loops: u32,
    /// Packets that did not decode since this was last asked; silence took their place.
    errors: u64,
}

/// One frame that waits.
#[derive(Debug)]
struct Queued {
    frame: Frame,
    /// How much of it belongs to the track, in samples per channel: the last frame of a file may be filled up.
    length: usize,
    /// Whether the track starts over with it.
    begins_loop: bool,
}

/// The frame that is being mixed.
#[derive(Debug)]
struct Current {
    pcm: Pcm,
    at: usize,
    length: usize,
    /// As it came, if it came as a packet.
    packet: Option<Bytes>,
}

impl Samples {
    pub(super) fn new(frames: usize) -> Self {
        Self {
            queue: VecDeque::with_capacity(frames),
            lead: 0,
            current: None,
            recent: RecentPackets::default(),
            decoder: None,
            ahead: 0,
            played: 0,
            loops: 0,
            errors: 0,
        }
    }

    /// Frames that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, frame: Frame, begins_loop: bool) {
        self.queue.push_back(Queued { frame, length: FRAME_SAMPLES, begins_loop });
    }

    /// Of the last frame that waits only so much belongs to the track, in samples per channel.
    pub(super) fn end_after(&mut self, length: usize) {
        if let Some(last) = self.queue.back_mut() {
            last.length = length.clamp(1, FRAME_SAMPLES);
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.current.is_none()
    }

    /// How many samples per channel are here.
    pub(super) fn available(&self) -> usize {
        let waiting: usize = self.queue.iter().map(|queued| queued.length).sum();
        self.lead + self.current.as_ref().map_or(0, |current| current.length - current.at) + waiting
    }

    /// Whether 20 ms are here. Sums up no more than it must: packets of a track that passes are whole.
    pub(super) fn has_frame(&self) -> bool {
        (self.current.is_none() && self.lead == 0 && !self.queue.is_empty())
            || self.queue.len() > 1
            || self.available() >= FRAME_SAMPLES
    }

    /// How much was taken since the track began, started over or was cleared.
    pub(super) fn played(&self) -> Duration {
        duration(self.played)
    }

    /// How often the track started over since this was last asked.
    pub(super) fn take_loops(&mut self) -> u32 {
        std::mem::take(&mut self.loops)
    }

    /// Packets that did not decode since this was last asked; silence took their place.
    pub(super) fn take_errors(&mut self) -> u64 {
        std::mem::take(&mut self.errors)
    }

    /// Forgets all that waits: the track goes on elsewhere.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.queue.capacity());
    }

    /// How often the track starts over within what waits.
    pub(super) fn loops_waiting(&self) -> usize {
        self.queue.iter().filter(|queued| queued.begins_loop).count()
    }

    /// Forgets what comes after so many times that the track starts over; says whether there was something.
    pub(super) fn cut_loops(&mut self, keep: usize) -> bool {
        let cut = (0..self.queue.len()).filter(|nth| self.queue[*nth].begins_loop).nth(keep);
        if let Some(cut) = cut {
            self.queue.truncate(cut);
        }
        cut.is_some()
    }

    /// How long that lasts which is here.
    pub(super) fn lasts(&self) -> Duration {
        duration(self.available() as u64)
    }

    /// Whether the next frame is a packet.
    pub(super) fn is_opus(&self) -> bool {
        self.queue.front().is_some_and(|queued| packet_of(&queued.frame).is_some())
    }

    /// Whether what is mixed is ahead of the packets.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// Whether the next packet can go out as it is.
    pub(super) fn can_pass(&self) -> bool {
        let packet = match &self.current {
            None if self.lead == 0 => self.queue.front().and_then(|queued| packet_of(&queued.frame)),
            Some(Current { at, packet, .. }) if *at == self.ahead => packet.as_ref(),
            _ => None,
        };
        packet.is_some_and(|packet| {
            packet.len() <= opus::MAX_PACKET && opus::samples(packet) == Ok(FRAME_SAMPLES as u32)
        })
    }

    /// The next packet, as it is; only if [`Self::can_pass`].
    pub(super) fn pass(&mut self) -> Option<Bytes> {
        let held = self.current.take().and_then(|current| current.packet);
        let packet = match held {
            // It was counted when it was decoded, but for what was ahead.
            Some(packet) => {
                self.played += (FRAME_SAMPLES - self.ahead) as u64;
                packet
            }
            None => {
                let queued = self.queue.pop_front()?;
                self.count(&queued);
                self.played += FRAME_SAMPLES as u64;
                match queued.frame {
                    Frame::Opus(packet) => packet,
                    Frame::Pcm(_) => return None,
                }
            }
        };
        (self.ahead, self.decoder) = (0, None);
        self.recent.remember(&packet);
        Some(packet)
    }

    /// Whether it can be mixed ahead of its packets, of which there are enough.
    pub(super) fn can_lead(&self) -> bool {
        self.current.is_none() && self.queue.len() > 1 && self.is_opus()
    }

    /// Adds what was heard of the track before, 80 ms, to `before`, and after it the first so many samples of what comes next.
    pub(super) fn lead_in(&mut self, samples: usize, gain: f32, before: &mut [f32]) {
        let at = before.len() - samples * CHANNELS;
        let first = at - self.recent.len() * FRAME_SAMPLES * CHANNELS;
        let mut frames = before[first..at].chunks_exact_mut(FRAME_SAMPLES * CHANNELS);
        let decoder = self.recent.decoder(|heard| {
            let sums = frames.next().into_iter().flatten();
            sums.zip(heard.iter()).for_each(|(sum, sample)| *sum += sample * gain);
        });
        self.decoder = decoder.ok();
        let mut next = vec![0.0; samples * CHANNELS];
        self.read(&mut next);
        before[at..].iter_mut().zip(next).for_each(|(sum, sample)| *sum += sample * gain);
        self.ahead = samples;
    }

    /// Begins amid a mix that is ahead by so many samples: packets begin where they would if they were passed.
    pub(super) fn begin_amid(&mut self, ahead: usize) {
        (self.lead, self.ahead) = (FRAME_SAMPLES - ahead, ahead);
    }

    /// What was mixed ahead has not been heard, as nothing followed it: it is mixed again, or passed.
    pub(super) fn rewind(&mut self) {
        if let Some(current) = &mut self.current {
            let back = self.ahead.min(current.at);
            current.at -= back;
            self.played = self.played.saturating_sub(back as u64);
        }
        self.ahead = 0;
    }

    /// Fills `out` from its start with samples of both channels; says how many pairs there were.
    pub(super) fn read(&mut self, out: &mut [f32]) -> usize {
        let wanted = out.len() / CHANNELS;
        let mut read = self.lead.min(wanted);
        out[..read * CHANNELS].fill(0.0);
        self.lead -= read;
        while read < wanted && self.open() {
            let Some(current) = &mut self.current else { break };
            let count = (current.length - current.at).min(wanted - read);
            let from = current.at * CHANNELS..(current.at + count) * CHANNELS;
            out[read * CHANNELS..(read + count) * CHANNELS].copy_from_slice(&current.pcm[from]);
            current.at += count;
            read += count;
            self.played += count as u64;
            if current.at == current.length {
                self.current = None;
            }
        }
        read
    }

    /// What comes next, as far as it needs no decoding; it stays here.
    pub(super) fn next_decoded(&self) -> &[f32] {
        match (&self.current, self.queue.front()) {
            (Some(current), _) => &current.pcm[current.at * CHANNELS..current.length * CHANNELS],
            (None, Some(Queued { frame: Frame::Pcm(pcm), length, .. })) => &pcm[..length * CHANNELS],
            _ => &[],
        }
    }

    /// Opens the next frame unless one is open; says whether one is.
    fn open(&mut self) -> bool {
        if self.current.is_some() {
            return true;
        }
        let Some(queued) = self.queue.pop_front() else { return false };
        self.count(&queued);
        let (pcm, packet) = match queued.frame {
            Frame::Pcm(pcm) => {
                self.decoder = None;
                (pcm, None)
            }
            Frame::Opus(packet) => (self.decode(&packet), Some(packet)),
        };
        self.current = Some(Current { pcm, at: 0, length: queued.length, packet });
        true
    }

    fn count(&mut self, queued: &Queued) {
        if queued.begins_loop {
            (self.loops, self.played) = (self.loops + 1, 0);
        }
    }

    fn decode(&mut self, packet: &[u8]) -> Pcm {
        let mut pcm = Pcm::default();
        let decoder = match &mut self.decoder {
            Some(decoder) => Ok(decoder),
            none => self.recent.decoder(|_| ()).map(|decoder| none.insert(decoder)),
        };
        if decoder.and_then(|decoder| decoder.decode_frame(Some(packet), &mut pcm)).is_err() {
            self.errors += 1;
        }
        pcm
    }
}

fn duration(samples: u64) -> Duration {
    Duration::from_nanos(samples * 62_500 / 3)
}

fn packet_of(frame: &Frame) -> Option<&Bytes> {
    match frame {
        Frame::Opus(packet) => Some(packet),
        Frame::Pcm(_) => None,
    }
}
