//! What a demuxer tells: packets, of what they are, and what is wrong.

use std::io;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::packet::Packet;

use crate::audio::mixdown::Position;

/// What comes next in a file.
pub(super) enum Event {
    /// From here on the packets are of another kind, or of the first: a decoder has to be made.
    Stream(Box<Stream>),
    Packet(Packet),
    /// Something is wrong here, and it goes on.
    Damaged(String),
    /// There is no more, for this reason unless it is the end.
    End(Option<String>),
}

/// What a decoder has to be made for, and what of its output is not to be heard.
pub(super) struct Stream {
    pub(super) parameters: AudioCodecParameters,
    /// Where each channel belongs, where that is known better than the decoder knows it.
    pub(super) layout: Option<Vec<Position>>,
    /// What to leave out at the start, in samples per channel.
    pub(super) skip: u64,
    /// How many samples per channel to keep after that.
    pub(super) keep: Option<u64>,
    /// The rate in which these two count, where it is not the decoder's.
    pub(super) unit: Option<u32>,
    /// What to leave out at the end, in samples per channel.
    pub(super) drop_end: u64,
    /// Whether the numbers in an Opus header are big-endian, as in MP4.
    pub(super) big_endian: bool,
}

impl Stream {
    pub(super) fn new(parameters: AudioCodecParameters) -> Self {
        Self { parameters, layout: None, skip: 0, keep: None, unit: None, drop_end: 0, big_endian: false }
    }
}

/// What a failed read is to the file.
pub(super) fn failure(error: Option<io::Error>) -> Option<String> {
    error.map(|error| format!("reading failed: {error}"))
}

pub(super) const ENDS_EARLY: &str = "it ends early";
