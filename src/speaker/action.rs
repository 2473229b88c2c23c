//! What a speaker does next, and what it counts.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    reason::TrackEnd,
    settings::{Repeat, TrackId},
};
use crate::gateway::payload::SpeakingFlags;

/// One run of a track's source, from the start or from where it was asked to go on; later ones have higher numbers. What a
/// source supplies in a run that is over is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run(pub u32);

impl Run {
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// What the speaker does next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Ask the track's source for this many more frames.
    Demand(TrackId, usize),
    /// Tell the voice gateway; answered by [`Pacer::speaking_sent`](super::Pacer::speaking_sent).
    Speaking(SpeakingFlags),
    /// Send this frame now.
    Voice(VoiceFrame),
    /// See whether the track's source is still there, once a second while it has no frame; answered, if it is not,
    /// by [`Pacer::source_lost`](super::Pacer::source_lost).
    Probe(TrackId),
    /// Ask the track's source to go on from there, and for so many frames; answered by
    /// [`Pacer::sought`](super::Pacer::sought) or [`Pacer::seek_refused`](super::Pacer::seek_refused).
    Seek {
        /// The track.
        track: TrackId,
        /// The run that begins there.
        run: Run,
        /// From where on.
        to: Duration,
        /// How many frames.
        frames: usize,
    },
    /// The track goes on from there.
    Seeked(TrackId, Duration),
    /// The track goes on where it was, and why it does.
    SeekRefused(TrackId, String),
    /// The track is silent until it is resumed.
    Paused(TrackId),
    /// The track goes on.
    Resumed(TrackId),
    /// The track starts over, and how often it will again.
    Looped(TrackId, Repeat),
    /// The track has come to a place at which somebody wanted to be told.
    Reached(TrackId, Duration),
    /// The first frame of the track was taken.
    Started(TrackId),
    /// The track had no frame for 100 ms; silence is played until it has.
    Stalled(TrackId),
    /// The track is over.
    Ended(TrackId, TrackEnd),
}

/// One Opus packet of 20 ms and its place in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceFrame {
    /// The packet, as it goes into RTP, before any encryption.
    pub opus: Bytes,
    /// Samples since the packet before, 960 when nothing was skipped: by how much the RTP timestamp moves.
    pub elapsed: u32,
    /// When the packet was due.
    pub due: Instant,
}

/// In which form a source is asked for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFormat {
    /// As the source has them.
    Any,
    /// Decoded, if the source can: they are mixed or turned down. What comes as Opus all the same is decoded where it is
    /// mixed, at the cost of the packets there.
    Pcm,
}

/// What has been played, counted since the speaker was born.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames given to the transport, silence included; it counts which of them were sent.
    pub frames: u64,
    /// Frames among them that no transport took, because it had just ended.
    pub unsent: u64,
    /// Frames forwarded without being encoded anew.
    pub passed_through: u64,
    /// Frames that a track did not have when they were due; none before its first, and none once all is quiet.
    pub underruns: u64,
    /// Frame times skipped because the speaker came more than 100 ms late.
    pub skipped: u64,
    /// Frames dropped because a source supplied more than it was asked for.
    pub over_credit: u64,
    /// Packets that could not be decoded for mixing, or frames that could not be encoded.
    pub codec_errors: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.unsent += other.unsent;
        self.passed_through += other.passed_through;
        self.underruns += other.underruns;
        self.skipped += other.skipped;
        self.over_credit += other.over_credit;
        self.codec_errors += other.codec_errors;
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn the_counts_of_two_speakers_add_up_to_those_of_the_call() {
        let times = |n: u64| Counts {
            frames: n,
            unsent: 2 * n,
            passed_through: 3 * n,
            underruns: 4 * n,
            skipped: 5 * n,
            over_credit: 6 * n,
            codec_errors: 7 * n,
        };
        let mut sum = times(1);
        sum += times(10);
        assert_eq!(sum, times(11));
    }
}
