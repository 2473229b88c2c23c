//! PcmTrack: decodes packets of any codec but Opus into frames.

use std::collections::VecDeque;

use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use crate::audio::frame::Frame;
use crate::audio::resample::Resampler;

/// The packets of one file on their way to frames.
pub(super) struct PcmTrack {
    decoder: Box<dyn AudioDecoder>,
    /// Made when the first packet tells rate and channels, and again should they change.
    resampler: Option<Shaped>,
    samples: Vec<f32>,
}

/// A resampler and what it was made for.
struct Shaped {
    rate: u32,
    channels: usize,
    resampler: Resampler,
}

impl PcmTrack {
    pub(super) fn new(parameters: &AudioCodecParameters) -> Result<Self, Error> {
        let options = AudioDecoderOptions::default();
        let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &options)?;
        if let Some((rate, channels)) = parameters.sample_rate.zip(parameters.channels.as_ref()) {
            Shaped::new(rate, channels.count())?;
        }
        Ok(Self { decoder, resampler: None, samples: Vec::new() })
    }

    /// Takes one packet; one that cannot be decoded is an error and leaves everything as it was.
    pub(super) fn packet(&mut self, packet: &Packet, ready: &mut VecDeque<Frame>) -> Result<(), Error> {
        let decoded = self.decoder.decode(packet)?;
        if decoded.is_empty() {
            return Ok(());
        }
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        decoded.copy_to_vec_interleaved(&mut self.samples);
        if self.resampler.as_ref().is_none_or(|shaped| (shaped.rate, shaped.channels) != (rate, channels)) {
            self.finish(ready);
            self.resampler = Some(Shaped::new(rate, channels)?);
        }
        if let Some(Shaped { resampler, .. }) = &mut self.resampler {
            resampler.push(&self.samples);
            ready.extend(std::iter::from_fn(|| resampler.next_frame()).map(Frame::Pcm));
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, ready: &mut VecDeque<Frame>) {
        if let Some(Shaped { mut resampler, .. }) = self.resampler.take() {
            resampler.finish();
            ready.extend(std::iter::from_fn(|| resampler.next_frame()).map(Frame::Pcm));
        }
    }
}

impl Shaped {
    fn new(rate: u32, channels: usize) -> Result<Self, Error> {
        let resampler = Resampler::new(rate, channels)
            .map_err(|_| Error::Unsupported("its sample rate or number of channels makes no sense"))?;
        Ok(Self { rate, channels, resampler })
    }
}
