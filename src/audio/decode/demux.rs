//! Demux: bytes in, packets of one sound out, whatever holds them.

use symphonia::core::errors::Error;

use super::container::Container;
use super::event::Event;
use super::flac::FlacReader;
use super::input::Input;
use super::length::Length;
use super::mpeg::MpegReader;
use super::ogg_opus::OggOpusReader;
use super::recognise::Kind;
use super::wave::WaveReader;
use crate::source::Metadata;

/// Takes packets out of what holds them.
pub(super) enum Demuxer {
    Mpeg(Box<MpegReader>),
    Flac(Box<FlacReader>),
    Wave(Box<WaveReader>),
    OggOpus(Box<OggOpusReader>),
    Container(Box<Container>),
}

impl Demuxer {
    /// Reads the headers.
    pub(super) fn open(kind: Kind, mut input: Input) -> Result<Self, Error> {
        Ok(match kind {
            Kind::Mpeg { offset } => {
                input.consume(offset as u64);
                Self::Mpeg(Box::new(MpegReader::new(input)))
            }
            Kind::Flac => Self::Flac(Box::new(FlacReader::new(input))),
            Kind::Wave => Self::Wave(Box::new(WaveReader::new(input)?)),
            Kind::Ogg => match OggOpusReader::open(input) {
                Ok(reader) => Self::OggOpus(Box::new(reader)),
                // Another codec, or several streams at a time.
                Err(input) => Self::Container(Box::new(Container::open(kind, input)?)),
            },
            kind => Self::Container(Box::new(Container::open(kind, input)?)),
        })
    }

    pub(super) fn next(&mut self) -> Event {
        match self {
            Self::Mpeg(reader) => reader.next(),
            Self::Flac(reader) => reader.next(),
            Self::Wave(reader) => reader.next(),
            Self::OggOpus(reader) => reader.next(),
            Self::Container(reader) => reader.next(),
        }
    }

    /// Whether the durations of its packets are in samples, and right.
    pub(super) fn counts_samples(&self) -> bool {
        matches!(self, Self::Mpeg(_) | Self::Flac(_) | Self::Wave(_))
    }

    pub(super) fn length(&self) -> Length {
        match self {
            Self::Mpeg(reader) => reader.length(),
            Self::Flac(reader) => reader.length(),
            Self::Wave(reader) => reader.length(),
            Self::OggOpus(reader) => reader.length(),
            Self::Container(reader) => reader.length(),
        }
    }

    /// Adds what the headers say.
    pub(super) fn describe(&mut self, metadata: &mut Metadata) {
        match self {
            Self::Mpeg(_) => {}
            Self::Flac(reader) => metadata.fill_from(reader.metadata()),
            Self::Wave(reader) => metadata.fill_from(reader.metadata()),
            Self::OggOpus(reader) => metadata.fill_from(reader.metadata()),
            Self::Container(reader) => reader.describe(metadata),
        }
    }
}
