//! Notices: places of a track at which somebody wants to be told.

use std::time::Duration;

/// The places of one track.
#[derive(Debug, Default)]
pub(super) struct Notices {
    once: Vec<Duration>,
    every: Vec<Period>,
}

#[derive(Debug)]
struct Period {
    length: Duration,
    next: Duration,
}

impl Notices {
    /// Once, when the track has come so far.
    pub(super) fn at(&mut self, place: Duration) {
        if self.once.len() < MAX_PLACES {
            self.once.push(place);
        }
    }

    /// Whenever it has come so much further; counted from its beginning.
    pub(super) fn every(&mut self, length: Duration, position: Duration) {
        let length = length.max(SHORTEST);
        if self.every.len() < MAX_PLACES {
            self.every.push(Period { length, next: next_multiple(length, position) });
        }
    }

    /// The track goes on from another place.
    pub(super) fn moved(&mut self, to: Duration) {
        for Period { length, next } in &mut self.every {
            *next = next_multiple(*length, to);
        }
    }

    /// The places that were come to.
    pub(super) fn reached(&mut self, position: Duration) -> Vec<Duration> {
        // Most tracks have none, and an empty vector asks for no memory.
        if self.once.is_empty() && self.every.is_empty() {
            return Vec::new();
        }
        let mut reached: Vec<_> = self.once.extract_if(.., |place| *place <= position).collect();
        for Period { length, next } in &mut self.every {
            if *next <= position {
                reached.push(*next);
                *next = next_multiple(*length, position);
            }
        }
        reached
    }
}

fn next_multiple(length: Duration, position: Duration) -> Duration {
    let passed = u32::try_from(position.as_nanos() / length.as_nanos()).unwrap_or(u32::MAX);
    length.saturating_mul(passed.saturating_add(1))
}

/// How many places of each kind are kept; more are not.
const MAX_PLACES: usize = 64;
/// Every 20 ms is as often as anything is told.
const SHORTEST: Duration = crate::audio::frame::FRAME;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_place_is_told_once_and_a_period_again_and_again() {
        let mut notices = Notices::default();
        notices.at(SECOND * 3);
        notices.every(SECOND * 2, Duration::from_millis(500));
        let told: Vec<_> = (0..16).map(|half| notices.reached(SECOND * half / 2)).collect();
        let told: Vec<_> = (0..).zip(told).filter(|(_, places)| !places.is_empty()).collect();
        assert_eq!(
            told,
            [(4, vec![SECOND * 2]), (6, vec![SECOND * 3]), (8, vec![SECOND * 4]), (12, vec![SECOND * 6])]
        );
    }

    #[test]
    fn a_track_that_goes_back_comes_to_the_same_places_again() {
        let mut notices = Notices::default();
        notices.every(SECOND, Duration::ZERO);
        assert_eq!(notices.reached(SECOND * 5), [SECOND]);
        notices.moved(SECOND / 2);
        assert_eq!(notices.reached(SECOND), [SECOND]);
        notices.every(Duration::ZERO, Duration::ZERO);
        assert_eq!(notices.reached(SECOND / 2).len(), 1, "no more often than there are frames");
    }
}
