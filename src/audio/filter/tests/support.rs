//! Tones, and what is measured of them.

use std::f64::consts::TAU;

use crate::audio::{
    filter::{FilterChain, Filters},
    frame::{CHANNELS, FRAME_SAMPLES, Pcm},
};

/// Samples of both channels.
pub(super) type Sound = Vec<[f32; CHANNELS]>;

pub(super) fn filters(text: &str) -> Filters {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A sine on both channels.
pub(super) fn tone(hertz: f64, amplitude: f64, frames: usize) -> Sound {
    let sample = |nth| (amplitude * (TAU * hertz * nth as f64 / 48_000.0).sin()) as f32;
    (0..frames * FRAME_SAMPLES).map(|nth| [sample(nth); 2]).collect()
}

pub(super) fn noise(amplitude: f32, frames: usize) -> Sound {
    let mut random = 1_u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        amplitude * ((random >> 8) as f32 / 8_388_608.0 - 1.0)
    };
    (0..frames * FRAME_SAMPLES).map(|_| [next(), next()]).collect()
}

pub(super) fn frames(sound: &[[f32; CHANNELS]]) -> impl Iterator<Item = Pcm> {
    sound.chunks_exact(FRAME_SAMPLES).map(|chunk| {
        let mut pcm = Pcm::default();
        pcm.copy_from_slice(chunk.as_flattened());
        pcm
    })
}

/// All that comes out.
pub(super) fn play(chain: &mut FilterChain, sound: &[[f32; CHANNELS]]) -> Sound {
    play_with(chain, sound, |_, _| {})
}

/// Before each frame, `change` is told its number.
pub(super) fn play_with(
    chain: &mut FilterChain,
    sound: &[[f32; CHANNELS]],
    mut change: impl FnMut(&mut FilterChain, usize),
) -> Sound {
    let (mut source, mut out, mut all) = (frames(sound), Pcm::default(), Vec::new());
    for nth in 0.. {
        change(chain, nth);
        let next = |into: &mut Pcm| source.next().map(|pcm| *into = pcm).is_some();
        if !chain.pull(&mut out, next) {
            break;
        }
        all.extend(out.chunks_exact(2).map(|pair| [pair[0], pair[1]]));
    }
    all
}

pub(super) fn filtered(text: &str, sound: &[[f32; CHANNELS]]) -> Sound {
    let mut chain = FilterChain::new();
    chain.set(&filters(text));
    play(&mut chain, sound)
}

pub(super) fn channel(sound: &[[f32; CHANNELS]], channel: usize) -> Vec<f64> {
    sound.iter().map(|pair| f64::from(pair[channel])).collect()
}

/// The amplitude of a sine of this frequency within the sound.
pub(super) fn amplitude(samples: &[f64], hertz: f64) -> f64 {
    let (mut sine, mut cosine, mut weights) = (0.0, 0.0, 0.0);
    for (nth, sample) in samples.iter().enumerate() {
        // Hann: other frequencies do not leak in.
        let weight = 0.5 - 0.5 * (TAU * nth as f64 / samples.len() as f64).cos();
        let (s, c) = (TAU * hertz * nth as f64 / 48_000.0).sin_cos();
        (sine, cosine, weights) =
            (sine + weight * sample * s, cosine + weight * sample * c, weights + weight);
    }
    2.0 * sine.hypot(cosine) / weights
}

pub(super) fn rms(samples: &[f64]) -> f64 {
    (samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len() as f64).sqrt()
}

pub(super) fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

/// The frequency of a sine, by the time between its first and last passage through zero.
pub(super) fn frequency(samples: &[f64]) -> f64 {
    let passages: Vec<f64> = (1..samples.len())
        .filter(|nth| samples[nth - 1] < 0.0 && samples[*nth] >= 0.0)
        .map(|nth| nth as f64 - samples[nth] / (samples[nth] - samples[nth - 1]))
        .collect();
    (passages.len() - 1) as f64 * 48_000.0 / (passages[passages.len() - 1] - passages[0])
}

/// What of the sound is no sine: the largest distance between a sample and what its neighbours say, for one of this frequency.
pub(super) fn click(samples: &[f64], hertz: f64) -> f64 {
    let twice = 2.0 * (TAU * hertz / 48_000.0).cos();
    samples.windows(3).fold(0.0, |most, window| (window[2] - twice * window[1] + window[0]).abs().max(most))
}
