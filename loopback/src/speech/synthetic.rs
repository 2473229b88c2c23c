//! A voice out of nothing: syllables of vowels and hisses, for where no recording of speech is at hand.

use std::f32::consts::TAU;
use std::time::Duration;

use crate::opus::SAMPLE_RATE;

/// Speaks for so long: 48 kHz, stereo, interleaved, around −22 dBFS. Each seed is another voice that says something else.
///
/// It has what codecs and measures of speech look for: a pitch that moves, formants, hisses, and pauses between phrases.
pub fn synthesise(seed: u64, length: Duration) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut voice = Voice::new(&mut random);
    let wanted = (length.as_secs_f32() * RATE) as usize;
    let mut mono = Vec::with_capacity(wanted);
    while mono.len() < wanted {
        for _ in 0..random.usize(4..9) {
            voice.syllable(&mut random, &mut mono);
        }
        let pause = (RATE * (0.7 + 0.6 * random.f32())) as usize;
        mono.resize(mono.len() + pause, 0.0);
    }
    mono.truncate(wanted);
    let power = mono.iter().map(|sample| sample * sample).sum::<f32>() / mono.len().max(1) as f32;
    let gain = LEVEL / power.sqrt().max(f32::MIN_POSITIVE);
    mono.into_iter()
        .map(|sample| (sample * gain).clamp(-0.95, 0.95))
        .flat_map(|sample| [sample, sample])
        .collect()
}

struct Voice {
    pitch: f32,
    /// How much longer or shorter the throat is than most.
    size: f32,
    phase: f32,
}

impl Voice {
    fn new(random: &mut fastrand::Rng) -> Self {
        Self { pitch: 95.0 + 110.0 * random.f32(), size: 0.9 + 0.25 * random.f32(), phase: 0.0 }
    }

    fn syllable(&mut self, random: &mut fastrand::Rng, mono: &mut Vec<f32>) {
        if random.u8(..) < 150 {
            hiss(random, mono);
        }
        let (from, to) = (VOWELS[random.usize(..VOWELS.len())], VOWELS[random.usize(..VOWELS.len())]);
        let pitch = self.pitch * (0.85 + 0.35 * random.f32());
        let slope = 0.6 * (random.f32() - 0.5);
        let samples = (RATE * (0.12 + 0.14 * random.f32())) as usize;
        let mut throat = [Resonator::default(); 4];
        for n in 0..samples {
            let at = n as f32 / samples as f32;
            self.phase = (self.phase + pitch * (1.0 + slope * at) / RATE).fract();
            let mut sample = glottis(self.phase) + 0.02 * (random.f32() - 0.5);
            for (number, resonator) in throat.iter_mut().enumerate() {
                let formant = (from[number] * (1.0 - at) + to[number] * at) * self.size;
                resonator.tune(formant, BANDWIDTHS[number]);
                sample = resonator.pass(sample);
            }
            mono.push(sample * envelope(at));
        }
    }
}

/// The flow through the vocal cords: it rises for 0.4 of a period, and falls for 0.16 (Rosenberg's pulse); what is heard is how
/// it changes.
fn glottis(phase: f32) -> f32 {
    match phase {
        0.0..0.4 => (TAU / 0.8 * phase).sin() * 0.4,
        0.4..0.56 => -((phase - 0.4) / 0.16 * TAU / 4.0).sin(),
        _ => 0.0,
    }
}

fn hiss(random: &mut fastrand::Rng, mono: &mut Vec<f32>) {
    let mut mouth = Resonator::default();
    mouth.tune(3_500.0 + 3_000.0 * random.f32(), 1_500.0);
    let samples = (RATE * (0.04 + 0.06 * random.f32())) as usize;
    let loudness = 0.6 * random.f32();
    for n in 0..samples {
        mono.push(mouth.pass(random.f32() - 0.5) * loudness * envelope(n as f32 / samples as f32));
    }
}

/// Rises over the first eighth, falls over the last quarter.
fn envelope(at: f32) -> f32 {
    (at * 8.0).min((1.0 - at) * 4.0).clamp(0.0, 1.0)
}

/// A resonance of two poles, with the gain of its peak taken off.
#[derive(Clone, Copy, Debug, Default)]
struct Resonator {
    a: f32,
    b: f32,
    gain: f32,
    last: [f32; 2],
}

impl Resonator {
    fn tune(&mut self, frequency: f32, bandwidth: f32) {
        let radius = (-TAU / 2.0 * bandwidth / RATE).exp();
        self.a = 2.0 * radius * (TAU * frequency / RATE).cos();
        self.b = -radius * radius;
        self.gain = 1.0 - self.a - self.b;
    }

    fn pass(&mut self, sample: f32) -> f32 {
        let out = self.gain * sample + self.a * self.last[0] + self.b * self.last[1];
        self.last = [out, self.last[0]];
        out
    }
}

const RATE: f32 = SAMPLE_RATE as f32;
/// −22 dBFS, pauses among it.
const LEVEL: f32 = 0.08;
const BANDWIDTHS: [f32; 4] = [80.0, 100.0, 140.0, 200.0];
/// The first four formants in Hz of "ah", "eh", "ee", "oh", "oo" and "uh", of men as Peterson and Barney measured them in 1952;
/// the fourth is a guess.
const VOWELS: [[f32; 4]; 6] = [
    [730.0, 1_090.0, 2_440.0, 3_400.0],
    [530.0, 1_840.0, 2_480.0, 3_500.0],
    [270.0, 2_290.0, 3_010.0, 3_700.0],
    [570.0, 840.0, 2_410.0, 3_300.0],
    [300.0, 870.0, 2_240.0, 3_300.0],
    [640.0, 1_190.0, 2_390.0, 3_400.0],
];
