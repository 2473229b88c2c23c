//! Envelope: how loud a track is, from sample to sample.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audio::frame::{FRAME, FRAME_SAMPLES};

/// How loudness goes from one value to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Curve {
    /// The amplitude changes along a straight line.
    #[default]
    Linear,
    /// The power does: two unlike sounds, one of which fades in while the other fades out, are together as loud all the time.
    EqualPower,
}

/// A factor that changes without a click; 1.0 leaves things as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    level: f32,
    ramp: Option<Ramp>,
}

#[derive(Clone, Copy, Debug)]
struct Ramp {
    from: f32,
    to: f32,
    /// Both in samples per channel.
    at: u64,
    length: u64,
    curve: Curve,
}

impl Ramp {
    fn level(&self, at: u64) -> f32 {
        let part = (at as f32 / self.length as f32).min(1.0);
        match self.curve {
            Curve::Linear => self.from + (self.to - self.from) * part,
            Curve::EqualPower => {
                let (sine, cosine) = (part * std::f32::consts::FRAC_PI_2).sin_cos();
                (self.from * cosine).hypot(self.to * sine)
            }
        }
    }
}

impl Envelope {
    pub(super) fn at(level: f32) -> Self {
        Self { level, ramp: None }
    }

    /// Goes to another level, from where it is.
    pub(super) fn go(&mut self, to: f32, over: Duration, curve: Curve) {
        let length = samples(over);
        self.ramp = (length > 0).then_some(Ramp { from: self.level, to, at: 0, length, curve });
        if length == 0 {
            self.level = to;
        }
    }

    /// The level of the next sample.
    pub(super) fn level(&self) -> f32 {
        self.level
    }

    /// Where it will be.
    pub(super) fn target(&self) -> f32 {
        self.ramp.map_or(self.level, |ramp| ramp.to)
    }

    /// Whether it stays where it is.
    pub(super) fn is_steady(&self) -> bool {
        self.ramp.is_none()
    }

    /// Whether it leaves things as they are.
    pub(super) fn is_neutral(&self) -> bool {
        self.is_steady() && self.level == 1.0
    }

    /// Scales the gains of 20 ms, one for each sample.
    pub(super) fn scale(&mut self, gains: &mut [f32; FRAME_SAMPLES]) {
        match &mut self.ramp {
            None => gains.iter_mut().for_each(|gain| *gain *= self.level),
            Some(ramp) => {
                for (nth, gain) in (ramp.at..).zip(gains.iter_mut()) {
                    *gain *= ramp.level(nth);
                }
                ramp.at += FRAME_SAMPLES as u64;
                self.level = ramp.level(ramp.at);
                if ramp.at >= ramp.length {
                    self.level = ramp.to;
                    self.ramp = None;
                }
            }
        }
    }
}

fn samples(over: Duration) -> u64 {
    u64::try_from(over.as_nanos() * FRAME_SAMPLES as u128 / FRAME.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(envelope: &mut Envelope, frames: usize) -> Vec<f32> {
        let mut all = Vec::new();
        for _ in 0..frames {
            let mut gains = [1.0; FRAME_SAMPLES];
            envelope.scale(&mut gains);
            all.extend(gains);
        }
        all
    }

    #[test]
    fn a_level_is_reached_after_the_time_that_was_said_and_without_a_step() {
        for (over, curve) in [(20, Curve::Linear), (50, Curve::Linear), (333, Curve::EqualPower)] {
            let mut envelope = Envelope::at(1.0);
            envelope.go(0.25, Duration::from_millis(over), curve);
            assert!(!envelope.is_steady() && envelope.target() == 0.25);
            let gains = play(&mut envelope, 20);
            let length = over as usize * 48;
            assert_eq!(gains[0], 1.0);
            assert!(
                gains[length - 1] > 0.25 && gains[length..].iter().all(|gain| *gain == 0.25),
                "{over} ms"
            );
            let steepest = gains.windows(2).map(|pair| (pair[0] - pair[1]).abs()).fold(0.0, f32::max);
            assert!(steepest < 2.0 / length as f32, "{over} ms: {steepest}");
        }
    }

    #[test]
    fn two_fades_of_equal_power_are_together_as_loud_all_the_time() {
        let (mut falling, mut rising) = (Envelope::at(1.0), Envelope::at(0.0));
        falling.go(0.0, Duration::from_secs(1), Curve::EqualPower);
        rising.go(1.0, Duration::from_secs(1), Curve::EqualPower);
        for (out, into) in play(&mut falling, 60).into_iter().zip(play(&mut rising, 60)) {
            assert!((out * out + into * into - 1.0).abs() < 1e-4);
        }
        assert!(rising.is_neutral() && falling.level() == 0.0);
    }

    #[test]
    fn another_order_goes_on_from_where_it_is() {
        let mut envelope = Envelope::at(1.0);
        envelope.go(0.0, FRAME * 4, Curve::Linear);
        play(&mut envelope, 2);
        assert_eq!(envelope.level(), 0.5);
        envelope.go(1.0, FRAME, Curve::Linear);
        assert_eq!(play(&mut envelope, 1)[0], 0.5);
        assert!(envelope.is_neutral());
        envelope.go(0.0, Duration::ZERO, Curve::Linear);
        assert_eq!(envelope.level(), 0.0);
    }
}
