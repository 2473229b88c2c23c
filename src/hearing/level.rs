//! Level: how loud samples are.

/// How loud samples are, in decibels below full scale (dBFS): 0 is the loudest, and nothing is below [`Level::SILENCE`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Level {
    /// The root of their mean square; speech is around −25.
    pub rms: f32,
    /// The loudest sample.
    pub peak: f32,
}

impl Level {
    /// Digital silence, and all that is as quiet.
    pub const SILENCE: Self = Self { rms: FLOOR, peak: FLOOR };

    /// The level of these samples, of all channels together; what is not a number counts as silence.
    #[must_use]
    pub fn of(samples: &[f32]) -> Self {
        let (mut sum, mut peak) = (0.0_f64, 0.0_f32);
        for sample in samples.iter().filter(|sample| sample.is_finite()) {
            sum += f64::from(sample * sample);
            peak = peak.max(sample.abs());
        }
        let mean = if samples.is_empty() { 0.0 } else { sum / samples.len() as f64 };
        Self { rms: decibels(mean.sqrt() as f32), peak: decibels(peak) }
    }
}

fn decibels(amplitude: f32) -> f32 {
    (20.0 * amplitude.log10()).max(FLOOR)
}

/// Below what 20 bits can tell.
const FLOOR: f32 = -120.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_of_half_the_scale_is_six_and_nine_decibels_down() {
        let sine: Vec<f32> =
            (0..4_800).map(|n| 0.5 * (n as f32 * std::f32::consts::TAU / 48.0).sin()).collect();
        let level = Level::of(&sine);
        assert!((level.peak + 6.02).abs() < 0.01 && (level.rms + 9.03).abs() < 0.01, "{level:?}");
    }

    #[test]
    fn silence_nothing_and_what_is_no_number_are_as_quiet_as_can_be() {
        for samples in [&[0.0; 960][..], &[], &[f32::NAN, f32::INFINITY, -0.0]] {
            assert_eq!(Level::of(samples), Level::SILENCE);
        }
    }
}
