//! FLAC, frame by frame.
//!
//! symphonia's reader refuses sound files over odd comments, cue sheets and block sizes, and drops what does not look
//! like the first frame. So frames are found here, by their checksums, and decoded there.

mod header;

use symphonia::core::checksum::Crc16Ansi;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;
use symphonia::core::io::Monitor;
use symphonia::core::packet::Packet;

use self::header::{Format, FrameHeader, StreamInfo};
use super::event::{ENDS_EARLY, Event, Stream, failure};
use super::input::Input;
use super::length::{self, Length};
use super::metadata::MAX_COMMENT;
use super::tags;
use crate::audio::mixdown::usual_layout;
use crate::source::Metadata;

/// Finds frames.
pub(super) struct FlacReader {
    input: Input,
    metadata: Metadata,
    length: Length,
    /// What the last header of a stream said, and then each frame.
    format: Format,
    /// What the decoder was made for.
    decoding: Option<Format>,
    pending: Option<Event>,
}

impl FlacReader {
    /// Starts at the marker `fLaC`.
    pub(super) fn new(input: Input) -> Self {
        let (metadata, length, format) = (Metadata::default(), Length::default(), Format::default());
        let mut reader = Self { input, metadata, length, format, decoding: None, pending: None };
        let samples = reader.header();
        let told = (samples > 0).then(|| length::of_samples(samples, reader.format.rate));
        // Of a file that is joined of several, none tells how long they are together.
        let is_joined = told.is_some() && is_joined(&mut reader.input);
        reader.length = if is_joined { Length::default() } else { Length::exact(told) };
        reader
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    pub(super) fn next(&mut self) -> Event {
        if let Some(event) = self.pending.take() {
            return event;
        }
        loop {
            if self.input.peek(MARKER.len()).starts_with(MARKER) {
                // Another file follows: what the first said of its length is not true of both.
                self.header();
                self.length = Length::default();
                continue;
            }
            if let Some(length) = tags::length(&mut self.input) {
                self.input.consume(length);
                continue;
            }
            if self.input.is_at_end() {
                return Event::End(failure(self.input.take_error()));
            }
            return match self.frame() {
                Some((header, length)) => self.packet(&header, length),
                None => match self.search() {
                    Some(event) => event,
                    None => continue,
                },
            };
        }
    }

    /// Reads the blocks before the first frame, and returns how many samples they promise. Only two kinds are of
    /// use; of the others nothing can be wrong.
    fn header(&mut self) -> u64 {
        let mut samples = 0;
        self.input.consume(MARKER.len() as u64);
        loop {
            let &[kind, a, b, c, ..] = self.input.peek(4) else { return samples };
            // A frame starts where a block should: the last one was not marked as such.
            if kind == 0xFF {
                return samples;
            }
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            self.input.consume(4);
            match kind & 0x7F {
                STREAMINFO => {
                    if let Some(info) = StreamInfo::parse(self.input.peek(length)) {
                        (self.format, samples) = (info.format, info.samples);
                    }
                }
                VORBIS_COMMENT if length <= MAX_COMMENT => {
                    let block = self.input.peek(length);
                    let block = block[..block.len().min(length)].to_vec();
                    self.metadata.add_vorbis_comment(&block);
                }
                _ => {}
            }
            self.input.consume(length as u64);
            if kind & 0x80 != 0 {
                return samples;
            }
        }
    }

    /// The frame that starts here, and its length: up to the next header, or the end, where its checksum is right.
    fn frame(&mut self) -> Option<(FrameHeader, usize)> {
        let format = self.format;
        let header = FrameHeader::parse(self.input.peek(LONGEST_HEADER), &format)?;
        let (mut crc, mut summed, mut searched, mut wanted) =
            (Crc16Ansi::new(0), 0, header.length, SEARCH_STEP);
        let mut candidates = 0;
        loop {
            let ahead = self.input.peek(wanted);
            let ends = ahead.len() < wanted;
            let limit = if ends { ahead.len() } else { ahead.len() - LONGEST_HEADER };
            while let Some(at) = next_start(ahead, searched, limit, &format) {
                crc.process_buf_bytes(&ahead[summed..at]);
                summed = at;
                if crc.crc() == 0 {
                    return Some((header, at));
                }
                searched = at + 1;
                candidates += 1;
                if candidates > MAX_CANDIDATES {
                    return None;
                }
            }
            if ends {
                crc.process_buf_bytes(&ahead[summed..]);
                return (crc.crc() == 0).then_some((header, ahead.len()));
            }
            if wanted > MAX_FRAME {
                return None;
            }
            searched = searched.max(limit);
            wanted *= 2;
        }
    }

    fn packet(&mut self, header: &FrameHeader, length: usize) -> Event {
        let frame: Box<[u8]> = self.input.peek(length)[..length].into();
        self.input.consume(length as u64);
        let packet = Event::Packet(Packet::new(0, 0.into(), header.samples.into(), frame));
        self.format = header.format;
        if self.decoding.replace(header.format) == Some(header.format) {
            return packet;
        }
        self.pending = Some(packet);
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_FLAC).with_sample_rate(header.format.rate);
        parameters.with_extra_data(header.format.stream_info().into());
        let mut stream = Stream::new(parameters);
        stream.layout = Some(usual_layout(header.format.channels.into()));
        Event::Stream(Box::new(stream))
    }

    /// Moves to the next header of a frame; what is left out is damage, unless it is empty.
    fn search(&mut self) -> Option<Event> {
        let format = self.format;
        let (mut was_empty, mut from) = (true, 1);
        loop {
            let ahead = self.input.peek(SEARCH_STEP);
            let ends = ahead.len() < SEARCH_STEP;
            let limit = if ends { ahead.len() } else { ahead.len() - LONGEST_HEADER };
            let found = next_start(ahead, from, limit, &format);
            let skipped = found.unwrap_or(limit);
            was_empty &= ahead[..skipped].iter().all(|&byte| byte == 0);
            self.input.consume(skipped as u64);
            if found.is_some() {
                let cause = "a part does not match its checksum";
                return (!was_empty).then(|| Event::Damaged(cause.to_owned()));
            }
            if ends {
                // A read that failed is the better reason.
                let failed = failure(self.input.take_error()).map(|cause| Event::End(Some(cause)));
                return failed.or_else(|| (!was_empty).then(|| Event::Damaged(ENDS_EARLY.to_owned())));
            }
            from = 0;
        }
    }
}

/// Whether another header follows in a file that can be read twice.
fn is_joined(input: &mut Input) -> bool {
    if input.byte_length().is_none_or(|length| length > MAX_SEARCHED) {
        return false;
    }
    let start = input.position();
    let mut rest = input.again();
    let found = loop {
        let ahead = rest.peek(SEARCH_STEP);
        let ends = ahead.len() < SEARCH_STEP;
        let header = |at: usize| ahead[at..].starts_with(MARKER) && ahead[at + 5..].starts_with(&[0, 0, 34]);
        let starts = ahead.len().saturating_sub(8);
        if (0..starts).any(|at| ahead[at] == MARKER[0] && header(at)) {
            break true;
        }
        if ends {
            break false;
        }
        rest.consume(starts as u64);
    };
    input.return_to(start);
    found
}

/// Where a frame, another file or a tag may start.
fn next_start(ahead: &[u8], from: usize, limit: usize, format: &Format) -> Option<usize> {
    (from..limit).find(|&at| match ahead[at] {
        0xFF => FrameHeader::parse(&ahead[at..], format).is_some(),
        b'f' => ahead[at..].starts_with(MARKER),
        b'I' | b'T' | b'A' => tags::is_start(&ahead[at..]),
        _ => false,
    })
}

const MARKER: &[u8] = b"fLaC";
const STREAMINFO: u8 = 0;
const VORBIS_COMMENT: u8 = 4;
/// A file that is longer is not read twice.
const MAX_SEARCHED: u64 = 64 << 20;
/// How long the header of a frame can be.
const LONGEST_HEADER: usize = 17;
/// A frame that is longer than this is none: 65,535 samples of eight channels of 32 bits take 2 MiB.
const MAX_FRAME: usize = 2 << 20;
/// By chance a header with its checksum stands in a frame once in some thousand frames; what has many is no frame.
const MAX_CANDIDATES: u32 = 16;
/// How many bytes are searched at first.
const SEARCH_STEP: usize = 16 << 10;
