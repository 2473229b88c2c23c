//! Mix: all tracks of a recording as one.

use std::io::{self, Read, Write};

use super::{PlayError, TrackPlayer, flac::FlacWriter, opus_file::OpusFile};
use crate::audio::{
    frame::{FRAME_SAMPLES, Pcm},
    mixer::{self, Limiter},
    opus::{Encoder, EncoderSettings, MAX_PACKET, OpusError},
};

/// As what a mix is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MixFormat {
    /// Ogg Opus, 128 kbit/s.
    Ogg,
    /// FLAC, 16 bits.
    Flac,
}

impl MixFormat {
    /// The name of the file.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Ogg => "mix.ogg",
            Self::Flac => "mix.flac",
        }
    }
}

/// Why there is no mix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MixError {
    /// A track cannot be played.
    #[error(transparent)]
    Play(#[from] PlayError),
    /// The mix cannot be encoded.
    #[error(transparent)]
    Opus(#[from] OpusError),
    /// The mix cannot be written.
    #[error("the mix cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes all tracks as one, from the first sample of the recording to the last of the longest, 48 kHz stereo. What is
/// together louder than full scale is turned down for as long as it is. Returns the samples per channel.
///
/// # Errors
/// [`MixError`]; what was written until then stays.
pub fn mix<R: Read>(
    mut tracks: Vec<TrackPlayer<R>>,
    format: MixFormat,
    into: &mut impl Write,
) -> Result<u64, MixError> {
    let mut writer = MixWriter::new(format)?;
    let (mut limiter, mut frames) = (Limiter::new(), 0_u64);
    loop {
        let (mut sum, mut playing) = (Pcm::default(), false);
        for track in &mut tracks {
            if let Some(frame) = track.next_frame()? {
                mixer::mix(&mut sum, &frame, 1.0);
                playing = true;
            }
        }
        if !playing {
            writer.finish(into)?;
            return Ok(frames * FRAME_SAMPLES as u64);
        }
        limiter.limit(&mut sum);
        writer.frame(&sum, into)?;
        frames += 1;
    }
}

enum MixWriter {
    Ogg(Box<(OpusFile, Encoder)>),
    Flac(FlacWriter),
}

impl MixWriter {
    fn new(format: MixFormat) -> Result<Self, OpusError> {
        Ok(match format {
            MixFormat::Ogg => {
                let file = OpusFile::new(1, 0, &[("TITLE", "mix".into())]);
                Self::Ogg(Box::new((file, Encoder::new(&EncoderSettings::default())?)))
            }
            MixFormat::Flac => Self::Flac(FlacWriter::new()),
        })
    }

    fn frame(&mut self, frame: &Pcm, into: &mut impl Write) -> Result<(), MixError> {
        match self {
            Self::Ogg(ogg) => {
                let (file, encoder) = &mut **ogg;
                let mut packet = [0; MAX_PACKET];
                let length = encoder.encode(frame, &mut packet)?;
                file.packet(&packet[..length], FRAME_SAMPLES as u32);
                into.write_all(&file.take())?;
            }
            Self::Flac(flac) => into.write_all(&flac.frame(frame))?,
        }
        Ok(())
    }

    fn finish(&mut self, into: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Ogg(ogg) => {
                // The last samples are encoded late.
                ogg.0.silence(FRAME_SAMPLES as u64);
                ogg.0.finish();
                into.write_all(&ogg.0.take())
            }
            Self::Flac(flac) => into.write_all(&flac.frame(&Pcm::default())),
        }
    }
}
