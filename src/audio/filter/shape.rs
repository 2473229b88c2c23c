//! What changes the waveform or the channels: karaoke, distortion, channel mix, low-pass.

use std::f32::consts::TAU;

use super::settings::{ChannelMix, Distortion, Karaoke, LowPass};
use crate::audio::frame::{CHANNELS, Pcm, SAMPLE_RATE};

#[derive(Clone, Debug)]
pub(super) struct Removal {
    level: f32,
    mono_level: f32,
    /// A resonator: what goes in, and what came out once and twice before.
    a: f32,
    b: f32,
    c: f32,
    last: [f32; 2],
}

impl Removal {
    pub(super) fn new(settings: Karaoke, before: Option<&Self>) -> Option<Self> {
        let Karaoke { level, mono_level, filter_band, filter_width } = settings;
        let rate = SAMPLE_RATE as f32;
        let c = (-TAU * filter_width / rate).exp();
        let b = -4.0 * c / (1.0 + c) * (TAU * filter_band / rate).cos();
        let a = (1.0 - b * b / (4.0 * c)).max(0.0).sqrt() * (1.0 - c);
        let last = before.map_or([0.0; 2], |before| before.last);
        (level > 0.0).then_some(Self { level, mono_level, a, b, c, last })
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            let (left, right) = (pair[0], pair[1]);
            let band = self.a * (left + right) / 2.0 - self.b * self.last[0] - self.c * self.last[1];
            self.last = [band, self.last[0]];
            let stays = band * self.mono_level * self.level;
            pair[0] = left - right * self.level + stays;
            pair[1] = right - left * self.level + stays;
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Bending(Distortion);

impl Bending {
    pub(super) fn new(settings: Distortion) -> Option<Self> {
        (settings != Distortion::default()).then_some(Self(settings))
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        let Distortion { sin_offset, sin_scale, cos_offset, cos_scale, tan_offset, tan_scale, offset, scale } =
            self.0;
        for sample in pcm.iter_mut() {
            let sine = sin_offset + (*sample * sin_scale).sin();
            let cosine = cos_offset + (*sample * cos_scale).cos();
            let tangent = tan_offset + (*sample * tan_scale).tan();
            *sample = (offset + scale * sine * cosine * tangent).clamp(-1.0, 1.0);
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sides(ChannelMix);

impl Sides {
    pub(super) fn new(settings: ChannelMix) -> Option<Self> {
        (settings != ChannelMix::default()).then_some(Self(settings))
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        let ChannelMix { left_to_left, left_to_right, right_to_left, right_to_right } = self.0;
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            let (left, right) = (pair[0], pair[1]);
            pair[0] = left * left_to_left + right * right_to_left;
            pair[1] = left * left_to_right + right * right_to_right;
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Smoothing {
    part: f32,
    /// Where each channel is; none before the first sample, from which it starts.
    value: Option<[f32; CHANNELS]>,
}

impl Smoothing {
    pub(super) fn new(settings: LowPass, before: Option<&Self>) -> Option<Self> {
        let value = before.and_then(|before| before.value);
        (settings.smoothing > 1.0).then_some(Self { part: 1.0 / settings.smoothing, value })
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        let value = self.value.get_or_insert([pcm[0], pcm[1]]);
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            for (sample, value) in pair.iter_mut().zip(value.iter_mut()) {
                *value += (*sample - *value) * self.part;
                *sample = *value;
            }
        }
    }
}
