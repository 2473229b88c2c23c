//! One run of one program.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    Source, Switch,
    contestant::{Contestant, Playing, Programs},
    loopback::{Figures, Loopback},
    result::RunResult,
    usage::Usage,
};

/// What is to be run.
pub struct Plan<'a> {
    pub who: Contestant,
    pub calls: u32,
    pub seconds: u32,
    pub source: Source,
    pub dave: Switch,
    pub track: &'a Path,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{program} cannot be run: {error}; ./dev bench builds it")]
    NotStarted { program: String, error: io::Error },
    #[error("the loopback has ended")]
    LoopbackEnded,
    #[error("{0} has ended by itself")]
    Ended(Contestant),
    #[error("of {calls} calls of {who} only {speaking} speak after {} s", JOIN_TIMEOUT.as_secs())]
    NotJoined { who: Contestant, calls: u32, speaking: u32 },
    #[error("the demo is no Ogg Opus: {0}")]
    NoTrack(ogg::OggReadError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("unexpected: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the chart cannot be drawn: {0}")]
    Chart(String),
}

/// Runs a program, and measures it once all its calls speak.
///
/// # Errors
///
/// When they do not, or it ends before it is measured.
pub fn run(plan: &Plan<'_>, programs: &Programs) -> Result<RunResult, Failure> {
    let mut loopback = Loopback::start(plan, programs)?;
    let began = Instant::now();
    let mut playing = Playing::start(plan, programs, &loopback)?;
    let joined_after = await_calls(plan, &mut playing, &mut loopback, began)?;
    thread::sleep(SETTLING);

    let loopback_before = loopback.figures()?.cpu_seconds;
    let before = Usage::of(playing.pid())?;
    let since = Instant::now();
    thread::sleep(Duration::from_secs(plan.seconds.into()));
    let after = Usage::of(playing.pid()).map_err(|_| Failure::Ended(plan.who))?;
    let elapsed = since.elapsed();
    let figures = loopback.figures()?;

    let underruns = serde_json::from_str(playing.end().lines().last().unwrap_or_default());
    let underruns = underruns.ok().map(|OwnReport { underruns }| underruns);
    let violations = loopback.end();
    let loopback_cpu = figures.cpu_seconds.zip(loopback_before).map(|(after, before)| after - before);
    let call_seconds = elapsed.as_secs_f64() * f64::from(plan.calls);
    let switches = after.switches.saturating_sub(before.switches);
    Ok(RunResult {
        who: plan.who,
        calls: plan.calls,
        cpu_ms: (after.cpu - before.cpu).as_secs_f64() * 1000.0 / call_seconds,
        switches_per_second: switches as f64 / elapsed.as_secs_f64(),
        switches_per_packet: (figures.packets > 0).then(|| switches as f64 / figures.packets as f64),
        threads: after.threads,
        resident_bytes: after.resident_bytes,
        packets: figures.packets,
        missing: missing(plan, &figures),
        lost: figures.lost,
        spacing_error_us: figures.spacing_error_us.into(),
        lateness_us: figures.lateness_us.into(),
        late: figures.late,
        underruns,
        joined_after: joined_after.as_secs_f64(),
        loopback_cpu: loopback_cpu.map(|cpu| cpu / elapsed.as_secs_f64()),
        histogram: figures.histogram,
        violations,
        limit: figures.limit,
    })
}

/// What ours says at its end.
#[derive(Deserialize)]
struct OwnReport {
    underruns: u64,
}

/// Packets that should have come, were every call to speak all the time, and did not.
fn missing(plan: &Plan<'_>, figures: &Figures) -> u64 {
    if plan.source == Source::Idle {
        return 0;
    }
    let due = figures.seconds * PACKETS_PER_SECOND * f64::from(plan.calls);
    // At either end of the time one packet of each call may be in or out.
    (due as u64).saturating_sub(figures.packets + u64::from(plan.calls))
}

/// Waits until all calls speak, or are joined where nothing is to be played.
fn await_calls(
    plan: &Plan<'_>,
    playing: &mut Playing,
    loopback: &mut Loopback,
    began: Instant,
) -> Result<Duration, Failure> {
    loop {
        thread::sleep(LOOK_INTERVAL);
        let figures = loopback.figures()?;
        let speaking = if plan.source == Source::Idle { figures.calls } else { figures.senders };
        if speaking >= plan.calls {
            return Ok(began.elapsed());
        }
        if playing.has_ended() {
            return Err(Failure::Ended(plan.who));
        }
        if began.elapsed() > JOIN_TIMEOUT {
            return Err(Failure::NotJoined { who: plan.who, calls: plan.calls, speaking });
        }
    }
}

const PACKETS_PER_SECOND: f64 = 50.0;
/// Longer than a packet's time, so that whoever speaks is heard in it.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
const JOIN_TIMEOUT: Duration = Duration::from_secs(180);
/// What joining has left undone is done after this.
const SETTLING: Duration = Duration::from_secs(3);
