//! WAVE: RIFF, RF64 and BW64, whatever their headers say of sizes.
//!
//! Recorders that crashed and programs that write into pipes leave wrong sizes, over which symphonia's reader stumbles.
//! Only two chunks matter here, and the one with the sound may last to the end of the file.

mod format;

use std::time::Duration;

use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use self::format::Format;
use super::event::{Event, Stream, failure};
use super::input::Input;
use super::length::{self, Length};
use crate::source::Metadata;

/// Reads the samples of a WAVE file.
pub(super) struct WaveReader {
    input: Input,
    format: Format,
    metadata: Metadata,
    length: Length,
    /// Bytes of sound that are left; `None` lasts to the end.
    left: Option<u64>,
    announced: bool,
}

impl WaveReader {
    /// Reads up to the first sample.
    pub(super) fn new(mut input: Input) -> Result<Self, Error> {
        let mut metadata = Metadata::default();
        let (mut format, mut long_size) = (None, None);
        input.consume(12);
        loop {
            let &[a, b, c, d, e, f, g, h, ..] = input.peek(8) else {
                return Err(input
                    .take_error()
                    .map_or(Error::DecodeError("there is no sound in it"), Error::IoError));
            };
            let size = u64::from(u32::from_le_bytes([e, f, g, h]));
            input.consume(8);
            let mut contents = || {
                let contents = input.peek(size.min(MAX_CHUNK) as usize);
                contents[..contents.len().min(size as usize)].to_vec()
            };
            match &[a, b, c, d] {
                b"data" => {
                    let format =
                        format.ok_or(Error::DecodeError("its format is not told before its sound"))?;
                    return Ok(Self::at_data(input, format, metadata, size, long_size));
                }
                b"fmt " => format = Some(Format::parse(&contents())?),
                // The sizes of RF64 (EBU Tech 3306): of the file, then of the sound.
                b"ds64" => {
                    let sizes = contents();
                    long_size =
                        sizes.get(8..16).and_then(|size| size.try_into().ok()).map(u64::from_le_bytes);
                }
                b"LIST" => information(&contents(), &mut metadata),
                _ => {}
            }
            input.consume(size + size % 2);
        }
    }

    fn at_data(input: Input, format: Format, metadata: Metadata, size: u64, long_size: Option<u64>) -> Self {
        let size = long_size.filter(|_| size == u64::from(u32::MAX)).unwrap_or(size);
        let there = input.byte_length().map(|end| end.saturating_sub(input.position()));
        // A size of nothing has not been filled in.
        let fits = there.is_some_and(|there| size <= there);
        let known = size > 0 && (size < STREAMED || fits) || long_size == Some(size);
        let left = known.then_some(size);
        let lasts = |bytes: u64| {
            let samples = bytes / (format.block as u64).max(1) * format.samples;
            length::of_samples(samples, format.rate)
        };
        let declared: Option<Duration> = left.map(lasts);
        let told = left.or(there).map(|size| lasts(size.min(there.unwrap_or(size))));
        let length = Length { told: told.filter(|told| !told.is_zero()), declared };
        Self { input, format, metadata, length, left, announced: false }
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) fn length(&self) -> Length {
        self.length
    }

    pub(super) fn next(&mut self) -> Event {
        if !self.announced {
            self.announced = true;
            let mut stream = Stream::new(self.format.parameters());
            stream.layout = Some(self.format.layout.clone());
            return Event::Stream(Box::new(stream));
        }
        let block = self.format.block;
        let wanted = block * self.format.blocks_per_packet();
        let wanted = self.left.map_or(wanted, |left| wanted.min(usize::try_from(left).unwrap_or(wanted)));
        let ahead = self.input.peek(wanted);
        let blocks = ahead.len().min(wanted) / block;
        if blocks == 0 {
            return Event::End(failure(self.input.take_error()));
        }
        let bytes: Box<[u8]> = ahead[..blocks * block].into();
        self.input.consume(bytes.len() as u64);
        self.left = self.left.map(|left| left - bytes.len() as u64);
        Event::Packet(Packet::new(0, 0.into(), (blocks as u64 * self.format.samples).into(), bytes))
    }
}

/// The texts of a list of kind INFO.
fn information(list: &[u8], metadata: &mut Metadata) {
    let Some(mut rest) = list.strip_prefix(b"INFO") else { return };
    while let &[a, b, c, d, e, f, g, h, ref text @ ..] = rest {
        let size = u32::from_le_bytes([e, f, g, h]) as usize;
        let name = String::from_utf8_lossy(&[a, b, c, d]).into_owned();
        metadata.add_named(&name, &String::from_utf8_lossy(&text[..size.min(text.len())]));
        rest = text.get(size.saturating_add(size % 2)..).unwrap_or_default();
    }
}

/// A chunk that is not sound is read up to here.
const MAX_CHUNK: u64 = 1 << 20;
/// From about here on a size means that it was not known: sox writes 2^31 less its headers into pipes, others 2^32 - 1.
const STREAMED: u64 = 0x7FFF_0000;
