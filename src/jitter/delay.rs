//! DelayEstimator: how long packets have to wait so that few come too late, learnt from those that came.
//!
//! Two estimates, of which the larger counts. One is a quantile of the delays, relative to the fastest packet of late: of each half
//! second the largest, in a histogram that forgets. The other weighs the delay of packets that were overtaken against their loss.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::order::lasting;

/// What is learnt from the packets of one speaker.
#[derive(Debug)]
pub(super) struct DelayEstimator {
    /// The first packet of this line of media time.
    anchor: Option<(Instant, u64)>,
    /// The last packets that were the fastest of all that followed, the fastest first: number, and offset in microseconds.
    fastest: VecDeque<(u64, i64)>,
    packets: u64,
    newest: u64,
    /// The largest delay of the present half second, and when that began.
    largest: Option<(Instant, Duration)>,
    delays: Histogram,
    overtaken: Histogram,
}

impl DelayEstimator {
    pub(super) fn new() -> Self {
        Self {
            anchor: None,
            fastest: VecDeque::new(),
            packets: 0,
            newest: 0,
            largest: None,
            delays: Histogram::new(FORGET),
            overtaken: Histogram::new(FORGET_OVERTAKEN),
        }
    }

    /// Media time started over; what was learnt of the network holds.
    pub(super) fn start_over(&mut self) {
        self.anchor = None;
        self.fastest.clear();
        self.newest = 0;
    }

    /// The packet with this media time came.
    pub(super) fn packet(&mut self, time: u64, arrived: Instant) {
        let anchor = *self.anchor.get_or_insert((arrived, time));
        let offset = offset(anchor, time, arrived);
        // No packet of this line of time can be so early.
        if !self.fastest.is_empty() && offset < self.base() - MAX_ADVANCE {
            return;
        }
        self.packets += 1;
        while self.fastest.back().is_some_and(|(_, slower)| *slower >= offset) {
            self.fastest.pop_back();
        }
        self.fastest.push_back((self.packets, offset));
        while self.fastest.front().is_some_and(|(number, _)| number + REMEMBERED <= self.packets) {
            self.fastest.pop_front();
        }
        let delay = Duration::from_micros(u64::try_from(offset - self.base()).unwrap_or(0));
        if time < self.newest {
            return self.overtaken.add(Some(delay));
        }
        self.newest = time;
        self.overtaken.add(None);
        let (since, largest) = self.largest.get_or_insert((arrived, delay));
        *largest = delay.max(*largest);
        if arrived.saturating_duration_since(*since) >= HALF_SECOND {
            self.delays.add(Some(*largest));
            self.largest = None;
        }
    }

    /// How much later than the fastest packet of late a sample of this media time is at this moment; less than nothing if it
    /// cannot have come yet.
    pub(super) fn delay_of(&self, time: u64, now: Instant) -> i64 {
        self.anchor.map_or(0, |anchor| offset(anchor, time, now) - self.base())
    }

    /// How long packets have to wait.
    pub(super) fn target(&self) -> Duration {
        let quantile = self.delays.quantile(QUANTILE).unwrap_or(START);
        quantile.max(self.overtaken.cheapest()).clamp(SHORTEST, LONGEST)
    }

    fn base(&self) -> i64 {
        self.fastest.front().map_or(0, |(_, offset)| *offset)
    }
}

/// By how many microseconds more a packet is behind its media time than the first was.
fn offset((first, first_time): (Instant, u64), time: u64, at: Instant) -> i64 {
    let micros = |duration: Duration| duration.as_micros() as i64;
    let passed = micros(at.saturating_duration_since(first)) - micros(first.saturating_duration_since(at));
    let sent =
        micros(lasting(time.saturating_sub(first_time))) - micros(lasting(first_time.saturating_sub(time)));
    passed - sent
}

/// Shares of delays, in steps of 5 ms, which weigh the less the older they are.
#[derive(Debug)]
struct Histogram {
    shares: [f32; STEPS],
    added: u32,
    forget: f32,
}

impl Histogram {
    fn new(forget: f32) -> Self {
        Self { shares: [0.0; STEPS], added: 0, forget }
    }

    /// Adds a delay; with none, only what is there weighs less.
    fn add(&mut self, delay: Option<Duration>) {
        self.added = self.added.saturating_add(1);
        // The first ones weigh all the same.
        let forget = (1.0 - 2.0 / (self.added as f32 + 1.0)).clamp(0.0, self.forget);
        self.shares.iter_mut().for_each(|share| *share *= forget);
        if let Some(delay) = delay {
            let step = (delay.as_micros() / STEP.as_micros()) as usize;
            self.shares[step.min(STEPS - 1)] += 1.0 - forget;
        }
    }

    /// The delay that this share of all did not exceed; none before there were any.
    fn quantile(&self, share: f32) -> Option<Duration> {
        let total: f32 = self.shares.iter().sum();
        let mut sum = 0.0;
        let reached = |part: &f32| {
            sum += part;
            sum >= share * total
        };
        let step = if total > 0.0 { self.shares.iter().position(reached)? } else { return None };
        Some(STEP * (step as u32 + 1))
    }

    /// The delay for which itself, and what exceeds it as a loss, costs least.
    fn cheapest(&self) -> Duration {
        let mut later: f32 = self.shares.iter().sum();
        let cost_of = |step: usize, later: f32| {
            step as f32 * STEP.as_secs_f32() + LOSS_COST.as_secs_f32() * 100.0 * later
        };
        let (mut best, mut least) = (0, cost_of(0, later));
        for (step, share) in self.shares.iter().enumerate() {
            later -= share;
            let cost = cost_of(step + 1, later.max(0.0));
            if cost < least {
                (best, least) = (step + 1, cost);
            }
        }
        STEP * best as u32
    }
}

/// Packets among which the fastest is looked for: two seconds of speech.
const REMEMBERED: u64 = 100;
/// In microseconds.
const MAX_ADVANCE: i64 = 1_000_000;
const HALF_SECOND: Duration = Duration::from_millis(500);
const QUANTILE: f32 = 0.95;
const FORGET: f32 = 0.983;
const FORGET_OVERTAKEN: f32 = 0.9993;
/// What one per cent of loss may cost in delay.
const LOSS_COST: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_millis(5);
const STEPS: usize = 60;
/// Before anything is known.
const START: Duration = Duration::from_millis(80);
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(200);
