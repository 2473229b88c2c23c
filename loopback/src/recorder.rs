//! What one listener hears of one sender: counts, timing, and the audio itself.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::opus::{self, OpusError, SILENCE_FRAMES};
use crate::rule::Violation;
use crate::score::{Score, match_score};

pub use histogram::DurationHistogram;
pub use playback::Holes;

use timeline::{Place, Timeline};

mod histogram;
mod ogg_file;
mod playback;
#[cfg(test)]
mod tests;
mod timeline;

/// Which parts of a member's audio are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// Counts, histograms and the packets, up to the recorder's cap.
    #[default]
    Audio,
    /// Counts and histograms only; for load tests.
    Counts,
}

/// Records one sender. It keeps at most 180 000 packets (an hour of 20 ms) and 64 MiB of them; beyond that it counts.
#[derive(Debug)]
pub struct Recorder {
    keep: Keep,
    timeline: Timeline,
    talkspurt: Option<Talkspurt>,
    packets: u64,
    out_of_order: u64,
    duplicates: u64,
    undecryptable: u64,
    unkept: u64,
    kept_bytes: usize,
    longest_gap: Duration,
    spacing: DurationHistogram,
    lateness: DurationHistogram,
    audio: Vec<Packet>,
}

/// One packet as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it came.
    pub arrival: Instant,
    /// From which stream.
    pub ssrc: u32,
    /// RTP sequence.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Samples per channel at 48 kHz since the sender's first packet, over all its streams. Pauses longer than ten
    /// seconds count as ten.
    pub position: i64,
    /// The Opus packet, silence frames among them.
    pub opus: Bytes,
}

/// What was heard of one sender up to a moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hearing {
    /// Packets that came, without duplicates.
    pub packets: u64,
    /// Packets that the sequence says were sent and that did not come.
    pub lost: u64,
    /// Packets that came after one sent later.
    pub out_of_order: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that did not decrypt end to end; their audio is missing.
    pub undecryptable: u64,
    /// Packets that came after the recorder was full; their audio is missing.
    pub unkept: u64,
    /// From one arrival to the next, while speaking.
    pub spacing: DurationHistogram,
    /// How much later packets came than their RTP timestamps say, measured from the most punctual of the spurt so far.
    pub lateness: DurationHistogram,
    /// The longest time without a packet while speaking, reconnections among it: a pause after five silence frames does
    /// not count.
    pub longest_gap: Duration,
    /// The packets, as they came.
    pub audio: Vec<Packet>,
    /// The rules the sender broke; only in [`Relay::recording`](crate::relay::Relay::recording).
    pub violations: Vec<Violation>,
}

/// Where a talk spurt began, for lateness.
#[derive(Clone, Copy, Debug)]
struct Talkspurt {
    arrival: Instant,
    position: i64,
    /// The smallest transit so far, µs against the first packet's.
    punctual: i64,
    last: Instant,
    last_position: i64,
    /// Silence frames since the last audio.
    silence: u32,
}

/// When a packet came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrived {
    /// As the first of a spurt.
    First,
    /// After another.
    Next(Step),
    /// It came before already.
    Before,
}

/// How long after the packet before it another came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) gap: Duration,
    /// By how much that differs from what the timestamps say.
    pub(crate) error: Duration,
    /// How much later it came than its timestamp says.
    pub(crate) lateness: Duration,
}

impl Recorder {
    /// Makes a recorder that has heard nothing.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            timeline: Timeline::default(),
            talkspurt: None,
            packets: 0,
            out_of_order: 0,
            duplicates: 0,
            undecryptable: 0,
            unkept: 0,
            kept_bytes: 0,
            longest_gap: Duration::ZERO,
            spacing: DurationHistogram::new(),
            lateness: DurationHistogram::new(),
            audio: Vec::new(),
        }
    }

    /// Takes one packet; `opus` is `None` where it came but could not be decrypted.
    pub fn packet(
        &mut self,
        arrival: Instant,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        opus: Option<Bytes>,
    ) {
        self.step(arrival, ssrc, sequence, timestamp, opus);
    }

    /// Takes one packet and returns what its time was, or that it came before already.
    pub(crate) fn step(
        &mut self,
        arrival: Instant,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        opus: Option<Bytes>,
    ) -> Arrived {
        let position = match self.timeline.place(arrival, ssrc, sequence, timestamp) {
            Place::Duplicate => {
                self.duplicates += 1;
                return Arrived::Before;
            }
            Place::Late(position) => {
                self.out_of_order += 1;
                position
            }
            Place::Next(position) => position,
            Place::Restart(position) => {
                self.count_break(arrival);
                position
            }
        };
        self.packets += 1;
        let step = self.time(arrival, position, opus.as_deref().is_some_and(opus::is_silence));
        match opus {
            None => self.undecryptable += 1,
            Some(opus) if self.has_room(&opus) => {
                self.kept_bytes += opus.len();
                self.audio.push(Packet { arrival, ssrc, sequence, timestamp, position, opus });
            }
            Some(_) => self.unkept += 1,
        }
        step.map_or(Arrived::First, Arrived::Next)
    }

    /// Packets that were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.timeline.lost()
    }

    /// Packets that came so far, without duplicates.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What was heard so far.
    pub fn hearing(&self) -> Hearing {
        Hearing {
            packets: self.packets,
            lost: self.timeline.lost(),
            out_of_order: self.out_of_order,
            duplicates: self.duplicates,
            undecryptable: self.undecryptable,
            unkept: self.unkept,
            spacing: self.spacing.clone(),
            lateness: self.lateness.clone(),
            longest_gap: self.longest_gap,
            audio: self.audio.clone(),
            violations: Vec::new(),
        }
    }

    /// Ends the spurt of a stream that another one replaces; one that did not say its five frames of silence was cut, and
    /// the time until now is a gap.
    fn count_break(&mut self, arrival: Instant) {
        let cut = self.talkspurt.take().filter(|talkspurt| talkspurt.silence < SILENCE_FRAMES);
        let gap = cut.map_or(Duration::ZERO, |talkspurt| arrival.saturating_duration_since(talkspurt.last));
        self.longest_gap = self.longest_gap.max(gap);
    }

    fn has_room(&self, opus: &[u8]) -> bool {
        self.keep == Keep::Audio
            && self.audio.len() < PACKETS_MAX
            && self.kept_bytes + opus.len() <= BYTES_MAX
    }

    fn time(&mut self, arrival: Instant, position: i64, silent: bool) -> Option<Step> {
        let ended = |talkspurt: &Talkspurt| {
            talkspurt.silence >= SILENCE_FRAMES
                && arrival.saturating_duration_since(talkspurt.last) > TALKSPURT_TIMEOUT
        };
        let Some(talkspurt) = self.talkspurt.as_mut().filter(|talkspurt| !ended(talkspurt)) else {
            let silence = u32::from(silent);
            self.talkspurt = Some(Talkspurt {
                arrival,
                position,
                punctual: 0,
                last: arrival,
                last_position: position,
                silence,
            });
            self.lateness.record(Duration::ZERO);
            return None;
        };
        let gap = arrival.saturating_duration_since(talkspurt.last);
        self.spacing.record(gap);
        self.longest_gap = self.longest_gap.max(gap);
        let passed = arrival.saturating_duration_since(talkspurt.arrival).as_micros() as i64;
        let transit = passed - (position - talkspurt.position) * 1000 / 48;
        talkspurt.punctual = talkspurt.punctual.min(transit);
        let lateness = Duration::from_micros((transit - talkspurt.punctual).unsigned_abs());
        self.lateness.record(lateness);
        let due = Duration::from_micros(((position - talkspurt.last_position) * 1000 / 48).unsigned_abs());
        talkspurt.last = arrival;
        talkspurt.last_position = position;
        talkspurt.silence = if silent { talkspurt.silence.saturating_add(1) } else { 0 };
        Some(Step { gap, error: gap.abs_diff(due), lateness })
    }
}

impl Hearing {
    /// Writes a playable Ogg Opus file (RFC 7845). What is missing is left to the player's concealment, so that the
    /// file lasts as long as what was heard.
    pub fn ogg(&self) -> Vec<u8> {
        ogg_file::write(&self.audio)
    }

    /// Decodes to 48 kHz, stereo, interleaved, at most an hour of it.
    ///
    /// Packets that do not decode are treated as lost.
    ///
    /// # Errors
    /// [`OpusError::Refused`] where libopus gives no decoder.
    pub fn decode(&self, holes: Holes) -> Result<Vec<f32>, OpusError> {
        playback::decode(&self.audio, holes)
    }

    /// Compares with what should have been heard, 48 kHz, stereo, interleaved. Holes count as holes.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn score(&self, original: &[f32]) -> Result<Score, OpusError> {
        Ok(match_score(original, &self.decode(Holes::Silent)?))
    }
}

/// An hour of 20 ms packets.
const PACKETS_MAX: usize = 180_000;
const BYTES_MAX: usize = 64 << 20;
/// After five silence frames, packets further apart than this begin a new spurt.
const TALKSPURT_TIMEOUT: Duration = Duration::from_millis(60);
