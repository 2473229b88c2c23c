//! PcmTrack: decodes packets of any codec but Opus into frames.

use std::collections::VecDeque;
use std::time::Duration;

use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_PCM_F32BE, CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64BE, CODEC_ID_PCM_F64LE,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use super::event::Stream;
use super::layout;
use super::trim::Trim;
use crate::audio::frame::Frame;
use crate::audio::mixdown::Position;
use crate::audio::mixer::Limiter;
use crate::audio::resample::Resampler;

/// The packets of one stream on their way to frames.
pub(super) struct PcmTrack {
    parameters: AudioCodecParameters,
    decoder: Box<dyn AudioDecoder>,
    /// Where the channels belong, where the decoder does not know it best.
    layout: Option<Vec<Position>>,
    trim: Trim,
    /// Made when the first packet tells rate and channels, and again should they change.
    resampler: Option<Shaped>,
    limiter: Limiter,
    loudest: f32,
    samples: Vec<f32>,
}

/// A resampler and what it was made for.
struct Shaped {
    rate: u32,
    layout: Vec<Position>,
    resampler: Resampler,
}

impl PcmTrack {
    pub(super) fn new(stream: &Stream) -> Result<Self, Error> {
        Ok(Self {
            parameters: stream.parameters.clone(),
            decoder: decoder(&stream.parameters)?,
            layout: stream.layout.clone(),
            trim: Trim::new(stream),
            resampler: None,
            limiter: Limiter::new(),
            loudest: 0.0,
            samples: Vec::new(),
        })
    }

    /// The loudest sample that was decoded from what a decoder can get wrong. Floating-point samples are what they are.
    pub(super) fn loudest(&self) -> f32 {
        if FLOATING.contains(&self.parameters.codec) { 0.0 } else { self.loudest }
    }

    /// Decodes another stream from here on; its samples follow those before without a gap.
    pub(super) fn go_on_with(&mut self, stream: &Stream) -> bool {
        let Ok(decoder) = decoder(&stream.parameters) else { return false };
        self.parameters.clone_from(&stream.parameters);
        (self.decoder, self.layout, self.trim) = (decoder, stream.layout.clone(), Trim::new(stream));
        true
    }

    /// Takes one packet; one that cannot be decoded is an error and leaves everything as it was.
    pub(super) fn packet(&mut self, packet: &Packet, ready: &mut VecDeque<Frame>) -> Result<(), Error> {
        let (rate, layout) = match self.decode(packet) {
            Err(Error::DecodeError(cause)) if self.resampler.is_some() => {
                // Decoders refuse packets of another rate or other channels than the first.
                let before = std::mem::replace(&mut self.decoder, decoder(&self.parameters)?);
                self.decode(packet).map_err(|_| {
                    self.decoder = before;
                    Error::DecodeError(cause)
                })?
            }
            decoded => decoded?,
        };
        if self.samples.is_empty() {
            return Ok(());
        }
        if self.resampler.as_ref().is_none_or(|shaped| (shaped.rate, &shaped.layout) != (rate, &layout)) {
            self.end_resampling(ready);
            self.resampler = Some(Shaped::new(rate, layout)?);
        }
        if let Some(Shaped { rate, layout, resampler }) = &mut self.resampler {
            resampler.push(self.trim.pass(&mut self.samples, layout.len(), *rate));
            limited(resampler, &mut self.limiter, ready);
        }
        Ok(())
    }

    /// Decodes a packet into `samples`, and says at which rate they are and where they belong.
    fn decode(&mut self, packet: &Packet) -> Result<(u32, Vec<Position>), Error> {
        self.samples.clear();
        let decoded = self.decoder.decode(packet)?;
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels());
        let known = self.layout.as_ref().filter(|layout| layout.len() == channels.count());
        let layout = known.cloned().unwrap_or_else(|| layout::of_channels(channels));
        decoded.copy_to_vec_interleaved(&mut self.samples);
        for sample in &mut self.samples {
            // What is no number would stay in the filters for ever, and what is beyond reason drown all else.
            *sample = if sample.is_finite() { sample.clamp(-MOST, MOST) } else { 0.0 };
            self.loudest = self.loudest.max(sample.abs());
        }
        Ok((rate, layout))
    }

    /// Says how much of the last frame is sound.
    fn end_resampling(&mut self, ready: &mut VecDeque<Frame>) -> Option<usize> {
        let Shaped { mut resampler, .. } = self.resampler.take()?;
        resampler.finish();
        limited(&mut resampler, &mut self.limiter, ready);
        Some(resampler.last_frame())
    }

    /// Hands out what is left; says how much of the last frame is sound, if there is any.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<Frame>) -> Option<usize> {
        self.end_resampling(ready)
    }

    /// Forgets what has been decoded and not handed out, and says how long it lasts: packets are left out from here on.
    pub(super) fn jump(&mut self) -> Duration {
        self.decoder.reset();
        self.resampler.take().map_or(Duration::ZERO, |shaped| shaped.resampler.held())
    }

    /// The rate of what is decoded.
    pub(super) fn rate(&self) -> Option<u32> {
        self.resampler.as_ref().map(|shaped| shaped.rate)
    }
}

fn decoder(parameters: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, Error> {
    symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())
}

/// Hands out frames, none of them beyond full scale.
fn limited(resampler: &mut Resampler, limiter: &mut Limiter, ready: &mut VecDeque<Frame>) {
    while let Some(mut pcm) = resampler.next_frame() {
        limiter.limit(&mut pcm);
        ready.push_back(Frame::Pcm(pcm));
    }
}

impl Shaped {
    fn new(rate: u32, layout: Vec<Position>) -> Result<Self, Error> {
        let resampler = Resampler::with_layout(rate, &layout)
            .map_err(|_| Error::Unsupported("its sample rate or number of channels makes no sense"))?;
        Ok(Self { rate, layout, resampler })
    }
}

const FLOATING: [AudioCodecId; 4] =
    [CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F32BE, CODEC_ID_PCM_F64LE, CODEC_ID_PCM_F64BE];
/// Louder samples are taken for this: 30 dB beyond full scale.
const MOST: f32 = 32.0;
