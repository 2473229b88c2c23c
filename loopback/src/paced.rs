//! Keeps a paused clock from leaping over data that waits in a socket.
//!
//! With `tokio::time::pause()` the clock jumps to the next timer whenever no task can run, also when a frame that
//! was just written is still unread in the kernel. A timer every millisecond bounds each jump, so a message
//! between two tasks takes a millisecond or two of virtual time, not the ten seconds of somebody's timeout.

use std::time::Duration;

/// Says whether the clock is paused, by sleeping for a moment of tokio's time.
pub(crate) async fn clock_is_paused() -> bool {
    sleep_takes_no_time(PROBE).await
}

/// Holds a paused clock back for ever; watches for a later pause when it is still the real one.
pub(crate) async fn hold_back_paused_clock(mut paused: bool) {
    loop {
        if paused {
            tokio::time::sleep(TICK).await;
        } else {
            paused = sleep_takes_no_time(WATCH).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only the real clock can tell that tokio's is paused")]
async fn sleep_takes_no_time(duration: Duration) -> bool {
    let began = std::time::Instant::now();
    tokio::time::sleep(duration).await;
    began.elapsed() < duration / 2
}

const TICK: Duration = Duration::from_millis(1);
/// Long against scheduling delays, short against a test.
const PROBE: Duration = Duration::from_millis(10);
const WATCH: Duration = Duration::from_millis(100);
