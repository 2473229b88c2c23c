//! The page that tells what was measured.

use std::fmt::Write;

use crate::{
    Source, Switch,
    contestant::Contestant::{self, Floor, Ours, Rival},
    result::{Outcome, RunResult},
};

/// The page of all these.
pub fn write(outcomes: &[Outcome], folder: &str) -> String {
    let mut page = String::from(INTRODUCTION);
    for outcome in outcomes {
        let machine = &outcome.machine;
        let heading = format!("{}, DAVE {}", title(outcome.scenario.source), name(outcome.scenario.dave));
        let (seconds, rounds) = (outcome.scenario.seconds, outcome.scenario.rounds);
        let parts = [
            format!("\n## {heading}\n\n{}\n\n", what(outcome.scenario.source)),
            table(outcome),
            comparison(outcome),
            chart(outcome, folder, &heading),
            format!(
                "Measured on {}: {}, {} cores, {:.0} GiB, Linux {}; load before it {}. {rounds} rounds of {seconds} s for each \
                 number of calls, with\n\n```sh\n{}\n```\n",
                machine.date,
                machine.processor,
                machine.cores,
                machine.memory_gib,
                machine.kernel,
                machine.load,
                outcome.scenario.command,
            ),
        ];
        page.extend(parts);
    }
    page
}

/// The medians, one line for each program and number of calls.
pub fn table(outcome: &Outcome) -> String {
    let mut table = String::from(HEADINGS);
    for calls in outcome.calls() {
        for who in outcome.contestants() {
            table += &line(outcome, who, calls);
        }
    }
    table.push('\n');
    table
}

fn line(outcome: &Outcome, who: Contestant, calls: u32) -> String {
    let median = |figure: fn(&RunResult) -> f64| outcome.median(who, calls, figure).unwrap_or(f64::NAN);
    let runs = outcome.runs(who, calls);
    if runs.is_empty() {
        return format!("| {calls} | {who} | too much for it on this machine |\n");
    }
    let most = |figure: fn(&RunResult) -> u64| runs.iter().map(|run| figure(run)).max().unwrap_or_default();
    let switches = median(|run| run.switches_per_packet.unwrap_or(f64::NAN));
    let cells = [
        calls.to_string(),
        who.to_string(),
        format!("{:.3}", median(|run| run.cpu_ms)),
        if switches.is_nan() { "–".into() } else { format!("{switches:.2}") },
        format!("{:.0}", median(|run| run.threads as f64)),
        format!("{:.1}", median(|run| run.resident_bytes as f64) / f64::from(1 << 20)),
        format!("{:.0}", median(|run| run.spacing_error_us.p50 as f64)),
        format!("{:.0}", median(|run| run.spacing_error_us.p99 as f64)),
        format!("{:.1}", most(|run| run.spacing_error_us.max) as f64 / 1000.0),
        most(|run| run.late).to_string(),
        most(|run| run.missing).to_string(),
        runs.iter().filter_map(|run| run.underruns).max().map_or("–".into(), |most| most.to_string()),
        format!("{:.1}", median(|run| run.joined_after)),
        format!("{:.0} %", 100.0 * median(|run| run.loopback_cpu.unwrap_or(f64::NAN))),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// How many times the others' figures ours are.
fn comparison(outcome: &Outcome) -> String {
    let mut text = String::new();
    for calls in outcome.calls() {
        let times = |other, figure: fn(&RunResult) -> f64| outcome.ratio((Ours, other), calls, figure);
        let ratios = [
            ("the floor's CPU time", times(Floor, |run| run.cpu_ms)),
            ("songbird's CPU time", times(Rival, |run| run.cpu_ms)),
            ("songbird's p99 of the spacing error", times(Rival, |run| run.spacing_error_us.p99 as f64)),
            ("songbird's memory", times(Rival, |run| run.resident_bytes as f64)),
        ];
        let told = ratios.into_iter().filter_map(|(what, ratio)| Some(format!("{:.2} × {what}", ratio?)));
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            // A string takes all that is written.
            let _ = writeln!(text, "* actix-voice in {calls} calls: {}", told.join(", "));
        }
    }
    if text.is_empty() { text } else { format!("{text}\n") }
}

fn chart(outcome: &Outcome, folder: &str, heading: &str) -> String {
    match outcome.scenario.source {
        Source::Idle => String::new(),
        _ => {
            format!("![How far apart packets came: {heading}]({folder}/{}.svg)\n\n", outcome.scenario.name())
        }
    }
}

fn title(source: Source) -> &'static str {
    match source {
        Source::Passthrough => "Opus passed through",
        Source::Encode => "Samples encoded",
        Source::Mix => "Two tracks mixed and encoded",
        Source::Idle => "Joined and silent",
    }
}

fn what(source: Source) -> &'static str {
    match source {
        Source::Passthrough => "Each call plays the same Ogg Opus file; nothing is decoded.",
        Source::Encode => "Each call plays the same WAV file, which is encoded at 128 kbit/s.",
        Source::Mix => {
            "Each call plays the same WAV file twice at once, which is mixed and encoded at 128 kbit/s."
        }
        Source::Idle => "Each call is joined and plays nothing.",
    }
}

fn name(switch: Switch) -> &'static str {
    match switch {
        Switch::On => "on",
        Switch::Off => "off",
    }
}

const INTRODUCTION: &str = "\
# What calls cost

Floor, actix-voice and songbird 0.6.1 play in the same number of calls, one after the other and again from the start, each
against the same loopback in a process of its own. **Only the figures of one table can be compared**: on another machine
all of them are others. `./dev bench` measures anew; this page is written by `./dev bench --write docs/benchmarks`.

* **floor** (`benches/floor`) is the least that can be done: one thread that waits for each millisecond in which calls
  have a packet due, and for each writes the RTP header, encrypts twice and sends. It can do nothing else.
* **songbird** (`benches/rival`) is driven without its gateway part, with all settings at their defaults.
* **CPU** is processor time, in the kernel and out of it, for each second of each call. **Switches** are context switches
  of all threads for each packet that came. **RSS** is resident memory.
* **Spacing error** is by how much the time between two packets of a call differs from what their RTP timestamps say, by
  the receiving kernel's clock. **Late** are packets more than 20 ms behind their call's most punctual one. **Missing**
  are packets that should have come and did not; **under-runs** are those that actix-voice counts itself since it began,
  joining included. Of these four and of the longest error the worst round is told, of all others the median.
* **Joined** is how long it took until all calls spoke, or were joined, to a quarter of a second. **Loopback** is its
  share of a processor, which it takes from those that it measures.
";

const HEADINGS: &str = "\
| calls | | CPU, ms | switches | threads | RSS, MiB | spacing error p50, µs | p99, µs | longest, ms | late | missing | under-runs | joined, s | loopback |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";
