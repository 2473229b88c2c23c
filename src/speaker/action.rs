//! What a speaker does next, and what it counts.

use std::time::Instant;

use bytes::Bytes;

use super::reason::TrackEnd;
use crate::gateway::payload::SpeakingFlags;

/// The name of one track, unique in its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

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

/// How much of a track waits at the speaker. Sources are asked for more before half of it is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadAhead {
    /// 500 ms: for what is there already, such as a file.
    #[default]
    Stored,
    /// 100 ms: for what comes into being as it is heard, such as a microphone.
    Live,
}

impl ReadAhead {
    /// Frames of 20 ms.
    pub const fn frames(self) -> usize {
        match self {
            Self::Stored => 25,
            Self::Live => 5,
        }
    }
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
