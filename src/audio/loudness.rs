//! Loudness by EBU R128: of a whole file in advance, and of what is heard.

use std::borrow::Borrow;

use ebur128::{EbuR128, Mode};

use super::frame::{CHANNELS, Pcm, SAMPLE_RATE};

/// Measures how loud these frames are together, in LUFS (integrated, gated, EBU R128); none of silence, and of less than 400 ms.
///
/// [`Loudness::measured`](super::filter::Loudness::measured) takes the result, so that a file's gain is known before it plays.
pub fn measure<F: Borrow<Pcm>>(frames: impl IntoIterator<Item = F>) -> Option<f32> {
    let mut meter = EbuR128::new(CHANNELS as u32, SAMPLE_RATE, Mode::I | Mode::HISTOGRAM).ok()?;
    for frame in frames {
        meter.add_frames_f32(&frame.borrow()[..]).ok()?;
    }
    let loudness = meter.loudness_global().ok()? as f32;
    loudness.is_finite().then_some(loudness)
}

/// Follows how loud the sound is, in LUFS: over all that was heard at first, and later mostly over the last ten seconds. What is
/// far below it, as pauses are, does not count unless it lasts for five seconds; what is far above it counts for more.
#[derive(Clone, Debug, Default)]
pub(super) struct Follower {
    weighting: [Weighting; CHANNELS],
    /// The mean power of what counted, and of what counted in the last three seconds.
    mean: f64,
    recent: f64,
    /// How many frames counted, and how many in a row did not.
    counted: u32,
    left_out: u32,
}

impl Follower {
    /// Hears 20 ms.
    pub(super) fn hear(&mut self, pcm: &Pcm) {
        let mut power = 0.0;
        for pair in pcm.chunks_exact(CHANNELS) {
            for (sample, weighting) in pair.iter().zip(&mut self.weighting) {
                power += weighting.process(f64::from(*sample)).powi(2);
            }
        }
        power /= (pcm.len() / CHANNELS) as f64;
        if power < power_of(SILENCE) {
            return;
        }
        let far_below = self.counted > 0 && power < self.mean * 0.01;
        if far_below && self.left_out < PATIENCE {
            self.left_out += 1;
            return;
        }
        if far_below {
            // It has become quiet for good.
            self.counted = 0;
        }
        self.left_out = 0;
        self.counted = (self.counted + 1).min(MEMORY);
        self.mean += (power - self.mean) / f64::from(self.counted);
        self.recent += (power - self.recent) / f64::from(self.counted.min(RECENT));
        if self.recent > 2.0 * self.mean {
            // It has become loud for good.
            (self.mean, self.counted) = (self.recent, RECENT);
        }
    }

    /// None until 400 ms were heard.
    pub(super) fn loudness(&self) -> Option<f32> {
        (self.counted >= FIRST).then(|| (10.0 * self.mean.log10() - 0.691) as f32)
    }
}

/// The ear's weighting: a shelf for the head, and a high-pass (ITU-R BS.1770, annex 1, tables 1 and 2, for 48 kHz).
#[derive(Clone, Copy, Debug, Default)]
struct Weighting {
    shelf: [f64; 2],
    high_pass: [f64; 2],
}

impl Weighting {
    fn process(&mut self, sample: f64) -> f64 {
        let shelved = biquad(&SHELF, &mut self.shelf, sample);
        biquad(&HIGH_PASS, &mut self.high_pass, shelved)
    }
}

fn biquad([b0, b1, b2, a1, a2]: &[f64; 5], state: &mut [f64; 2], x: f64) -> f64 {
    let y = b0 * x + state[0];
    *state = [b1 * x - a1 * y + state[1], b2 * x - a2 * y];
    y
}

fn power_of(lufs: f64) -> f64 {
    10.0_f64.powf((lufs + 0.691) / 10.0)
}

const SHELF: [f64; 5] = [
    1.535_124_859_586_97,
    -2.691_696_189_406_38,
    1.198_392_810_852_85,
    -1.690_659_293_182_41,
    0.732_480_774_215_85,
];
const HIGH_PASS: [f64; 5] = [1.0, -2.0, 1.0, -1.990_047_454_833_98, 0.990_072_250_366_21];
/// Below this nothing counts (EBU R128's absolute gate), in LUFS.
const SILENCE: f64 = -70.0;
/// In frames: ten seconds.
const MEMORY: u32 = 500;
/// In frames: three seconds.
const RECENT: u32 = 150;
/// In frames: five seconds.
const PATIENCE: u32 = 250;
/// In frames: 400 ms.
const FIRST: u32 = 20;
