//! Backlog: what is asked for a guild while no call can do it, kept in order for the next call.

use actix::Message;

use super::{
    error::{JoinError, SpeakError},
    message::{AttachTrack, JoinChannel},
};
use crate::{actors::event::CallEvent, id::GuildId};

/// Joins that wait for a call, and the tracks that were asked for after them.
#[derive(Default)]
pub(in crate::actors) struct Backlog {
    joins: Vec<JoinChannel>,
    tracks: Vec<AttachTrack>,
}

impl Backlog {
    pub(in crate::actors) fn join(&mut self, join: JoinChannel) {
        self.joins.push(join);
    }

    /// Keeps a track for the call that was asked for before it; without one, nothing can play it.
    pub(in crate::actors) fn attach(&mut self, track: AttachTrack, guild: GuildId) {
        if self.joins.is_empty() {
            // Whoever asked may no longer wait.
            let _ = track.attached.send(Err(SpeakError::NotJoined(guild)));
        } else {
            self.tracks.push(track);
        }
    }

    pub(in crate::actors) fn is_empty(&self) -> bool {
        self.joins.is_empty()
    }

    /// Answers all with this error.
    pub(in crate::actors) fn cancel(&mut self, error: &JoinError, guild: GuildId) {
        for join in self.joins.drain(..) {
            let _ = join.outcome.send(Err(error.clone()));
        }
        for track in self.tracks.drain(..) {
            let _ = track.attached.send(Err(SpeakError::NotJoined(guild)));
        }
    }

    /// What was asked, in order: the joins, then the tracks.
    pub(in crate::actors) fn into_parts(self) -> (Vec<JoinChannel>, Vec<AttachTrack>) {
        (self.joins, self.tracks)
    }
}

/// **Call → VoiceManager.** The call with this number is over. It is the last report, and brings what was asked of the call
/// when it was too late for it.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct CallEnded {
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) event: CallEvent,
    pub(in crate::actors) backlog: Backlog,
}
