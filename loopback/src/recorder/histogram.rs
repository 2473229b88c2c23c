//! How durations are spread.

use std::time::Duration;

use hdrhistogram::Histogram;

/// A histogram of durations, exact to a thousandth unless it is said to be finer, in microseconds, up to one minute.
#[derive(Clone, Debug)]
pub struct DurationHistogram {
    micros: Option<Histogram<u32>>,
}

impl DurationHistogram {
    pub(crate) fn new() -> Self {
        // Grows with the longest duration; three digits are among the one to five it takes.
        Self { micros: Histogram::new(3).ok() }
    }

    /// Exact to a microsecond up to 32 ms.
    pub(crate) fn fine() -> Self {
        Self { micros: Histogram::new(4).ok() }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(MICROS_MAX);
        if let Some(histogram) = &mut self.micros {
            // It grows by itself, and `MICROS_MAX` is far below what it refuses.
            let _ = histogram.record(micros);
        }
    }

    /// The duration that a share of all, 0 to 1, does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        self.ask(|histogram| histogram.value_at_quantile(share))
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    /// What 95 in 100 do not exceed.
    pub fn p95(&self) -> Duration {
        self.quantile(0.95)
    }

    /// What 99 in 100 do not exceed.
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.ask(Histogram::max)
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        self.ask(Histogram::min)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.micros.as_ref().map_or(0, Histogram::len)
    }

    /// How many lasted from `from` to `to`, both included.
    pub fn count_between(&self, from: Duration, to: Duration) -> u64 {
        let [from, to] = [from, to].map(|bound| u64::try_from(bound.as_micros()).unwrap_or(u64::MAX));
        self.micros.as_ref().map_or(0, |histogram| histogram.count_between(from, to))
    }

    /// Adds another spread to this one.
    pub fn add(&mut self, other: &Self) {
        if let (Some(mine), Some(theirs)) = (&mut self.micros, &other.micros) {
            // It grows by itself.
            let _ = mine.add(theirs);
        }
    }

    fn ask(&self, question: impl Fn(&Histogram<u32>) -> u64) -> Duration {
        let answer = self.micros.as_ref().filter(|histogram| !histogram.is_empty()).map_or(0, question);
        Duration::from_micros(answer)
    }
}

const MICROS_MAX: u64 = 60_000_000;
