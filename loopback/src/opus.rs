//! Opus packets: how long they are, and to and from 48 kHz stereo.

use audiopus::coder::{Decoder as LibDecoder, Encoder as LibEncoder};
use audiopus::packet::Packet;
use audiopus::{Application, Bitrate, Channels, MutSignals, SampleRate};
use bytes::Bytes;

use crate::dave::FRAME_MARKER;

/// The packet that means silence on Discord, 20 ms.
pub const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
/// Discord's docs, "Voice Data Interpolation": five frames of silence before stopping.
pub const SILENCE_FRAMES: u32 = 5;
/// Samples per channel and second of every RTP timestamp and of all audio here.
pub const SAMPLE_RATE: u32 = 48_000;
/// Samples per channel of a 20 ms frame.
pub const FRAME_SAMPLES: usize = 960;
/// Values of a 20 ms frame, stereo, interleaved.
pub const FRAME_VALUES: usize = 2 * FRAME_SAMPLES;

/// Why audio could not be decoded or encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpusError {
    /// The packet is empty, or its frame count does not fit (RFC 6716 section 3.4).
    #[error("not an Opus packet: {0} bytes do not hold what their first byte announces")]
    Malformed(usize),
    /// libopus refused.
    #[error("libopus refused: {0}")]
    Refused(String),
}

/// Counts the samples per channel of a packet at 48 kHz, from its first bytes (RFC 6716 section 3.1); `None` where
/// they are not an Opus packet's.
pub fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3F),
    };
    let total = frame_samples(toc) * frames;
    (frames > 0 && total <= MAX_PACKET_SAMPLES).then_some(total)
}

/// Samples per channel at 48 kHz of one frame under this TOC byte.
fn frame_samples(toc: u8) -> u32 {
    let config = toc >> 3;
    match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

/// Tells whether a packet is the silence frame, also under end-to-end encryption, where only its length shows.
///
/// An encrypted frame ends in a supplement: 8 bytes of tag, the nonce, the ranges, the supplement's size, `FAFA`
/// (DAVE protocol, "Payload Format"). What is left of a silence frame in front of it is 3 bytes.
pub fn is_silence(packet: &[u8]) -> bool {
    if packet == SILENCE {
        return true;
    }
    let supplement = packet.strip_suffix(&FRAME_MARKER).and_then(<[u8]>::last);
    supplement.is_some_and(|size| packet.len() == SILENCE.len() + usize::from(*size))
}

/// Decodes one stream of packets to 48 kHz stereo.
#[derive(Debug)]
pub struct Decoder {
    codec: LibDecoder,
}

impl Decoder {
    /// Makes a decoder without history.
    ///
    /// # Errors
    /// [`OpusError::Refused`] where libopus has no memory.
    pub fn new() -> Result<Self, OpusError> {
        let codec = LibDecoder::new(SampleRate::Hz48000, Channels::Stereo).map_err(refused)?;
        Ok(Self { codec })
    }

    /// Decodes a packet and appends its samples, interleaved.
    ///
    /// # Errors
    /// [`OpusError::Malformed`] or [`OpusError::Refused`]; nothing is appended then.
    pub fn decode(&mut self, packet: &[u8], into: &mut Vec<f32>) -> Result<(), OpusError> {
        let malformed = OpusError::Malformed(packet.len());
        let samples = samples(packet).ok_or(malformed.clone())? as usize;
        let packet = Packet::try_from(packet).map_err(|_| malformed)?;
        self.run(Some(packet), samples, into)
    }

    /// Invents samples for what was lost, a multiple of 120 (2.5 ms) and at most 5760 per channel, and appends them.
    ///
    /// # Errors
    /// [`OpusError::Refused`] for any other count.
    pub fn conceal(&mut self, samples: usize, into: &mut Vec<f32>) -> Result<(), OpusError> {
        self.run(None, samples, into)
    }

    fn run(
        &mut self,
        packet: Option<Packet<'_>>,
        samples: usize,
        into: &mut Vec<f32>,
    ) -> Result<(), OpusError> {
        let start = into.len();
        into.resize(start + 2 * samples, 0.0);
        let decoded = MutSignals::try_from(&mut into[start..])
            .and_then(|output| self.codec.decode_float(packet, output, false));
        into.truncate(start + 2 * decoded.as_ref().copied().unwrap_or(0));
        decoded.map(drop).map_err(refused)
    }
}

/// Encodes 48 kHz stereo, interleaved, to 20 ms packets for [`say`](crate::relay::Relay::send_opus); the last is filled with
/// silence.
///
/// # Errors
/// [`OpusError::Refused`] for a bitrate outside 500 to 512 000 bit/s.
pub fn encode(audio: &[f32], bitrate: u32) -> Result<Vec<Bytes>, OpusError> {
    let mut codec =
        LibEncoder::new(SampleRate::Hz48000, Channels::Stereo, Application::Audio).map_err(refused)?;
    let bitrate = i32::try_from(bitrate).map_err(|_| OpusError::Refused("bitrate out of range".into()))?;
    codec.set_bitrate(Bitrate::BitsPerSecond(bitrate)).map_err(refused)?;
    let mut buffer = [0; MAX_PACKET_BYTES];
    audio
        .chunks(FRAME_VALUES)
        .map(|chunk| {
            let mut frame = [0.0; FRAME_VALUES];
            frame[..chunk.len()].copy_from_slice(chunk);
            let len = codec.encode_float(&frame, &mut buffer).map_err(refused)?;
            Ok(Bytes::copy_from_slice(&buffer[..len]))
        })
        .collect()
}

/// The packet that asks a decoder to conceal `samples` per channel, with the coding mode of the packet before it
/// (RFC 7845 section 4.1), and how many samples it stands for: at most what was asked for.
pub(crate) fn concealment(before: u8, samples: u64) -> ([u8; 1], u64) {
    let same = u64::from(frame_samples(before));
    if same <= samples {
        return ([before & 0xFC], same);
    }
    // CELT, full band, of the longest frame that fits; its shortest frame is 2.5 ms.
    let config = match samples {
        960.. => 31,
        480.. => 30,
        240.. => 29,
        _ => 28,
    };
    ([config << 3 | before & 4], 120 << (config - 28))
}

pub(crate) fn refused(error: audiopus::Error) -> OpusError {
    OpusError::Refused(error.to_string())
}

/// 120 ms, RFC 6716 section 3.2.5.
const MAX_PACKET_SAMPLES: u32 = 5760;
pub(crate) const MAX_PACKET_BYTES: usize = 1275;

#[cfg(test)]
mod tests {
    use super::{FRAME_VALUES, SILENCE, concealment, encode, is_silence, samples};

    #[test]
    fn the_first_byte_tells_the_length() {
        assert_eq!(samples(&SILENCE), Some(960));
        assert_eq!(samples(&[0x18]), Some(2880), "SILK, 60 ms");
        assert_eq!(samples(&[0xE0]), Some(120), "CELT, 2.5 ms");
        assert_eq!(samples(&[0x60]), Some(480), "hybrid, 10 ms");
        assert_eq!(samples(&[0x19]), Some(5760), "two frames of 60 ms");
        assert_eq!(samples(&[0xFB, 0x03]), Some(2880), "three frames of 20 ms");
        assert_eq!(samples(&[0xFB, 0x07]), None, "140 ms");
        assert_eq!(samples(&[0xFB, 0x00]), None);
        assert_eq!(samples(&[0xFB]), None);
        assert_eq!(samples(&[]), None);
    }

    #[test]
    fn silence_is_known_by_its_bytes_and_under_encryption_by_its_length() {
        assert!(is_silence(&SILENCE));
        let encrypted = [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 9, 12, 0xFA, 0xFA];
        assert!(is_silence(&encrypted));
        assert!(!is_silence(&encrypted[1..]));
        assert!(!is_silence(&[0xF8, 0xFF]));
        assert!(!is_silence(&[]));
    }

    #[test]
    fn a_hole_is_filled_with_packets_that_never_exceed_it() {
        assert_eq!(concealment(0xFC, 2880), ([0xFC], 960));
        assert_eq!(concealment(0x1B, 2880), ([0x18], 2880));
        assert_eq!(concealment(0x1B, 1000), ([0xF8], 960));
        assert_eq!(concealment(0xFC, 600), ([0xF4], 480));
        assert_eq!(concealment(0xFC, 120), ([0xE4], 120));
    }

    #[test]
    fn encoding_makes_one_packet_for_every_20_ms_begun() {
        let packets = encode(&vec![0.1; 3 * FRAME_VALUES + 2], 64_000).unwrap();
        assert_eq!(packets.len(), 4);
        assert!(packets.iter().all(|packet| samples(packet) == Some(960)));
        assert!(encode(&[0.0; FRAME_VALUES], u32::MAX).is_err());
    }
}
