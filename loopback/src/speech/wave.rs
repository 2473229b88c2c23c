//! Speech from files: WAV, as corpora of speech have it.

use std::path::Path;
use std::{fs, io};

use crate::opus::SAMPLE_RATE;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaveError {
    /// It is no WAV of whole numbers of 16 bits, one channel or two, of 8, 12, 16, 24 or 48 kHz.
    #[error("{0}: 16-bit PCM, mono or stereo, of 8, 12, 16, 24 or 48 kHz is wanted")]
    Unsupported(&'static str),
    /// The system cannot read it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a WAV file to 48 kHz, stereo, interleaved: 16-bit PCM, mono or stereo, of 8, 12, 16, 24 or 48 kHz.
///
/// # Errors
/// [`WaveError::Unsupported`] for all others, and [`WaveError::Io`].
pub fn read_wave(path: impl AsRef<Path>) -> Result<Vec<f32>, WaveError> {
    parse(&fs::read(path)?)
}

fn parse(file: &[u8]) -> Result<Vec<f32>, WaveError> {
    if file.len() < 12 || !file.starts_with(b"RIFF") || &file[8..12] != b"WAVE" {
        return Err(WaveError::Unsupported("it is no WAV"));
    }
    let (mut rest, mut format) = (&file[12..], None);
    while let [a, b, c, d, l0, l1, l2, l3, body @ ..] = rest {
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        // What is cut off is read up to there.
        let chunk = &body[..length.min(body.len())];
        match (&[*a, *b, *c, *d], format) {
            (b"fmt ", _) => format = Some(Format::parse(chunk)?),
            (b"data", Some(format)) => return Ok(format.samples(chunk)),
            _ => {}
        }
        rest = body.get(length.next_multiple_of(2)..).unwrap_or_default();
    }
    Err(WaveError::Unsupported("there is no sound in it"))
}

#[derive(Clone, Copy)]
struct Format {
    channels: usize,
    /// Samples at 48 kHz for one of the file's.
    stretch: usize,
}

impl Format {
    fn parse(chunk: &[u8]) -> Result<Self, WaveError> {
        let [1, 0, channels @ 1..=2, 0, r0, r1, r2, r3, _, _, _, _, _, _, 16, 0, ..] = *chunk else {
            return Err(WaveError::Unsupported("its samples are others"));
        };
        let rate = u32::from_le_bytes([r0, r1, r2, r3]);
        let stretch = SAMPLE_RATE.checked_div(rate).filter(|stretch| (1..=6).contains(stretch));
        let stretch = stretch.filter(|stretch| stretch * rate == SAMPLE_RATE);
        let stretch = stretch.ok_or(WaveError::Unsupported("its rate is another"))?;
        Ok(Self { channels: channels.into(), stretch: stretch as usize })
    }

    /// Straight lines from sample to sample: what they add lies above what the file has.
    fn samples(self, data: &[u8]) -> Vec<f32> {
        let value = |pair: &[u8]| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0;
        let frames: Vec<[f32; 2]> = data
            .chunks_exact(2 * self.channels)
            .map(|frame| [value(frame), value(&frame[2 * (self.channels - 1)..])])
            .collect();
        let between = |n: usize, step: usize, channel: usize| {
            let (from, to) = (frames[n][channel], frames[(n + 1).min(frames.len() - 1)][channel]);
            from + (to - from) * step as f32 / self.stretch as f32
        };
        let steps = (0..frames.len()).flat_map(|n| (0..self.stretch).map(move |step| (n, step)));
        steps.flat_map(|(n, step)| [between(n, step, 0), between(n, step, 1)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(channels: u8, rate: u32, samples: &[i16]) -> Vec<u8> {
        let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
        file.extend([channels, 0]);
        file.extend(rate.to_le_bytes());
        file.extend([0, 0, 0, 0, 0, 0, 16, 0]);
        file.extend(b"LIST\x03\0\0\0abc\0data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn samples_are_stretched_to_48_khz_and_both_channels() {
        let mono = parse(&wave(1, 24_000, &[0, 16_384, -16_384])).unwrap();
        let left: Vec<f32> = mono.iter().step_by(2).copied().collect();
        assert_eq!(left, [0.0, 0.25, 0.5, 0.0, -0.5, -0.5]);
        let stereo = parse(&wave(2, 48_000, &[1, 2, 3, 4])).unwrap();
        assert_eq!(stereo, [1.0, 2.0, 3.0, 4.0].map(|value| value / 32_768.0));
    }

    #[test]
    fn what_is_no_such_file_is_refused_in_words() {
        let refused = |file: &[u8]| parse(file).unwrap_err().to_string();
        assert!(refused(b"fLaC").starts_with("it is no WAV: 16-bit PCM"));
        assert!(refused(&wave(1, 44_100, &[0])).starts_with("its rate"));
        assert!(refused(&wave(3, 48_000, &[0])).starts_with("its samples"));
        assert!(refused(&wave(1, 48_000, &[0])[..40]).starts_with("there is no sound"));
    }
}
