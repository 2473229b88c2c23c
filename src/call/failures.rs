//! Failures: what went wrong of late, and so how long to pause, and when to give up.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Cause, EndReason, Supervision};
use crate::gateway::close::CloseCode;

/// The failures of one call.
#[derive(Debug)]
pub(super) struct Failures {
    /// When something failed: in the last minute, and since the call was last live.
    at: VecDeque<Instant>,
    /// How many of them came since the call was last live.
    in_a_row: usize,
    /// How many attempts to resume were lost since the call was last live.
    lost_resumes: usize,
    /// Codes after which a second time is final.
    last_chances: Vec<(CloseCode, Instant)>,
    /// In 0..1; spreads the pauses of many calls.
    jitter: f32,
}

impl Failures {
    pub(super) fn new(jitter: f32) -> Self {
        Self {
            at: VecDeque::new(),
            in_a_row: 0,
            lost_resumes: 0,
            last_chances: Vec::new(),
            jitter: jitter.clamp(0.0, 1.0),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.at.len()
    }

    /// The call is live: what fails next is the first in a row.
    pub(super) fn live(&mut self) {
        self.in_a_row = 0;
        self.lost_resumes = 0;
    }

    /// An attempt to resume was lost; there is another.
    pub(super) fn resume_lost(&mut self) {
        self.lost_resumes += 1;
    }

    /// The connection failed.
    pub(super) fn connection_lost(
        &mut self,
        cause: &Cause,
        policy: &Supervision,
        now: Instant,
    ) -> Option<EndReason> {
        self.in_a_row += 1;
        self.failed(cause, policy, now)
    }

    /// Counts a failure; too many within the policy's window, or in a row, are the end.
    pub(super) fn failed(&mut self, cause: &Cause, policy: &Supervision, now: Instant) -> Option<EndReason> {
        // In this order, so that the failures before are forgotten, and this one is not.
        self.at.push_back(now);
        self.forget(policy, now);
        let failures = self.at.len();
        (failures >= policy.failure_limit).then(|| EndReason::GaveUp { failures, last: cause.clone() })
    }

    /// Whether the connection was not closed with this code of late; it is remembered.
    pub(super) fn first_time(&mut self, code: CloseCode, now: Instant) -> bool {
        let first = self.last_chances.iter().all(|&(last, _)| last != code);
        if first {
            self.last_chances.push((code, now));
        }
        first
    }

    /// Failures before the policy's window no longer count, if the call was live since.
    pub(super) fn forget(&mut self, policy: &Supervision, now: Instant) {
        let old = |at: Instant| now.duration_since(at) > policy.failure_window;
        while self.at.len() > self.in_a_row && self.at.front().is_some_and(|&at| old(at)) {
            self.at.pop_front();
        }
        if self.in_a_row == 0 {
            self.last_chances.retain(|&(_, at)| !old(at));
        }
    }

    /// What failed in the last seconds failed because the path to Discord is broken.
    pub(super) fn forgive(&mut self, now: Instant) {
        let excused = self.at.iter().filter(|&&at| now.duration_since(at) <= FORGIVEN).count();
        self.at.truncate(self.at.len() - excused);
        self.in_a_row = self.in_a_row.saturating_sub(excused);
    }

    /// How long to wait before the next attempt.
    pub(super) fn pause(&self, policy: &Supervision) -> Duration {
        policy.pause(self.at.len() + self.lost_resumes, self.jitter)
    }
}

/// How long a broken path may have gone unnoticed: two heartbeats of a voice gateway, and the probe of the main gateway.
const FORGIVEN: Duration = Duration::from_secs(30);
