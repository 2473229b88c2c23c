//! What Discord was asked and has not answered yet.

use std::{collections::VecDeque, time::Instant};

use crate::id::ChannelId;

/// The joins that were sent and not answered, and whether the bot has left without an answer before.
///
/// Discord answers in the order in which it was asked. So where an answer to a join is due that followed a leave, what says
/// that the bot is in no channel answers the leave, and is no kick.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// The channels, and until when the answer may come.
    joins: VecDeque<(ChannelId, Instant)>,
    has_left: bool,
}

impl Unanswered {
    /// The answer to a leave did not come in time; it may still come.
    pub(super) fn leave(&mut self) {
        self.has_left = true;
    }

    /// Discord was asked for this channel.
    pub(super) fn join(&mut self, channel: ChannelId, until: Instant) {
        if self.joins.len() == JOINS_MAX {
            self.joins.pop_front();
        }
        self.joins.push_back((channel, until));
    }

    /// Discord says that the bot is in this channel.
    pub(super) fn answered(&mut self, channel: ChannelId) {
        if let Some(index) = self.joins.iter().position(|(asked, _)| *asked == channel) {
            self.joins.remove(index);
            self.has_left &= !self.joins.is_empty();
        }
    }

    /// Whether a null state that comes now is the answer to a leave.
    pub(super) fn explain_null(&self, now: Instant) -> bool {
        self.has_left && self.joins.iter().any(|(_, until)| *until > now)
    }
}

/// A bot asks less often within the time that an answer may take.
const JOINS_MAX: usize = 8;
