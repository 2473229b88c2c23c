//! Doubt: whether the main gateway still answers at all. Its socket may take op 4 after op 4 and lead nowhere.

use std::time::{Duration, Instant};

/// Watches one main gateway: what is asked of it, and that anything comes back.
#[derive(Debug, Default)]
pub struct Doubt {
    /// When something was asked that may not have arrived.
    asked: Option<Instant>,
    raised: bool,
}

impl Doubt {
    /// An op 4 has left.
    pub fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// What was asked is answered, or is asked of nobody any more.
    pub fn settled(&mut self) {
        *self = Self::default();
    }

    /// An event came, of whatever guild, or a heartbeat was answered. What may have been on its way already when something was
    /// asked says nothing of that.
    pub fn heard(&mut self, now: Instant) {
        if self.raised || self.asked.is_some_and(|asked| now >= asked + ON_ITS_WAY) {
            self.settled();
        }
    }

    /// Whether to see now, with a heartbeat, whether the main gateway answers. Says so once.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        self.raised |= due;
        due
    }

    /// When to [`poll`](Self::poll) though nothing has happened.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.filter(|_| !self.raised).map(|asked| asked + RAISED_AFTER)
    }

    /// Whether it was seen, and nothing has come back.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.raised
    }
}

/// How long an op 4 may have no answer, and nothing else come, before the main gateway is doubted.
const RAISED_AFTER: Duration = Duration::from_secs(3);
/// How long what the main gateway sent may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn silence_after_an_op_4_raises_doubt_once() {
        let (t, mut doubt) = (start(), Doubt::default());
        assert_eq!(doubt.deadline(), None);
        doubt.asked(t);
        doubt.asked(t + Duration::from_secs(2));
        assert_eq!(doubt.deadline(), Some(t + RAISED_AFTER), "since the first");
        assert!(!doubt.poll(t + RAISED_AFTER - Duration::from_millis(1)) && !doubt.is_raised());
        assert!(doubt.poll(t + RAISED_AFTER) && doubt.is_raised());
        assert!(!doubt.poll(t + RAISED_AFTER * 2));
        assert_eq!(doubt.deadline(), None);
    }

    #[test]
    fn whatever_comes_later_than_it_can_have_been_on_its_way_settles_it_and_an_answer_does_at_once() {
        let (t, mut doubt) = (start(), Doubt::default());
        doubt.asked(t);
        doubt.heard(t + ON_ITS_WAY - Duration::from_millis(1));
        assert_eq!(doubt.deadline(), Some(t + RAISED_AFTER), "it may be older than the question");
        doubt.heard(t + ON_ITS_WAY);
        assert!(!doubt.poll(t + RAISED_AFTER));
        doubt.asked(t + RAISED_AFTER);
        doubt.settled();
        assert!(!doubt.poll(t + RAISED_AFTER * 2));
        doubt.asked(t + RAISED_AFTER);
        assert!(doubt.poll(t + RAISED_AFTER * 2));
        doubt.heard(t + RAISED_AFTER * 2);
        assert!(!doubt.is_raised());
        doubt.asked(t + RAISED_AFTER * 3);
        assert_eq!(doubt.deadline(), Some(t + RAISED_AFTER * 4), "it may be raised again");
    }
}
