//! Began: when a recording began, on the machine's clock and on the wall's.

use std::time::{Duration, Instant, SystemTime};

use crate::audio::frame::SAMPLE_RATE;

/// When a recording began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Began {
    at: Instant,
    wall: SystemTime,
}

impl Began {
    /// At this moment, which the clock on the wall shows as this.
    #[must_use]
    pub fn new(at: Instant, wall: SystemTime) -> Self {
        Self { at, wall }
    }

    /// What has passed since; none before it.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    /// The position of a moment in the recording, in samples at 48 kHz; negative before it began.
    pub(super) fn position(&self, moment: Instant) -> i64 {
        let samples =
            |duration: Duration| (duration.as_nanos() * u128::from(SAMPLE_RATE) / NANOS_PER_SECOND) as i64;
        match moment.checked_duration_since(self.at) {
            Some(after) => samples(after),
            None => -samples(self.at.saturating_duration_since(moment)),
        }
    }

    /// When it began as RFC 3339 writes it, in UTC, to the millisecond.
    pub(super) fn rfc3339(&self) -> String {
        rfc3339(self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since_1970.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The date so many days after 1 January 1970, by the Gregorian calendar, whose years are counted from March here.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// From 1 March of the year 0.
const DAYS_TO_1970: u64 = 719_468;
const DAYS_OF_400_YEARS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339_has_them() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_799, "2000-02-29T23:59:59.007Z"),
            (1_709_164_800, "2024-02-29T00:00:00.007Z"),
            (1_798_761_599, "2026-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_millis(seconds * 1_000 + 7)), written);
        }
    }
}
