//! Runs the floor, actix-voice and songbird in turn against a loopback in a process of its own, and writes down what each
//! costs. `./dev bench` builds all of it first.
//!
//! * `track`: the file that all of them play
//! * `loopback`, `contestant`, `usage`: the processes, and what they take of the machine
//! * `measure`: one run of one of them; `result`: what came of it
//! * `machine`, `page`, `chart`: where it was measured, and how it is told

#![expect(clippy::disallowed_methods, reason = "what is measured runs in real time")]

mod chart;
mod contestant;
mod loopback;
mod machine;
mod measure;
mod page;
mod result;
mod track;
mod usage;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::{
    contestant::{Contestant, Programs},
    machine::Machine,
    measure::{Failure, Plan},
    result::{Outcome, RunResult, Scenario},
};

/// Compare actix-voice with a bare loop, and with songbird.
///
/// Floor, ours and rival play the same in N calls each for T seconds, one after the other, again and again. CPU time,
/// context switches, memory and threads are those of each one's process; when packets came is measured by the loopback,
/// from the kernel's own time for each. Only figures of one run on one machine can be compared.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Arguments {
    /// How many calls; several numbers are measured one after another
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100")]
    calls: Vec<u32>,
    /// For how long is measured, once all calls speak
    #[arg(long, value_name = "T", default_value_t = 20)]
    seconds: u32,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What is played
    #[arg(long, value_enum, default_value_t = Source::Passthrough)]
    source: Source,
    /// Whether the calls are encrypted end to end
    #[arg(long, value_enum, default_value_t = Switch::On)]
    dave: Switch,
    /// Who takes part
    #[arg(long, value_enum, value_name = "WHO", value_delimiter = ',', default_value = "floor,ours,rival")]
    only: Vec<Contestant>,
    /// Print one JSON object for each run on stdout, and the table on stderr
    #[arg(long)]
    json: bool,
    /// Keep what was measured in DIR, and write the page beside it, DIR.md, from all that is kept there
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    /// An Ogg Opus file, whose packets pass through
    Passthrough,
    /// A WAV file, which is encoded
    Encode,
    /// The same twice, which is mixed and encoded
    Mix,
    /// Nothing: the calls are only joined
    Idle,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    /// On
    On,
    /// Off
    Off,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let programs = Programs::find()?;
    let seconds = arguments.seconds;
    let track = track::make(arguments.source, programs.directory())?;
    let mut outcome = Outcome::new(arguments.scenario(), Machine::here());
    for &calls in &arguments.calls {
        for round in 1..=arguments.rounds {
            for &who in &arguments.only {
                let plan = Plan {
                    who,
                    calls,
                    seconds,
                    source: arguments.source,
                    dave: arguments.dave,
                    track: &track,
                };
                eprintln!("round {round} of {}: {who} in {calls} calls", arguments.rounds);
                match measure::run(&plan, &programs) {
                    Ok(result) => {
                        tell(&result, arguments);
                        outcome.add(round, result);
                    }
                    // Where it is too much for one, the others are of interest all the same.
                    Err(failure @ (Failure::Ended(_) | Failure::NotJoined { .. })) => eprintln!("{failure}"),
                    Err(failure) => return Err(failure),
                }
            }
        }
    }
    let table = page::table(&outcome);
    if arguments.json {
        eprintln!("\n{table}");
    } else {
        println!("\n{table}");
    }
    match &arguments.write {
        Some(directory) => write(directory, &outcome),
        None => Ok(()),
    }
}

fn tell(result: &RunResult, arguments: &Arguments) {
    if arguments.json {
        println!("{}", result.json());
    }
    if let Some(limit) = &result.limit {
        eprintln!("{limit}");
    }
}

/// Keeps the outcome, and writes the page anew from all that are kept.
fn write(directory: &PathBuf, outcome: &Outcome) -> Result<(), Failure> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join(format!("{}.json", outcome.scenario.name())), outcome.json()?)?;
    let mut outcomes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            outcomes.push(Outcome::parse(&fs::read_to_string(&path)?)?);
        }
    }
    outcomes.sort_by_key(|outcome| outcome.scenario.order());
    for outcome in outcomes.iter().filter(|outcome| outcome.scenario.source != Source::Idle) {
        fs::write(directory.join(format!("{}.svg", outcome.scenario.name())), chart::draw(outcome)?)?;
    }
    let folder = directory.file_name().unwrap_or_default().to_string_lossy();
    fs::write(directory.with_extension("md"), page::write(&outcomes, &folder))?;
    Ok(())
}

impl Arguments {
    fn scenario(&self) -> Scenario {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("./dev bench {}", given.join(" "));
        let Self { seconds, rounds, source, dave, .. } = *self;
        Scenario { source, dave, seconds, rounds, command }
    }
}
