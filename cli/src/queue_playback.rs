//! The playback of several files in one call, from joining to disconnecting, with what a person asks for meanwhile.

use std::time::Duration;

use actix::{Actor, Addr};
use actix_voice::{
    actors::{
        CallHandle, CallStats, Enqueue, Entry, Queue, QueueEvent, QueueEventKind, Rearrange, TrackHandle, now,
    },
    audio::filter::Filters,
    queue::QueueRepeat,
    speaker::gain_of_db,
};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use crate::{
    bot::{Bot, BotExit},
    exit::Failure,
    interrupt::Interrupt,
    keys::{self, Key, Keys},
    playback::{CHECK_INTERVAL, WithheldNotice},
    report::{self, End},
    screen::Screen,
};

/// How the files are played.
#[derive(Clone, Debug, PartialEq)]
pub struct Manner {
    /// The factor of the amplitude.
    pub volume: f32,
    /// What is done to the sound.
    pub filters: Filters,
    /// Where the first begins.
    pub start_at: Duration,
    /// How long one is heard together with the next.
    pub crossfade: Duration,
    /// Whether all are played again after the last.
    pub repeat: QueueRepeat,
    /// Whether what happens is told on stdout, as JSON.
    pub events: Events,
}

/// Whether what happens is told on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    Told,
    Kept,
}

/// What has been played so far. The figures are kept up to date, so that a call that fails has them too.
pub struct QueuePlayback {
    screen: Screen,
    manner: Manner,
    /// What the call has done.
    pub stats: CallStats,
    /// For how long it has played, on the clock.
    pub played: Duration,
    current: Option<TrackHandle>,
    /// Why the last file was not played to its end.
    damage: Option<String>,
}

/// What happens, as `--json-events` tells it.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Playing { title: Option<&'a str>, artist: Option<&'a str>, seconds: Option<f64> },
    Failed { why: &'a str },
    Paused { at: f64 },
    Resumed { at: f64 },
    Seeked { to: f64 },
    Volume { factor: f32 },
    Finished,
}

impl QueuePlayback {
    /// A playback that has not begun.
    pub fn new(manner: Manner, screen: Screen) -> Self {
        Self {
            screen,
            manner,
            stats: CallStats::default(),
            played: Duration::ZERO,
            current: None,
            damage: None,
        }
    }

    /// Plays these in a call to their end, or until it is interrupted, and disconnects.
    ///
    /// # Errors
    ///
    /// When a file fails, or the call ends before they do.
    pub async fn run(
        &mut self,
        bot: &Bot,
        call: &CallHandle,
        entries: Vec<Entry>,
        interrupt: &Interrupt,
    ) -> Result<End, Failure> {
        let (to, events) = mpsc::channel(EVENTS);
        let Manner { start_at, crossfade, repeat, .. } = self.manner;
        let queue =
            Queue::new(call.clone()).crossfade(crossfade).begin_at(start_at).event_channel(to).start();
        queue.do_send(Rearrange::Repeat(repeat));
        for entry in entries {
            let entry = entry.volume(self.manner.volume).filters(self.manner.filters.clone());
            queue.do_send(Enqueue::last(entry));
        }
        let mut keys = Keys::listen();
        if keys.is_some() {
            self.screen.print_line(keys::HELP);
        }
        let began = now();
        let result = self.follow(bot, call, &queue, events, &mut keys, interrupt).await;
        self.played = now() - began;
        self.screen.clear();
        if let Some(stats) = call.disconnect().await {
            self.stats = stats;
        }
        result
    }

    async fn follow(
        &mut self,
        bot: &Bot,
        call: &CallHandle,
        queue: &Addr<Queue>,
        mut events: mpsc::Receiver<QueueEvent>,
        keys: &mut Option<Keys>,
        interrupt: &Interrupt,
    ) -> Result<End, Failure> {
        let mut notice = WithheldNotice::default();
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                // What the queue says was said before the call ended.
                biased;
                event = events.recv() => match event.map(|event| event.kind) {
                    Some(QueueEventKind::Finished) => return self.finished(),
                    Some(QueueEventKind::CallOver) | None => return Err(bot.ended(call.guild()).await.into()),
                    Some(event) => self.happened(event).await,
                },
                exit = bot.ended(call.guild()) => return Err(exit.into()),
                () = interrupt.requested() => return Ok(End::Interrupted),
                key = Keys::next(keys) => if key == Key::Quit {
                    return Ok(End::Interrupted);
                } else {
                    self.press(key, queue).await;
                },
                _ = checks.tick() => self.check(call, &mut notice).await,
            }
        }
    }

    fn finished(&mut self) -> Result<End, Failure> {
        self.tell(&Told::Finished);
        self.damage.take().map_or(Ok(End::Finished), |why| Err(Failure::Source(why)))
    }

    async fn happened(&mut self, event: QueueEventKind) {
        match event {
            QueueEventKind::Playing(_, track) => {
                if let Some(damage) = &self.damage
                    && self.current.is_some()
                {
                    self.screen.print_line(format_args!("{damage}; going on with the next file"));
                }
                self.begins(&track);
                self.current = Some(track);
            }
            QueueEventKind::Failed(_, why) => {
                self.tell(&Told::Failed { why: &why });
                self.damage = Some(why);
            }
            _ => {}
        }
    }

    fn begins(&self, track: &TrackHandle) {
        let metadata = track.metadata();
        let [title, artist] =
            [metadata.and_then(|of| of.title.as_deref()), metadata.and_then(|of| of.artist.as_deref())];
        self.screen.show_track(title, artist, track.duration());
        self.tell(&Told::Playing {
            title,
            artist,
            seconds: track.duration().map(|length| length.as_secs_f64()),
        });
    }

    async fn check(&mut self, call: &CallHandle, notice: &mut WithheldNotice) {
        if let Some(track) = &self.current
            && let Ok(position) = track.position().await
        {
            self.screen.show_progress(position);
        }
        if let Some(stats) = call.stats().await {
            if let Some(change) = notice.update(&stats) {
                self.screen.print_line(change);
            }
            self.stats = stats;
        }
    }

    /// What a track that is just over does not do is not done.
    async fn press(&mut self, key: Key, queue: &Addr<Queue>) {
        match key {
            Key::Next => queue.do_send(Rearrange::Skip),
            Key::Previous => queue.do_send(Rearrange::Previous),
            key => {
                if let Some(track) = self.current.clone() {
                    self.change(&track, key).await;
                }
            }
        }
    }

    async fn change(&mut self, track: &TrackHandle, key: Key) {
        let Ok(state) = track.state().await else { return };
        let at = state.position.as_secs_f64();
        match key {
            Key::Pause => {
                let (asked, told) = match state.paused {
                    true => (track.resume().await, Told::Resumed { at }),
                    false => (track.pause().await, Told::Paused { at }),
                };
                if asked.is_ok() {
                    self.tell(&told);
                }
            }
            Key::Seek(seconds) => match track.seek(keys::moved(state.position, seconds)).await {
                Ok(to) => self.tell(&Told::Seeked { to: to.as_secs_f64() }),
                Err(error) => self.screen.print_line(error),
            },
            Key::Volume(db) => {
                let factor = (state.volume * gain_of_db(db)).min(LOUDEST);
                if track.set_volume(factor).await.is_ok() {
                    self.tell(&Told::Volume { factor });
                }
            }
            _ => {}
        }
    }

    fn tell(&self, told: &Told<'_>) {
        if self.manner.events == Events::Told {
            report::print_json(told);
        }
    }
}

impl From<BotExit> for Failure {
    fn from(exit: BotExit) -> Self {
        match exit {
            BotExit::Call(reason) => Self::Ended(reason),
            BotExit::Refused(error) => error.into(),
        }
    }
}

/// Events that may wait: far more than happen in a while.
const EVENTS: usize = 1_024;
/// Louder is turned down by the limiter.
const LOUDEST: f32 = 5.0;
