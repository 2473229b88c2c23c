//! The states of a call.

use std::time::Instant;

use super::Cause;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Joining { first: First, until: Instant },
    Connecting(Awaited),
    Live,
    Resuming { tried: u32 },
    Pausing { until: Instant, then: Step },
    Awaiting { until: Instant, cause: Cause },
    Ended,
}

/// What a new voice session still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Both,
    Transport,
    /// Others are in the call, and the group is not formed yet: what is said before is heard by nobody.
    Encryption {
        until: Instant,
    },
}

/// Whether the call has ever been live: the first join fails to the user, later ones are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Resume { tried: u32 },
    Rejoin,
}
