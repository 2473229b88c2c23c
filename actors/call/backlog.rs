//! Backlog: what is asked for a guild while no call can do it, kept in order for the next call.

use actix::Message;

use super::{
    error::{JoinError, SpeakError},
    message::{AttachTrack, JoinChannel},
};
use crate::id::GuildId;

/// Joins and tracks that wait for a call, in the order in which they were asked for.
#[derive(Default)]
pub(in crate::actors) struct Backlog(Vec<Asked>);

/// What can be asked of a call before there is one.
pub(in crate::actors) enum Asked {
    Join(JoinChannel),
    Attach(AttachTrack),
}

impl Backlog {
    pub(in crate::actors) fn join(&mut self, join: JoinChannel) {
        self.0.push(Asked::Join(join));
    }

    /// Keeps a track for the call that was asked for before it; without one, nothing can play it.
    pub(in crate::actors) fn attach(&mut self, track: AttachTrack, guild: GuildId) {
        if self.0.is_empty() { refuse(track, guild) } else { self.keep(track) }
    }

    /// Keeps a track for a call that may have been asked for elsewhere.
    pub(in crate::actors) fn keep(&mut self, track: AttachTrack) {
        self.0.push(Asked::Attach(track));
    }

    /// Answers all with this error.
    pub(in crate::actors) fn cancel(&mut self, error: &JoinError, guild: GuildId) {
        for asked in self.0.drain(..) {
            match asked {
                // Whoever asked may no longer wait.
                Asked::Join(join) => drop(join.outcome.send(Err(error.clone()))),
                Asked::Attach(track) => refuse(track, guild),
            }
        }
    }

    /// What was asked, in order.
    pub(in crate::actors) fn into_asked(self) -> Vec<Asked> {
        self.0
    }
}

/// **Call → VoiceManager.** What the call with this number was asked when it was too late for it. The last report.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Released {
    pub(in crate::actors) guild: GuildId,
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) backlog: Backlog,
}

fn refuse(track: AttachTrack, guild: GuildId) {
    // Whoever asked may no longer wait.
    let _ = track.attached.send(Err(SpeakError::NotJoined(guild)));
}
