//! Faults that wait for their moment.

use std::collections::{BTreeMap, VecDeque};

/// A moment in the life of a voice connection at which it can be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeStep {
    /// The websocket was opened; nothing was said.
    Connect,
    /// Hello was sent.
    Hello,
    /// Identify or Resume came; it is not looked at.
    Identify,
    /// Ready was sent.
    Ready,
    /// Select Protocol came; it is not looked at.
    SelectProtocol,
    /// The Session Description was sent.
    Described,
    /// The first Speaking came after the Session Description.
    Established,
    /// Resumed and the replay were sent.
    Resumed,
}

/// The owner of the faults that wait.
#[derive(Debug, Default)]
pub(super) struct PendingFaults {
    closes: VecDeque<(HandshakeStep, u16)>,
    pub(super) muted_acks: FaultCounter,
    pub(super) muted_main_acks: FaultCounter,
    pub(super) refused_resumes: FaultCounter,
}

impl PendingFaults {
    /// Closes the next connection that comes to this step.
    pub(super) fn close_at(&mut self, step: HandshakeStep, code: u16) {
        self.closes.push_back((step, code));
    }

    /// Takes the close that waits for this step.
    pub(super) fn take_close(&mut self, step: HandshakeStep) -> Option<u16> {
        let waiting = self.closes.iter().position(|(at, _)| *at == step)?;
        self.closes.remove(waiting).map(|(_, code)| code)
    }
}

/// How often something is still to fail, by user.
#[derive(Debug, Default)]
pub(super) struct FaultCounter {
    left: BTreeMap<u64, u32>,
}

impl FaultCounter {
    pub(super) fn add(&mut self, user: u64, times: u32) {
        *self.left.entry(user).or_default() += times;
    }

    /// Says whether it fails now, which is one time less to come.
    pub(super) fn use_up(&mut self, user: Option<u64>) -> bool {
        let Some(left) = user.and_then(|user| self.left.get_mut(&user)) else { return false };
        let fails_now = *left > 0;
        *left = left.saturating_sub(1);
        fails_now
    }
}
