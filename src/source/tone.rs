//! Tone: a sine, for tests and signals.

use std::time::Duration;

use super::{definition::Source, error::SourceError};
use crate::audio::frame::{CHANNELS, Frame, Pcm, SAMPLE_RATE};

/// A sine at a quarter of full scale (−12 dB), endless unless told otherwise.
#[derive(Clone, Debug)]
pub struct Tone {
    /// How far the sine turns from sample to sample, in whole turns.
    step: f64,
    phase: f64,
    /// What is left to play, in samples per channel; `None` is endless.
    left: Option<u64>,
    length: Option<Duration>,
}

impl Tone {
    /// Makes an endless tone of `hz` periods a second.
    pub fn new(hz: f32) -> Self {
        Self { step: f64::from(hz) / f64::from(SAMPLE_RATE), phase: 0.0, left: None, length: None }
    }

    /// Ends the tone after `length`.
    pub fn lasting(self, length: Duration) -> Self {
        let samples = length.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000;
        Self { left: Some(samples.try_into().unwrap_or(u64::MAX)), length: Some(length), ..self }
    }

    fn sample(&mut self) -> f32 {
        if let Some(left) = &mut self.left {
            let Some(fewer) = left.checked_sub(1) else { return 0.0 };
            *left = fewer;
        }
        let sample = TONE_AMPLITUDE * (self.phase * std::f64::consts::TAU).sin();
        self.phase = (self.phase + self.step).fract();
        sample as f32
    }
}

impl Source for Tone {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let mut pcm = Pcm::default();
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            pair.fill(self.sample());
        }
        Ok(Some(Frame::Pcm(pcm)))
    }

    fn duration(&self) -> Option<Duration> {
        self.length
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// How loud a [`Tone`] is: heard well beside speech, and no shock in headphones.
const TONE_AMPLITUDE: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(mut source: impl Source) -> Vec<f32> {
        let mut left = Vec::new();
        while let Some(Frame::Pcm(pcm)) = source.next_frame().unwrap() {
            left.extend(pcm.chunks_exact(2).map(|pair| pair[0]));
        }
        left
    }

    #[test]
    fn a_tone_has_its_pitch_and_runs_smoothly_across_frames() {
        let samples = samples(Tone::new(440.0).lasting(Duration::from_secs(1)));
        let rising = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!((439..=440).contains(&rising), "{rising} periods in a second");
        let steepest = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.25 * std::f32::consts::TAU * 440.0 / 48_000.0 * 1.01, "a jump of {steepest}");
    }

    #[test]
    fn a_tone_ends_within_its_last_frame() {
        let tone = Tone::new(1000.0).lasting(Duration::from_millis(30));
        assert_eq!(tone.duration(), Some(Duration::from_millis(30)));
        let samples = samples(tone);
        assert_eq!(samples.len(), 1920);
        assert!(samples[1400..1440].iter().any(|sample| sample.abs() > 0.2));
        assert!(samples[1440..].iter().all(|&sample| sample == 0.0));
    }
}
