//! Denoise: takes the noise out of a voice; the sound comes 10 ms later.

use nnnoiseless::DenoiseState;

use crate::audio::frame::{CHANNELS, Pcm};

#[derive(Clone)]
pub(super) struct Denoise {
    channels: [Box<DenoiseState<'static>>; CHANNELS],
}

impl Denoise {
    pub(super) fn new() -> Self {
        Self { channels: std::array::from_fn(|_| DenoiseState::new()) }
    }

    pub(super) fn process(&mut self, pcm: &mut Pcm) {
        let (mut input, mut output) = ([0.0; DenoiseState::FRAME_SIZE], [0.0; DenoiseState::FRAME_SIZE]);
        for half in pcm.chunks_exact_mut(CHANNELS * DenoiseState::FRAME_SIZE) {
            for (channel, state) in self.channels.iter_mut().enumerate() {
                let samples = half.iter().skip(channel).step_by(CHANNELS);
                input.iter_mut().zip(samples).for_each(|(input, sample)| *input = sample * FULL_SCALE);
                state.process_frame(&mut output, &input);
                let samples = half.iter_mut().skip(channel).step_by(CHANNELS);
                samples.zip(&output).for_each(|(sample, output)| *sample = output / FULL_SCALE);
            }
        }
    }
}

impl std::fmt::Debug for Denoise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Denoise")
    }
}

/// What the model takes for full scale.
const FULL_SCALE: f32 = 32_768.0;
