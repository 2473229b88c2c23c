//! How often something came within the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Counts what came, and forgets it after a minute.
#[derive(Debug, Default)]
pub(super) struct Rate {
    came: VecDeque<Instant>,
}

impl Rate {
    /// Counts one more; says whether that makes too many.
    pub(super) fn is_exceeded(&mut self, now: Instant) -> bool {
        while self.came.front().is_some_and(|came| *came + MINUTE <= now) {
            self.came.pop_front();
        }
        self.came.push_back(now);
        self.came.len() > LIMIT
    }
}

/// <https://docs.discord.com/developers/events/gateway#rate-limiting>
const LIMIT: usize = 120;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_121st_within_a_minute_is_one_too_many() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        assert!((0..LIMIT).all(|_| !rate.is_exceeded(now)));
        assert!(rate.is_exceeded(now + MINUTE - Duration::from_millis(1)));
        assert!(!rate.is_exceeded(now + MINUTE));
    }
}
