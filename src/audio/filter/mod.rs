//! Filters: what is done to the sound of a track, or of a whole call.
//!
//! [`Filters`] are the settings, with the names and parameters of Lavalink's; [`FilterChain`] carries them out, 20 ms at a time.
//! What each does, and costs, stands in `docs/filters.md`.

mod chain;
#[cfg(feature = "denoise")]
mod denoise;
mod equalizer;
mod levelling;
mod modulation;
mod overlap;
mod reader;
mod settings;
mod shape;
mod stages;
#[cfg(test)]
mod tests;
mod text;
mod timescale;

pub use self::{
    chain::FilterChain,
    settings::{
        BANDS, ChannelMix, Distortion, EqualizerBand, FilterError, Filters, Karaoke, Loudness, LowPass,
        Rotation, Timescale, Tremolo, Vibrato,
    },
};
