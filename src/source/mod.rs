//! Source: where audio comes from.

mod decoding;
mod definition;
mod error;
#[cfg(feature = "decode")]
mod open;
mod tone;

#[cfg(feature = "decode")]
pub use self::open::{from_reader, open};
pub use self::{decoding::Decoding, definition::Source, error::SourceError, tone::Tone};
