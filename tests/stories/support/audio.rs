//! The audio files of the tests: their bytes and packets, and how they sound.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use actix_voice::{
    audio::{
        frame::{Frame, Pcm},
        opus::Decoder,
        resample::Resampler,
    },
    source::{Source, SourceError},
};
use bytes::Bytes;

/// Everything that a source gave, and the error that it ended with.
pub struct Played {
    pub frames: Vec<Frame>,
    pub error: Option<SourceError>,
}

/// Plays a source to its end.
pub fn play(mut source: impl Source) -> Played {
    let mut frames = Vec::new();
    loop {
        match source.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return Played { frames, error: None },
            Err(error) => return Played { frames, error: Some(error) },
        }
    }
}

impl Played {
    /// The samples, interleaved; Opus decoded.
    pub fn samples(&self) -> Vec<f32> {
        let (mut decoder, mut samples) = (Decoder::new().unwrap(), Vec::new());
        for frame in &self.frames {
            match frame {
                Frame::Opus(packet) => drop(decoder.decode(Some(packet), &mut samples).unwrap()),
                Frame::Pcm(pcm) => samples.extend_from_slice(&pcm[..]),
            }
        }
        samples
    }

    /// Checks that the first frames are those of another. Where decoding stops early, the filter's tail and
    /// the silence after it reach two frames back; these are let off.
    pub fn assert_starts_like(&self, other: &Self, frames: usize, file: &str) {
        let pcm = matches!(self.frames.first(), Some(Frame::Pcm(_)));
        let sure = if pcm { frames.saturating_sub(2) } else { frames };
        for at in 0..sure.min(other.frames.len()) {
            assert!(self.frames[at] == other.frames[at], "{file}: frame {at} of {frames} differs");
        }
    }
}

impl fmt::Debug for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames, then {:?}", self.frames.len(), self.error)
    }
}

/// The path of a fixture.
pub fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio").join(file)
}

/// The bytes of a fixture.
pub fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A recording as it must sound: read from its WAV by hand, at 48 kHz, stereo, interleaved.
pub fn reference(file: &str) -> Vec<f32> {
    let bytes = fixture(file);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let data = bytes.windows(4).position(|window| window == b"data").unwrap() + 8;
    let length = number(data - 4) as usize;
    let samples = bytes[data..data + length].chunks_exact(2);
    let samples: Vec<f32> =
        samples.map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect();
    let mut resampler = Resampler::new(number(24), usize::from(bytes[22])).unwrap();
    resampler.push(&samples);
    resampler.finish();
    let frames: Vec<Pcm> = std::iter::from_fn(|| resampler.next_frame()).collect();
    frames.iter().flat_map(|pcm| pcm.iter().copied()).collect()
}

/// How alike two stereo recordings are where the second comes `late`: the correlation of each side, 1.0 for
/// equal ones, and no better for being louder.
pub fn similarity(reference: &[f32], played: &[f32], late: usize) -> [f64; 2] {
    [0, 1].map(|side| {
        let (mut both, mut ours, mut theirs) = (0.0, 0.0, 0.0);
        let pairs = reference[side..].iter().step_by(2).zip(played[side + 2 * late..].iter().step_by(2));
        for (a, b) in pairs.map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            both += a * b;
            ours += a * a;
            theirs += b * b;
        }
        // Twice the common part, over all there is: loudness counts too.
        2.0 * both / (ours + theirs)
    })
}

/// The packets of an Ogg Opus file after its two headers, by RFC 3533 section 6.
pub fn ogg_packets(mut bytes: &[u8]) -> Vec<Bytes> {
    let (mut packets, mut packet) = (Vec::new(), Vec::new());
    while let Some(page) = bytes.strip_prefix(b"OggS") {
        let segments = usize::from(page[22]);
        let (lengths, mut body) = page[23..].split_at(segments);
        for &length in lengths {
            let (segment, rest) = body.split_at(usize::from(length));
            packet.extend_from_slice(segment);
            body = rest;
            if length < 255 {
                packets.push(Bytes::from(std::mem::take(&mut packet)));
            }
        }
        bytes = body;
    }
    packets.split_off(2)
}

/// A WAV file of integer samples (RIFF, 44 bytes of header).
pub fn wav(rate: u32, channels: u16, bits: u16, samples: &[f32]) -> Vec<u8> {
    let width = bits / 8;
    let length = samples.len() as u32 * u32::from(width);
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + length).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * u32::from(channels * width)).to_le_bytes());
    bytes.extend((channels * width).to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(length.to_le_bytes());
    for sample in samples {
        let scaled = (f64::from(*sample) * f64::from(i32::MAX)) as i32;
        match bits {
            8 => bytes.push(((scaled >> 24) + 128) as u8),
            _ => bytes.extend(&scaled.to_le_bytes()[4 - usize::from(width)..]),
        }
    }
    bytes
}
