//! What Discord was asked and has not answered yet, and how long its answers take.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::id::ChannelId;

/// The joins that were sent and not answered, and whether the bot has left without an answer before.
///
/// Discord answers in the order in which it was asked. So where an answer to a join is due that followed a leave, what says
/// that the bot is in no channel answers the leave, and is no kick.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    joins: VecDeque<Question>,
    has_left: bool,
    /// The channel that the last answer named, and until when Discord may say so once more.
    said: Option<(ChannelId, Instant)>,
    /// How long the last answer to a join took.
    latency: Duration,
}

/// A join that was sent.
#[derive(Debug)]
struct Question {
    channel: ChannelId,
    asked: Instant,
    /// Until when the answer may come. It is waited for no longer.
    until: Instant,
}

impl Unanswered {
    /// The answer to a leave did not come in time; it may still come.
    pub(super) fn leave(&mut self) {
        self.has_left = true;
    }

    /// Discord was asked for this channel.
    pub(super) fn join(&mut self, channel: ChannelId, asked: Instant, until: Instant) {
        if self.joins.len() == JOINS_MAX {
            self.joins.pop_front();
        }
        self.joins.push_back(Question { channel, asked, until });
    }

    /// Discord says that the bot is in this channel. Where an answer to a leave is still to come, an answer that is said once
    /// more before it is none to the join after it.
    pub(super) fn answered(&mut self, channel: ChannelId, now: Instant) {
        let once_more = self.said.is_some_and(|(said, until)| said == channel && now <= until);
        if self.has_left && once_more {
            return;
        }
        let Some(index) = self.joins.iter().position(|question| question.channel == channel) else { return };
        if let Some(question) = self.joins.remove(index) {
            self.said = Some((channel, now + question.until.duration_since(question.asked)));
            if now <= question.until {
                self.latency = now.duration_since(question.asked);
            }
        }
        self.has_left &= !self.joins.is_empty();
    }

    /// Discord says that the bot is in no channel: what it says next is no repetition.
    pub(super) fn out(&mut self) {
        self.said = None;
    }

    /// Whether a null state that comes now is the answer to a leave.
    pub(super) fn explain_null(&self, now: Instant) -> bool {
        self.has_left && self.joins.iter().any(|question| question.until + TOO_LATE > now)
    }

    /// How long what Discord has to say may be on its way, going by its last answer.
    pub(super) fn longest_latency(&self) -> Duration {
        self.latency + self.latency / 2
    }

    /// The main gateway is back. The time that it was away says nothing of its answers.
    pub(super) fn restored(&mut self, now: Instant) {
        self.joins.iter_mut().for_each(|question| question.asked = now);
    }

    /// Nothing is answered any more; Discord is as slow as it was.
    pub(super) fn forget(&mut self) {
        *self = Self { latency: self.latency, ..Self::default() };
    }
}

/// How much later than it is waited for an answer may still come.
const TOO_LATE: Duration = Duration::from_secs(2);
/// A bot asks less often within the time that an answer may take.
const JOINS_MAX: usize = 8;
