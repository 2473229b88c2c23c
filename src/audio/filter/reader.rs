//! Reader: reads sound faster or slower, so that it becomes higher or lower.
//!
//! What stands between two samples is found with a sinc of 16 samples under a Blackman window, wider where it is read faster, so
//! that nothing folds back that would be too high to be heard.

use std::f64::consts::PI;

use super::overlap::{HOP, Piece};
use crate::audio::{
    frame::{CHANNELS, FRAME_SAMPLES, Pcm},
    stretch::product,
};

#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// Samples per channel from one that is read to the next.
    ratio: f64,
    held: [Vec<f32>; CHANNELS],
    piece: Box<Piece>,
    /// The next place to read, in `held`.
    at: f64,
    /// How much of `held` is sound, once all was taken in.
    end: Option<usize>,
    /// Rows of `taps`, one for each part of the way from one sample to the next, and for the whole.
    table: Vec<f32>,
    taps: usize,
    weights: Vec<f32>,
}

impl Reader {
    pub(super) fn new() -> Self {
        let silence = || {
            let mut held = Vec::with_capacity(CAPACITY);
            held.resize(MOST_TAPS / 2, 0.0);
            held
        };
        Self {
            ratio: 1.0,
            held: std::array::from_fn(|_| silence()),
            piece: Box::new(Piece { channels: [[0.0; HOP]; CHANNELS], length: 0 }),
            at: (MOST_TAPS / 2) as f64,
            end: None,
            table: Vec::new(),
            taps: 0,
            weights: Vec::new(),
        }
    }

    pub(super) fn set_ratio(&mut self, ratio: f64) {
        if self.ratio == ratio {
            return;
        }
        self.ratio = ratio;
        let wide = ratio.max(1.0);
        self.taps = ((LEAST_TAPS as f64 * wide).ceil() as usize).next_multiple_of(8).min(MOST_TAPS);
        self.weights.resize(self.taps, 0.0);
        self.table.clear();
        for phase in 0..=PHASES {
            let part = phase as f64 / PHASES as f64;
            let start = self.table.len();
            let row = (0..self.taps).map(|tap| {
                let distance = tap as f64 - (self.taps / 2 - 1) as f64 - part;
                (sinc(distance * PASSBAND / wide) * window(distance / (self.taps / 2) as f64)) as f32
            });
            self.table.extend(row);
            // A constant stays what it is.
            let sum: f32 = self.table[start..].iter().sum();
            self.table[start..].iter_mut().for_each(|weight| *weight /= sum);
        }
    }

    /// Fills `out` from its start; says how many samples per channel there were.
    pub(super) fn read(&mut self, out: &mut Pcm, mut next: impl FnMut(&mut Piece)) -> usize {
        for (nth, pair) in out.chunks_exact_mut(CHANNELS).enumerate() {
            if !self.fill(&mut next) {
                self.forget();
                return nth;
            }
            let (whole, part) = (self.at as usize, self.at.fract());
            if self.ratio == 1.0 && part < 1e-9 {
                pair.iter_mut().zip(&self.held).for_each(|(sample, held)| *sample = held[whole]);
            } else {
                self.weigh(part);
                let from = whole + 1 - self.taps / 2;
                for (sample, held) in pair.iter_mut().zip(&self.held) {
                    *sample = product(&self.weights, &held[from..from + self.taps]);
                }
            }
            self.at += self.ratio;
        }
        self.forget();
        FRAME_SAMPLES
    }

    /// How many pieces the next 20 ms take at most.
    pub(super) fn wants(&self) -> usize {
        let furthest = self.at + self.ratio * FRAME_SAMPLES as f64;
        (furthest as usize + self.taps / 2 + 3).saturating_sub(self.held[0].len()).div_ceil(HOP)
    }

    /// Takes in what the next sample needs; says whether there is one.
    fn fill(&mut self, next: &mut impl FnMut(&mut Piece)) -> bool {
        let wanted = self.at as usize + self.taps / 2 + 2;
        while self.held[0].len() < wanted {
            self.piece.length = 0;
            if self.end.is_none() {
                next(&mut self.piece);
            }
            if self.piece.length == 0 {
                self.end.get_or_insert(self.held[0].len());
                self.held.iter_mut().for_each(|held| held.resize(wanted, 0.0));
            }
            for (held, piece) in self.held.iter_mut().zip(&self.piece.channels) {
                held.extend_from_slice(&piece[..self.piece.length]);
            }
        }
        self.end.is_none_or(|end| self.at < end as f64)
    }

    fn weigh(&mut self, part: f64) {
        if self.taps == 0 {
            return;
        }
        let phase = part * PHASES as f64;
        let (row, share) = (phase as usize, phase.fract() as f32);
        let rows = &self.table[row * self.taps..(row + 2) * self.taps];
        let (one, other) = rows.split_at(self.taps);
        for ((weight, one), other) in self.weights.iter_mut().zip(one).zip(other) {
            *weight = one + (other - one) * share;
        }
    }

    fn forget(&mut self) {
        let keep = (self.at as usize).saturating_sub(MOST_TAPS / 2);
        if keep >= HOP / 2 {
            let keep = keep.min(self.held[0].len());
            self.held.iter_mut().for_each(|held| drop(held.drain(..keep)));
            self.at -= keep as f64;
            self.end = self.end.map(|end| end.saturating_sub(keep));
        }
    }
}

fn sinc(at: f64) -> f64 {
    if at.abs() < 1e-9 { 1.0 } else { (PI * at).sin() / (PI * at) }
}

/// Blackman's, 1 in the middle and 0 at −1 and 1.
fn window(at: f64) -> f64 {
    if at.abs() >= 1.0 { 0.0 } else { 0.42 + 0.5 * (PI * at).cos() + 0.08 * (2.0 * PI * at).cos() }
}

const PHASES: usize = 128;
const LEAST_TAPS: usize = 16;
const MOST_TAPS: usize = 160;
/// How much of what could be heard passes: the filter is not steep.
const PASSBAND: f64 = 0.9;
const CAPACITY: usize = 1 << 14;
