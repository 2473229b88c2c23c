//! Unwraps sequences and timestamps, and puts all streams of a sender on one line of samples.

use std::time::Duration;

use tokio::time::Instant;

/// Where a packet belongs: its position in samples since the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind all before it.
    Next(i64),
    /// Before one that came earlier.
    Late(i64),
    /// The first of a stream.
    Restart(i64),
    /// It came already.
    Duplicate,
}

/// The line, and the stream that goes on it at present.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    stream: Option<Stream>,
    /// Lost by streams that are over.
    lost: u64,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    lowest: i64,
    /// The highest sequence so far, unwrapped, with its timestamp, position and arrival.
    highest: i64,
    timestamp: u32,
    position: i64,
    arrival: Instant,
    received: u64,
    /// Which of the last `WINDOW` sequences came.
    seen: [u64; WORDS],
}

impl Timeline {
    pub(super) fn place(&mut self, arrival: Instant, ssrc: u32, sequence: u16, timestamp: u32) -> Place {
        let Some(stream) = &mut self.stream else {
            self.stream = Some(Stream::new(ssrc, sequence, timestamp, 0, arrival));
            return Place::Restart(0);
        };
        if let Some(place) = stream.place(arrival, ssrc, sequence, timestamp) {
            return place;
        }
        self.lost += stream.lost();
        let pause = arrival.saturating_duration_since(stream.arrival).min(PAUSE_MAX);
        let frames = (pause.as_micros() as i64 / 20_000).max(1);
        let position = stream.position + frames * 960;
        self.stream = Some(Stream::new(ssrc, sequence, timestamp, position, arrival));
        Place::Restart(position)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost + self.stream.as_ref().map_or(0, Stream::lost)
    }
}

impl Stream {
    fn new(ssrc: u32, sequence: u16, timestamp: u32, position: i64, arrival: Instant) -> Self {
        let first = i64::from(sequence);
        let mut stream = Self {
            ssrc,
            lowest: first,
            highest: first,
            timestamp,
            position,
            arrival,
            received: 1,
            seen: [0; WORDS],
        };
        stream.mark(first);
        stream
    }

    /// Finds a packet's place; `None` where it belongs to another stream.
    fn place(&mut self, arrival: Instant, ssrc: u32, sequence: u16, timestamp: u32) -> Option<Place> {
        let ahead = i64::from(sequence.wrapping_sub(self.highest as u16).cast_signed());
        let step = i64::from(timestamp.wrapping_sub(self.timestamp).cast_signed());
        if ssrc != self.ssrc || ahead.abs() > DROPOUT_MAX || step.abs() > STEP_MAX {
            return None;
        }
        let (extended, position) = (self.highest + ahead, self.position + step);
        if ahead <= 0 {
            return Some(self.late(extended, position));
        }
        for passed in self.highest + 1..extended {
            self.unmark(passed);
        }
        self.mark(extended);
        self.received += 1;
        (self.highest, self.timestamp, self.position, self.arrival) =
            (extended, timestamp, position, arrival);
        Some(Place::Next(position))
    }

    fn late(&mut self, extended: i64, position: i64) -> Place {
        let known = extended > self.highest - WINDOW;
        if known && self.is_marked(extended) {
            return Place::Duplicate;
        }
        if known {
            self.mark(extended);
        }
        self.lowest = self.lowest.min(extended);
        self.received += 1;
        Place::Late(position)
    }

    fn lost(&self) -> u64 {
        let sent = (self.highest - self.lowest + 1).unsigned_abs();
        sent.saturating_sub(self.received)
    }

    fn mark(&mut self, extended: i64) {
        let (word, bit) = slot(extended);
        self.seen[word] |= bit;
    }

    fn unmark(&mut self, extended: i64) {
        let (word, bit) = slot(extended);
        self.seen[word] &= !bit;
    }

    fn is_marked(&self, extended: i64) -> bool {
        let (word, bit) = slot(extended);
        self.seen[word] & bit != 0
    }
}

fn slot(extended: i64) -> (usize, u64) {
    let index = extended.rem_euclid(WINDOW) as usize;
    (index / 64, 1 << (index % 64))
}

const WORDS: usize = 16;
/// Twenty seconds of packets within which duplicates are recognised.
const WINDOW: i64 = 64 * WORDS as i64;
/// A sequence further away than this is a new stream (RFC 3550 appendix A.1, `MAX_DROPOUT`).
const DROPOUT_MAX: i64 = 3000;
/// A timestamp further away than ten seconds is a new stream, or a pause that is shortened to ten seconds.
const STEP_MAX: i64 = 480_000;
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Place, Timeline};

    #[test]
    fn sequence_and_timestamp_wrap_without_notice() {
        let (mut line, now) = (Timeline::default(), Instant::now());
        for n in 0..200_000_i64 {
            let (sequence, timestamp) = ((65_000 + n) as u16, (4_294_900_000 + n * 960) as u32);
            let place = line.place(now, 1, sequence, timestamp);
            assert_eq!(place, if n == 0 { Place::Restart(0) } else { Place::Next(n * 960) });
        }
        assert_eq!(line.lost(), 0);
    }

    #[test]
    fn lost_late_and_duplicate_packets_are_told_apart() {
        let (mut line, now) = (Timeline::default(), Instant::now());
        let mut place = |n: u16| line.place(now, 1, n, u32::from(n) * 960);
        assert_eq!(place(10), Place::Restart(0));
        assert_eq!(place(13), Place::Next(3 * 960));
        assert_eq!(place(12), Place::Late(2 * 960));
        assert_eq!(place(12), Place::Duplicate);
        assert_eq!(place(9), Place::Late(-960));
        assert_eq!(place(10), Place::Duplicate);
        assert_eq!(line.lost(), 1);
    }

    #[test]
    fn another_stream_goes_on_after_the_time_that_passed() {
        let (mut line, now) = (Timeline::default(), Instant::now());
        line.place(now, 1, 1, 0);
        line.place(now + Duration::from_millis(20), 1, 3, 1920);
        let later = now + Duration::from_millis(220);
        assert_eq!(line.place(later, 2, 40_000, 7), Place::Restart(1920 + 10 * 960));
        let day = later + Duration::from_secs(86_400);
        assert_eq!(line.place(day, 2, 1, 7), Place::Restart(1920 + 510 * 960));
        assert_eq!(line.lost(), 1);
    }
}
