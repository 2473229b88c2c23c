//! Heartbeat: when to beat, what each acknowledgement says, and when a connection is dead although it looks alive.
//!
//! ```text
//!            every interval              misses_allowed beats in a row without an answer
//! Beating ───────────────────▶ Beat      Beating ─────────────────────────────────────────▶ Zombie, then nothing more
//!            probed                                silence for the time of the probe
//! Beating ───────────────────▶ Beat      Probed ──────────────────────────────────────────▶ Zombie, then nothing more
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Paces the heartbeats of one connection and measures their round trips.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Duration,
    misses_allowed: usize,
    next_nonce: u64,
    /// When the next scheduled beat is due; none once the connection is a zombie.
    due: Option<Instant>,
    /// When a beat out of turn was asked for that was not yet sent.
    requested: Option<Instant>,
    /// Until when the other side has to say something, whatever it is.
    probed: Option<Instant>,
    /// Oldest first; bounded by [`REMEMBERED`].
    unanswered: VecDeque<Unanswered>,
}

/// What the connection's owner has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Sends a heartbeat that carries this nonce.
    Beat {
        /// The number that the acknowledgement repeats.
        nonce: u64,
    },
    /// Closes and resumes: the other side no longer answers. Comes once and is the last action.
    Zombie,
}

#[derive(Clone, Copy, Debug)]
struct Unanswered {
    nonce: u64,
    sent: Instant,
    why: Why,
}

/// Only beats of our own schedule count as missed: a server that asks for many would otherwise kill its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Scheduled,
    Requested,
}

impl Heartbeat {
    /// Starts the heartbeats of a voice gateway: the server's interval, but at most five seconds, the first beat one
    /// interval from now, and a zombie after two missed ones.
    ///
    /// Nonces count up from `first_nonce`; Discord's own clients begin with the Unix time in milliseconds.
    #[must_use]
    pub fn new(interval: Duration, first_nonce: u64, now: Instant) -> Self {
        let interval = interval.clamp(INTERVAL_MIN, VOICE_INTERVAL_MAX);
        Self::with(interval, 2, first_nonce, now + interval)
    }

    /// Starts heartbeats with every choice the caller's: zombie when `misses_allowed` beats in a row were not
    /// answered by the time the next is due, first beat at `first_beat`.
    #[must_use]
    pub fn with(interval: Duration, misses_allowed: usize, first_nonce: u64, first_beat: Instant) -> Self {
        Self {
            interval: interval.clamp(INTERVAL_MIN, INTERVAL_MAX),
            misses_allowed: misses_allowed.clamp(1, REMEMBERED),
            next_nonce: first_nonce,
            due: Some(first_beat),
            requested: None,
            probed: None,
            unanswered: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// Takes an acknowledgement and returns the round trip, or none if no such beat is awaited.
    ///
    /// Beats before the acknowledged one count as answered too.
    pub fn acknowledge(&mut self, nonce: u64, now: Instant) -> Option<Duration> {
        let at = self.unanswered.iter().position(|beat| beat.nonce == nonce)?;
        let sent = self.unanswered[at].sent;
        self.unanswered.drain(..=at);
        Some(now.saturating_duration_since(sent))
    }

    /// Takes an acknowledgement that repeats no nonce, as the main gateway's, and returns the round trip of the
    /// oldest unanswered beat.
    pub fn acknowledge_any(&mut self, now: Instant) -> Option<Duration> {
        let sent = self.unanswered.front()?.sent;
        self.unanswered.clear();
        Some(now.saturating_duration_since(sent))
    }

    /// Takes the server's request for a beat at once; the schedule stays.
    pub fn requested(&mut self, now: Instant) {
        if self.due.is_some() {
            self.requested.get_or_insert(now);
        }
    }

    /// Beats at once, and takes silence until `patience` is over for the end of the connection: there is reason to
    /// doubt it.
    pub fn probe(&mut self, patience: Duration, now: Instant) {
        if self.due.is_some() && self.probed.is_none() {
            self.probed = Some(now + patience);
            self.requested(now);
        }
    }

    /// Takes note that the other side has said something; returns whether a probe has its answer with that.
    pub fn heard(&mut self) -> bool {
        self.probed.take().is_some()
    }

    /// Says what to do now; ask until it returns none.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        let due = self.due?;
        let silent = self.probed.is_some_and(|until| now >= until);
        if silent || now >= due && self.missed() >= self.misses_allowed {
            self.due = None;
            self.requested = None;
            self.probed = None;
            return Some(Action::Zombie);
        }
        if now >= due {
            // After a stall the schedule starts afresh instead of catching up with a burst.
            let next = due + self.interval;
            self.due = Some(if next > now { next } else { now + self.interval });
            self.requested = None;
            return Some(self.beat(Why::Scheduled, now));
        }
        self.requested.take().map(|_| self.beat(Why::Requested, now))
    }

    /// Says when to ask [`poll`](Self::poll) again; none once the connection is a zombie.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.requested.into_iter().chain(self.probed).chain(self.due).min()
    }

    /// The time between two beats.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    fn missed(&self) -> usize {
        self.unanswered.iter().filter(|beat| beat.why == Why::Scheduled).count()
    }

    fn beat(&mut self, why: Why, now: Instant) -> Action {
        let nonce = self.next_nonce;
        self.next_nonce = nonce.wrapping_add(1);
        if self.unanswered.len() == REMEMBERED {
            // The oldest answer to a request goes unmeasured; scheduled beats never fill the queue alone.
            let spare = self.unanswered.iter().position(|beat| beat.why == Why::Requested).unwrap_or(0);
            self.unanswered.remove(spare);
        }
        self.unanswered.push_back(Unanswered { nonce, sent: now, why });
        Action::Beat { nonce }
    }
}

/// The voice gateway's interval is an upper bound; Discord's own clients beat every five seconds, and so see a dead
/// connection sooner.
pub const VOICE_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Keeps a nonsensical interval from becoming a flood.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Keeps a nonsensical interval from overflowing an instant.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// More beats than any allowance of misses; beyond it the oldest is forgotten.
const REMEMBERED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Polls once and expects nothing after the one action.
    fn only(heartbeat: &mut Heartbeat, now: Instant) -> Option<Action> {
        let action = heartbeat.poll(now);
        assert_eq!(heartbeat.poll(now), None);
        action
    }

    #[test]
    fn beats_come_every_interval_but_at_least_every_five_seconds() {
        let t = start();
        let mut slow = Heartbeat::new(Duration::from_millis(13_750), 70, t);
        assert_eq!(only(&mut slow, t), None);
        assert_eq!(slow.deadline(), Some(t + seconds(5)));
        assert_eq!(only(&mut slow, t + seconds(5)), Some(Action::Beat { nonce: 70 }));
        assert_eq!(slow.deadline(), Some(t + seconds(10)));

        let fast = Heartbeat::new(seconds(3), 0, t);
        assert_eq!(fast.deadline(), Some(t + seconds(3)));
    }

    #[test]
    fn an_acknowledgement_gives_the_round_trip_once() {
        let t = start();
        let mut heartbeat = Heartbeat::new(seconds(5), 9, t);
        only(&mut heartbeat, t + seconds(5));
        let answer = t + seconds(5) + Duration::from_millis(42);
        assert_eq!(heartbeat.acknowledge(8, answer), None);
        assert_eq!(heartbeat.acknowledge(9, answer), Some(Duration::from_millis(42)));
        assert_eq!(heartbeat.acknowledge(9, answer), None);
    }

    #[test]
    fn two_unacknowledged_beats_make_a_zombie_when_the_third_is_due() {
        let t = start();
        let mut heartbeat = Heartbeat::new(seconds(5), 1, t);
        assert_eq!(only(&mut heartbeat, t + seconds(5)), Some(Action::Beat { nonce: 1 }));
        assert_eq!(only(&mut heartbeat, t + seconds(10)), Some(Action::Beat { nonce: 2 }));
        assert_eq!(only(&mut heartbeat, t + Duration::from_millis(14_999)), None);
        assert_eq!(only(&mut heartbeat, t + seconds(15)), Some(Action::Zombie));
        heartbeat.requested(t + seconds(16));
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(only(&mut heartbeat, t + seconds(100)), None);
    }

    #[test]
    fn after_a_stall_the_next_beat_is_a_whole_interval_away() {
        for stall in [5, 6, 12] {
            let t = start();
            let mut heartbeat = Heartbeat::new(seconds(5), 1, t);
            let late = t + seconds(5 + stall);
            assert_eq!(only(&mut heartbeat, late), Some(Action::Beat { nonce: 1 }));
            assert_eq!(heartbeat.deadline(), Some(late + seconds(5)), "after {stall} s");
        }
        let t = start();
        let mut heartbeat = Heartbeat::new(seconds(5), 1, t);
        only(&mut heartbeat, t + seconds(6));
        assert_eq!(heartbeat.deadline(), Some(t + seconds(10)), "a little late moves nothing");
    }

    #[test]
    fn one_answer_in_between_keeps_the_connection_alive() {
        let t = start();
        let mut heartbeat = Heartbeat::new(seconds(5), 1, t);
        only(&mut heartbeat, t + seconds(5));
        only(&mut heartbeat, t + seconds(10));
        // The answer to the first comes late: only the second is missed.
        assert_eq!(heartbeat.acknowledge(1, t + seconds(11)), Some(seconds(6)));
        assert_eq!(only(&mut heartbeat, t + seconds(15)), Some(Action::Beat { nonce: 3 }));
        assert_eq!(heartbeat.acknowledge(3, t + seconds(16)), Some(seconds(1)));
        assert_eq!(heartbeat.acknowledge(2, t + seconds(16)), None);
        assert_eq!(only(&mut heartbeat, t + seconds(20)), Some(Action::Beat { nonce: 4 }));
    }

    #[test]
    fn a_requested_beat_is_sent_at_once_and_never_counts_as_missed() {
        let t = start();
        let mut heartbeat = Heartbeat::new(seconds(5), 0, t);
        for nonce in 0..100 {
            heartbeat.requested(t + seconds(1));
            assert_eq!(heartbeat.deadline(), Some(t + seconds(1)));
            assert_eq!(only(&mut heartbeat, t + seconds(1)), Some(Action::Beat { nonce }));
        }
        assert_eq!(heartbeat.deadline(), Some(t + seconds(5)));
        assert_eq!(heartbeat.acknowledge(99, t + seconds(2)), Some(seconds(1)));
        assert_eq!(only(&mut heartbeat, t + seconds(5)), Some(Action::Beat { nonce: 100 }));
        assert_eq!(only(&mut heartbeat, t + seconds(10)), Some(Action::Beat { nonce: 101 }));
        for _ in 0..100 {
            heartbeat.requested(t + seconds(11));
            only(&mut heartbeat, t + seconds(11));
        }
        assert_eq!(only(&mut heartbeat, t + seconds(15)), Some(Action::Zombie));
    }

    #[test]
    fn a_probe_beats_at_once_and_silence_after_it_is_death() {
        let t = start();
        let mut heartbeat = Heartbeat::with(seconds(41), 1, 0, t + seconds(41));
        heartbeat.probe(seconds(5), t + seconds(1));
        assert_eq!(heartbeat.deadline(), Some(t + seconds(1)));
        assert_eq!(only(&mut heartbeat, t + seconds(1)), Some(Action::Beat { nonce: 0 }));
        assert_eq!(heartbeat.deadline(), Some(t + seconds(6)));
        heartbeat.probe(seconds(5), t + seconds(4));
        assert_eq!(only(&mut heartbeat, t + seconds(4)), None, "one probe at a time");
        assert_eq!(only(&mut heartbeat, t + seconds(6)), Some(Action::Zombie));
        assert_eq!(heartbeat.deadline(), None);
    }

    #[test]
    fn a_probe_is_answered_by_whatever_comes() {
        let t = start();
        let mut heartbeat = Heartbeat::with(seconds(41), 1, 0, t + seconds(41));
        heartbeat.probe(seconds(5), t);
        only(&mut heartbeat, t);
        assert!(heartbeat.heard());
        assert!(!heartbeat.heard(), "it was not probed again");
        assert_eq!(only(&mut heartbeat, t + seconds(6)), None);
        assert_eq!(heartbeat.deadline(), Some(t + seconds(41)), "the schedule stays");
    }

    #[test]
    fn a_stall_costs_beats_but_brings_no_burst() {
        let t = start();
        let mut heartbeat = Heartbeat::new(seconds(5), 0, t);
        assert_eq!(only(&mut heartbeat, t + seconds(61)), Some(Action::Beat { nonce: 0 }));
        assert_eq!(heartbeat.deadline(), Some(t + seconds(66)));
    }

    #[test]
    fn a_beat_a_little_late_does_not_shift_the_schedule() {
        let t = start();
        let mut heartbeat = Heartbeat::new(seconds(5), 0, t);
        only(&mut heartbeat, t + Duration::from_millis(5_002));
        assert_eq!(heartbeat.deadline(), Some(t + seconds(10)));
    }

    #[test]
    fn the_main_gateway_is_a_zombie_after_one_and_answers_without_nonces() {
        let t = start();
        let mut heartbeat = Heartbeat::with(seconds(41), 1, 0, t + seconds(20));
        assert_eq!(heartbeat.acknowledge_any(t), None);
        assert_eq!(only(&mut heartbeat, t + seconds(20)), Some(Action::Beat { nonce: 0 }));
        assert_eq!(heartbeat.acknowledge_any(t + seconds(21)), Some(seconds(1)));
        assert_eq!(only(&mut heartbeat, t + seconds(61)), Some(Action::Beat { nonce: 1 }));
        assert_eq!(only(&mut heartbeat, t + seconds(102)), Some(Action::Zombie));
    }

    #[test]
    fn an_absurd_interval_neither_floods_nor_overflows() {
        let t = start();
        assert_eq!(Heartbeat::new(Duration::ZERO, 0, t).deadline(), Some(t + Duration::from_millis(100)));
        let mut long = Heartbeat::with(Duration::MAX, 1, u64::MAX, t);
        assert_eq!(only(&mut long, t), Some(Action::Beat { nonce: u64::MAX }));
        assert_eq!(long.deadline(), Some(t + seconds(3600)));
    }
}
