//! Timescale: how fast and how high, one without the other.
//!
//! First the sound is made longer or shorter by pieces that overlap (WSOLA), then it is read faster or slower, which changes pitch and length:
//!
//! ```text
//!            × speed / pitch                × pitch × rate
//!  next ───▶ Overlap: 20 ms pieces ───────▶ Reader: a sinc at any place ───▶ 20 ms
//! ```

use super::{overlap::Overlap, reader::Reader, settings::Timescale};
use crate::audio::frame::Pcm;

#[derive(Clone, Debug)]
pub(super) struct Stretcher {
    overlap: Overlap,
    reader: Reader,
    rate: f64,
    /// What is inside is played out as it is.
    ending: bool,
}

impl Stretcher {
    pub(super) fn new(settings: Timescale) -> Self {
        let mut stretcher = Self { overlap: Overlap::new(), reader: Reader::new(), rate: 1.0, ending: false };
        stretcher.set(settings);
        stretcher
    }

    pub(super) fn set(&mut self, settings: Timescale) {
        let within = |value: f32| f64::from(value).clamp(0.1, 10.0);
        self.rate = within(settings.speed * settings.rate);
        let height = within(settings.pitch * settings.rate);
        self.overlap.set_tempo(self.rate / height);
        self.reader.set_ratio(height);
        self.ending = false;
    }

    /// Nothing more is taken in.
    pub(super) fn finish(&mut self) {
        self.set(Timescale::default());
        self.ending = true;
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.ending
    }

    /// Seconds that go in for one that comes out.
    pub(super) fn rate(&self) -> f64 {
        if self.ending { 1.0 } else { self.rate }
    }

    /// How many frames the next pull takes at most.
    pub(super) fn wants(&self) -> usize {
        if self.ending { 1 } else { self.overlap.wants(self.reader.wants()) }
    }

    /// Fills `out` from its start; says how many samples per channel there were: fewer than 960 at the end.
    pub(super) fn pull(&mut self, out: &mut Pcm, mut next: impl FnMut(&mut Pcm) -> bool) -> usize {
        let Self { overlap, reader, ending, .. } = self;
        reader.read(out, |piece| overlap.pull(piece, |frame| !*ending && next(frame)))
    }
}
