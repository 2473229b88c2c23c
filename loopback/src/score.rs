//! How well what was heard matches what was played.
//!
//! The original is aligned once, by cross-correlation; after that, every audible 20 ms of it has to be heard in its
//! place. A frame is heard if its waveform correlates by at least 0.75, over the full band or below about 6 kHz
//! (where Opus keeps the waveform even at low bitrates), and its level is within 6 dB of the overall gain. Decoded
//! passthrough is then nearly exact, Opus at 64 kbit/s and more passes, and holes, silence and other audio fail.

use std::fmt;
use std::time::Duration;

use crate::opus::{FRAME_SAMPLES, FRAME_VALUES};

mod align;
mod fft;
#[cfg(test)]
mod tests;

/// How well what was heard matches the original.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// How many samples per channel later than in the original everything is heard; negative if the beginning is missing.
    pub offset: i64,
    /// How much louder it is than the original, dB.
    pub gain_db: f64,
    /// The original, brought to the same gain, against the difference to it, dB, at most 120.
    pub snr_db: f64,
    /// Correlation of the waveforms over the whole original, −1 to 1.
    pub correlation: f64,
    /// Share of the original's audible 20 ms frames that are heard in their place, 0 to 1.
    ///
    /// Sound where the original is silent counts like a missing frame. Of an original that is all silence, silence is 1.
    pub heard_fraction: f64,
    /// How many audible frames of 20 ms are not heard in their place.
    pub missing_frames: u64,
    /// The longest stretch of the original that is not heard, in whole frames.
    pub longest_hole: Duration,
    /// Where such stretches begin in the original, and how long they are; the first hundred.
    pub holes: Vec<(Duration, Duration)>,
}

impl Score {
    /// Tells whether a listener would call it the same: 99 % of the frames heard, and no two missing in a row.
    pub fn is_faithful(&self) -> bool {
        self.heard_fraction >= 0.99 && self.longest_hole <= FRAME
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded down: 100 % is only said of all.
        let percent = (self.heard_fraction * 1000.0).floor() / 10.0;
        write!(
            f,
            "matches the original {percent:.1} % (SNR {:.1} dB, correlation {:.3}",
            self.snr_db, self.correlation
        )?;
        if !self.longest_hole.is_zero() {
            write!(f, ", longest hole {} ms", self.longest_hole.as_millis())?;
        }
        f.write_str(")")
    }
}

/// Compares 48 kHz, stereo, interleaved audio with what should have been heard.
///
/// The first sixty audible seconds of the original are looked for in the first five minutes of what was heard.
pub fn match_score(original: &[f32], heard: &[f32]) -> Score {
    let offset = align::offset(original, heard);
    let frames: Vec<_> = original
        .chunks(FRAME_VALUES)
        .enumerate()
        .map(|(n, frame)| {
            let start = (n * FRAME_SAMPLES) as i64 + offset;
            compare(frame, &stretch(heard, start, frame.len()))
        })
        .collect();
    let total = frames.iter().fold(Products::default(), |sum, frame| sum.plus(frame.full));
    // A frame's level is judged by the gain of those that surely are the original.
    let sure = frames.iter().filter(|frame| frame.correlation() >= CORRELATION_MIN);
    let sure = sure.fold(Products::default(), |sum, frame| sum.plus(frame.full));
    let gain = if sure.original > 0.0 { (sure.heard / sure.original).sqrt() } else { 1.0 };
    let verdicts: Vec<_> = frames.iter().map(|frame| frame.verdict(gain)).collect();
    let holes = holes(&verdicts);
    Score {
        offset,
        gain_db: decibels(gain * gain),
        snr_db: total.snr_db(),
        correlation: total.correlation(),
        heard_fraction: heard_fraction(&verdicts, heard.is_empty()),
        missing_frames: verdicts.iter().filter(|verdict| **verdict == Verdict::Missing).count() as u64,
        longest_hole: holes.iter().map(|(_, length)| *length).max().unwrap_or_default(),
        holes: holes.into_iter().take(HOLES_MAX).collect(),
    }
}

/// What became of a frame of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Heard,
    Missing,
    /// Silent in both: says nothing.
    Silent,
}

/// One frame of the original next to what is heard in its place.
struct Frame {
    full: Products,
    low: Products,
    values: usize,
}

/// Inner products of the original and of what was heard.
#[derive(Clone, Copy, Debug, Default)]
struct Products {
    original: f64,
    heard: f64,
    both: f64,
}

impl Products {
    fn of(original: &[f32], heard: &[f32]) -> Self {
        original.iter().zip(heard).fold(Self::default(), |sum, (o, h)| {
            let (o, h) = (f64::from(*o), f64::from(*h));
            Self { original: sum.original + o * o, heard: sum.heard + h * h, both: sum.both + o * h }
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            original: self.original + other.original,
            heard: self.heard + other.heard,
            both: self.both + other.both,
        }
    }

    fn correlation(self) -> f64 {
        let norm = (self.original * self.heard).sqrt();
        if norm > 0.0 { self.both / norm } else { 0.0 }
    }

    /// What of the heard is the original, against what is not.
    fn snr_db(self) -> f64 {
        if self.original <= 0.0 || self.both <= 0.0 {
            return SNR_MIN_DB;
        }
        let signal = self.both * self.both / self.original;
        let noise = (self.heard - signal).max(signal * 1e-12);
        decibels(signal / noise).max(SNR_MIN_DB)
    }
}

impl Frame {
    fn correlation(&self) -> f64 {
        self.full.correlation().max(self.low.correlation())
    }

    fn verdict(&self, gain: f64) -> Verdict {
        let quiet = |energy: f64, limit: f64| energy / (self.values.max(1) as f64) < limit;
        if quiet(self.full.original, SILENT) {
            return if quiet(self.full.heard, SILENT_HEARD * (gain * gain).max(1.0)) {
                Verdict::Silent
            } else {
                Verdict::Missing
            };
        }
        let expected = self.full.original * gain * gain;
        let level = if expected > 0.0 { self.full.heard / expected } else { 0.0 };
        let same = self.correlation() >= CORRELATION_MIN && (1.0 / LEVEL_MAX..=LEVEL_MAX).contains(&level);
        if same { Verdict::Heard } else { Verdict::Missing }
    }
}

fn compare(original: &[f32], heard: &[f32]) -> Frame {
    let low = Products::of(&low_band(original), &low_band(heard));
    Frame { full: Products::of(original, heard), low, values: original.len() }
}

/// Averages over four samples of each channel: a crude low-pass at 6 kHz.
fn low_band(stereo: &[f32]) -> Vec<f32> {
    stereo
        .chunks(8)
        .flat_map(|block| [0, 1].map(|channel| block.iter().skip(channel).step_by(2).sum::<f32>() / 4.0))
        .collect()
}

/// Cuts out `len` values from sample `start` on; where there is nothing, silence.
fn stretch(stereo: &[f32], start: i64, len: usize) -> Vec<f32> {
    let first = 2 * start;
    (first..first + len as i64)
        .map(|at| usize::try_from(at).ok().and_then(|at| stereo.get(at)).copied().unwrap_or(0.0))
        .collect()
}

fn heard_fraction(verdicts: &[Verdict], nothing_heard: bool) -> f64 {
    let count = |which| verdicts.iter().filter(|verdict| **verdict == which).count();
    let (heard, missing) = (count(Verdict::Heard), count(Verdict::Missing));
    match heard + missing {
        0 if nothing_heard => 0.0,
        0 => 1.0,
        counted => heard as f64 / counted as f64,
    }
}

/// Finds runs of missing frames; silence neither ends nor lengthens one.
fn holes(verdicts: &[Verdict]) -> Vec<(Duration, Duration)> {
    let mut holes = Vec::new();
    let mut open: Option<(usize, u32)> = None;
    for (n, verdict) in verdicts.iter().enumerate() {
        match verdict {
            Verdict::Missing => open = Some(open.map_or((n, 1), |(start, run)| (start, run + 1))),
            Verdict::Silent => {}
            Verdict::Heard => holes.extend(open.take()),
        }
    }
    holes.extend(open);
    holes.into_iter().map(|(start, run)| (FRAME * start as u32, FRAME * run)).collect()
}

fn decibels(power: f64) -> f64 {
    10.0 * power.log10()
}

const FRAME: Duration = Duration::from_millis(20);
/// Half of a frame missing leaves a correlation of 0.71.
const CORRELATION_MIN: f64 = 0.75;
/// 6 dB.
const LEVEL_MAX: f64 = 4.0;
/// −60 dB below full scale, mean square.
const SILENT: f64 = 1e-6;
/// −45 dB: what a codec may leave where there was silence.
const SILENT_HEARD: f64 = 3e-5;
const SNR_MIN_DB: f64 = -120.0;
const HOLES_MAX: usize = 100;
