//! Input: the bytes of a file or stream. They are read once, and can be looked at before they are consumed.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use symphonia::core::io::MediaSource;

use crate::source::SourceError;

/// Where the bytes come from. Clones share it: whoever reads next reads on where the last one stopped.
#[derive(Clone)]
pub(super) struct Origin(Arc<Mutex<Bytes>>);

enum Bytes {
    File { file: File, length: u64, path: PathBuf },
    Memory(Cursor<Vec<u8>>),
    Stream(Stream),
}

/// A stream, and what has been read from it while it may still have to be read again.
struct Stream {
    reader: Box<dyn Read + Send + Sync>,
    kept: Option<Vec<u8>>,
    /// How much of what was kept has been read again.
    reread: usize,
}

impl Origin {
    /// Opens a file; a pipe with a name is a stream, and is opened this once.
    pub(super) fn file(path: &Path, name: &str) -> Result<Self, SourceError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| unreadable(name, &error))?;
        if metadata.is_dir() {
            let cause = "it is a directory".to_owned();
            return Err(SourceError::Unreadable { name: name.to_owned(), cause });
        }
        if !metadata.is_file() {
            return Ok(Self::stream(file));
        }
        Ok(Self::new(Bytes::File { file, length: metadata.len(), path: path.to_owned() }))
    }

    pub(super) fn stream(reader: impl Read + Send + Sync + 'static) -> Self {
        Self::new(Bytes::Stream(Stream { reader: Box::new(reader), kept: Some(Vec::new()), reread: 0 }))
    }

    fn new(bytes: Bytes) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns to the first byte, where that is possible; says whether it was.
    pub(super) fn rewind(&self) -> bool {
        match &mut *self.lock() {
            Bytes::File { file, .. } => file.rewind().is_ok(),
            Bytes::Memory(cursor) => cursor.rewind().is_ok(),
            Bytes::Stream(stream) => {
                stream.reread = 0;
                stream.kept.is_some()
            }
        }
    }

    /// Says that the bytes need not be read again.
    pub(super) fn commit(&self) {
        if let Bytes::Stream(stream) = &mut *self.lock()
            && stream.kept.as_ref().is_some_and(|kept| stream.reread >= kept.len())
        {
            stream.kept = None;
        }
    }

    /// Reads all of a stream into memory, so that it can be sought in; `false` where there is too much of it.
    pub(super) fn buffer_whole(&self) -> io::Result<bool> {
        let bytes = &mut *self.lock();
        let Bytes::Stream(stream) = bytes else { return Ok(true) };
        let Some(mut whole) = stream.kept.take() else { return Ok(false) };
        let room = (MAX_IN_MEMORY - whole.len()) as u64;
        Retrying(&mut stream.reader).take(room + 1).read_to_end(&mut whole)?;
        let fits = whole.len() <= MAX_IN_MEMORY;
        *bytes = Bytes::Memory(Cursor::new(whole));
        Ok(fits)
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        match &*self.lock() {
            Bytes::File { path, .. } => Some(path.clone()),
            _ => None,
        }
    }

    /// The length of what can be sought in.
    pub(super) fn length(&self) -> Option<u64> {
        match &*self.lock() {
            Bytes::File { length, .. } => Some(*length),
            Bytes::Memory(cursor) => Some(cursor.get_ref().len() as u64),
            Bytes::Stream(_) => None,
        }
    }
}

impl Read for Origin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut *self.lock() {
            Bytes::File { file, .. } => Retrying(file).read(buffer),
            Bytes::Memory(cursor) => cursor.read(buffer),
            Bytes::Stream(stream) => stream.read(buffer),
        }
    }
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(kept) = &self.kept
            && self.reread < kept.len()
        {
            let length = buffer.len().min(kept.len() - self.reread);
            buffer[..length].copy_from_slice(&kept[self.reread..self.reread + length]);
            self.reread += length;
            return Ok(length);
        }
        let length = Retrying(&mut self.reader).read(buffer)?;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&buffer[..length]);
            self.reread = kept.len();
            if kept.len() > MAX_KEPT {
                self.kept = None;
            }
        }
        Ok(length)
    }
}

/// Reads from an origin, and can look ahead.
pub(super) struct Input {
    origin: Origin,
    /// What has been read and not yet been consumed starts `at`.
    buffer: Vec<u8>,
    at: usize,
    /// How many bytes have been consumed.
    position: u64,
    /// Where the audio ends although bytes follow: trailing tags.
    end: Option<u64>,
    /// Bytes that read differently from what the origin has, by place.
    patches: Vec<(u64, [u8; 4])>,
    ended: bool,
    error: Option<io::Error>,
}

impl Input {
    /// Starts with the first byte of the origin.
    pub(super) fn new(origin: &Origin) -> Self {
        let origin = origin.clone();
        let (buffer, patches) = (Vec::new(), Vec::new());
        Self { origin, buffer, at: 0, position: 0, end: None, patches, ended: false, error: None }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Looks at the next bytes: `least` or more of them, fewer only where no more follow.
    pub(super) fn peek(&mut self, least: usize) -> &[u8] {
        while self.buffer.len() - self.at < least && !self.ended {
            self.fill();
        }
        &self.buffer[self.at..]
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.peek(1).is_empty()
    }

    /// What ended the input, if that was a failure. It is told once.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// Leaves out what has been looked at, or more.
    pub(super) fn consume(&mut self, mut bytes: u64) {
        let buffered = bytes.min((self.buffer.len() - self.at) as u64);
        self.at += buffered as usize;
        self.position += buffered;
        bytes -= buffered;
        if bytes > FILL as u64
            && self.origin.length().is_some()
            && self.seek_to(self.position + bytes).is_ok()
        {
            return;
        }
        while bytes > 0 && !self.is_at_end() {
            let step = bytes.min((self.buffer.len() - self.at) as u64);
            self.at += step as usize;
            self.position += step;
            bytes -= step;
        }
    }

    /// Lets the input end before the last byte.
    pub(super) fn end_at(&mut self, end: u64) {
        self.end = Some(end);
        let beyond = (self.position + (self.buffer.len() - self.at) as u64).saturating_sub(end);
        self.buffer.truncate(self.buffer.len().saturating_sub(beyond as usize).max(self.at));
    }

    /// How many bytes there are, where that is known.
    pub(super) fn byte_length(&self) -> Option<u64> {
        let length = self.origin.length()?;
        Some(self.end.map_or(length, |end| end.min(length)))
    }

    /// Another reader of what is left. They take turns: this one is to [`return_to`](Self::return_to) its place.
    pub(super) fn again(&mut self) -> Self {
        let mut again = Self { end: self.end, ..Self::new(&self.origin) };
        again.return_to(self.position);
        again
    }

    /// Goes on at this byte; only what can be sought in can.
    pub(super) fn return_to(&mut self, position: u64) {
        if let Err(error) = self.seek_to(position) {
            self.ended = true;
            self.error = Some(error);
        }
    }

    /// Reads a part of what can be sought in, and returns to where it was.
    pub(super) fn read_at(&mut self, from: u64, length: usize) -> Vec<u8> {
        let before = self.position;
        let mut part = Vec::new();
        if self.seek_to(from).is_ok() {
            part = self.peek(length).to_vec();
            part.truncate(length);
        }
        // What can be sought in can be sought back in.
        let _ = self.seek_to(before);
        part
    }

    /// Lets four bytes that have not been consumed read differently.
    pub(super) fn patch(&mut self, place: u64, bytes: [u8; 4]) {
        self.patches.push((place, bytes));
        patch(&mut self.buffer[self.at..], self.position, &self.patches);
    }

    fn fill(&mut self) {
        self.buffer.drain(..self.at);
        self.at = 0;
        let filled = self.buffer.len();
        let next = self.position + filled as u64;
        let room = self.end.map_or(FILL as u64, |end| end.saturating_sub(next).min(FILL as u64)) as usize;
        self.buffer.reserve_exact(room);
        self.buffer.resize(filled + room, 0);
        let read = self.origin.read(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        patch(&mut self.buffer[filled..], next, &self.patches);
        match read {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) => {
                self.ended = true;
                self.error = Some(error);
            }
        }
    }

    fn seek_to(&mut self, position: u64) -> io::Result<()> {
        match &mut *self.origin.lock() {
            Bytes::File { file, .. } => file.seek(SeekFrom::Start(position))?,
            Bytes::Memory(cursor) => cursor.seek(SeekFrom::Start(position))?,
            Bytes::Stream(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.buffer.clear();
        (self.at, self.position, self.ended) = (0, position, false);
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ahead = self.peek(1);
        let length = ahead.len().min(buffer.len());
        buffer[..length].copy_from_slice(&ahead[..length]);
        self.consume(length as u64);
        match self.take_error() {
            Some(error) if length == 0 => Err(error),
            error => {
                self.error = error;
                Ok(length)
            }
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.end.or_else(|| self.origin.length());
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => length.and_then(|length| length.checked_add_signed(by)),
        };
        let position = position.ok_or(io::ErrorKind::InvalidInput)?;
        self.seek_to(position)?;
        Ok(position)
    }
}

impl MediaSource for Input {
    fn is_seekable(&self) -> bool {
        self.origin.length().is_some()
    }

    fn byte_len(&self) -> Option<u64> {
        self.end.or_else(|| self.origin.length())
    }
}

/// Puts patches over bytes that start at `position`.
fn patch(bytes: &mut [u8], position: u64, patches: &[(u64, [u8; 4])]) {
    for (place, patch) in patches {
        for (place, &byte) in (*place..).zip(patch) {
            let at = place.checked_sub(position).and_then(|at| usize::try_from(at).ok());
            if let Some(patched) = at.and_then(|at| bytes.get_mut(at)) {
                *patched = byte;
            }
        }
    }
}

/// A source of bytes as one that cannot be sought in.
pub(super) struct Unseekable(pub(super) Input);

impl Read for Unseekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Unseekable {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl MediaSource for Unseekable {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

pub(super) fn unreadable(name: &str, error: &io::Error) -> SourceError {
    let name = name.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound { name },
        _ => SourceError::Unreadable { name, cause: error.to_string() },
    }
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

/// How much of a stream is held in memory where its index comes last.
pub(super) const MAX_IN_MEMORY: usize = 64 << 20;
/// How much of a stream is kept until it is clear what plays it.
const MAX_KEPT: usize = 4 << 20;
/// How much is read at a time.
const FILL: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_stream_is_read_again_while_little_of_it_has_been_read() {
        let bytes = numbers(100_000);
        let origin = Origin::stream(Cursor::new(bytes.clone()));
        assert_eq!(Input::new(&origin).peek(50_000)[..50_000], bytes[..50_000]);
        assert!(origin.rewind());
        let mut again = Vec::new();
        Input::new(&origin).read_to_end(&mut again).unwrap();
        assert!(again == bytes);
        origin.commit();
        assert!(!origin.rewind());

        let long = Origin::stream(Cursor::new(numbers(MAX_KEPT + FILL)));
        Input::new(&long).consume((MAX_KEPT + FILL) as u64);
        assert!(!long.rewind());
    }

    #[test]
    fn what_is_looked_at_stays_and_what_is_consumed_is_gone() {
        let bytes = numbers(200_000);
        let mut input = Input::new(&Origin::stream(Cursor::new(bytes.clone())));
        assert!(input.peek(10).starts_with(&bytes[..10]));
        input.consume(123_456);
        assert_eq!(input.position(), 123_456);
        assert!(input.peek(300_000) == &bytes[123_456..]);
        input.end_at(150_000);
        input.consume(26_543);
        assert_eq!(input.peek(10), &bytes[149_999..150_000]);
    }

    #[test]
    fn a_stream_that_does_not_fit_into_memory_is_left() {
        let origin = Origin::stream(Cursor::new(numbers(1_000)));
        Input::new(&origin).peek(10);
        assert!(origin.buffer_whole().unwrap());
        assert_eq!(origin.length(), Some(1_000));
        let endless = Origin::stream(io::repeat(7));
        assert!(!endless.buffer_whole().unwrap());
    }
}
