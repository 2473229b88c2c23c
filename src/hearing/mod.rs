//! Hearing: what others say in a call, as a bot gets it.
//!
//! A listener asks with a [`Preset`] for what it needs most (every packet, the lowest delay, or even sound), with a
//! [`Format`] for Opus or samples, and with a [`Selection`] for whom it wants to hear.

mod heard;
mod level;
mod machine;
mod selection;
mod stats;
mod talk;
mod voice;

pub use self::{
    heard::{Content, Heard, HeardPcm, Origin, VoiceTick},
    level::Level,
    machine::{Action, Hearing},
    selection::Selection,
    stats::SpeakerStats,
    talk::Talk,
};
use crate::{
    id::{Ssrc, UserId},
    jitter,
};

/// The number of one who listens, unlike that of any other of its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenId(pub u64);

/// A packet, decrypted, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoicePacket {
    /// Who sent it, as it was known when the packet was opened.
    pub user: UserId,
    /// Its source.
    pub ssrc: Ssrc,
    /// What came.
    pub packet: jitter::Packet,
}

/// Whether a listener gets each frame by itself, or all of a tick at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each frame by itself.
    Frames,
    /// All frames of 20 ms at once.
    Ticks,
}

/// What a listener needs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// Every packet, for recordings: waits up to a second for what is missing, and tells what never came. Nothing is stretched.
    Record,
    /// The lowest delay, for speech models: frames are handed over in order as soon as they come; what is missing is waited for
    /// as long as one or two frames last, and then concealed.
    Agent,
    /// Even sound, for people: all speakers side by side on one clock of 20 ms, delayed by as much as the network asks for,
    /// 20 to 200 ms.
    Live,
}

/// As what a listener gets frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Opus packets, as they came; nothing is decoded. With [`Preset::Live`], which hands over no packets, it is as
    /// [`Self::Stereo`].
    #[default]
    Opus,
    /// Opus packets, and samples at 48 kHz: stereo, interleaved, left first.
    Stereo,
    /// Opus packets, and samples of one channel.
    Mono(Rate),
}

/// Samples a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// 8,000, as a telephone has.
    Khz8,
    /// 16,000, as most speech models take.
    Khz16,
    /// 24,000.
    Khz24,
    /// 48,000, as Opus has.
    Khz48,
}

impl Rate {
    /// Samples a second.
    #[must_use]
    pub const fn hertz(self) -> u32 {
        match self {
            Self::Khz8 => 8_000,
            Self::Khz16 => 16_000,
            Self::Khz24 => 24_000,
            Self::Khz48 => 48_000,
        }
    }
}

impl Format {
    /// Channels of its samples; none without samples.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::Opus => 0,
            Self::Stereo => 2,
            Self::Mono(_) => 1,
        }
    }

    /// Samples a second and channel; 48,000 without samples.
    #[must_use]
    pub const fn hertz(self) -> u32 {
        match self {
            Self::Opus | Self::Stereo => 48_000,
            Self::Mono(rate) => rate.hertz(),
        }
    }
}
