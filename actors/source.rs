//! Source: where audio comes from. Any actor that handles [`Demand`] is one.
//!
//! A source is asked for frames by [`Demand`] and answers through the [`Supplier`] in it, at once or later: 25
//! frames when a track starts and what is missing four times a second; five, and three whenever two are left, if it is
//! [live](super::Speak::live). [`Player`] runs an ordinary [`Source`](crate::source::Source); [`Pusher`] takes Opus packets
//! from anywhere.

mod player;
mod pusher;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Message, Recipient};
use tokio::sync::watch;

pub use self::{
    player::Player,
    pusher::{PushError, PushSource, Pusher},
};
use crate::{
    audio::frame::{FRAME_SAMPLES, Frame},
    speaker::{FrameFormat, Run, TrackEnd, TrackId},
};

/// **Speaker → Source.** Supply so many more frames.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Demand {
    /// How many frames may be supplied on top of those asked for before.
    pub frames: usize,
    /// In which form they are of use; a source that has only the other may supply it.
    pub format: FrameFormat,
    /// Where to go on from first, if the user sought: answered by [`Supplier::sought`] or [`Supplier::refuse_seek`] before
    /// any frame. Only sources are asked that are spoken as [seekable](super::Speak::seekable).
    pub seek: Option<Duration>,
    /// Where they go.
    pub supplier: Supplier,
}

/// **Source → Speaker.** Frames, or the end.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Supply {
    pub(super) track: TrackId,
    pub(super) run: Run,
    pub(super) what: Supplied,
}

#[derive(Clone)]
pub(super) enum Supplied {
    Frame(Frame),
    Frames(Vec<Frame>),
    /// The end, and how many samples per channel of the last frame belong to the track.
    End(TrackEnd, usize),
    Sought(Duration),
    SeekRefused(String),
}

/// Takes the frames of one track.
#[derive(Clone)]
pub struct Supplier {
    track: TrackId,
    run: Run,
    to: Recipient<Supply>,
    credit: Arc<Credit>,
    listening: watch::Receiver<()>,
}

/// How much more a source may supply. It is kept on the source's side of the speaker's mailbox, which has no bound itself.
#[derive(Debug, Default)]
pub(super) struct Credit {
    frames: AtomicUsize,
    refused: AtomicU64,
    ended: AtomicBool,
}

impl Credit {
    pub(super) fn grant(&self, frames: usize) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
    }

    /// Frames that were supplied without credit, and dropped.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Spends the credit for so many frames; says how many there is credit for, and counts the others as refused.
    fn spend(&self, frames: usize) -> usize {
        let spend = |credit: usize| Some(credit - credit.min(frames));
        let credit = self.frames.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).unwrap_or(0);
        let refused = frames.saturating_sub(credit);
        self.refused.fetch_add(refused as u64, Ordering::Relaxed);
        frames - refused
    }
}

impl Demand {
    pub(super) fn new(
        frames: usize,
        format: FrameFormat,
        seek: Option<Duration>,
        supplier: Supplier,
    ) -> Self {
        Self { frames, format, seek, supplier }
    }
}

impl Supplier {
    /// `listening` closes when the track is over.
    pub(super) fn new(
        track: TrackId,
        run: Run,
        to: Recipient<Supply>,
        credit: Arc<Credit>,
        listening: watch::Receiver<()>,
    ) -> Self {
        Self { track, run, to, credit, listening }
    }

    /// The track that the frames are for.
    #[must_use]
    pub fn track(&self) -> TrackId {
        self.track
    }

    /// Whether the track is over, so that nothing supplied will be played.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.listening.has_changed().is_err()
    }

    /// Waits until the track is over.
    pub async fn closed(&self) {
        // Nothing is ever sent: the only change is the end.
        let _ = self.listening.clone().changed().await;
    }

    /// Supplies 20 ms; more than was asked for is dropped and counted.
    pub fn supply(&self, frame: Frame) {
        if self.credit.spend(1) == 1 {
            self.send(Supplied::Frame(frame));
        }
    }

    /// Supplies several frames in one message, which wakes the speaker once; what is more than was asked for is dropped and counted.
    pub fn supply_all(&self, mut frames: Vec<Frame>) {
        frames.truncate(self.credit.spend(frames.len()));
        if !frames.is_empty() {
            self.send(Supplied::Frames(frames));
        }
    }

    /// Says that there are no more frames.
    pub fn finish(&self) {
        self.end(TrackEnd::Finished);
    }

    /// Says that there are no more frames, and that of the last only so many samples per channel belong to the track: what
    /// follows it without a gap begins there.
    pub fn finish_within(&self, samples: usize) {
        self.end_within(TrackEnd::Finished, samples);
    }

    /// Says that what is supplied from now on is from there on.
    pub fn sought(&self, at: Duration) {
        self.send(Supplied::Sought(at));
    }

    /// Says that the source goes on where it was, and why.
    pub fn refuse_seek(&self, why: impl ToString) {
        self.send(Supplied::SeekRefused(why.to_string()));
    }

    /// Says that something went wrong; the track ends after what was supplied.
    pub fn fail(&self, why: impl ToString) {
        self.end(TrackEnd::Failed(why.to_string()));
    }

    /// The first end counts.
    fn end(&self, end: TrackEnd) {
        self.end_within(end, FRAME_SAMPLES);
    }

    fn end_within(&self, end: TrackEnd, samples: usize) {
        if !self.credit.ended.swap(true, Ordering::Relaxed) {
            self.send(Supplied::End(end, samples));
        }
    }

    /// Once the speaker is gone there is nobody to miss the frame.
    fn send(&self, what: Supplied) {
        self.to.do_send(Supply { track: self.track, run: self.run, what });
    }
}
