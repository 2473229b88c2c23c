//! Files and byte streams as sources.

use std::{io::Read, path::Path};

use super::{definition::Source, error::SourceError};
use crate::audio::decode::{AudioFile, DecodeOptions};

/// Opens an audio file of any kind that [`AudioFile`] knows.
///
/// # Errors
/// [`SourceError`], naming the path.
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(AudioFile::open(path)?))
}

/// Opens an audio file in a way of one's own: with another ffmpeg, or none.
///
/// # Errors
/// [`SourceError`], naming the path.
pub fn open_with(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(AudioFile::open_with(path, options)?))
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
