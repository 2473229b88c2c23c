//! Source: where audio comes from.

#[cfg(feature = "decode")]
use std::io::Read;
#[cfg(feature = "decode")]
use std::path::Path;
use std::time::Duration;

#[cfg(feature = "decode")]
use crate::audio::decode::AudioFile;
use crate::{
    audio::{
        frame::{CHANNELS, Frame, Pcm, SAMPLE_RATE},
        opus::Decoder,
    },
    speaker::FrameFormat,
};

/// Something that can be played: a file, a stream, a tone.
///
/// A source is pulled, 20 ms at a time, ahead of the time it is heard; it may take a while over a frame
/// (a disc that spins up), since whoever pulls it keeps five in reserve.
pub trait Source: Send + 'static {
    /// Returns the next 20 ms, or `None` after the last.
    ///
    /// # Errors
    /// [`SourceError`] when what follows cannot be played. Everything before the damage has been returned by
    /// then; asked again, the source says `None`.
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError>;

    /// Returns how long the whole source lasts, where it says so.
    fn duration(&self) -> Option<Duration> {
        None
    }
}

impl Source for Box<dyn Source> {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        self.as_mut().next_frame()
    }

    fn duration(&self) -> Option<Duration> {
        self.as_ref().duration()
    }
}

/// Opens an audio file of any kind that [`AudioFile`] knows.
///
/// # Errors
/// [`SourceError`], naming the path.
#[cfg(feature = "decode")]
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(AudioFile::open(path)?))
}

/// Plays audio from a byte stream that cannot be rewound, such as standard input or an HTTP body.
///
/// `name` stands for the stream in errors. See [`AudioFile::from_reader`].
///
/// # Errors
/// [`SourceError`], naming the stream.
#[cfg(feature = "decode")]
pub fn from_reader(
    name: &str,
    reader: impl Read + Send + Sync + 'static,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(AudioFile::from_reader(name, reader)?))
}

/// A source whose Opus packets are decoded while they are to be mixed, so that the mixer need not do it.
#[derive(Debug)]
pub struct Decoding<S> {
    source: S,
    decoder: Option<Decoder>,
}

impl<S: Source> Decoding<S> {
    /// A source that has not been asked for anything.
    pub fn new(source: S) -> Self {
        Self { source, decoder: None }
    }

    /// Returns the next 20 ms in a form that is of use, or `None` after the last.
    ///
    /// # Errors
    /// Those of the source. A packet that does not decode is left as it is, for the speaker to count.
    pub fn next_frame(&mut self, format: FrameFormat) -> Result<Option<Frame>, SourceError> {
        match (self.source.next_frame()?, format) {
            (Some(Frame::Opus(packet)), FrameFormat::Pcm) => {
                Ok(Some(self.decode(&packet).map_or(Frame::Opus(packet), Frame::Pcm)))
            }
            (frame, _) => {
                // What a decoder remembers is of a moment ago, and would be heard as a click.
                self.decoder = None;
                Ok(frame)
            }
        }
    }

    fn decode(&mut self, packet: &[u8]) -> Option<Pcm> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new().ok()?),
        };
        let mut pcm = Pcm::default();
        decoder.decode_frame(Some(packet), &mut pcm).ok().map(|()| pcm)
    }
}

/// Why a source cannot be played, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no such file.
    #[error("{name}: no such file")]
    NotFound {
        /// The path.
        name: String,
    },
    /// The file or stream could not be read at all.
    #[error("{name}: cannot be read: {cause}")]
    Unreadable {
        /// The path, or the name that the stream was given.
        name: String,
        /// What the system says.
        cause: String,
    },
    /// It was read and is nothing that can be played.
    #[error("{name}: cannot be played: {cause}")]
    Unsupported {
        /// The path, or the name that the stream was given.
        name: String,
        /// What is missing or unknown.
        cause: String,
    },
    /// It is corrupt or ends too early; what was good before has been played.
    #[error("{name}: damaged after {at:.2?}: {cause}")]
    Damaged {
        /// The path, or the name that the stream was given.
        name: String,
        /// How much of it was good.
        at: Duration,
        /// What is wrong there.
        cause: String,
    },
}

/// A sine at a quarter of full scale (−12 dB), endless unless told otherwise.
#[derive(Clone, Debug)]
pub struct Tone {
    /// How far the sine turns from sample to sample, in whole turns.
    step: f64,
    phase: f64,
    /// What is left to play, in samples per channel; `None` is endless.
    left: Option<u64>,
    length: Option<Duration>,
}

impl Tone {
    /// Makes an endless tone of `hz` periods a second.
    pub fn new(hz: f32) -> Self {
        Self { step: f64::from(hz) / f64::from(SAMPLE_RATE), phase: 0.0, left: None, length: None }
    }

    /// Ends the tone after `length`.
    pub fn lasting(self, length: Duration) -> Self {
        let samples = length.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000;
        Self { left: Some(samples.try_into().unwrap_or(u64::MAX)), length: Some(length), ..self }
    }

    fn sample(&mut self) -> f32 {
        if let Some(left) = &mut self.left {
            let Some(fewer) = left.checked_sub(1) else { return 0.0 };
            *left = fewer;
        }
        let sample = TONE_AMPLITUDE * (self.phase * std::f64::consts::TAU).sin();
        self.phase = (self.phase + self.step).fract();
        sample as f32
    }
}

impl Source for Tone {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let mut pcm = Pcm::default();
        for pair in pcm.chunks_exact_mut(CHANNELS) {
            pair.fill(self.sample());
        }
        Ok(Some(Frame::Pcm(pcm)))
    }

    fn duration(&self) -> Option<Duration> {
        self.length
    }
}

/// How loud a [`Tone`] is: heard well beside speech, and no shock in headphones.
const TONE_AMPLITUDE: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(mut source: impl Source) -> Vec<f32> {
        let mut left = Vec::new();
        while let Some(Frame::Pcm(pcm)) = source.next_frame().unwrap() {
            left.extend(pcm.chunks_exact(2).map(|pair| pair[0]));
        }
        left
    }

    #[test]
    fn a_tone_has_its_pitch_and_runs_smoothly_across_frames() {
        let samples = samples(Tone::new(440.0).lasting(Duration::from_secs(1)));
        let rising = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!((439..=440).contains(&rising), "{rising} periods in a second");
        let steepest = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.25 * std::f32::consts::TAU * 440.0 / 48_000.0 * 1.01, "a jump of {steepest}");
    }

    #[test]
    fn a_tone_ends_within_its_last_frame() {
        let tone = Tone::new(1000.0).lasting(Duration::from_millis(30));
        assert_eq!(tone.duration(), Some(Duration::from_millis(30)));
        let samples = samples(tone);
        assert_eq!(samples.len(), 1920);
        assert!(samples[1400..1440].iter().any(|sample| sample.abs() > 0.2));
        assert!(samples[1440..].iter().all(|&sample| sample == 0.0));
    }

    #[test]
    fn errors_name_the_file_the_place_and_the_cause() {
        let error = SourceError::Damaged {
            name: "song.flac".into(),
            at: Duration::from_millis(3140),
            cause: "the file ends early".into(),
        };
        assert_eq!(error.to_string(), "song.flac: damaged after 3.14s: the file ends early");
    }
}
