//! Mixer: adds frames together and keeps the sum inside full scale.

use super::frame::{CHANNELS, FRAME_SAMPLES, Pcm};

/// Adds `from` to `into`, scaled by `volume` (1.0 leaves it as it is, 0.0 adds nothing).
pub fn mix(into: &mut Pcm, from: &Pcm, volume: f32) {
    for (sum, sample) in into.iter_mut().zip(from.iter()) {
        *sum += sample * volume;
    }
}

/// Bends whatever lies beyond the knee (0.9) back inside full scale, sample by sample.
///
/// Samples up to the knee pass unchanged, bit for bit; what is not a number becomes silence, because it
/// would otherwise stay in the encoder's filters. It keeps no memory: [`Limiter`] is what a mix should pass
/// through, and it ends in this.
fn limit(pcm: &mut Pcm) {
    for sample in pcm.iter_mut() {
        *sample = bend(*sample);
    }
}

/// Turns a mix down while it is louder than full scale, and up again slowly.
///
/// A mix that never exceeds full scale passes bit for bit. One that does is made quieter as a whole, so its
/// waveform keeps its shape: the gain falls along a straight line in 2.5 ms and recovers in about half a second.
#[derive(Clone, Debug)]
pub struct Limiter {
    gain: f32,
}

impl Limiter {
    /// Makes a limiter that is not turning anything down.
    pub fn new() -> Self {
        Self { gain: 1.0 }
    }

    /// Brings one frame inside full scale; frames follow each other in time.
    pub fn limit(&mut self, pcm: &mut Pcm) {
        let peak = pcm.peak();
        if self.gain == 1.0 && peak <= 1.0 && pcm.iter().all(|sample| sample.is_finite()) {
            return;
        }
        let from = self.gain;
        let wanted = if peak.is_finite() { CEILING / peak.max(CEILING) } else { 1.0 };
        self.gain = wanted.min(from + RECOVERY).min(1.0);
        ramp(pcm, from, self.gain);
        limit(pcm);
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

/// Scales a frame: from `from` to `to` along a straight line, quickly on the way down and over the whole frame
/// on the way up.
fn ramp(pcm: &mut Pcm, from: f32, to: f32) {
    let length = if to < from { ATTACK } else { FRAME_SAMPLES };
    let step = (to - from) / length as f32;
    for (at, pair) in pcm.chunks_exact_mut(CHANNELS).enumerate() {
        let gain = if at < length { from + step * at as f32 } else { to };
        for sample in pair {
            *sample *= gain;
        }
    }
}

/// Leaves a sample alone up to the knee and approaches full scale smoothly beyond it.
fn bend(sample: f32) -> f32 {
    let beyond = sample.abs() - KNEE;
    if beyond <= 0.0 {
        return sample;
    }
    if sample.is_nan() {
        return 0.0;
    }
    (KNEE + (1.0 - KNEE) * (beyond / (1.0 - KNEE)).tanh()).copysign(sample)
}

/// Where [`bend`] starts: 0.9 dB below full scale, so that only what the ramp could not catch is bent.
const KNEE: f32 = 0.9;
/// What the loudest sample of a frame is turned down to.
const CEILING: f32 = 0.9;
/// Samples per channel in which the gain falls: 2.5 ms, short for the ear and too long to click.
const ATTACK: usize = 120;
/// How far the gain recovers in a frame: all of it in half a second.
const RECOVERY: f32 = 0.04;

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(amplitude: f32) -> Pcm {
        let mut pcm = Pcm::default();
        for (at, pair) in pcm.chunks_exact_mut(2).enumerate() {
            pair.fill(amplitude * (at as f32 * 0.1).sin());
        }
        pcm
    }

    #[test]
    fn mixing_adds_with_volume() {
        let mut sum = tone(0.25);
        mix(&mut sum, &tone(0.5), 0.5);
        for (sum, single) in sum.iter().zip(tone(0.5).iter()) {
            assert!((sum - single).abs() < 1e-6);
        }
    }

    #[test]
    fn a_mix_inside_full_scale_passes_bit_for_bit() {
        let mut limiter = Limiter::new();
        let mut pcm = tone(1.0);
        for _ in 0..10 {
            limiter.limit(&mut pcm);
        }
        assert_eq!(pcm, tone(1.0));

        let mut quiet = tone(0.9);
        limit(&mut quiet);
        assert_eq!(quiet, tone(0.9));
    }

    #[test]
    fn a_mix_beyond_full_scale_is_made_quieter_and_keeps_its_shape() {
        let mut limiter = Limiter::new();
        limiter.limit(&mut tone(3.0));
        let mut pcm = tone(3.0);
        limiter.limit(&mut pcm);
        for (limited, loud) in pcm.iter().zip(tone(3.0).iter()) {
            assert!((limited - loud * 0.3).abs() < 1e-3, "{limited} is not {loud} turned down");
        }
    }

    #[test]
    fn nothing_leaves_full_scale_whatever_comes() {
        let mut limiter = Limiter::new();
        for amplitude in [0.1, 40.0, 0.5, f32::MAX, 1.01, f32::INFINITY, f32::NAN, 2.0] {
            let mut pcm = tone(amplitude);
            limiter.limit(&mut pcm);
            assert!(pcm.iter().all(|sample| sample.abs() <= 1.0), "amplitude {amplitude}");

            let mut pcm = tone(amplitude);
            limit(&mut pcm);
            assert!(pcm.iter().all(|sample| sample.abs() <= 1.0), "amplitude {amplitude} without memory");
        }
    }

    #[test]
    fn the_volume_comes_back_within_a_second_and_without_a_jump() {
        let mut limiter = Limiter::new();
        limiter.limit(&mut tone(4.0));
        let mut last = 0.0;
        for _ in 0..50 {
            let mut pcm = Pcm::new([0.1; 1920]);
            limiter.limit(&mut pcm);
            assert!(last == 0.0 || (pcm[0] - last).abs() < 0.001, "from {last} to {}", pcm[0]);
            assert!(pcm.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.001));
            last = pcm[1919];
        }
        let mut pcm = tone(1.0);
        limiter.limit(&mut pcm);
        assert_eq!(pcm, tone(1.0));
    }
}
