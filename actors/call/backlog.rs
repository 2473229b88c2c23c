//! Backlog: what is asked for a guild while no call can do it, kept in order for the next call.

use actix::Message;

use super::{
    error::{JoinError, SpeakError},
    message::{AttachTrack, JoinChannel},
};
use crate::id::GuildId;

/// Joins and tracks that wait for a call, in the order in which they were asked for. What does not fit is refused.
#[derive(Default)]
pub(in crate::actors) struct Backlog(Vec<Asked>);

/// What can be asked of a call before there is one.
pub(in crate::actors) enum Asked {
    Join(JoinChannel),
    Attach(Box<AttachTrack>),
}

impl Backlog {
    pub(in crate::actors) fn join(&mut self, join: JoinChannel) {
        if self.is_full() {
            // Whoever asked may no longer wait.
            return drop(join.outcome.send(Err(JoinError::TooMany)));
        }
        self.0.push(Asked::Join(join));
    }

    /// Keeps a track for the call that was asked for before it; without one, nothing can play it.
    pub(in crate::actors) fn attach(&mut self, track: AttachTrack, guild: GuildId) {
        if self.0.is_empty() { refuse(track, SpeakError::NotJoined(guild)) } else { self.keep(track) }
    }

    /// Keeps a track for a call that may have been asked for elsewhere.
    pub(in crate::actors) fn keep(&mut self, track: AttachTrack) {
        if self.is_full() {
            return refuse(track, SpeakError::TooMany);
        }
        self.0.push(Asked::Attach(Box::new(track)));
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_ASKED
    }

    /// Answers all with this error.
    pub(in crate::actors) fn cancel(&mut self, error: &JoinError, guild: GuildId) {
        for asked in self.0.drain(..) {
            match asked {
                // Whoever asked may no longer wait.
                Asked::Join(join) => drop(join.outcome.send(Err(error.clone()))),
                Asked::Attach(track) => refuse(*track, SpeakError::NotJoined(guild)),
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

fn refuse(track: AttachTrack, error: SpeakError) {
    // Whoever asked may no longer wait.
    let _ = track.attached.send(Err(error));
}

/// Requests that may wait for one call.
const MAX_ASKED: usize = 1_000;

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::{bridge::events::SelfFlags, id::ChannelId};

    #[test]
    fn what_does_not_fit_is_refused_and_what_waits_already_is_kept() {
        let mut backlog = Backlog::default();
        let mut join = || {
            let (outcome, answer) = oneshot::channel();
            backlog.join(JoinChannel { channel: ChannelId(1), flags: SelfFlags::default(), outcome });
            answer
        };
        let mut kept: Vec<_> = (0..MAX_ASKED).map(|_| join()).collect();
        let refused = join().try_recv().expect("it is answered at once");
        assert_eq!(refused.err(), Some(JoinError::TooMany));
        assert!(kept.iter_mut().all(|answer| answer.try_recv().is_err()), "those before still wait");
        assert_eq!(backlog.into_asked().len(), MAX_ASKED);
    }
}
