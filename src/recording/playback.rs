//! TrackPlayer: what a track sounds like, with what is missing made good as far as can be.

use std::io::Read;

use super::{OpusReader, ReadError, Stretch};
use crate::audio::{
    frame::{CHANNELS, Pcm},
    opus::{self, Decoder, OpusError},
};

/// Decodes a speaker's file, 20 ms at a time, from the beginning of the recording on.
///
/// Of a loss as much is restored as the packet behind it repeats (in-band FEC), and the rest concealed: more than ordinary
/// players do.
#[derive(Debug)]
pub struct TrackPlayer<R> {
    reader: OpusReader<R>,
    decoder: Decoder,
    /// Samples that are missing before the next packet.
    missing: u64,
    decoded: Vec<f32>,
    /// Values at the start that are not to be heard.
    skip: usize,
    ended: bool,
}

/// Why a track cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// libopus gives no decoder.
    #[error(transparent)]
    Opus(#[from] OpusError),
}

impl<R: Read> TrackPlayer<R> {
    /// Plays a file from its start.
    ///
    /// # Errors
    /// [`PlayError::Read`] where it is no file of a recording.
    pub fn new(input: R) -> Result<Self, PlayError> {
        let reader = OpusReader::new(input)?;
        let skip = CHANNELS * usize::from(reader.pre_skip());
        let (decoder, decoded) = (Decoder::new()?, Vec::new());
        Ok(Self { reader, decoder, missing: 0, decoded, skip, ended: false })
    }

    /// Decodes the next 20 ms; none behind the end. The last is filled up with silence.
    ///
    /// # Errors
    /// What reading returns.
    pub fn next_frame(&mut self) -> Result<Option<Pcm>, PlayError> {
        let mut frame = Pcm::default();
        while self.decoded.len() < self.skip + frame.len() && !self.ended {
            match self.reader.next_stretch().map_err(ReadError::from)? {
                Some(Stretch::Missing(samples)) => self.missing += u64::from(samples),
                Some(Stretch::Sound(packet)) => self.decode(&packet),
                None => {
                    self.conceal(self.missing);
                    self.ended = true;
                }
            }
        }
        let skipped = self.skip.min(self.decoded.len());
        self.decoded.drain(..skipped);
        self.skip -= skipped;
        if self.decoded.is_empty() {
            return Ok(None);
        }
        let length = frame.len().min(self.decoded.len());
        frame[..length].copy_from_slice(&self.decoded[..length]);
        self.decoded.drain(..length);
        Ok(Some(frame))
    }

    /// Whether the file ended as it should; one that is cut off does not.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.reader.is_complete()
    }

    fn decode(&mut self, packet: &[u8]) {
        let Ok(samples) = opus::samples(packet) else { return };
        let repeated = u64::from(samples).min(self.missing);
        self.conceal(self.missing - repeated);
        let before = self.decoded.len();
        let recovered = self.decoder.recover(packet, repeated as u32, &mut self.decoded);
        if recovered.is_err() {
            self.decoded.resize(before + repeated as usize * CHANNELS, 0.0);
        }
        self.missing = 0;
        let before = self.decoded.len();
        if self.decoder.decode(Some(packet), &mut self.decoded).is_err() {
            self.decoded.resize(before + samples as usize * CHANNELS, 0.0);
        }
    }

    fn conceal(&mut self, samples: u64) {
        let end = self.decoded.len() + samples as usize * CHANNELS;
        let mut left = samples;
        while left > 0 && self.decoder.conceal(left.min(CONCEALED_AT_ONCE) as u32, &mut self.decoded).is_ok()
        {
            left = left.saturating_sub(CONCEALED_AT_ONCE);
        }
        // What libopus does not conceal is silent.
        self.decoded.resize(end, 0.0);
        self.missing = 0;
    }
}

/// 20 ms.
const CONCEALED_AT_ONCE: u64 = 960;
