//! The `fmt ` chunk of a WAVE file: what its samples are.

use symphonia::core::audio::layouts::CHANNEL_LAYOUT_MONO;
use symphonia::core::audio::{Channels, Position as Speaker};
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_ADPCM_IMA_WAV, CODEC_ID_ADPCM_MS, CODEC_ID_PCM_ALAW, CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64LE,
    CODEC_ID_PCM_MULAW, CODEC_ID_PCM_S16LE, CODEC_ID_PCM_S24LE, CODEC_ID_PCM_S32LE, CODEC_ID_PCM_U8,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};
use symphonia::core::errors::Error;

use crate::audio::mixdown::{Position, usual_layout};

/// What the samples are.
#[derive(Clone, Debug)]
pub(super) struct Format {
    codec: AudioCodecId,
    pub(super) rate: u32,
    channels: u16,
    /// Where each channel belongs.
    pub(super) layout: Vec<Position>,
    /// Bytes that belong together: the samples of one moment, or a block of ADPCM.
    pub(super) block: usize,
    /// Samples per channel in it.
    pub(super) samples: u64,
}

impl Format {
    pub(super) fn parse(chunk: &[u8]) -> Result<Self, Error> {
        let number = |at: usize| Some(u16::from_le_bytes([*chunk.get(at)?, *chunk.get(at + 1)?]));
        let short = || Error::DecodeError("its format chunk is cut short");
        let (Some(mut code), Some(channels), Some(block), Some(bits)) =
            (number(0), number(2), number(12), number(14))
        else {
            return Err(short());
        };
        let rate = u32::from(number(4).ok_or_else(short)?) | u32::from(number(6).ok_or_else(short)?) << 16;
        let mut mask = 0;
        if code == EXTENSIBLE {
            code = number(24).ok_or_else(short)?;
            mask = u32::from(number(20).ok_or_else(short)?) | u32::from(number(22).ok_or_else(short)?) << 16;
        }
        if channels == 0 || channels > MAX_CHANNELS || rate == 0 {
            return Err(Error::DecodeError("its number of channels or sample rate makes no sense"));
        }
        let layout = layout(mask, channels);
        let adpcm = |codec, header: u16, first: u64| {
            let bytes = block.checked_sub(header * channels).filter(|_| bits == 4 && channels <= 2);
            let bytes = bytes.ok_or(Error::DecodeError("its blocks are too small"))?;
            let samples = u64::from(bytes) * 2 / u64::from(channels) + first;
            Ok(Self { codec, rate, channels, layout: layout.clone(), block: block.into(), samples })
        };
        let (codec, written) = match code {
            2 => return adpcm(CODEC_ID_ADPCM_MS, 7, 2),
            0x11 => return adpcm(CODEC_ID_ADPCM_IMA_WAV, 4, 1),
            1 => integer(bits, block, channels)?,
            3 if bits == 64 => (CODEC_ID_PCM_F64LE, 8),
            3 if bits == 32 => (CODEC_ID_PCM_F32LE, 4),
            6 => (CODEC_ID_PCM_ALAW, 1),
            7 => (CODEC_ID_PCM_MULAW, 1),
            _ => return Err(Error::Unsupported("its WAVE codec is not known here")),
        };
        let block = written * usize::from(channels);
        Ok(Self { codec, rate, channels, layout, block, samples: 1 })
    }

    /// What a decoder needs to know. The layout is told besides, as no mask of symphonia's holds them all.
    pub(super) fn parameters(&self) -> AudioCodecParameters {
        let mut parameters = AudioCodecParameters::new();
        let channels =
            if self.channels == 1 { CHANNEL_LAYOUT_MONO } else { Channels::Discrete(self.channels) };
        // ADPCM wants to know left from right.
        let stereo = Channels::Positioned(Speaker::FRONT_LEFT | Speaker::FRONT_RIGHT);
        let channels = if self.channels == 2 { stereo } else { channels };
        parameters.for_codec(self.codec).with_sample_rate(self.rate).with_channels(channels);
        parameters.with_frames_per_block(self.samples);
        parameters.with_max_frames_per_packet(self.samples * self.blocks_per_packet() as u64);
        parameters
    }

    /// How many blocks make a packet: about 20 ms of one.
    pub(super) fn blocks_per_packet(&self) -> usize {
        (1_024 / self.samples.max(1)).max(1) as usize
    }
}

/// Integers of so many bits, and how many bytes each takes: as many as the block has room for. Fewer bits than
/// there are bytes for are the upper ones.
fn integer(bits: u16, block: u16, channels: u16) -> Result<(AudioCodecId, usize), Error> {
    let roomy = block / channels;
    let written = if block.is_multiple_of(channels) && (1..=4).contains(&roomy) && roomy * 8 >= bits {
        roomy
    } else {
        bits.div_ceil(8)
    };
    let codec = match written {
        1 => CODEC_ID_PCM_U8,
        2 => CODEC_ID_PCM_S16LE,
        3 => CODEC_ID_PCM_S24LE,
        4 => CODEC_ID_PCM_S32LE,
        _ => return Err(Error::DecodeError("its samples have no width that makes sense")),
    };
    Ok((codec, usize::from(written)))
}

/// The positions of a mask, in the order of its bits; without one, or where it does not fit, what is usual.
fn layout(mask: u32, channels: u16) -> Vec<Position> {
    let mut layout = super::super::layout::of_mask(mask.into());
    if channels == 1 || layout.is_empty() || layout.len() > usize::from(channels) {
        return usual_layout(channels.into());
    }
    // Channels that the mask does not name have no place, and are silent to us as to others.
    layout.resize(channels.into(), Position::LowFrequency);
    layout
}

const EXTENSIBLE: u16 = 0xFFFE;
const MAX_CHANNELS: u16 = 32;
