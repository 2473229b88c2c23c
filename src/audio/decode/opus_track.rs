//! OpusTrack: forwards Opus packets of 20 ms as they are, decodes the others.

use std::collections::VecDeque;

use bytes::Bytes;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use crate::audio::frame::{CHANNELS, FRAME_SAMPLES, Frame, SAMPLE_RATE};
use crate::audio::mixer::Limiter;
use crate::audio::opus::{self, Decoder, OpusError};
use crate::audio::resample::Resampler;

/// The Opus packets of one file on their way to frames.
///
/// ```text
/// Forwarding ── a packet that does not last 20 ms ──▶ Decoding
/// ```
pub(super) struct OpusTrack {
    head: Head,
    state: State,
}

enum State {
    /// Packets pass untouched; the last few are kept to start a decoder from.
    Forwarding {
        recent: VecDeque<Bytes>,
        /// What of the run-up is still to come, in samples per channel.
        skip: usize,
        /// How much of the last packet is sound, in samples per channel.
        last: usize,
    },
    /// From here on packets are decoded and cut into frames.
    Decoding(Box<Decoding>),
}

struct Decoding {
    decoder: Decoder,
    reframer: Resampler,
    /// What the encoder put before the first sample and has yet to be left out, in samples per channel.
    skip: usize,
    gain: f32,
    limiter: Limiter,
    decoded: Vec<f32>,
}

/// How the numbers in the identification header are written.
#[derive(Clone, Copy)]
pub(super) enum ByteOrder {
    /// As in Ogg and Matroska.
    Little,
    /// As in MP4, whose `dOps` box holds the same fields.
    Big,
}

/// The identification header (RFC 7845 section 5.1).
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// What to leave out at the start, in samples per channel at 48 kHz.
    pre_skip: u16,
    /// How much louder to play, in 1/256 dB.
    gain: i16,
}

impl OpusTrack {
    pub(super) fn new(parameters: &AudioCodecParameters, order: ByteOrder) -> Result<Self, Error> {
        let head = Head::parse(parameters.extra_data.as_deref().unwrap_or_default(), order)?;
        let state = match head.gain {
            0 => State::Forwarding {
                recent: VecDeque::with_capacity(PREROLL),
                skip: usize::from(head.pre_skip),
                last: FRAME_SAMPLES,
            },
            _ => State::Decoding(Box::new(Decoding::new(&head)?)),
        };
        Ok(Self { head, state })
    }

    /// Takes one packet; a malformed one is an error and leaves everything as it was.
    pub(super) fn packet(&mut self, packet: Packet, ready: &mut VecDeque<Frame>) -> Result<(), Error> {
        let samples = opus::samples(&packet.data).map_err(malformed)? as usize;
        let trim = usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX);
        let data = Bytes::from(packet.data);
        if let State::Forwarding { recent, skip, last } = &mut self.state {
            if samples == FRAME_SAMPLES {
                recent.truncate(PREROLL - 1);
                recent.push_front(data.clone());
                // Of a long run-up only what a decoder needs to hear is passed on, and of the end no packet of padding.
                let is_needed = *skip < (PREROLL + 1) * FRAME_SAMPLES;
                *skip = skip.saturating_sub(FRAME_SAMPLES);
                if is_needed && trim < FRAME_SAMPLES {
                    *last = FRAME_SAMPLES - trim;
                    ready.push_back(Frame::Opus(data));
                }
                return Ok(());
            }
            self.state = State::Decoding(Box::new(Decoding::after(&self.head, recent)?));
        }
        match &mut self.state {
            State::Decoding(decoding) => decoding.packet(&data, trim, ready),
            State::Forwarding { .. } => Ok(()),
        }
    }

    /// Hands out what is left; says how much of the last frame is sound.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<Frame>) -> Option<usize> {
        match &mut self.state {
            State::Forwarding { last, .. } => Some(*last),
            State::Decoding(decoding) => {
                decoding.reframer.finish();
                decoding.hand_out(ready);
                Some(decoding.reframer.last_frame())
            }
        }
    }
}

impl Decoding {
    fn new(head: &Head) -> Result<Self, Error> {
        Ok(Self {
            decoder: Decoder::new().map_err(malformed)?,
            reframer: Resampler::new(SAMPLE_RATE, CHANNELS)
                .map_err(|_| Error::Unsupported("it cannot be cut into frames"))?,
            skip: usize::from(head.pre_skip),
            gain: 10_f32.powf(f32::from(head.gain) / 256.0 / 20.0),
            limiter: Limiter::new(),
            decoded: Vec::new(),
        })
    }

    /// Starts where packets have been forwarded already: the decoder hears the last of them first, so that it
    /// goes on smoothly (RFC 7845 section 4.6 asks for 80 ms).
    fn after(head: &Head, recent: &VecDeque<Bytes>) -> Result<Self, Error> {
        let mut decoding = Self::new(head)?;
        for packet in recent.iter().rev() {
            decoding.decoder.decode(Some(packet), &mut decoding.decoded).map_err(malformed)?;
            decoding.skip = 0;
        }
        Ok(decoding)
    }

    fn packet(&mut self, packet: &[u8], trim: usize, ready: &mut VecDeque<Frame>) -> Result<(), Error> {
        self.decoded.clear();
        let samples = self.decoder.decode(Some(packet), &mut self.decoded).map_err(malformed)?;
        let from = self.skip.min(samples);
        self.skip -= from;
        let to = samples.saturating_sub(trim).max(from);
        for sample in &mut self.decoded {
            *sample *= self.gain;
        }
        self.reframer.push(&self.decoded[from * CHANNELS..to * CHANNELS]);
        self.hand_out(ready);
        Ok(())
    }

    fn hand_out(&mut self, ready: &mut VecDeque<Frame>) {
        while let Some(mut pcm) = self.reframer.next_frame() {
            self.limiter.limit(&mut pcm);
            ready.push_back(Frame::Pcm(pcm));
        }
    }
}

impl Head {
    fn parse(bytes: &[u8], order: ByteOrder) -> Result<Self, Error> {
        let [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, _, rest @ ..] = bytes else {
            return Err(Error::DecodeError("its Opus header is missing"));
        };
        let [skip_0, skip_1, _, _, _, _, gain_0, gain_1, family, map @ ..] = rest else {
            return Err(Error::DecodeError("its Opus header is cut short"));
        };
        let streams = if *family == 0 { 1 } else { map.first().copied().unwrap_or(1) };
        if streams != 1 {
            return Err(Error::Unsupported("it is surround Opus, of more than one stream"));
        }
        let (skip, gain) = ([*skip_0, *skip_1], [*gain_0, *gain_1]);
        Ok(match order {
            ByteOrder::Little => Self { pre_skip: u16::from_le_bytes(skip), gain: i16::from_le_bytes(gain) },
            ByteOrder::Big => Self { pre_skip: u16::from_be_bytes(skip), gain: i16::from_be_bytes(gain) },
        })
    }
}

fn malformed(error: OpusError) -> Error {
    match error {
        OpusError::Malformed(cause) => Error::DecodeError(cause),
        _ => Error::DecodeError("libopus refuses it"),
    }
}

/// How many packets a decoder needs to hear to sound right: 80 ms.
const PREROLL: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const STEREO: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\x01\0";

    #[test]
    fn the_header_is_read_in_either_byte_order() {
        let head = Head { pre_skip: 312, gain: 256 };
        assert_eq!(Head::parse(STEREO, ByteOrder::Little).unwrap(), head);
        let mut mp4 = STEREO.to_vec();
        mp4[10..12].reverse();
        mp4[16..18].reverse();
        assert_eq!(Head::parse(&mp4, ByteOrder::Big).unwrap(), head);
    }

    #[test]
    fn a_header_of_several_streams_is_refused() {
        let mut surround = STEREO.to_vec();
        surround[18] = 1;
        surround.extend([4, 2, 0, 4, 1, 2, 3, 5]);
        assert!(matches!(Head::parse(&surround, ByteOrder::Little), Err(Error::Unsupported(_))));
        surround[19] = 1;
        assert!(Head::parse(&surround, ByteOrder::Little).is_ok());
        for cut in 0..19 {
            assert!(matches!(Head::parse(&STEREO[..cut], ByteOrder::Little), Err(Error::DecodeError(_))));
        }
    }

    #[test]
    fn a_gain_in_the_header_is_applied() {
        let louder = Decoding::new(&Head { pre_skip: 0, gain: 1541 }).unwrap();
        assert!((louder.gain - 2.0).abs() < 0.001, "6.02 dB are twice as loud, not {}", louder.gain);
    }
}
