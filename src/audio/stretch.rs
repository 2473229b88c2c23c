//! Stretch: makes speech a little shorter or longer by whole periods of its pitch, which is not heard.
//!
//! ```text
//! shorter   ╲a╱ fades into ╱b╲, one period on          longer   a  ╲b╱ fades into ╱a╲  b
//! ```
//!
//! Only where the signal repeats, or is quiet, is anything changed: a chord or a consonant stays as it is.

use std::ops::RangeInclusive;

use super::frame::CHANNELS;

/// The shape of the samples that are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Samples a second and channel.
    pub hertz: u32,
    /// Channels, interleaved.
    pub channels: usize,
}

impl Layout {
    /// 48 kHz, stereo.
    pub const STEREO: Self = Self { hertz: 48_000, channels: CHANNELS };

    fn samples(self, tenths_of_milliseconds: u32) -> usize {
        (self.hertz * tenths_of_milliseconds / 10_000) as usize
    }
}

/// Takes one period out of the first 30 ms. Returns how many samples per channel that was: 2.5 to 15 ms, or 0 if the signal
/// does not repeat, or is too short.
pub fn shorten(pcm: &mut Vec<f32>, layout: Layout) -> usize {
    let Some(lag) = period(pcm, layout) else { return 0 };
    let width = lag * layout.channels;
    for at in 0..width {
        let share = fade(at / layout.channels, lag);
        pcm[width + at] = pcm[at] * (1.0 - share) + pcm[width + at] * share;
    }
    pcm.drain(..width);
    lag
}

/// Repeats one period of the first 30 ms. Returns as [`shorten`] does.
pub fn lengthen(pcm: &mut Vec<f32>, layout: Layout) -> usize {
    let Some(lag) = period(pcm, layout) else { return 0 };
    let width = lag * layout.channels;
    let bridge: Vec<f32> = (0..width)
        .map(|at| {
            let share = fade(at / layout.channels, lag);
            pcm[width + at] * (1.0 - share) + pcm[at] * share
        })
        .collect();
    pcm.splice(width..width, bridge);
    lag
}

/// Makes a frame one sample longer or shorter, by reading it a little slower or faster: for clocks that differ by some
/// millionths, also in music.
pub fn slip(pcm: &[f32], layout: Layout, samples: usize, out: &mut Vec<f32>) {
    let channels = layout.channels;
    let length = pcm.len() / channels;
    if length < 2 || samples < 2 {
        return out.extend_from_slice(pcm);
    }
    let step = (length - 1) as f64 / (samples - 1) as f64;
    for nth in 0..samples {
        let at = nth as f64 * step;
        let (whole, part) = (at as usize, at.fract() as f32);
        for channel in 0..channels {
            let sample = |offset: isize| {
                let index = whole.saturating_add_signed(offset).min(length - 1);
                pcm[index * channels + channel]
            };
            out.push(cubic([sample(-1), sample(0), sample(1), sample(2)], part));
        }
    }
}

/// Between the two in the middle, through all four (Catmull and Rom).
pub(super) fn cubic([a, b, c, d]: [f32; 4], part: f32) -> f32 {
    let first = 0.5 * (c - a);
    let second = a - 2.5 * b + 2.0 * c - 0.5 * d;
    let third = 0.5 * (d - a) + 1.5 * (b - c);
    ((third * part + second) * part + first) * part + b
}

fn fade(at: usize, length: usize) -> f32 {
    (at as f32 + 0.5) / length as f32
}

/// Of the same length for all lags that are compared.
fn half(mono: &[f32]) -> &[f32] {
    &mono[..mono.len() / 2]
}

/// After how many samples the signal repeats.
fn period(pcm: &[f32], layout: Layout) -> Option<usize> {
    let (shortest, longest) = (layout.samples(25), layout.samples(150));
    if pcm.len() < 2 * longest * layout.channels {
        return None;
    }
    let mono: Vec<f32> = pcm[..2 * longest * layout.channels]
        .chunks_exact(layout.channels)
        .map(|sample| sample.iter().sum::<f32>() / layout.channels as f32)
        .collect();
    let energy = mono.iter().map(|sample| sample * sample).sum::<f32>() / mono.len() as f32;
    if energy < QUIET * QUIET {
        return Some(layout.samples(100));
    }
    let coarse = (layout.hertz / COARSE_HERTZ).max(1) as usize;
    let thinned: Vec<f32> =
        mono.chunks_exact(coarse).map(|chunk| chunk.iter().sum::<f32>() / coarse as f32).collect();
    let best = best_lag(half(&thinned), &thinned, shortest / coarse..=longest / coarse)?.0 * coarse;
    let around = best.saturating_sub(coarse).max(shortest)..=(best + coarse).min(longest);
    let (lag, similarity) = best_lag(half(&mono), &mono, around)?;
    (similarity >= SIMILAR).then_some(lag)
}

/// The lag at which a signal is most like this pattern, and how much that is, 1 being the same.
pub(super) fn best_lag(pattern: &[f32], signal: &[f32], lags: RangeInclusive<usize>) -> Option<(usize, f32)> {
    let energy = product(pattern, pattern) + 1e-12;
    let similarity = |lag: usize| {
        let other = signal.get(lag..lag + pattern.len())?;
        Some(product(pattern, other) / (energy * (product(other, other) + 1e-12)).sqrt())
    };
    lags.filter_map(|lag| Some((lag, similarity(lag)?))).max_by(|one, other| one.1.total_cmp(&other.1))
}

/// The sum of the products, computed as many at a time as the processor can.
pub(super) fn product(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (ones, others) = (one.chunks_exact(8), other.chunks_exact(8));
    let rest: f32 = ones.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum();
    for (ones, others) in ones.zip(others) {
        for nth in 0..8 {
            sums[nth] += ones[nth] * others[nth];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// How like itself a signal has to be, one period on.
const SIMILAR: f32 = 0.9;
/// An amplitude of −50 dBFS, below which nobody hears a seam.
const QUIET: f32 = 0.003;
/// The rate at which a period is looked for first.
const COARSE_HERTZ: u32 = 8_000;

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    fn tone(hz: f32, samples: usize) -> Vec<f32> {
        (0..samples).flat_map(|nth| [0.4 * (TAU * hz * nth as f32 / 48_000.0).sin(); 2]).collect()
    }

    /// The largest step from one sample to the next.
    fn steepest(pcm: &[f32]) -> f32 {
        pcm.chunks_exact(2)
            .map(|pair| pair[0])
            .collect::<Vec<_>>()
            .windows(2)
            .fold(0.0, |most, pair| most.max((pair[1] - pair[0]).abs()))
    }

    #[test]
    fn a_tone_loses_or_gains_whole_periods_and_stays_a_tone() {
        for hz in [110.0, 155.6, 320.0] {
            let before = tone(hz, 2_000);
            let period = 48_000.0 / hz;
            for change in [shorten, lengthen] {
                let mut pcm = before.clone();
                let lag = change(&mut pcm, Layout::STEREO);
                let periods = lag as f32 / period;
                assert!(
                    (120..=720).contains(&lag) && (periods - periods.round()).abs() < 0.02,
                    "{hz}: {lag}"
                );
                assert_eq!(pcm.len().abs_diff(before.len()), 2 * lag);
                assert!(steepest(&pcm) < 1.05 * steepest(&before), "{hz}: a click");
            }
        }
    }

    #[test]
    fn noise_and_chords_stay_as_they_are_and_silence_can_be_cut_anywhere() {
        let mut random = 1_u32;
        let mut noise: Vec<f32> = (0..4_000)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                random as f32 / u32::MAX as f32 - 0.5
            })
            .collect();
        let chord: Vec<[f32; 3]> = vec![[261.6, 329.6, 392.0], [220.0, 277.2, 415.3]];
        assert_eq!(shorten(&mut noise, Layout::STEREO), 0);
        for notes in chord {
            let mut pcm = vec![0.0; 4_000];
            for hz in notes {
                pcm.iter_mut().zip(tone(hz, 2_000)).for_each(|(sum, note)| *sum += 0.5 * note);
            }
            assert_eq!((shorten(&mut pcm, Layout::STEREO), pcm.len()), (0, 4_000), "{notes:?}");
        }
        assert_eq!(shorten(&mut vec![0.000_1; 4_000], Layout::STEREO), 480);
        assert_eq!(shorten(&mut tone(200.0, 1_000), Layout::STEREO), 0, "too short to tell");
    }

    #[test]
    fn a_slip_by_one_sample_is_inaudible() {
        for samples in [959, 961] {
            let (before, mut after) = (tone(1_000.0, 960), Vec::new());
            slip(&before, Layout::STEREO, samples, &mut after);
            assert_eq!(after.len(), 2 * samples);
            let stretch = 959.0 / (samples - 1) as f32;
            let error = after.chunks_exact(2).enumerate().map(|(nth, pair)| {
                (pair[0] - 0.4 * (TAU * 1_000.0 * nth as f32 * stretch / 48_000.0).sin()).abs()
            });
            assert!(error.fold(0.0, f32::max) < 0.001);
        }
    }
}
