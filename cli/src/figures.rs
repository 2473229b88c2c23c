//! What `loopback --measure` says of the bot: one JSON object for each line that asks.

use std::time::Duration;

use serde::Serialize;

use crate::{
    local_discord::{DurationHistogram, LocalDiscord, Measurement},
    usage::Usage,
};

/// What came since the line before.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// For how long was measured.
    seconds: f64,
    /// In how many calls the bot is now.
    calls: usize,
    /// In how many calls it was heard.
    senders: usize,
    packets: u64,
    /// Packets that were sent and did not come.
    lost: u64,
    /// From one packet to the next.
    spacing_us: Spread,
    /// By how much that differs from what the RTP timestamps say.
    spacing_error_us: Spread,
    /// How much later packets came than their RTP timestamps say.
    lateness_us: Spread,
    /// Packets that came more than 20 ms later.
    late: u64,
    /// How many packets came so long after the one before: the lower bound in microseconds, and the number, where there are any.
    histogram: Vec<(u64, u64)>,
    /// How long packets lay in the relay's socket.
    socket_delay_us: Spread,
    /// Packets that the relay's socket dropped.
    socket_drops: u64,
    /// Processor time of the loopback since it was started.
    cpu_seconds: Option<f64>,
    /// Why all this says more about the loopback than about the bot, if it does.
    limit: Option<String>,
}

#[derive(Debug, Serialize)]
struct Spread {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Figures {
    /// Measures, and starts over.
    pub fn of(discord: &LocalDiscord) -> Self {
        let measurement = discord.measure();
        Self {
            seconds: measurement.elapsed.as_secs_f64(),
            calls: discord.calls(),
            senders: measurement.senders,
            packets: measurement.packets,
            lost: measurement.lost,
            spacing_us: Spread::of(&measurement.spacing),
            spacing_error_us: Spread::of(&measurement.spacing_error),
            lateness_us: Spread::of(&measurement.lateness),
            late: measurement.lateness.count_between(LATE, Duration::MAX),
            histogram: histogram(&measurement),
            socket_delay_us: Spread::of(&measurement.socket_delay),
            socket_drops: measurement.socket_drops,
            cpu_seconds: Usage::now().cpu.map(|cpu| cpu.as_secs_f64()),
            limit: measurement.limit().map(|limit| limit.to_string()),
        }
    }
}

fn histogram(measurement: &Measurement) -> Vec<(u64, u64)> {
    let bin = |micros: u64| {
        let (from, to) = (Duration::from_micros(micros), Duration::from_micros(micros + BIN - 1));
        (micros, measurement.spacing.count_between(from, to))
    };
    let longer = (
        HISTOGRAM_END,
        measurement.spacing.count_between(Duration::from_micros(HISTOGRAM_END), Duration::MAX),
    );
    let bins = (0..HISTOGRAM_END).step_by(BIN as usize).map(bin).chain([longer]);
    bins.filter(|(_, packets)| *packets > 0).collect()
}

impl Spread {
    fn of(histogram: &DurationHistogram) -> Self {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            p50: micros(histogram.p50()),
            p99: micros(histogram.p99()),
            p999: micros(histogram.quantile(0.999)),
            max: micros(histogram.max()),
        }
    }
}

/// A packet's time: who listens with the smallest buffer hears a gap.
const LATE: Duration = Duration::from_millis(20);
const BIN: u64 = 50;
/// What took longer is counted together.
const HISTOGRAM_END: u64 = 60_000;
