//! Tags around the audio: ID3v1, ID3v2, APE and Lyrics3. They are read for what they say, and never as audio.

use std::io::{Cursor, Seek, SeekFrom};

use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::{MetadataOptions, MetadataReader, MetadataRevision};
use symphonia::default::meta::{ApeReader, Id3v1Reader, Id3v2Reader};

use super::input::Input;
use super::reading::guarded;
use crate::source::Metadata;

/// Reads the tags that stand before the audio, and leaves them out.
pub(super) fn leading(input: &mut Input, metadata: &mut Metadata) {
    while let Some(length) = length(input) {
        if length <= MAX_READ {
            let mut tag = input.peek(length as usize).to_vec();
            tag.truncate(length as usize);
            read(tag, metadata);
        }
        input.consume(length);
    }
}

/// Reads the tags that stand behind the audio of a file, and lets the input end before them.
pub(super) fn trailing(input: &mut Input, metadata: &mut Metadata) {
    for _ in 0..MAX_TRAILING {
        let Some(end) = input.byte_length() else { return };
        let look = end.min(LONGEST_FOOTER);
        let last = input.read_at(end - look, look as usize);
        let Some(length) = length_before_end(&last).filter(|&length| length <= end) else { return };
        if length <= MAX_READ {
            read(input.read_at(end - length, length as usize), metadata);
        }
        input.end_at(end - length);
    }
}

/// How long the tag is that starts here, if one does.
pub(super) fn length(input: &mut Input) -> Option<u64> {
    let ahead = input.peek(HEADER);
    if !is_start(ahead) {
        return None;
    }
    match ahead {
        [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
            let footer = if flags & 0x10 == 0 { 0 } else { 10 };
            Some(10 + footer + [a, b, c, d].iter().fold(0, |size, &&byte| size << 7 | u64::from(byte)))
        }
        [b'A', ..] => Some(ape_length(ahead)),
        [b'T', ..] => Some(ID3V1),
        // Lyrics3 tells its length at its end only, and nothing but an ID3v1 tag follows it.
        _ => {
            let ahead = input.peek(MAX_LYRICS);
            let end = ahead.windows(9).position(|nine| nine == b"LYRICS200" || nine == b"LYRICSEND");
            end.map(|end| end as u64 + 9)
        }
    }
}

/// Whether these bytes start a tag.
pub(super) fn is_start(ahead: &[u8]) -> bool {
    match ahead {
        [b'I', b'D', b'3', major, minor, _, a, b, c, d, ..] => {
            *major < 0xFF && *minor < 0xFF && [a, b, c, d].iter().all(|&&byte| byte < 0x80)
        }
        [b'T', b'A', b'G', rest @ ..] => rest.len() >= ID3V1 as usize - 3 || !rest.starts_with(b"+"),
        _ => ahead.starts_with(b"APETAGEX") && ahead.len() >= 24 || ahead.starts_with(b"LYRICSBEGIN"),
    }
}

/// An APE tag from its header or its footer on; the length that it tells leaves the header out.
fn ape_length(ahead: &[u8]) -> u64 {
    let number =
        |at: usize| u64::from(u32::from_le_bytes([ahead[at], ahead[at + 1], ahead[at + 2], ahead[at + 3]]));
    let (length, flags) = (number(12), number(20));
    let is_header = flags & 1 << 29 != 0;
    if is_header { 32 + length } else { 32 }
}

/// How long the tag is that these bytes end with.
fn length_before_end(last: &[u8]) -> Option<u64> {
    let from_end = |length: u64| last.len().checked_sub(length as usize).map(|at| &last[at..]);
    if from_end(ID3V1).is_some_and(|tag| tag.starts_with(b"TAG")) {
        return Some(ID3V1);
    }
    if let Some(footer) = from_end(32).filter(|footer| footer.starts_with(b"APETAGEX")) {
        let number =
            |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
        let header = if number(20) & 1 << 31 == 0 { 0 } else { 32 };
        return Some((u64::from(number(12)) + header).max(32));
    }
    let digits = last.strip_suffix(b"LYRICS200").map(|before| &before[before.len().saturating_sub(6)..])?;
    let size: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(size + 15)
}

/// Lets symphonia read a tag; one that is broken says nothing.
fn read(tag: Vec<u8>, metadata: &mut Metadata) {
    let (is_id3v2, is_id3v1) = (tag.starts_with(b"ID3"), tag.starts_with(b"TAG"));
    // The first version of APE tags has no header, and is read from its footer.
    let is_headless = !is_id3v2 && !is_id3v1 && !tag.starts_with(b"APETAGEX");
    let footer = tag.len().saturating_sub(32) as u64;
    let revision = guarded(|| {
        let source = Box::new(Cursor::new(tag));
        let mut stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
        if is_headless {
            stream.seek(SeekFrom::Start(footer))?;
        }
        let options = MetadataOptions::default();
        let mut reader: Box<dyn MetadataReader> = if is_id3v2 {
            Box::new(Id3v2Reader::try_new(stream, options)?)
        } else if is_id3v1 {
            Box::new(Id3v1Reader::try_new(stream, options)?)
        } else {
            Box::new(ApeReader::try_new(stream, options)?)
        };
        Ok(reader.read_all()?.revision)
    });
    if let Ok(MetadataRevision { media, .. }) = revision {
        metadata.add(&media.tags);
    }
}

/// A tag that is longer is left out unread: no title takes so much, and a picture is of no use here.
const MAX_READ: u64 = 16 << 20;
/// Tags that follow each other at the end of a file.
const MAX_TRAILING: usize = 4;
/// An ID3v1 tag, always.
const ID3V1: u64 = 128;
/// What it takes to see how long a tag is.
const HEADER: usize = ID3V1 as usize;
const LONGEST_FOOTER: u64 = ID3V1;
/// Lyrics3 allows five digits of length.
const MAX_LYRICS: usize = 100_000;
