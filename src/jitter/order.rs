//! Order: the packets of one speaker in the order in which they were sent, whatever the order in which they come.
//!
//! Sequence numbers and timestamps are unwrapped: they count on where RTP's start over. A *break* is where media time does not go
//! on: the sender started anew, its clock jumped, or it paused without letting its timestamps run on.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Packet, is_silence};
use crate::audio::{frame::SAMPLE_RATE, opus};

/// The packets that wait, and what was handed on before them.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Ascending in `sequence`.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    newest: Option<Newest>,
    next: Option<Next>,
}

/// One packet, unwrapped.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) sequence: u64,
    pub(super) time: u64,
    pub(super) samples: u32,
    pub(super) start: Start,
    /// When it came to the socket.
    pub(super) arrived: Instant,
    /// When it came here: later where it had to wait for its user or its key.
    pub(super) queued: Instant,
    pub(super) opus: Bytes,
}

impl Waiting {
    /// Whether media time does not go on from the packet before.
    fn is_break(&self) -> bool {
        self.start != Start::Nothing
    }
}

/// Whether something starts with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It goes on from the packet before.
    Nothing,
    /// A line of media time.
    Time,
    /// A line of media time, and the sequence numbers.
    Numbers,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insertion {
    Queued,
    /// It waits already, or was handed on.
    Duplicate,
    /// Its place was passed.
    Late,
    /// It is no Opus packet.
    Malformed,
}

/// The newest packet that came.
#[derive(Clone, Copy, Debug)]
struct Newest {
    rtp_sequence: u16,
    rtp_timestamp: u32,
    sequence: u64,
    time: u64,
    arrived: Instant,
    silence: bool,
}

/// What follows what was handed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) sequence: u64,
    pub(super) time: u64,
    /// What the packet before lasted.
    pub(super) samples: u32,
    /// Whether the packet before was silence.
    pub(super) silence: bool,
    /// Which of the 64 before it were handed on: bit 0 is the one before.
    handed_on: u64,
}

/// What is missing before the first packet that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) packets: u32,
    pub(super) samples: u32,
    pub(super) time: u64,
    /// Whether the lost packets end where the first packet that waits begins.
    pub(super) adjoins: bool,
}

impl Order {
    pub(super) fn insert(&mut self, packet: Packet, now: Instant) -> Insertion {
        self.insert_and_place(packet, now).0
    }

    /// Also says at which media time the packet is, and whether it is a break.
    pub(super) fn insert_and_place(
        &mut self,
        packet: Packet,
        now: Instant,
    ) -> (Insertion, Option<(u64, bool)>) {
        let Ok(samples) = opus::samples(&packet.opus) else { return (Insertion::Malformed, None) };
        let place = self.place(&packet);
        (self.put(packet, &place, samples, now), Some((place.time, place.start != Start::Nothing)))
    }

    fn put(&mut self, packet: Packet, place: &Place, samples: u32, now: Instant) -> Insertion {
        if let Some(next) = self.next
            && place.sequence < next.sequence
        {
            let behind = next.sequence - place.sequence - 1;
            let known = behind < 64 && next.handed_on >> behind & 1 == 1;
            return if known { Insertion::Duplicate } else { Insertion::Late };
        }
        let at = self.waiting.partition_point(|waiting| waiting.sequence < place.sequence);
        if self.waiting.get(at).is_some_and(|waiting| waiting.sequence == place.sequence) {
            return Insertion::Duplicate;
        }
        self.bytes += packet.opus.len();
        let (arrived, opus) = (packet.arrived, packet.opus);
        let Place { sequence, time, mut start } = *place;
        // It was overtaken by one of the same new start.
        if let Some(after) = self.waiting.get_mut(at).filter(|after| after.start == Start::Numbers)
            && after.sequence - sequence <= u64::from(MAX_LOST)
        {
            start = std::mem::replace(&mut after.start, Start::Nothing);
        }
        self.waiting.insert(at, Waiting { sequence, time, samples, start, arrived, queued: now, opus });
        while self.waiting.len() > MAX_PACKETS || self.bytes > MAX_BYTES {
            self.drop_first();
        }
        Insertion::Queued
    }

    /// Where a packet stands, unwrapped; the newest moves the reference.
    fn place(&mut self, packet: &Packet) -> Place {
        let silence = is_silence(&packet.opus);
        let place = match self.newest {
            None => {
                Place { sequence: FIRST_SEQUENCE, time: start_of(packet.timestamp), start: Start::Nothing }
            }
            Some(newest) => newest.place(packet),
        };
        if self.newest.is_none_or(|newest| place.sequence > newest.sequence) {
            let Packet { sequence: rtp_sequence, timestamp: rtp_timestamp, arrived, .. } = *packet;
            let Place { sequence, time, .. } = place;
            self.newest = Some(Newest { rtp_sequence, rtp_timestamp, sequence, time, arrived, silence });
        }
        place
    }

    /// Makes room at the front; what it held is lost.
    fn drop_first(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            self.bytes -= first.opus.len();
        }
    }

    pub(super) fn front(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// When the first of those came that wait now.
    pub(super) fn first_queued(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.queued).min()
    }

    /// What follows what was handed on; nothing before anything was.
    pub(super) fn next(&self) -> Option<Next> {
        self.next
    }

    /// What is missing before the first packet that waits, if anything is.
    pub(super) fn missing(&self) -> Option<Missing> {
        let (next, front) = (self.next?, self.waiting.front()?);
        let packets = u32::try_from(front.sequence - next.sequence).unwrap_or(u32::MAX);
        // A sender that starts anew counts anew.
        if packets == 0 || packets > MAX_LOST {
            return None;
        }
        let longest = next.samples.saturating_mul(packets);
        if front.is_break() {
            return Some(Missing { packets, samples: longest, time: next.time, adjoins: false });
        }
        let gap = front.time.saturating_sub(next.time);
        if gap <= u64::from(longest) {
            return Some(Missing { packets, samples: gap as u32, time: next.time, adjoins: true });
        }
        // There is a pause too. After silence, what is lost is the beginning of what follows it.
        let time = if next.silence { front.time - u64::from(longest) } else { next.time };
        Some(Missing { packets, samples: longest, time, adjoins: next.silence })
    }

    /// Hands the first packet on; whatever is missing before it is given up.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.opus.len();
        let skipped = self.next.map_or(64, |next| first.sequence - next.sequence);
        let before = self.next.map_or(0, |next| next.handed_on);
        self.next = Some(Next {
            sequence: first.sequence + 1,
            time: first.time + u64::from(first.samples),
            samples: first.samples,
            silence: is_silence(&first.opus),
            handed_on: u32::try_from(skipped + 1).ok().and_then(|by| before.checked_shl(by)).unwrap_or(0) | 1,
        });
        Some(first)
    }

    /// Gives up what is missing before the first packet that waits.
    pub(super) fn skip_missing(&mut self) {
        let (Some(next), Some(front)) = (&mut self.next, self.waiting.front()) else { return };
        let skipped = front.sequence - next.sequence;
        next.handed_on =
            u32::try_from(skipped).ok().and_then(|by| next.handed_on.checked_shl(by)).unwrap_or(0);
        next.sequence = front.sequence;
        next.time = next.time.max(front.time);
        if front.is_break() {
            next.time = front.time;
        }
    }

    /// Gives up one packet of what is missing, and says what it lasted.
    pub(super) fn skip_one(&mut self) -> u32 {
        let Some(missing) = self.missing() else { return 0 };
        let each = missing.samples / missing.packets;
        if let Some(next) = &mut self.next {
            next.sequence += 1;
            next.time = missing.time + u64::from(each);
            next.handed_on <<= 1;
        }
        each
    }

    /// The speaker paused before the first packet that waits: what is lost right before it still counts.
    pub(super) fn pause_before_front(&mut self) {
        let lost = self.missing().map_or(0, |missing| missing.samples);
        if let Some(front) = self.waiting.front_mut() {
            front.start = Start::Nothing;
        }
        if let (Some(next), Some(front)) = (&mut self.next, self.waiting.front()) {
            next.time = front.time.saturating_sub(lost.into());
        } else if let Some(front) = self.waiting.front() {
            let (sequence, time, samples) = (front.sequence, front.time, front.samples);
            self.next = Some(Next { sequence, time, samples, silence: true, handed_on: 0 });
        }
    }

    /// The media time that follows what was handed on.
    pub(super) fn next_time(&self) -> Option<u64> {
        self.next.map(|next| next.time)
    }

    /// Whether the packet waits that follows what was handed on.
    pub(super) fn can_go_on(&self) -> bool {
        let (Some(next), Some(front)) = (self.next, self.waiting.front()) else { return false };
        !front.is_break() && front.sequence == next.sequence && front.time == next.time
    }

    /// Whether media time starts over with any of the packets that wait.
    pub(super) fn breaks_ahead(&self) -> bool {
        self.waiting.iter().any(Waiting::is_break)
    }

    /// Whether media time starts over behind the first packet that waits.
    pub(super) fn breaks_behind_front(&self) -> bool {
        self.waiting.iter().skip(1).any(Waiting::is_break)
    }

    /// Whether media time starts over with the first packet that waits.
    pub(super) fn breaks_here(&self) -> bool {
        let Some(front) = self.waiting.front() else { return false };
        front.is_break() || self.next.is_some_and(|next| front.time < next.time)
    }
}

struct Place {
    sequence: u64,
    time: u64,
    start: Start,
}

impl Newest {
    fn place(&self, packet: &Packet) -> Place {
        let ahead = i64::from(packet.sequence.wrapping_sub(self.rtp_sequence).cast_signed());
        if ahead.unsigned_abs() > u64::from(MAX_LOST) {
            let sequence = self.sequence + 2 * (u64::from(MAX_LOST) + 1);
            return Place { sequence, time: start_of(packet.timestamp), start: Start::Numbers };
        }
        let sequence = self.sequence.saturating_add_signed(ahead);
        let elapsed = packet.timestamp.wrapping_sub(self.rtp_timestamp).cast_signed();
        // One that was sent before has a time before, too; what it says else is not to be believed.
        let elapsed = if ahead < 0 { elapsed.clamp(-MAX_BEHIND, -1) } else { elapsed };
        if ahead > 0 && (elapsed <= 0 || self.jumps(packet.arrived, elapsed)) {
            return Place { sequence, time: start_of(packet.timestamp), start: Start::Time };
        }
        Place { sequence, time: self.time.saturating_add_signed(elapsed.into()), start: Start::Nothing }
    }

    /// Whether so much more time passed between two packets than between their timestamps, or less, that they are not of one line
    /// of time.
    fn jumps(&self, arrived: Instant, elapsed: i32) -> bool {
        let sent = Duration::from_micros(u64::from(elapsed.unsigned_abs()) * 1_000 / 48);
        let passed = arrived.saturating_duration_since(self.arrived);
        let longest = if self.silence { MAX_UNTOLD_PAUSE } else { MAX_JUMP };
        passed > sent + longest || sent > passed + MAX_JUMP
    }
}

/// Media time of the first packet of a line: far enough from 0 for packets that come before it.
fn start_of(timestamp: u32) -> u64 {
    (1 << 32) + u64::from(timestamp)
}

const FIRST_SEQUENCE: u64 = 1 << 32;
/// A jump further than this is a new start (`MAX_DROPOUT` of RFC 3550): a minute of voice.
const MAX_LOST: u32 = 3_000;
/// How far before the newest packet another can have been sent, in samples at 48 kHz: a minute.
const MAX_BEHIND: i32 = 60 * SAMPLE_RATE.cast_signed();
/// How far the clocks of sender and receiver may be apart between two packets: a network that stalls for longer costs a break.
const MAX_JUMP: Duration = Duration::from_secs(1);
/// After the silence that ends a transmission: what a pause may last that the timestamps do not tell of.
const MAX_UNTOLD_PAUSE: Duration = Duration::from_millis(150);
/// Packets that wait at a time: five seconds of voice.
const MAX_PACKETS: usize = 256;
/// Bytes of the packets that wait.
const MAX_BYTES: usize = 256 << 10;

/// Samples at 48 kHz as a time.
pub(super) fn lasting(samples: u64) -> Duration {
    Duration::from_nanos(samples * (1_000_000_000 / u64::from(SAMPLE_RATE / 1_000)) / 1_000)
}
