//! Keeps a paused clock from leaping over data that waits in a socket.
//!
//! With `tokio::time::pause()` the clock jumps to the next timer whenever no task can run, also when a frame that
//! was just written is still unread in the kernel. A timer every few milliseconds bounds each jump, so a message
//! between two tasks takes a millisecond or two of virtual time, not the ten seconds of somebody's timeout.

use std::sync::Arc;
use std::time::Duration;

use crate::shared::Shared;

/// Says whether the clock is paused, by sleeping for a moment of tokio's time.
pub(crate) async fn clock_is_paused() -> bool {
    sleep_takes_no_time(PROBE).await
}

/// Holds a paused clock back for ever; watches for a later pause when it is still the real one.
///
/// While nothing happens the jumps grow, so that quiet hours pass quickly.
pub(crate) async fn hold_back_paused_clock(mut paused: bool, step: Duration, shared: Arc<Shared>) {
    let (mut quiet, mut seen) = (0_u32, 0);
    loop {
        if !paused {
            paused = sleep_takes_no_time(WATCH).await;
            continue;
        }
        tokio::time::sleep(if quiet < QUIET { step } else { step.max(LONGEST) }).await;
        let happened = shared.happened();
        quiet = if happened == seen { quiet.saturating_add(1) } else { 0 };
        seen = happened;
    }
}

#[expect(clippy::disallowed_methods, reason = "only the real clock can tell that tokio's is paused")]
async fn sleep_takes_no_time(duration: Duration) -> bool {
    let began = std::time::Instant::now();
    tokio::time::sleep(duration).await;
    began.elapsed() < duration / 2
}

/// What a message after a long silence may take.
const LONGEST: Duration = Duration::from_millis(20);
/// How many short ticks without an event make a silence.
const QUIET: u32 = 500;
/// Long against scheduling delays, short against a test.
const PROBE: Duration = Duration::from_millis(10);
const WATCH: Duration = Duration::from_millis(100);
