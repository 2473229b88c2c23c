//! VoiceUpdateQueue: op 4 of all guilds on their way out, below Discord's limit.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::events::UpdateVoiceState;
use crate::id::GuildId;

/// How many messages a main gateway takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendLimit {
    /// 120 a minute, as Discord does: most of them may be joins and leaves, and more have to wait.
    #[default]
    Discords,
    /// As many as are sent, as a loopback may: a thousand channels are joined at once.
    None,
}

/// Holds at most one op 4 for each guild, the latest, and lets them out in order as fast as the gateway takes them.
#[derive(Debug, Default)]
pub struct VoiceUpdateQueue {
    limit: SendLimit,
    waiting: VecDeque<UpdateVoiceState>,
    /// When the last op 4 were sent, oldest first; bounded by [`UPDATES_PER_WINDOW`].
    sent: VecDeque<Instant>,
}

impl VoiceUpdateQueue {
    /// An empty queue to such a gateway.
    pub fn new(limit: SendLimit) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Goes on to another gateway, which takes so many.
    pub fn set_limit(&mut self, limit: SendLimit) {
        self.limit = limit;
    }

    /// Queues an op 4, in the place of one for the same guild that still waits.
    pub fn push(&mut self, update: UpdateVoiceState) {
        match self.waiting.iter_mut().find(|waiting| waiting.guild == update.guild) {
            Some(waiting) => *waiting = update,
            None => self.waiting.push_back(update),
        }
    }

    /// Takes an op 4 back that still waits.
    pub fn cancel(&mut self, guild: GuildId) {
        self.waiting.retain(|waiting| waiting.guild != guild);
    }

    /// The next op 4 that may be sent now; it counts as sent.
    pub fn pop(&mut self, now: Instant) -> Option<UpdateVoiceState> {
        if self.room_at().is_some_and(|at| now < at) {
            return None;
        }
        let update = self.waiting.pop_front()?;
        if self.sent.len() == UPDATES_PER_WINDOW {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
        Some(update)
    }

    /// When the next op 4 may be sent; none if none waits.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { Some(self.room_at().unwrap_or(now)) }
    }

    /// When there is room again; none if there is.
    fn room_at(&self) -> Option<Instant> {
        let is_full = self.limit != SendLimit::None && self.sent.len() >= UPDATES_PER_WINDOW;
        self.sent.front().filter(|_| is_full).map(|&at| at + WINDOW)
    }
}

/// Discord takes [120 messages a minute](https://docs.discord.com/developers/events/gateway#rate-limiting) of a connection.
/// The rest is for heartbeats, Identify, Resume, and what else a bot has to say.
const UPDATES_PER_WINDOW: usize = 100;
const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChannelId;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn update(guild: u64, channel: Option<u64>) -> UpdateVoiceState {
        let channel = channel.map(ChannelId);
        UpdateVoiceState { guild: GuildId(guild), channel, self_mute: false, self_deaf: false }
    }

    #[test]
    fn a_hundred_leave_at_once_and_the_next_when_the_first_is_a_minute_old() {
        let (mut queue, now) = (VoiceUpdateQueue::default(), start());
        (0..150).for_each(|guild| queue.push(update(guild, Some(1))));
        for guild in 0..100 {
            assert_eq!(queue.pop(now).map(|update| update.guild), Some(GuildId(guild)));
        }
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.deadline(now), Some(now + WINDOW));
        assert_eq!(queue.pop(now + WINDOW - Duration::from_nanos(1)), None);
        let rest = std::iter::from_fn(|| queue.pop(now + WINDOW)).count();
        assert_eq!(rest, 50);
        assert_eq!(queue.deadline(now + WINDOW), None);
    }

    #[test]
    fn where_nothing_is_limited_all_leave_at_once() {
        let (mut queue, now) = (VoiceUpdateQueue::new(SendLimit::None), start());
        (0..1000).for_each(|guild| queue.push(update(guild, Some(1))));
        assert_eq!(std::iter::from_fn(|| queue.pop(now)).count(), 1000);
    }

    #[test]
    fn the_latest_of_a_guild_wins_in_the_place_of_the_first() {
        let (mut queue, now) = (VoiceUpdateQueue::default(), start());
        queue.push(update(1, Some(10)));
        queue.push(update(2, Some(20)));
        queue.push(update(1, None));
        assert_eq!(queue.pop(now), Some(update(1, None)));
        assert_eq!(queue.pop(now), Some(update(2, Some(20))));
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn what_is_taken_back_is_not_sent() {
        let (mut queue, now) = (VoiceUpdateQueue::default(), start());
        queue.push(update(1, Some(10)));
        queue.push(update(2, Some(20)));
        queue.cancel(GuildId(1));
        assert_eq!(queue.deadline(now), Some(now));
        assert_eq!(queue.pop(now), Some(update(2, Some(20))));
    }
}
