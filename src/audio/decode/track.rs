//! What turns the packets of one stream into frames.

use std::collections::VecDeque;
use std::time::Duration;

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use super::event::Stream;
use super::opus_track::{ByteOrder, OpusTrack};
use super::pcm_track::PcmTrack;
use crate::audio::frame::Frame;

/// A decoder, or what passes packets on.
pub(super) enum Track {
    Opus(OpusTrack),
    Pcm(Box<PcmTrack>),
}

/// Says whether a decoder can be made.
pub(super) fn check(stream: &Stream) -> Result<(), Error> {
    Track::new(stream).map(drop)
}

impl Track {
    pub(super) fn new(stream: &Stream) -> Result<Self, Error> {
        if stream.parameters.codec == CODEC_ID_OPUS {
            let order = if stream.big_endian { ByteOrder::Big } else { ByteOrder::Little };
            return OpusTrack::new(&stream.parameters, order).map(Self::Opus);
        }
        PcmTrack::new(stream).map(Box::new).map(Self::Pcm)
    }

    /// Goes on with another stream without a gap, where what is decoded now can simply follow; says whether it does.
    pub(super) fn goes_on_with(&mut self, stream: &Stream) -> bool {
        match self {
            Self::Pcm(pcm) if stream.parameters.codec != CODEC_ID_OPUS => pcm.go_on_with(stream),
            _ => false,
        }
    }

    /// Takes one packet; one that cannot be decoded is an error and leaves everything as it was.
    pub(super) fn packet(&mut self, packet: Packet, ready: &mut VecDeque<Frame>) -> Result<(), Error> {
        match self {
            Self::Opus(opus) => opus.packet(packet, ready),
            Self::Pcm(pcm) => pcm.packet(&packet, ready),
        }
    }

    /// Hands out what is left, the last frame filled up with silence; says how much of it is sound, in samples per channel.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<Frame>) -> Option<usize> {
        match self {
            Self::Opus(opus) => opus.finish(ready),
            Self::Pcm(pcm) => pcm.finish(ready),
        }
    }

    /// The rate in which the packets count that can be left out, and nothing of it be heard after half a second.
    pub(super) fn skippable_rate(&self) -> Option<u32> {
        match self {
            Self::Opus(_) => None,
            Self::Pcm(pcm) => pcm.rate(),
        }
    }

    /// Forgets what has been decoded and not handed out, and says how long it lasts.
    pub(super) fn jump(&mut self) -> Duration {
        match self {
            Self::Opus(_) => Duration::ZERO,
            Self::Pcm(pcm) => pcm.jump(),
        }
    }

    /// The loudest sample so far; 1.0 is full scale. Packets that are passed on are not listened to.
    pub(super) fn loudest(&self) -> f32 {
        match self {
            Self::Opus(_) => 0.0,
            Self::Pcm(pcm) => pcm.loudest(),
        }
    }
}
