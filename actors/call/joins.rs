//! Joins: who waits for the call to be in which channel.

use tokio::sync::oneshot;

use super::message::{JoinChannel, JoinOutcome};
use crate::{
    bridge::{JoinFailure, Request, events::SelfFlags},
    id::ChannelId,
};

/// The channel that was asked for last and is not reached yet, and who waits for it.
#[derive(Default)]
pub(super) struct Joins {
    requested: Option<RequestedChannel>,
    /// How the bot is to appear in voice, as the last join has it.
    flags: SelfFlags,
}

struct RequestedChannel {
    channel: ChannelId,
    waiters: Vec<oneshot::Sender<JoinOutcome>>,
}

/// What a join comes to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requested {
    /// The channel has to be asked for.
    New,
    /// It has been asked for already.
    Already,
}

impl Joins {
    /// The channel that is not reached yet.
    pub(super) fn channel(&self) -> Option<ChannelId> {
        self.requested.as_ref().map(|requested| requested.channel)
    }

    /// What the bridge is asked, to be in this channel as the last join has it.
    pub(super) fn request(&self, channel: ChannelId) -> Request {
        Request::Join { channel, flags: self.flags }
    }

    /// How the bot appears in voice.
    pub(super) fn flags(&self) -> SelfFlags {
        self.flags
    }

    /// Notes how the bot is to appear from now on, and says whether that is new.
    pub(super) fn appear(&mut self, flags: SelfFlags) -> Requested {
        if std::mem::replace(&mut self.flags, flags) == flags { Requested::Already } else { Requested::New }
    }

    /// Waits for a channel; whoever waited for another one has waited in vain.
    pub(super) fn wait(&mut self, join: JoinChannel) -> Requested {
        match &mut self.requested {
            Some(requested) if requested.channel == join.channel => {
                requested.waiters.push(join.outcome);
                Requested::Already
            }
            _ => {
                self.supersede();
                self.requested =
                    Some(RequestedChannel { channel: join.channel, waiters: vec![join.outcome] });
                Requested::New
            }
        }
    }

    /// The bot was moved before it could connect: who waits, waits for the channel where it is now.
    pub(super) fn redirect(&mut self, channel: ChannelId) {
        if let Some(requested) = &mut self.requested {
            requested.channel = channel;
        }
    }

    /// Another channel, or the one where the bot is, was asked for.
    pub(super) fn supersede(&mut self) {
        self.answer(&Err(super::JoinError::NotMoved(JoinFailure::Superseded)));
    }

    /// Answers those who wait.
    pub(super) fn answer(&mut self, outcome: &JoinOutcome) {
        for waiter in self.requested.take().into_iter().flat_map(|requested| requested.waiters) {
            // Whoever asked may no longer wait.
            let _ = waiter.send(outcome.clone());
        }
    }
}
