//! Audio: frames, Opus, mixing, resampling, decoding.

#[cfg(feature = "decode")]
pub mod decode;
pub mod filter;
pub mod frame;
pub mod loudness;
#[cfg(feature = "decode")]
pub mod mixdown;
pub mod mixer;
pub mod opus;
pub(crate) mod recent;
#[cfg(feature = "decode")]
pub mod resample;
pub mod stretch;
