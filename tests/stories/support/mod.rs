//! What the stories share: a bot on an offline Discord, what it was told, what was heard of it, and sources to play.

#[allow(dead_code, reason = "tests/files/ uses the rest of it")]
pub mod audio;
pub mod bot;
pub mod dave;
pub mod events;
pub mod log;
pub mod recording;
pub mod sources;

use std::future::Future;

/// Plays a story on paused time: it takes as long as its work, not as its hours. Everything runs on one thread.
pub fn story(play: impl Future<Output = ()>) {
    actix::System::new().block_on(async {
        tokio::time::pause();
        play.await;
    });
}

/// Plays a story on the real clock.
pub fn real_time(play: impl Future<Output = ()>) {
    actix::System::new().block_on(play);
}
