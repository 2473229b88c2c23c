//! How long to wait before the next connection to the main gateway.

use std::time::{Duration, Instant};

/// Counts what came to nothing, and spreads what comes next.
#[derive(Debug)]
pub(super) struct Retry {
    /// Connections in a row that brought neither READY nor RESUMED.
    failures: u32,
    /// Of these, those that never opened.
    unopened: u32,
    /// Of these, those that opened in vain.
    refused: u32,
    /// Identifies in a row that brought no READY.
    identifies: u32,
    last_identify: Option<Instant>,
    random: Random,
}

/// How far a connection had come when it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It never opened.
    Nothing,
    /// It opened, but brought neither READY nor RESUMED.
    Discord,
    /// It brought one of them.
    Session,
}

impl Retry {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            unopened: 0,
            refused: 0,
            identifies: 0,
            last_identify: None,
            random: Random::new(seed),
        }
    }

    /// Takes that Identify was sent.
    pub(super) fn identified(&mut self, now: Instant) {
        self.identifies += 1;
        self.last_identify = Some(now);
    }

    /// Takes that Identify was answered with READY.
    pub(super) fn ready(&mut self) {
        self.identifies = 0;
    }

    /// Takes that a session runs, new or resumed.
    pub(super) fn established(&mut self) {
        self.failures = 0;
        self.unopened = 0;
        self.refused = 0;
    }

    /// Takes that a connection was lost or never came about.
    pub(super) fn failed(&mut self, reached: Reached) {
        self.failures = self.failures.saturating_add(1);
        match reached {
            Reached::Nothing => self.unopened = self.unopened.saturating_add(1),
            Reached::Discord => self.refused = self.refused.saturating_add(1),
            Reached::Session => {}
        }
    }

    /// Whether resuming has failed too often to try it again. A network that is cut off says nothing about that.
    pub(super) fn session_is_hopeless(&self) -> bool {
        self.refused >= TRIES
    }

    /// Whether the session's own address has failed too often to try it again, until a session runs.
    pub(super) fn address_is_hopeless(&self) -> bool {
        self.unopened >= TRIES
    }

    /// Doubles with every failure; half of it is fixed, half is random.
    pub(super) fn before_resume(&mut self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS);
        self.spread(FIRST * 2_u32.pow(doublings))
    }

    /// The same, but Discord limits how often one may identify.
    pub(super) fn before_identify(&mut self, now: Instant) -> Duration {
        if self.identifies > IDENTIFIES_QUICK {
            return self.spread(IDENTIFY_PAUSE);
        }
        let allowed = self.last_identify.map(|last| (last + IDENTIFY_SPACING).saturating_duration_since(now));
        self.before_resume().max(allowed.unwrap_or_default())
    }

    /// Discord wants one to five seconds between op 9 and the next Identify.
    pub(super) fn after_invalid_session(&mut self) -> Duration {
        Duration::from_secs(1) + Duration::from_secs(4).mul_f64(self.fraction())
    }

    /// A random number from 0 up to but not including 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.random.next()
    }

    fn spread(&mut self, longest: Duration) -> Duration {
        longest / 2 + (longest / 2).mul_f64(self.fraction())
    }
}

/// Enough randomness to spread reconnects (splitmix64); the seed makes it repeatable.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 up to but not including 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The longest wait after the first failure, doubled up to 16 s.
const FIRST: Duration = Duration::from_millis(500);
const DOUBLINGS: u32 = 5;

/// So many times in a row a resume is tried before the session is given up, and the session's own address before the
/// first one is taken again.
const TRIES: u32 = 5;

/// After so many Identifies in a row without READY they slow down: Discord resets the token after 1,000 in a day.
const IDENTIFIES_QUICK: u32 = 8;
const IDENTIFY_PAUSE: Duration = Duration::from_secs(256);

/// Discord takes one Identify every five seconds.
const IDENTIFY_SPACING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::Random;

    /// The first outputs of splitmix64 under the seed 0, by its authors' code.
    #[test]
    fn randomness_is_that_of_splitmix64() {
        let mut random = Random::new(0);
        for output in [0xe220_a839_7b1d_cdaf_u64, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f] {
            assert_eq!(random.next(), (output >> 11) as f64 / (1_u64 << 53) as f64);
        }
    }
}
