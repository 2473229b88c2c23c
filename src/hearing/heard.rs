//! Heard: one frame of one speaker, and all frames of one tick.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::{Format, Level};
use crate::id::{GuildId, Ssrc, UserId};

/// One frame of one speaker: a packet that came, or what is known to be lost between two.
///
/// The frames of one stream are handed over in order of their media time. Where `time` goes on further than the frame before
/// lasted, the speaker paused: what was lost is told as a frame of its own.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Heard {
    /// The guild of the call.
    pub guild: GuildId,
    /// Who spoke, as it was known when the packet was opened.
    pub user: UserId,
    /// The source of the packet.
    pub ssrc: Ssrc,
    /// Which line of media time [`Self::time`] is on. A number is used once in a call: a speaker has another one after a change of
    /// SSRC, after coming back, and after its clock jumped.
    pub stream: u64,
    /// The media time of the first sample, in samples at 48 kHz from an arbitrary start of the stream: the RTP timestamp, which
    /// here does not wrap.
    pub time: u64,
    /// What the frame lasts, in samples per channel at 48 kHz: 120 to 5,760 for a packet, any number for a loss.
    pub samples: u32,
    /// When the packet was taken from the socket; of a loss, when the packet after it was. Packets that waited for their user or
    /// their key keep the time at which they came.
    pub arrived: Instant,
    /// The packet, or that it is lost.
    pub content: Content,
    /// The samples, in the [`Format`] that was asked for; none where that is [`Format::Opus`].
    pub pcm: Option<HeardPcm>,
}

/// What is known of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// The Opus packet, decrypted, without padding and DAVE trailer: also those of silence and of DTX.
    Opus(Bytes),
    /// No packet of its own: 20 ms of even sound, of what came and what had to be made up
    /// ([`Preset::Live`](super::Preset::Live)).
    Even,
    /// So many packets never came, or came too late. [`Heard::samples`] is what they lasted in all.
    Lost {
        /// How many packets.
        packets: u32,
    },
}

/// The samples of a frame.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HeardPcm {
    /// Interleaved where there are two channels; 1.0 is full scale.
    pub samples: Arc<[f32]>,
    /// Their rate and channels.
    pub format: Format,
    /// Where they come from.
    pub origin: Origin,
    /// How loud they are.
    pub level: Level,
}

/// Where samples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The packet came, and was decoded.
    Decoded,
    /// The packet was lost; its successor repeated it coarsely (forward error correction).
    Recovered,
    /// The packet was lost, and the decoder made up what may have been.
    Concealed,
    /// Nothing was sent: the speaker pauses.
    Silence,
}

/// All who are heard in one tick of 20 ms.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VoiceTick {
    /// The guild of the call.
    pub guild: GuildId,
    /// The number of the tick: they are 20 ms apart, and those in which nobody spoke are left out.
    pub tick: u64,
    /// One frame of each who spoke: with [`Preset::Live`](super::Preset::Live) each lasts 20 ms, and they are heard together; with the
    /// others it is what came since the tick before.
    pub frames: Vec<Heard>,
}
