//! Tracks: what plays in a call, what has ended of late, and who waits for that.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use crate::speaker::{TrackEnd, TrackId};

/// The tracks of one call.
#[derive(Default)]
pub(super) struct Tracks {
    playing: BTreeMap<TrackId, Vec<oneshot::Sender<TrackEnd>>>,
    /// The last ends, for those who ask late.
    ended: VecDeque<(TrackId, TrackEnd)>,
}

impl Tracks {
    pub(super) fn attached(&mut self, track: TrackId) {
        self.playing.entry(track).or_default();
    }

    pub(super) fn ended(&mut self, track: TrackId, end: &TrackEnd) {
        for waiting in self.playing.remove(&track).into_iter().flatten() {
            // Whoever asked may no longer wait.
            let _ = waiting.send(end.clone());
        }
        self.ended.truncate(MAX_REMEMBERED - 1);
        self.ended.push_front((track, end.clone()));
    }

    /// What has not ended.
    pub(super) fn playing(&self) -> Vec<TrackId> {
        self.playing.keys().copied().collect()
    }

    /// Says how a track ended, now or later; nothing of a track that is unknown.
    pub(super) fn await_end(&mut self, track: TrackId, waiting: oneshot::Sender<TrackEnd>) {
        if let Some(all) = self.playing.get_mut(&track) {
            all.retain(|waiting| !waiting.is_closed());
            all.push(waiting);
        } else if let Some((_, end)) = self.ended.iter().find(|(ended, _)| *ended == track) {
            let _ = waiting.send(end.clone());
        }
    }
}

/// Ends that are remembered.
const MAX_REMEMBERED: usize = 64;
