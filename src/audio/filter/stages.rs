//! Stages: the filters that make 20 ms out of 20 ms, one after another.

#[cfg(feature = "denoise")]
use super::denoise::Denoise;
use super::{
    equalizer::Equalizer,
    modulation::{Rotating, Trembling, Vibrating},
    settings::Filters,
    shape::{Bending, Removal, Sides, Smoothing},
};
use crate::audio::frame::Pcm;

/// All of them, in the order in which they work.
#[derive(Clone, Debug, Default)]
pub(super) struct Stages {
    #[cfg(feature = "denoise")]
    denoise: Option<Denoise>,
    equalizer: Option<Equalizer>,
    karaoke: Option<Removal>,
    tremolo: Option<Trembling>,
    vibrato: Option<Vibrating>,
    rotation: Option<Rotating>,
    distortion: Option<Bending>,
    channel_mix: Option<Sides>,
    low_pass: Option<Smoothing>,
    volume: Option<f32>,
}

impl Stages {
    /// What is wanted now; filters that were there before go on with what they remember.
    pub(super) fn new(filters: &Filters, before: &Self) -> Self {
        Self {
            #[cfg(feature = "denoise")]
            denoise: filters.noise_suppression.then(|| before.denoise.clone().unwrap_or_else(Denoise::new)),
            equalizer: Equalizer::new(&filters.equalizer, before.equalizer.as_ref()),
            karaoke: filters.karaoke.and_then(|settings| Removal::new(settings, before.karaoke.as_ref())),
            tremolo: filters.tremolo.and_then(|settings| Trembling::new(settings, before.tremolo.as_ref())),
            vibrato: filters.vibrato.and_then(|settings| Vibrating::new(settings, before.vibrato.as_ref())),
            rotation: filters.rotation.and_then(|settings| Rotating::new(settings, before.rotation.as_ref())),
            distortion: filters.distortion.and_then(Bending::new),
            channel_mix: filters.channel_mix.and_then(Sides::new),
            low_pass: filters
                .low_pass
                .and_then(|settings| Smoothing::new(settings, before.low_pass.as_ref())),
            volume: filters.volume.filter(|volume| *volume != 1.0),
        }
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        #[cfg(feature = "denoise")]
        self.denoise.iter_mut().for_each(|filter| filter.process(pcm));
        self.equalizer.iter_mut().for_each(|filter| filter.process(pcm));
        self.karaoke.iter_mut().for_each(|filter| filter.process(pcm));
        self.tremolo.iter_mut().for_each(|filter| filter.process(pcm));
        self.vibrato.iter_mut().for_each(|filter| filter.process(pcm));
        self.rotation.iter_mut().for_each(|filter| filter.process(pcm));
        self.distortion.iter_mut().for_each(|filter| filter.process(pcm));
        self.channel_mix.iter_mut().for_each(|filter| filter.process(pcm));
        self.low_pass.iter_mut().for_each(|filter| filter.process(pcm));
        if let Some(volume) = self.volume {
            pcm.iter_mut().for_each(|sample| *sample *= volume);
        }
    }
}
