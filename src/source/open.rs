//! Files and byte streams as sources.

use std::{io::Read, path::Path, time::Duration};

use super::{definition::Source, error::SourceError};
use crate::audio::{decode::AudioFile, frame::Frame};

/// Opens an audio file of any kind that [`AudioFile`] knows.
///
/// # Errors
/// [`SourceError`], naming the path.
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn Source>, SourceError> {
    let stored = std::fs::metadata(&path).is_ok_and(|found| found.is_file());
    let file = AudioFile::open(path)?;
    Ok(if stored { Box::new(Stored(file)) } else { Box::new(file) })
}

/// A file on a disc, which is never waited for, unlike a pipe.
struct Stored(AudioFile);

impl Source for Stored {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        self.0.next_frame()
    }

    fn duration(&self) -> Option<Duration> {
        self.0.duration()
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// Plays audio from a byte stream that cannot be rewound, such as standard input or an HTTP body.
///
/// `name` stands for the stream in errors. See [`AudioFile::from_reader`].
///
/// # Errors
/// [`SourceError`], naming the stream.
pub fn from_reader(
    name: &str,
    reader: impl Read + Send + Sync + 'static,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(AudioFile::from_reader(name, reader)?))
}
