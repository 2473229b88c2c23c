//! Filtered: the samples of one track, with its filters.

use super::samples::Samples;
use crate::audio::{
    filter::{FilterChain, Filters},
    frame::{CHANNELS, FRAME_SAMPLES, Pcm},
};

/// The filters of one track. Where they do nothing, samples pass without being looked at.
#[derive(Debug)]
pub(super) struct Filtered {
    chain: FilterChain,
    /// What came out of the chain and was not read, and where; in samples per channel.
    frame: Option<Pcm>,
    at: usize,
    length: usize,
}

impl Filtered {
    pub(super) fn new(filters: &Filters) -> Self {
        Self { chain: FilterChain::with(filters), frame: None, at: 0, length: 0 }
    }

    /// `heard` says whether what was before is still in the ear.
    pub(super) fn set(&mut self, filters: &Filters, heard: bool) {
        if heard {
            self.chain.set(filters);
        } else {
            *self = Self::new(filters);
        }
    }

    pub(super) fn is_neutral(&self) -> bool {
        self.at == self.length && self.chain.is_neutral()
    }

    /// Seconds of the track that are used up by one second that is heard.
    pub(super) fn rate(&self) -> f64 {
        self.chain.rate()
    }

    /// How many frames must be there for the next 20 ms.
    pub(super) fn wants(&self) -> usize {
        self.chain.wants()
    }

    /// Whether something comes after the last sample.
    pub(super) fn holds(&self) -> bool {
        self.at < self.length || self.chain.holds()
    }

    /// The track goes on elsewhere.
    pub(super) fn clear(&mut self) {
        self.chain.clear();
        (self.at, self.length) = (0, 0);
    }

    /// Whether 20 ms can be read.
    pub(super) fn has_frame(&self, samples: &Samples) -> bool {
        if self.is_neutral() {
            samples.has_frame()
        } else {
            samples.available() >= self.wants() * FRAME_SAMPLES
        }
    }

    /// Fills `out` from its start with samples of both channels; says how many pairs there were.
    pub(super) fn read(&mut self, samples: &mut Samples, out: &mut [f32]) -> usize {
        let wanted = out.len() / CHANNELS;
        let mut read = 0;
        while read < wanted {
            let rest = &mut out[read * CHANNELS..];
            if self.is_neutral() {
                return read + samples.read(rest);
            }
            if self.at == self.length && !self.pull(samples) {
                break;
            }
            let Some(frame) = &self.frame else { break };
            let count = (self.length - self.at).min(wanted - read);
            let from = self.at * CHANNELS..(self.at + count) * CHANNELS;
            rest[..count * CHANNELS].copy_from_slice(&frame[from]);
            (self.at, read) = (self.at + count, read + count);
        }
        read
    }

    fn pull(&mut self, samples: &mut Samples) -> bool {
        let frame = self.frame.get_or_insert_default();
        let mut last = FRAME_SAMPLES;
        let had = self.chain.pull(frame, |into| {
            last = samples.read(&mut into[..]);
            into[last * CHANNELS..].fill(0.0);
            last > 0
        });
        self.length = if self.chain.is_stretching() { self.chain.length() } else { last };
        self.at = 0;
        had && self.length > 0
    }

    /// What would be heard next, if these samples were.
    pub(super) fn preview(&self, samples: &[f32]) -> Pcm {
        let (mut out, mut once) = (Pcm::default(), true);
        let next = |into: &mut Pcm| {
            into.fill(0.0);
            into[..samples.len()].copy_from_slice(samples);
            std::mem::take(&mut once)
        };
        self.chain.clone().pull(&mut out, next);
        out
    }
}
