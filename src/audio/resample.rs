//! Resampler: any rate and number of channels in, 20 ms frames of 48 kHz stereo out.

use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _};

use super::frame::{CHANNELS, FRAME_SAMPLES, Pcm, SAMPLE_RATE};
use super::mixdown::{self, Position};

/// Turns a stream of samples into frames.
///
/// Samples go in with [`push`](Self::push), frames come out of [`next_frame`](Self::next_frame); after
/// [`finish`](Self::finish) the rest comes out too, the last frame filled up with silence. What comes out lasts
/// as long as what went in, to the sample, and starts with it: the filter's delay is taken off.
pub struct Resampler {
    rate: u32,
    mixdown: Vec<[f32; CHANNELS]>,
    /// `None` where the rate is right already.
    filter: Option<Filter>,
    /// Stereo at the rate of the source, not yet resampled.
    input: Vec<f32>,
    /// Stereo at 48 kHz, not yet given out.
    output: Vec<f32>,
    /// Samples per channel: taken in, and given out.
    taken: u64,
    given: u64,
    /// How much of the frame that was given out last came from the source.
    last: usize,
    ending: bool,
}

/// The filter and how much of its output comes before the first sample.
struct Filter {
    fft: Fft<f32>,
    delay: usize,
    block: Vec<f32>,
}

impl Resampler {
    /// Makes a resampler for interleaved samples at `rate` with `channels` channels, in the
    /// [usual layout](mixdown::usual_layout) of so many.
    ///
    /// # Errors
    /// [`ResampleError`] for rates below 1 kHz or above 768 kHz, and for no channel or more than 32.
    pub fn new(rate: u32, channels: usize) -> Result<Self, ResampleError> {
        // Nonsense is refused before it asks for memory.
        let layout = mixdown::usual_layout(channels.min(MAX_CHANNELS + 1));
        Self::with_layout(rate, &layout).map_err(|error| match error {
            ResampleError::Channels(_) => ResampleError::Channels(channels),
            error => error,
        })
    }

    /// Makes a resampler for interleaved samples at `rate`, with one channel for each position.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn with_layout(rate: u32, layout: &[Position]) -> Result<Self, ResampleError> {
        if !RATES.contains(&rate) {
            return Err(ResampleError::Rate(rate));
        }
        if layout.is_empty() || layout.len() > MAX_CHANNELS {
            return Err(ResampleError::Channels(layout.len()));
        }
        Ok(Self {
            rate,
            mixdown: mixdown::gains(layout),
            filter: Filter::new(rate)?,
            input: Vec::new(),
            output: Vec::new(),
            taken: 0,
            given: 0,
            last: FRAME_SAMPLES,
            ending: false,
        })
    }

    /// Takes interleaved samples; an incomplete group of channels at the end is ignored.
    pub fn push(&mut self, samples: &[f32]) {
        let stereo = if self.filter.is_some() { &mut self.input } else { &mut self.output };
        let before = stereo.len();
        if self.mixdown == STEREO {
            stereo.extend_from_slice(&samples[..samples.len() / CHANNELS * CHANNELS]);
        } else {
            mix_down(samples, &self.mixdown, stereo);
        }
        self.taken += ((stereo.len() - before) / CHANNELS) as u64;
    }

    /// Says that nothing more will be pushed.
    pub fn finish(&mut self) {
        self.ending = true;
    }

    /// Returns the next 20 ms, or `None` where more input is needed or everything has been given.
    pub fn next_frame(&mut self) -> Option<Pcm> {
        while self.output.len() < FRAME_SAMPLES * CHANNELS && self.run_filter() {}
        let left = self.length() - self.given;
        let whole = FRAME_SAMPLES.min(usize::try_from(left).unwrap_or(FRAME_SAMPLES));
        let ready = whole.min(self.output.len() / CHANNELS);
        if ready == 0 || (ready < FRAME_SAMPLES && !self.ending) {
            return None;
        }
        let mut pcm = Pcm::default();
        pcm[..ready * CHANNELS].copy_from_slice(&self.output[..ready * CHANNELS]);
        self.output.drain(..ready * CHANNELS);
        self.given += ready as u64;
        self.last = ready;
        Some(pcm)
    }

    /// Returns how many samples per channel of the frame that was given out last came from the source: fewer than 960 at the end.
    pub fn last_frame(&self) -> usize {
        self.last
    }

    /// Returns how long that lasts which was taken in and not given out.
    pub fn held(&self) -> Duration {
        Duration::from_nanos((self.length() - self.given) * 62_500 / 3)
    }

    /// What has been taken in, in samples per channel at 48 kHz.
    fn length(&self) -> u64 {
        (self.taken * u64::from(SAMPLE_RATE)).div_ceil(u64::from(self.rate))
    }

    /// Resamples one block, where there is one or the input is ending; says whether there may be another.
    fn run_filter(&mut self) -> bool {
        let waiting = self.input.len() / CHANNELS;
        let length = self.length();
        let Some(filter) = &mut self.filter else { return false };
        let block = filter.fft.input_frames_next();
        let produced = self.given + (self.output.len() / CHANNELS) as u64;
        if waiting < block && !(self.ending && produced < length) {
            return false;
        }
        filter.run(&self.input, waiting.min(block), &mut self.output);
        self.input.drain(..waiting.min(block) * CHANNELS);
        true
    }
}

impl Filter {
    fn new(rate: u32) -> Result<Option<Self>, ResampleError> {
        if rate == SAMPLE_RATE {
            return Ok(None);
        }
        let (from, to) = (rate as usize, SAMPLE_RATE as usize);
        let fft = Fft::new(from, to, block_length(rate), CHANNELS, FixedSync::Both)
            .map_err(|_| ResampleError::Rate(rate))?;
        let block = vec![0.0; fft.output_frames_max() * CHANNELS];
        Ok(Some(Self { delay: fft.output_delay(), fft, block }))
    }

    /// Resamples the first `frames` of `input`, silence beyond them, and appends a block of output, less
    /// what is still to be taken off for the delay.
    fn run(&mut self, input: &[f32], frames: usize, output: &mut Vec<f32>) {
        let length = self.block.len() / CHANNELS;
        let indexing = Indexing::new().partial_len(frames);
        if let Ok(input) = InterleavedSlice::new(input, CHANNELS, frames)
            && let Ok(mut block) = InterleavedSlice::new_mut(&mut self.block, CHANNELS, length)
        {
            // It fails on wrong lengths only, and these follow from its own.
            let _written = self.fft.process_into_buffer(&input, &mut block, Some(&indexing));
        }
        let late = self.delay.min(length);
        self.delay -= late;
        output.extend_from_slice(&self.block[late * CHANNELS..]);
    }
}

/// How many samples the filter should take at a time: at least 256 in and out, for a steep filter.
///
/// The filter can only use multiples of the rates over their common divisor; an even multiple makes its delay
/// a whole number of samples, so that it can be taken off exactly. Where the divisor is small (44,101 Hz) the
/// block is long already, and half a sample does not matter.
fn block_length(rate: u32) -> usize {
    let divisor = common_divisor(rate, SAMPLE_RATE);
    let (least_in, least_out) = ((rate / divisor) as usize, (SAMPLE_RATE / divisor) as usize);
    if least_in.min(least_out) >= 8 * STEEP {
        return least_in;
    }
    let pairs = STEEP.div_ceil(2 * least_in.min(least_out));
    2 * pairs * least_in
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// What cannot be resampled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResampleError {
    /// The rate makes no sense, or would need unreasonable memory.
    #[error("a sample rate of {0} Hz")]
    Rate(u32),
    /// There are no channels, or more than there are places for.
    #[error("{0} channels")]
    Channels(usize),
}

/// Appends samples of any number of channels as stereo.
fn mix_down(samples: &[f32], gains: &[[f32; CHANNELS]], stereo: &mut Vec<f32>) {
    for group in samples.chunks_exact(gains.len()) {
        let mut pair = [0.0; CHANNELS];
        for (sample, gains) in group.iter().zip(gains) {
            pair[0] += sample * gains[0];
            pair[1] += sample * gains[1];
        }
        stereo.extend(pair);
    }
}

/// What leaves stereo as it is.
const STEREO: [[f32; CHANNELS]; 2] = [[1.0, 0.0], [0.0, 1.0]];
/// The fewest samples that the filter takes or gives at a time.
const STEEP: usize = 256;
/// The filter's block is a second of audio at worst; a rate beyond 768 kHz is a broken header.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
const MAX_CHANNELS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hz: f32, samples: usize) -> Vec<f32> {
        let turn = |at: usize| (at as f64 * f64::from(hz) / f64::from(rate)).fract();
        (0..samples).map(|at| (turn(at) * std::f64::consts::TAU).sin() as f32 * 0.5).collect()
    }

    /// Resamples everything, in pieces of odd sizes as decoders deliver them; returns the left and right.
    fn resampled(rate: u32, channels: usize, samples: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut resampler = Resampler::new(rate, channels).unwrap();
        let mut frames = Vec::new();
        for piece in samples.chunks(channels * 577) {
            resampler.push(piece);
            frames.extend(std::iter::from_fn(|| resampler.next_frame()));
        }
        resampler.finish();
        frames.extend(std::iter::from_fn(|| resampler.next_frame()));
        assert_eq!(resampler.next_frame(), None);
        let side = |side| frames.iter().flat_map(|pcm| pcm[side..].iter().step_by(2).copied()).collect();
        (side(0), side(1))
    }

    #[test]
    fn every_usual_rate_keeps_length_pitch_and_place() {
        for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000] {
            let (left, right) = resampled(rate, 1, &sine(rate, 440.0, rate as usize / 2));
            assert_eq!(left.len(), 24_000, "{rate} Hz: half a second in, half a second out");
            assert_eq!(left, right);
            let expected = sine(48_000, 440.0, 24_000);
            for at in 1_000..23_000 {
                assert!((left[at] - expected[at]).abs() < 0.005, "{rate} Hz: sample {at} is {}", left[at]);
            }
        }
    }

    #[test]
    fn the_last_frame_is_filled_up_with_silence() {
        let (left, _) = resampled(48_000, 1, &[0.5; 1000]);
        assert_eq!(left.len(), 1920);
        assert!(left[..1000].iter().all(|&sample| sample == 0.5));
        assert!(left[1000..].iter().all(|&sample| sample == 0.0));

        // 1000 samples at 44.1 kHz are 1088.4 at 48 kHz.
        let (left, _) = resampled(44_100, 1, &[0.5; 1000]);
        assert_eq!(left.len(), 1920);
        assert!((left[1080] - 0.5).abs() < 0.3 && left[1089..].iter().all(|&sample| sample == 0.0));
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        assert!(resampled(44_100, 2, &[]).0.is_empty());
        assert!(resampled(48_000, 2, &[]).0.is_empty());
    }

    #[test]
    fn surround_is_mixed_down_by_position_and_never_clips() {
        let at = |channel: usize| {
            let mut group = [0.0; 6];
            group[channel] = 1.0;
            let (left, right) = resampled(48_000, 6, &group.repeat(960));
            (left[0], right[0])
        };
        assert!(at(0).0 > 0.4 && at(0).1 == 0.0, "front left is left only");
        assert!(at(1).0 == 0.0 && at(1).1 > 0.4, "front right is right only");
        assert!(at(2).0 > 0.2 && at(2).0 == at(2).1, "the centre is on both sides");
        assert_eq!(at(3), (0.0, 0.0), "low frequencies are left out");
        assert!(at(4).0 > 0.2 && at(4).1 == 0.0 && at(5).0 == 0.0 && at(5).1 > 0.2, "back is on its side");
        for channels in 1..=32 {
            let (left, right) = resampled(48_000, channels, &vec![1.0; channels * 960]);
            assert!(left[0] > 0.99 && left[0] < 1.001 && right[0] < 1.001, "{channels} channels");
        }
    }

    #[test]
    fn senseless_headers_are_refused() {
        for rate in [0, 999, 768_001, u32::MAX] {
            assert_eq!(Resampler::new(rate, 2).err(), Some(ResampleError::Rate(rate)));
        }
        assert_eq!(Resampler::new(48_000, 0).err(), Some(ResampleError::Channels(0)));
        assert_eq!(Resampler::new(48_000, 33).err(), Some(ResampleError::Channels(33)));
    }

    #[test]
    fn odd_rates_work_too() {
        for rate in [1_000, 12_345, 44_101] {
            let (left, _) = resampled(rate, 1, &sine(rate, 200.0, rate as usize));
            assert_eq!(left.len(), 48_000, "{rate} Hz");
            assert!((left[24_060] - 0.5).abs() < 0.01, "{rate} Hz: {}", left[24_060]);
        }
    }
}
