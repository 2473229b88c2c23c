//! The numbers at the end, for programs: one JSON object.

use std::time::Duration;

use actix_voice::actors::{CallStats, stats::Lateness};
use serde::Serialize;

use crate::{
    exit::Failure,
    wording::{count, times, were},
};

/// What one call, or several, have done.
#[derive(Clone, Debug, Default)]
pub struct CallTotals {
    /// Voice packets that the system took.
    pub packets: u64,
    bytes: u64,
    resumes: u64,
    reconnects: u64,
    path_losses: u64,
    underruns: u64,
    skipped: u64,
    unsent: u64,
    withheld: u64,
    lateness: Lateness,
    mode: Option<String>,
}

impl CallTotals {
    /// Counts a call in.
    pub fn add(&mut self, stats: &CallStats) {
        self.packets += stats.packets;
        self.bytes += stats.bytes;
        self.resumes += stats.resumes;
        self.reconnects += stats.reconnects;
        self.path_losses += stats.path_losses;
        self.underruns += stats.speaker.underruns;
        self.skipped += stats.speaker.skipped;
        self.unsent += stats.transport.unsent;
        self.withheld += stats.transport.withheld;
        self.lateness.add(&stats.transport.lateness);
        self.mode = stats.transport.mode.clone().or_else(|| self.mode.take());
    }

    /// One call alone.
    pub fn of(stats: &CallStats) -> Self {
        let mut totals = Self::default();
        totals.add(stats);
        totals
    }

    /// What has been played to its end has been sent, unless there was nobody to hear it.
    ///
    /// # Errors
    ///
    /// When there was no sound in it, not one frame was sent, the system refused some, or what was sent went nowhere for a
    /// while.
    pub fn check_sent(&self, end: End) -> Result<End, Failure> {
        match *self {
            _ if end == End::Interrupted => Ok(end),
            Self { unsent: unsent @ 1.., packets, .. } => Err(Failure::NotSent { unsent, packets }),
            Self { packets: 0, withheld: withheld @ 1.., .. } => Err(Failure::NothingSent(withheld)),
            Self { packets: 0, .. } => Err(Failure::Silent),
            Self { path_losses: losses @ 1.., .. } => Err(Failure::PathDied(losses)),
            _ => Ok(end),
        }
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
            path_losses: self.path_losses,
            underruns: self.underruns,
            skipped: self.skipped,
            unsent: self.unsent,
            withheld: self.withheld,
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
    /// How often the UDP path died; what was sent until it was restored is lost.
    path_losses: u64,
    underruns: u64,
    /// Frame times that were left out, because the machine came more than 100 ms late.
    skipped: u64,
    /// Frames that were not sent, because the system refused them.
    unsent: u64,
    /// Frames that were not sent, for want of a key to encrypt them with.
    withheld: u64,
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
pub fn describe_end(result: &Result<End, Failure>) -> String {
    match result {
        Ok(End::Finished) => "finished".into(),
        Ok(End::Interrupted) => "interrupted".into(),
        Err(failure) => failure.to_string(),
    }
}

/// Prints the one line of stdout.
pub fn print_json(report: &impl Serialize) {
    match serde_json::to_string(report) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("actix-voice: no report: {error}"),
    }
}

/// Prints what a person wants to know. Of a call that never was there is nothing to say but why, which is said elsewhere.
pub fn print_lines(report: &Report, result: &Result<End, Failure>) {
    let Report { packets, seconds, resumes, reconnects, path_losses, underruns, .. } = report;
    let Report { skipped, unsent, withheld, lateness_us, mode, .. } = report;
    let how = match result {
        Ok(End::Finished) => "finished",
        Ok(End::Interrupted) => "interrupted",
        Err(_) if mode.is_none() => return,
        Err(_) => "failed",
    };
    let packets_in = count(*packets, "packet");
    eprintln!("{how}: {packets_in} in {seconds:.1} s, {}", mode.as_deref().unwrap_or("never connected"));
    match (result, packets, withheld) {
        // The failure says so itself.
        (_, _, 0) | (Err(Failure::NothingSent(_)), ..) => {}
        (_, 0, _) => eprintln!(
            "nobody else was in the channel, or no key was agreed on: {} not sent",
            were(*withheld, "frame")
        ),
        _ => eprintln!(
            "{} not sent: nobody else was in the channel, or the keys were changing",
            were(*withheld, "frame")
        ),
    }
    if *unsent > 0 && !matches!(result, Err(Failure::NotSent { .. })) {
        eprintln!("{} not sent: the system refused", were(*unsent, "frame"));
    }
    if *skipped > 0 {
        eprintln!("{} left out: this machine stood still for more than 100 ms", were(*skipped, "frame"));
    }
    if *path_losses > 0 && !matches!(result, Err(Failure::PathDied(_))) {
        eprintln!("the UDP path died {}, and what was sent meanwhile is lost", times(*path_losses));
    }
    let (resumes, reconnects) = (times(*resumes), times(*reconnects));
    eprintln!("resumed {resumes}, reconnected {reconnects}, {}", count(*underruns, "under-run"));
    let Quantiles { p50, p95, p99, max } = lateness_us;
    eprintln!("late by {p50} µs (median), {p95} µs (95 %), {p99} µs (99 %), {max} µs (most)");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_hear_has_failed_unless_it_was_broken_off() {
        assert!(matches!(CallTotals::default().check_sent(End::Finished), Err(Failure::Silent)));
        let alone = CallTotals { withheld: 250, ..CallTotals::default() };
        assert!(matches!(alone.check_sent(End::Finished), Err(Failure::NothingSent(250))));
        assert_eq!(alone.check_sent(End::Interrupted).unwrap(), End::Interrupted);
        let joined_later = CallTotals { packets: 1, ..alone };
        assert_eq!(joined_later.check_sent(End::Finished).unwrap(), End::Finished);
    }

    #[test]
    fn what_was_refused_or_went_nowhere_has_failed() {
        let refused = CallTotals { packets: 9, unsent: 1, path_losses: 1, ..CallTotals::default() };
        let failure = refused.check_sent(End::Finished).unwrap_err();
        assert!(matches!(failure, Failure::NotSent { unsent: 1, packets: 9 }), "{failure}");
        let lost = CallTotals { unsent: 0, ..refused };
        assert!(matches!(lost.check_sent(End::Finished), Err(Failure::PathDied(1))));
        assert_eq!(lost.check_sent(End::Interrupted).unwrap(), End::Interrupted);
    }
}
