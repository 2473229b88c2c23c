//! Reading: opens files and streams, finds out what they are, and keeps panics of decoders in.

use std::fs::{File, Metadata};
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;

use crate::source::SourceError;

/// Where the bytes come from.
pub(super) type Media = Box<dyn MediaSource>;

/// Opens a file; a pipe with a name is read as a stream.
pub(super) fn file(path: &Path, name: &str) -> Result<Media, SourceError> {
    let (file, metadata) = open(path).map_err(|error| unreadable(name, &error))?;
    if metadata.is_dir() {
        let cause = "it is a directory".to_owned();
        return Err(SourceError::Unreadable { name: name.to_owned(), cause });
    }
    if !metadata.is_file() {
        return stream(file, name);
    }
    if metadata.len() == 0 {
        return Err(empty(name));
    }
    Ok(Box::new(file))
}

/// Opens a file as if it could not be rewound.
pub(super) fn file_as_stream(path: &Path, name: &str) -> Result<Media, SourceError> {
    stream(File::open(path).map_err(|error| unreadable(name, &error))?, name)
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn unreadable(name: &str, error: &io::Error) -> SourceError {
    let name = name.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound { name },
        _ => SourceError::Unreadable { name, cause: error.to_string() },
    }
}

/// Wraps a stream, after looking whether anything comes out of it.
pub(super) fn stream(reader: impl Read + Send + Sync + 'static, name: &str) -> Result<Media, SourceError> {
    let mut reader = Retrying(reader);
    let mut first = [0];
    match reader.read(&mut first) {
        Ok(0) => Err(empty(name)),
        Ok(_) => Ok(Box::new(ReadOnlySource::new(Cursor::new(first).chain(reader)))),
        Err(error) => Err(unreadable(name, &error)),
    }
}

/// Finds out what the bytes are. Nothing is taken on trust from the name: it is a hint.
pub(super) fn probe(name: &str, media: Media) -> Result<Box<dyn FormatReader>, Error> {
    let mut hint = Hint::new();
    if let Some(extension) = Path::new(name).extension().and_then(|extension| extension.to_str()) {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(media, MediaSourceStreamOptions::default());
    let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
    symphonia::default::get_probe().probe(&hint, stream, format, metadata)
}

/// Says what is wrong in words that can stand after a file's name.
pub(super) fn explained(error: &Error) -> String {
    match error {
        Error::Unsupported(cause) if cause.contains("no suitable format reader") => {
            "it is no audio that is known here (WAV, FLAC, MP3, Ogg, MP4, WebM, Matroska)".to_owned()
        }
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => "it ends early".to_owned(),
        Error::IoError(error) => format!("reading failed: {error}"),
        Error::DecodeError(cause) | Error::Unsupported(cause) | Error::LimitError(cause) => {
            (*cause).to_owned()
        }
        error => error.to_string(),
    }
}

/// Runs a step of a demuxer or decoder; should it panic, that is damage in what it read.
///
/// The symphonia crates check most of their arithmetic, not all: the header of a WAV file that claims 65,535
/// channels makes them panic where overflows are checked. Whoever panicked is not asked again: the source ends.
pub(super) fn guarded<T>(step: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or(Err(Error::LimitError("the decoder gave up on it")))
}

fn empty(name: &str) -> SourceError {
    SourceError::Unsupported { name: name.to_owned(), cause: "it is empty".to_owned() }
}

/// A reader that is asked again when a signal interrupted it.
struct Retrying<R>(R);

impl<R: Read> Read for Retrying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}
