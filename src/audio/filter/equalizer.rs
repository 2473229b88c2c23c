//! Equaliser: 15 bands beside one another, each added to the sound.

use std::f32::consts::PI;

use super::settings::{BANDS, EqualizerBand};
use crate::audio::frame::{CHANNELS, Pcm, SAMPLE_RATE};

/// The bands' filters, which are at rest at first. As many as a processor computes at once; the last has no gain.
#[derive(Clone, Debug)]
pub(super) struct Equalizer {
    /// What each band adds.
    gains: Lanes,
    /// Per band, what its filter is made of: a state-variable filter, which is exact at low frequencies too.
    a1: Lanes,
    a2: Lanes,
    a3: Lanes,
    state: [[Lanes; 2]; CHANNELS],
}

type Lanes = [f32; 16];

impl Equalizer {
    /// None if no band changes anything.
    pub(super) fn new(bands: &[EqualizerBand], before: Option<&Self>) -> Option<Self> {
        if bands.iter().all(|band| band.gain == 0.0) {
            return None;
        }
        let mut all = before.cloned().unwrap_or_else(Self::at_rest);
        all.gains = [0.0; 16];
        for (nth, centre) in BANDS.iter().enumerate() {
            // The last that is said of a band holds.
            let gain =
                bands.iter().rev().find(|band| usize::from(band.band) == nth).map_or(0.0, |band| band.gain);
            let (_, damping) = shape(*centre);
            all.gains[nth] = 4.0 * gain * damping;
        }
        Some(all)
    }

    fn at_rest() -> Self {
        let (mut a1, mut a2, mut a3) = ([0.0; 16], [0.0; 16], [0.0; 16]);
        for (nth, centre) in BANDS.iter().enumerate() {
            let (tangent, damping) = shape(*centre);
            a1[nth] = 1.0 / (1.0 + tangent * (tangent + damping));
            a2[nth] = tangent * a1[nth];
            a3[nth] = tangent * a2[nth];
        }
        Self { gains: [0.0; 16], a1, a2, a3, state: [[[0.0; 16]; 2]; CHANNELS] }
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        let Self { gains, a1, a2, a3, state } = self;
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            for (sample, [low, high]) in pair.iter_mut().zip(state.iter_mut()) {
                let mut sums = [0.0; 16];
                for nth in 0..16 {
                    let rest = *sample - high[nth];
                    let band = a1[nth] * low[nth] + a2[nth] * rest;
                    let base = high[nth] + a2[nth] * low[nth] + a3[nth] * rest;
                    low[nth] = 2.0 * band - low[nth];
                    high[nth] = 2.0 * base - high[nth];
                    sums[nth] = gains[nth] * band;
                }
                *sample += sum(&sums);
            }
        }
    }
}

fn sum(lanes: &Lanes) -> f32 {
    let mut four = [0.0; 4];
    for lanes in lanes.chunks_exact(4) {
        four.iter_mut().zip(lanes).for_each(|(sum, lane)| *sum += lane);
    }
    (four[0] + four[1]) + (four[2] + four[3])
}

/// The tangent of half the centre's angle, and the damping that makes the band two thirds of an octave wide.
fn shape(centre: f32) -> (f32, f32) {
    let width = centre * (2.0_f32.powf(1.0 / 3.0) - 2.0_f32.powf(-1.0 / 3.0));
    let angle = 2.0 * PI * centre / SAMPLE_RATE as f32;
    let damping = 2.0 * (PI * width / SAMPLE_RATE as f32).tan() / angle.sin();
    ((angle / 2.0).tan(), damping)
}
