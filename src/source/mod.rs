//! Source: where audio comes from.

mod decoding;
mod definition;
mod error;
#[cfg(feature = "decode")]
pub(crate) mod ffmpeg;
mod metadata;
#[cfg(feature = "decode")]
mod open;
mod tone;

pub use self::{decoding::Decoding, definition::Source, error::SourceError, metadata::Metadata, tone::Tone};
#[cfg(feature = "decode")]
pub use self::{
    ffmpeg::Ffmpeg,
    open::{from_reader, open, open_with},
};
