//! The numbers at the end, for programs: one JSON object.

use std::time::Duration;

use actix_voice::actors::{CallStats, stats::Lateness};
use serde::Serialize;

use crate::exit::Failure;

/// What one call, or several, have done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Voice packets sent.
    pub packets: u64,
    bytes: u64,
    resumes: u64,
    reconnects: u64,
    underruns: u64,
    lateness: Lateness,
    mode: Option<String>,
}

impl Tally {
    /// Counts a call in.
    pub fn add(&mut self, stats: &CallStats) {
        self.packets += stats.packets;
        self.bytes += stats.bytes;
        self.resumes += stats.resumes;
        self.reconnects += stats.reconnects;
        self.underruns += stats.speaker.underruns;
        self.lateness.add(&stats.transport.lateness);
        self.mode = stats.transport.mode.clone().or_else(|| self.mode.take());
    }

    /// One call alone.
    pub fn of(stats: &CallStats) -> Self {
        let mut tally = Self::default();
        tally.add(stats);
        tally
    }

    /// The report of it.
    pub fn report(&self, played: Duration, end: String) -> Report {
        let micros = |late: Duration| u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        Report {
            packets: self.packets,
            bytes: self.bytes,
            seconds: (played.as_secs_f64() * 1000.0).round() / 1000.0,
            resumes: self.resumes,
            reconnects: self.reconnects,
            underruns: self.underruns,
            lateness_us: Quantiles {
                p50: micros(self.lateness.quantile(0.5)),
                p95: micros(self.lateness.quantile(0.95)),
                p99: micros(self.lateness.quantile(0.99)),
                max: micros(self.lateness.max()),
            },
            mode: self.mode.clone(),
            end,
        }
    }
}

/// The object that `play --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    packets: u64,
    bytes: u64,
    /// For how long it played, on the clock.
    seconds: f64,
    resumes: u64,
    reconnects: u64,
    underruns: u64,
    /// How long after its due time each packet was handed to the system.
    lateness_us: Quantiles,
    /// The transport encryption; null if the call was never connected.
    mode: Option<String>,
    /// `finished`, `interrupted`, or what went wrong.
    end: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Quantiles {
    p50: u64,
    p95: u64,
    p99: u64,
    max: u64,
}

/// How it ended, unless it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All was played.
    Finished,
    /// Ctrl-C.
    Interrupted,
}

/// What the reports say of the end.
pub fn end(result: &Result<End, Failure>) -> String {
    match result {
        Ok(End::Finished) => "finished".into(),
        Ok(End::Interrupted) => "interrupted".into(),
        Err(failure) => failure.to_string(),
    }
}

/// Says how often.
pub fn times(count: u64) -> String {
    match count {
        0 => "never".into(),
        1 => "once".into(),
        count => format!("{count} times"),
    }
}

/// Prints the one line of stdout.
pub fn print_json(report: &impl Serialize) {
    match serde_json::to_string(report) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("actix-voice: no report: {error}"),
    }
}

/// Prints what a person wants to know.
pub fn print_lines(report: &Report) {
    let Report { packets, seconds, resumes, reconnects, underruns, lateness_us, mode, end, .. } = report;
    eprintln!("{end}: {packets} packets in {seconds:.1} s, {}", mode.as_deref().unwrap_or("never connected"));
    let (resumes, reconnects) = (times(*resumes), times(*reconnects));
    eprintln!("resumed {resumes}, reconnected {reconnects}, {underruns} under-runs");
    let Quantiles { p50, p95, p99, max } = lateness_us;
    eprintln!("late by {p50} µs (median), {p95} µs (95 %), {p99} µs (99 %), {max} µs (most)");
}
