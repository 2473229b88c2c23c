//! What came of the runs.

use serde::{Deserialize, Serialize};

use crate::{Source, Switch, contestant::Contestant, loopback::Spread, machine::Machine, measure::Failure};

/// All runs with one source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub scenario: Scenario,
    pub machine: Machine,
    runs: Vec<Run>,
}

/// What was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scenario {
    pub source: Source,
    pub dave: Switch,
    pub seconds: u32,
    pub rounds: u32,
    pub command: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    round: u32,
    #[serde(flatten)]
    result: RunResult,
}

/// One run of one program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    pub who: Contestant,
    pub calls: u32,
    /// Processor time for each second of each call.
    pub cpu_ms: f64,
    pub switches_per_second: f64,
    pub switches_per_packet: Option<f64>,
    pub threads: usize,
    pub resident_bytes: u64,
    pub packets: u64,
    /// Packets that should have come and did not.
    pub missing: u64,
    /// Packets that were sent and did not come.
    pub lost: u64,
    pub spacing_error_us: Quantiles,
    pub lateness_us: Quantiles,
    /// Packets that came more than 20 ms late.
    pub late: u64,
    /// As actix-voice counts them itself.
    pub underruns: Option<u64>,
    /// Seconds from the start until all calls spoke.
    pub joined_after: f64,
    /// Of one processor, for the loopback.
    pub loopback_cpu: Option<f64>,
    /// Packets by the time since the one before.
    pub histogram: Vec<(u64, u64)>,
    pub violations: Vec<String>,
    pub limit: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl From<Spread> for Quantiles {
    fn from(Spread { p50, p99, p999, max }: Spread) -> Self {
        Self { p50, p99, p999, max }
    }
}

impl RunResult {
    /// It on one line, without the histogram.
    pub fn json(&self) -> String {
        let brief = Self { histogram: Vec::new(), ..self.clone() };
        serde_json::to_string(&brief).unwrap_or_default()
    }
}

impl Scenario {
    /// Its name in a file's.
    pub fn name(&self) -> String {
        let source = match self.source {
            Source::Passthrough => "passthrough",
            Source::Encode => "encode",
            Source::Mix => "mix",
            Source::Idle => "idle",
        };
        format!("{source}{}", if self.dave == Switch::On { "" } else { "-without-dave" })
    }

    /// Where it stands on the page.
    pub fn order(&self) -> (u8, u8) {
        (self.source as u8, self.dave as u8)
    }
}

impl Outcome {
    pub fn new(scenario: Scenario, machine: Machine) -> Self {
        Self { scenario, machine, runs: Vec::new() }
    }

    pub fn add(&mut self, round: u32, result: RunResult) {
        self.runs.push(Run { round, result });
    }

    /// # Errors
    ///
    /// When it is something else.
    pub fn parse(json: &str) -> Result<Self, Failure> {
        Ok(serde_json::from_str(json)?)
    }

    /// # Errors
    ///
    /// When a figure cannot be written as JSON.
    pub fn json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The numbers of calls that were measured, in their order.
    pub fn calls(&self) -> Vec<u32> {
        let mut calls: Vec<u32> = self.runs.iter().map(|run| run.result.calls).collect();
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    /// Who took part.
    pub fn contestants(&self) -> Vec<Contestant> {
        let mut contestants: Vec<_> = self.runs.iter().map(|run| run.result.who).collect();
        contestants.sort_unstable();
        contestants.dedup();
        contestants
    }

    /// The runs of one program, by round.
    pub fn runs(&self, who: Contestant, calls: u32) -> Vec<&RunResult> {
        let runs = self.runs.iter().filter(|run| run.result.who == who && run.result.calls == calls);
        let mut runs: Vec<_> = runs.collect();
        runs.sort_by_key(|run| run.round);
        runs.into_iter().map(|run| &run.result).collect()
    }

    /// The median of a figure over the rounds.
    pub fn median(&self, who: Contestant, calls: u32, figure: impl Fn(&RunResult) -> f64) -> Option<f64> {
        median(self.runs(who, calls).into_iter().map(figure).collect())
    }

    /// The median over the rounds of how many times another's figure one has.
    pub fn ratio(
        &self,
        (who, other): (Contestant, Contestant),
        calls: u32,
        figure: impl Fn(&RunResult) -> f64,
    ) -> Option<f64> {
        let of = |who, round| {
            let is_it = |run: &&Run| (run.result.who, run.result.calls, run.round) == (who, calls, round);
            Some(figure(&self.runs.iter().find(is_it)?.result))
        };
        let ratio = |round| Some(of(who, round)? / of(other, round)?);
        median((1..=self.scenario.rounds).filter_map(ratio).filter(|ratio| ratio.is_finite()).collect())
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 { upper } else { (figures[middle - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!(median(vec![3.0, 9.0, 1.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
