//! What trembles and turns: tremolo, vibrato, rotation.

use std::f32::consts::TAU;

use super::settings::{Rotation, Tremolo, Vibrato};
use crate::audio::{
    frame::{CHANNELS, Pcm, SAMPLE_RATE},
    stretch::cubic,
};

/// A sine that goes on from frame to frame.
#[derive(Clone, Copy, Debug, Default)]
struct Oscillator {
    /// 0 to 1, a whole period.
    phase: f32,
    step: f32,
}

impl Oscillator {
    /// Goes on where another was.
    fn new(hertz: f32, before: Option<Self>) -> Self {
        Self { phase: before.map_or(0.0, |before| before.phase), step: hertz / SAMPLE_RATE as f32 }
    }

    fn next(&mut self) -> f32 {
        let value = (self.phase * TAU).sin();
        self.phase += self.step;
        self.phase -= self.phase.floor();
        value
    }
}

#[derive(Clone, Debug)]
pub(super) struct Trembling {
    sine: Oscillator,
    depth: f32,
}

impl Trembling {
    pub(super) fn new(settings: Tremolo, before: Option<&Self>) -> Option<Self> {
        let sine = Oscillator::new(settings.frequency, before.map(|before| before.sine));
        (settings.depth > 0.0).then_some(Self { sine, depth: settings.depth })
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            let gain = 1.0 - self.depth * (1.0 - self.sine.next()) / 2.0;
            pair.iter_mut().for_each(|sample| *sample *= gain);
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rotating {
    sine: Oscillator,
}

impl Rotating {
    pub(super) fn new(settings: Rotation, before: Option<&Self>) -> Option<Self> {
        let sine = Oscillator::new(settings.rotation_hz, before.map(|before| before.sine));
        (settings.rotation_hz != 0.0).then_some(Self { sine })
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            let sine = self.sine.next();
            pair[0] *= (1.0 + sine) / 2.0;
            pair[1] *= (1.0 - sine) / 2.0;
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Vibrating {
    sine: Oscillator,
    depth: f32,
    /// What was heard last, in a ring.
    line: Box<[[f32; CHANNELS]; LINE]>,
    at: usize,
    begun: bool,
}

impl Vibrating {
    pub(super) fn new(settings: Vibrato, before: Option<&Self>) -> Option<Self> {
        if settings.depth <= 0.0 {
            return None;
        }
        let sine = Oscillator::new(settings.frequency, before.map(|before| before.sine));
        let mut vibrating = before.cloned().unwrap_or_else(|| Self {
            sine,
            depth: 0.0,
            line: Box::new([[0.0; CHANNELS]; LINE]),
            at: 0,
            begun: false,
        });
        (vibrating.sine, vibrating.depth) = (sine, settings.depth);
        Some(vibrating)
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        if !self.begun {
            // As if it had stood there before: from silence would be a step.
            self.line.fill([pcm[0], pcm[1]]);
            self.begun = true;
        }
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            self.line[self.at] = [pair[0], pair[1]];
            let delay = LEAST_DELAY + self.depth * DEEPEST * (1.0 + self.sine.next()) / 2.0;
            let (whole, part) = (delay as usize, delay.fract());
            for (channel, sample) in pair.iter_mut().enumerate() {
                let past = |back: usize| self.line[(self.at + LINE - back) % LINE][channel];
                *sample = cubic([past(whole - 1), past(whole), past(whole + 1), past(whole + 2)], part);
            }
            self.at = (self.at + 1) % LINE;
        }
    }
}

/// Samples per channel that are kept: more than the longest delay.
const LINE: usize = 128;
/// In samples: 2 ms.
const DEEPEST: f32 = 96.0;
/// In samples: what an interpolation needs.
const LEAST_DELAY: f32 = 1.0;
