//! Who speaks, and how loud, while it is recorded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::RecordingEnded,
    hearing::{Heard, Level},
    id::UserId,
    recording::Session,
};
use tokio::{sync::watch, time::Instant};

/// The last level of each speaker; the clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Levels(Arc<Mutex<BTreeMap<UserId, (Level, Instant)>>>);

/// Takes what is heard, and keeps [`Levels`] up to date; also tells of the end of the recording.
pub struct LevelMeter {
    levels: Levels,
    ended: watch::Sender<Option<Session>>,
}

impl LevelMeter {
    /// A meter, and what is known of the recording once it has ended.
    pub fn new(levels: Levels) -> (Self, watch::Receiver<Option<Session>>) {
        let (ended, end) = watch::channel(None);
        (Self { levels, ended }, end)
    }
}

impl Levels {
    /// Bars of those who spoke in the last second: `1234 ▅ -21 dB`.
    pub fn describe(&self) -> String {
        let levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = levels.iter().filter(|(_, (_, at))| at.elapsed() < SHOWN);
        let bars = recent.map(|(user, (level, _))| format!("{user} {} {:.0} dB", bar(level.rms), level.rms));
        bars.collect::<Vec<_>>().join("  ")
    }
}

impl Actor for LevelMeter {
    type Context = Context<Self>;
}

impl Handler<Heard> for LevelMeter {
    type Result = ();

    fn handle(&mut self, heard: Heard, _: &mut Context<Self>) {
        if let Some(pcm) = heard.pcm {
            let mut levels = self.levels.0.lock().unwrap_or_else(PoisonError::into_inner);
            levels.insert(heard.user, (pcm.level, Instant::now()));
        }
    }
}

impl Handler<RecordingEnded> for LevelMeter {
    type Result = ();

    fn handle(&mut self, ended: RecordingEnded, _: &mut Context<Self>) {
        self.ended.send_replace(Some(ended.session));
    }
}

/// From −60 dBFS on, a step for each 7.5 dB.
fn bar(decibels: f32) -> char {
    let step = ((decibels + 60.0) / 7.5).clamp(0.0, 7.0) as usize;
    BARS[step]
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SHOWN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn louder_is_higher() {
        assert_eq!([-120.0, -60.0, -45.0, -21.0, 0.0].map(bar), ['▁', '▁', '▃', '▆', '█']);
    }
}
