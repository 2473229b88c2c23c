//! Joins: who waits for the call to be in which channel.

use tokio::sync::oneshot;

use super::message::{JoinChannel, JoinOutcome};
use crate::{bridge::JoinFailure, id::ChannelId};

/// The channel that was asked for last and is not reached yet, and who waits for it.
#[derive(Default)]
pub(super) struct Joins(Option<RequestedChannel>);

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
        self.0.as_ref().map(|requested| requested.channel)
    }

    /// Waits for a channel; whoever waited for another one has waited in vain.
    pub(super) fn wait(&mut self, join: JoinChannel) -> Requested {
        match &mut self.0 {
            Some(requested) if requested.channel == join.channel => {
                requested.waiters.push(join.outcome);
                Requested::Already
            }
            _ => {
                self.supersede();
                self.0 = Some(RequestedChannel { channel: join.channel, waiters: vec![join.outcome] });
                Requested::New
            }
        }
    }

    /// The bot was moved before it could connect: who waits, waits for the channel where it is now.
    pub(super) fn redirect(&mut self, channel: ChannelId) {
        if let Some(requested) = &mut self.0 {
            requested.channel = channel;
        }
    }

    /// Another channel, or the one where the bot is, was asked for.
    pub(super) fn supersede(&mut self) {
        self.answer(&Err(super::JoinError::NotMoved(JoinFailure::Superseded)));
    }

    /// Answers those who wait.
    pub(super) fn answer(&mut self, outcome: &JoinOutcome) {
        for waiter in self.0.take().into_iter().flat_map(|requested| requested.waiters) {
            // Whoever asked may no longer wait.
            let _ = waiter.send(outcome.clone());
        }
    }
}
