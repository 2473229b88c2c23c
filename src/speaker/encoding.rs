//! Encoding: from the sum of the tracks to a packet.
//!
//! An encoder that begins where packets were passed on until now is given what was in them first, so that nothing is heard of
//! the change.

use bytes::{Bytes, BytesMut};

use crate::audio::{
    filter::{FilterChain, Filters},
    frame::{FRAME_SAMPLES, Pcm},
    mixer::Limiter,
    opus::{Encoder, EncoderSettings, MAX_PACKET, OpusError},
};

/// The encoder of one speaker, which is made when there is first something to encode.
#[derive(Debug)]
pub(super) struct Encoding {
    settings: EncoderSettings,
    ahead: usize,
    /// What is done to the mix.
    filters: FilterChain,
    /// Whether anything was asked to be done.
    will_filter: bool,
    mixdown: Option<Box<Mixdown>>,
}

/// What it takes to encode a mix.
#[derive(Debug)]
struct Mixdown {
    encoder: Encoder,
    mix: Pcm,
    scratch: Pcm,
    limiter: Limiter,
    packet: BytesMut,
    /// Whether the packet before was encoded here.
    is_warm: bool,
}

impl Encoding {
    /// # Errors
    ///
    /// When libopus refuses the settings.
    pub(super) fn new(settings: &EncoderSettings) -> Result<Self, OpusError> {
        let ahead = Encoder::new(settings)?.lookahead()?;
        Ok(Self {
            settings: settings.clone(),
            ahead: ahead.min(FRAME_SAMPLES),
            filters: FilterChain::new(),
            will_filter: false,
            mixdown: None,
        })
    }

    /// By how much what is decoded comes after what was encoded, in samples per channel.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Does this to every mix; without the timescale.
    pub(super) fn set_filters(&mut self, filters: &Filters) {
        let mut filters = filters.clone();
        filters.timescale = None;
        self.will_filter = !filters.is_neutral();
        self.filters.set(&filters);
    }

    /// Whether something is done to the mix.
    pub(super) fn filters(&self) -> bool {
        !self.filters.is_neutral()
    }

    /// Whether something will be done to it in a while.
    pub(super) fn will_filter(&self) -> bool {
        self.will_filter
    }

    /// Whether the packet before was encoded here.
    pub(super) fn is_warm(&self) -> bool {
        self.mixdown.as_ref().is_some_and(|mixdown| mixdown.is_warm)
    }

    /// Encodes what was heard until now, and forgets the packets.
    ///
    /// # Errors
    ///
    /// When libopus fails.
    pub(super) fn warm_up(&mut self, heard: &[f32]) -> Result<(), OpusError> {
        let Mixdown { encoder, scratch, packet, .. } = self.mixdown()?;
        for frame in heard.chunks_exact(scratch.len()) {
            scratch.copy_from_slice(frame);
            packet.resize(MAX_PACKET, 0);
            encoder.encode(scratch, packet)?;
        }
        packet.clear();
        Ok(())
    }

    /// The next packet is none of these.
    pub(super) fn cool_down(&mut self) {
        if let Some(mixdown) = self.mixdown.as_mut().filter(|mixdown| mixdown.is_warm) {
            mixdown.is_warm = false;
            mixdown.limiter = Limiter::new();
            self.filters.clear();
            // One that cannot be reset sounds a little of what was before.
            let _ = mixdown.encoder.reset();
        }
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

    /// Encodes what `fill` adds to 20 ms of silence; it is given a frame to work in as well.
    ///
    /// # Errors
    ///
    /// When libopus fails.
    pub(super) fn encode(&mut self, fill: impl FnOnce(&mut Pcm, &mut Pcm)) -> Result<Bytes, OpusError> {
        // The mixdown is borrowed beside the filters.
        let mut filters = std::mem::take(&mut self.filters);
        let mixed = self.mixdown().map(|mixdown| mixdown.mix(&mut filters, fill));
        self.filters = filters;
        mixed?;
        let Mixdown { encoder, mix, limiter, packet, is_warm, .. } = self.mixdown()?;
        *is_warm = true;
        limiter.limit(mix);
        packet.reserve(MAX_PACKET);
        packet.resize(MAX_PACKET, 0);
        let length = encoder.encode(mix, packet).inspect_err(|_| packet.clear())?;
        let opus = packet.split_to(length).freeze();
        packet.clear();
        Ok(opus)
    }

    fn mixdown(&mut self) -> Result<&mut Mixdown, OpusError> {
        Ok(match &mut self.mixdown {
            Some(mixdown) => mixdown,
            none => none.insert(Box::new(Mixdown {
                encoder: Encoder::new(&self.settings)?,
                mix: Pcm::default(),
                scratch: Pcm::default(),
                limiter: Limiter::new(),
                packet: BytesMut::with_capacity(ARENA),
                is_warm: false,
            })),
        })
    }
}

impl Mixdown {
    /// Filters what `fill` adds to silence.
    fn mix(&mut self, filters: &mut FilterChain, fill: impl FnOnce(&mut Pcm, &mut Pcm)) {
        let Self { mix, scratch, .. } = self;
        let mut fill = Some(fill);
        filters.pull(mix, |mix| {
            mix.fill(0.0);
            fill.take().map(|fill| fill(mix, scratch)).is_some()
        });
    }
}

/// Packets share one allocation of this size, which serves again once they are sent.
const ARENA: usize = 16 * 1024;
