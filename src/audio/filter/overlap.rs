//! Overlap: makes sound longer or shorter without changing its pitch (WSOLA).
//!
//! Pieces of 40 ms overlap by half. Each is taken from near where the tempo would have it, there where it is most like what would
//! have followed the one before, so that they add up to the same wave.

use std::f32::consts::PI;

use crate::audio::{
    frame::{CHANNELS, FRAME_SAMPLES, Pcm},
    stretch::best_lag,
};

/// 20 ms per channel, of which the first so many are sound.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) channels: [[f32; HOP]; CHANNELS],
    pub(super) length: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Overlap {
    tempo: f64,
    /// What was taken in and may still be needed, per channel.
    held: [Vec<f32>; CHANNELS],
    frame: Pcm,
    /// What follows the last piece, in `held`.
    natural: usize,
    /// Where the tempo would have the last piece, in `held`.
    target: f64,
    begun: bool,
    /// How much of `held` is sound, once all was taken in.
    end: Option<usize>,
    fade: Box<[f32; HOP]>,
    search: Search,
}

/// Memory for the search of the most similar piece.
#[derive(Clone, Debug, Default)]
struct Search {
    pattern: Vec<f32>,
    signal: Vec<f32>,
    coarse_pattern: Vec<f32>,
    coarse_signal: Vec<f32>,
}

impl Overlap {
    pub(super) fn new() -> Self {
        let mut fade = Box::new([0.0; HOP]);
        for (nth, share) in fade.iter_mut().enumerate() {
            *share = 0.5 - 0.5 * (PI * (nth as f32 + 0.5) / HOP as f32).cos();
        }
        Self {
            tempo: 1.0,
            held: std::array::from_fn(|_| Vec::with_capacity(CAPACITY)),
            frame: Pcm::default(),
            natural: 0,
            target: 0.0,
            begun: false,
            end: None,
            fade,
            search: Search::default(),
        }
    }

    pub(super) fn set_tempo(&mut self, tempo: f64) {
        self.tempo = tempo;
    }

    /// The next piece; of length 0 when nothing is left.
    pub(super) fn pull(&mut self, piece: &mut Piece, mut next: impl FnMut(&mut Pcm) -> bool) {
        let as_it_is = !self.begun || (self.tempo - 1.0).abs() < 1e-6;
        self.target = if as_it_is { self.natural as f64 } else { self.target + HOP as f64 * self.tempo };
        let target = self.target.round() as usize;
        let reach = if as_it_is { 0 } else { REACH };
        self.fill(self.natural.max(target + reach) + HOP, &mut next);
        piece.length = self.left();
        if piece.length == 0 {
            return;
        }
        let place = if as_it_is { self.natural } else { self.most_similar(target) };
        for (out, held) in piece.channels.iter_mut().zip(&self.held) {
            let (old, new) = (&held[self.natural..], &held[place..]);
            for (nth, sample) in out.iter_mut().enumerate() {
                *sample = old[nth] + (new[nth] - old[nth]) * self.fade[nth];
            }
        }
        self.natural = place + HOP;
        self.begun = true;
        self.forget();
    }

    /// How many frames it takes to make so many pieces, at most.
    pub(super) fn wants(&self, pieces: usize) -> usize {
        let advance = (pieces * HOP) as f64 * self.tempo.max(1.0);
        let furthest = self.natural + REACH + HOP;
        let reach = (self.target.max(furthest as f64) + advance) as usize + REACH + HOP;
        reach.saturating_sub(self.held[0].len()).div_ceil(FRAME_SAMPLES)
    }

    /// How much of the piece that begins at `target` is sound.
    fn left(&self) -> usize {
        let Some(end) = self.end else { return HOP };
        let left = (end as f64 - self.target) / self.tempo;
        left.round().clamp(0.0, HOP as f64) as usize
    }

    /// Takes in until so many samples are held; silence follows the end.
    fn fill(&mut self, wanted: usize, next: &mut impl FnMut(&mut Pcm) -> bool) {
        while self.held[0].len() < wanted {
            if self.end.is_none() && next(&mut self.frame) {
                for (channel, held) in self.held.iter_mut().enumerate() {
                    held.extend(self.frame.iter().skip(channel).step_by(CHANNELS));
                }
            } else {
                self.end.get_or_insert(self.held[0].len());
                self.held.iter_mut().for_each(|held| held.resize(wanted, 0.0));
            }
        }
    }

    /// The place near `target` where the sound is most like what follows the last piece.
    fn most_similar(&mut self, target: usize) -> usize {
        let Self { held, search, natural, .. } = self;
        let from = target.saturating_sub(REACH);
        mono(held, *natural, HOP, &mut search.pattern);
        mono(held, from, target - from + REACH + HOP, &mut search.signal);
        thin(&search.pattern, &mut search.coarse_pattern);
        thin(&search.signal, &mut search.coarse_signal);
        let most = target - from + REACH;
        let coarse = best_lag(&search.coarse_pattern, &search.coarse_signal, 0..=most / COARSE);
        let around = coarse.map_or(target - from, |(lag, _)| lag * COARSE);
        let lags = around.saturating_sub(COARSE)..=(around + COARSE).min(most);
        let fine = best_lag(&search.pattern, &search.signal, lags);
        from + fine.map_or(target - from, |(lag, _)| lag)
    }

    fn forget(&mut self) {
        let coming = self.target + HOP as f64 * self.tempo;
        let keep = (coming as usize).saturating_sub(REACH + 1).min(self.natural).min(self.target as usize);
        if keep >= HOP {
            for held in &mut self.held {
                held.drain(..keep);
            }
            self.natural -= keep;
            self.target -= keep as f64;
            self.end = self.end.map(|end| end.saturating_sub(keep));
        }
    }
}

fn mono(held: &[Vec<f32>; CHANNELS], from: usize, length: usize, out: &mut Vec<f32>) {
    let [left, right] = held;
    out.clear();
    out.extend(left[from..from + length].iter().zip(&right[from..]).map(|(left, right)| left + right));
}

fn thin(samples: &[f32], out: &mut Vec<f32>) {
    out.clear();
    out.extend(samples.chunks_exact(COARSE).map(|chunk| chunk.iter().sum::<f32>()));
}

/// Samples per channel from piece to piece: 20 ms.
pub(super) const HOP: usize = FRAME_SAMPLES;
/// How far from where it should be a piece may be taken, in samples: 10 ms, so that a period of 50 Hz is always found.
const REACH: usize = 480;
/// One in so many samples is enough to find about where.
const COARSE: usize = 6;
/// Samples per channel that are held at the highest tempo.
const CAPACITY: usize = 1 << 14;
