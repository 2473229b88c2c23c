//! Encoding: from the sum of the tracks to a packet.

use bytes::{Bytes, BytesMut};

use crate::audio::{
    frame::Pcm,
    mixer::Limiter,
    opus::{Encoder, EncoderSettings, MAX_PACKET, OpusError},
};

/// The encoder of one speaker, which is made when there is first something to encode.
#[derive(Debug)]
pub(super) struct Encoding {
    settings: EncoderSettings,
    mixdown: Option<Box<Mixdown>>,
}

/// What it takes to encode a mix.
#[derive(Debug)]
struct Mixdown {
    encoder: Encoder,
    mix: Pcm,
    limiter: Limiter,
    packet: BytesMut,
}

impl Encoding {
    /// # Errors
    ///
    /// When libopus refuses the settings.
    pub(super) fn new(settings: &EncoderSettings) -> Result<Self, OpusError> {
        Encoder::new(settings)?;
        Ok(Self { settings: settings.clone(), mixdown: None })
    }

    /// # Errors
    ///
    /// When libopus refuses the bitrate; the one before stays.
    pub(super) fn set_bitrate(&mut self, bitrate: u32) -> Result<(), OpusError> {
        if let Some(mixdown) = &mut self.mixdown {
            mixdown.encoder.set_bitrate(bitrate)?;
        }
        self.settings.bitrate = bitrate;
        Ok(())
    }

    /// Encodes what `fill` adds to 20 ms of silence.
    ///
    /// # Errors
    ///
    /// When libopus fails.
    pub(super) fn encode(&mut self, fill: impl FnOnce(&mut Pcm)) -> Result<Bytes, OpusError> {
        let Mixdown { encoder, mix, limiter, packet } = match &mut self.mixdown {
            Some(mixdown) => &mut **mixdown,
            none => none.insert(Box::new(Mixdown {
                encoder: Encoder::new(&self.settings)?,
                mix: Pcm::default(),
                limiter: Limiter::new(),
                packet: BytesMut::with_capacity(ARENA),
            })),
        };
        mix.fill(0.0);
        fill(mix);
        limiter.limit(mix);
        packet.reserve(MAX_PACKET);
        packet.resize(MAX_PACKET, 0);
        let length = encoder.encode(mix, packet).inspect_err(|_| packet.clear())?;
        let opus = packet.split_to(length).freeze();
        packet.clear();
        Ok(opus)
    }
}

/// Packets share one allocation of this size, which serves again once they are sent.
const ARENA: usize = 16 * 1024;
