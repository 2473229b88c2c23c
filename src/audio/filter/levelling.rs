//! Levelling: a gain that makes the sound as loud as others, and changes slowly.

use super::settings::Loudness;
use crate::audio::{
    frame::{CHANNELS, FRAME_SAMPLES, Pcm},
    loudness::Follower,
};

/// The gain, which goes back to 1 when it is not wanted any more.
#[derive(Clone, Debug)]
pub(super) struct Levelling {
    settings: Option<Loudness>,
    follower: Follower,
    /// In dB: what the gain is.
    gain: f32,
}

impl Levelling {
    pub(super) fn new() -> Self {
        Self { settings: None, follower: Follower::default(), gain: 0.0 }
    }

    pub(super) fn set(&mut self, settings: Option<Loudness>) {
        if self.settings.is_none() {
            self.follower = Follower::default();
        }
        self.settings = settings;
    }

    pub(super) fn is_neutral(&self) -> bool {
        self.settings.is_none() && self.gain == 0.0
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        if self.is_neutral() {
            return;
        }
        let from = amplitude(self.gain);
        self.gain = self.next_gain(pcm);
        let step = (amplitude(self.gain) - from) / FRAME_SAMPLES as f32;
        for (nth, pair) in pcm.chunks_exact_mut(CHANNELS).enumerate() {
            let gain = from + step * (nth + 1) as f32;
            pair.iter_mut().for_each(|sample| *sample *= gain);
        }
    }

    fn next_gain(&mut self, pcm: &Pcm) -> f32 {
        let Some(Loudness { target, measured }) = self.settings else { return 0.0 };
        if let Some(measured) = measured {
            return (target - measured).clamp(-MOST, MOST);
        }
        self.follower.hear(pcm);
        let Some(loudness) = self.follower.loudness() else { return self.gain };
        let wanted = (target - loudness).clamp(-MOST, MOST);
        wanted.clamp(self.gain - ATTACK, self.gain + RELEASE)
    }
}

fn amplitude(db: f32) -> f32 {
    10.0_f32.powf(db / 20.0)
}

/// How far the gain may go, in dB.
const MOST: f32 = 30.0;
/// How far the gain falls in a frame, in dB: 12 a second.
const ATTACK: f32 = 0.24;
/// How far the gain rises in a frame, in dB: 3 a second.
const RELEASE: f32 = 0.06;
