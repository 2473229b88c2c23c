//! How long a file lasts, as far as that is known.

use std::time::Duration;

/// How long a file lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Length {
    /// What the user is told.
    pub(super) told: Option<Duration>,
    /// How long the audio must be, where the format says so reliably: less has been cut off.
    pub(super) declared: Option<Duration>,
}

impl Length {
    /// A length that is both told and relied on.
    pub(super) fn exact(length: Option<Duration>) -> Self {
        Self { told: length, declared: length }
    }
}

/// What so many samples per channel last.
pub(super) fn of_samples(samples: u64, rate: u32) -> Duration {
    let nanos = u128::from(samples) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
