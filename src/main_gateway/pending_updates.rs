//! Remembers op 4 that Discord has not answered, for a connection that is lost takes them with it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bridge::events::{UpdateVoiceState, VoiceState};

/// The latest op 4 of each guild, oldest first, until its VOICE_STATE_UPDATE comes or nobody waits for that any more.
#[derive(Debug, Default)]
pub(super) struct PendingVoiceUpdates(VecDeque<(Instant, UpdateVoiceState)>);

impl PendingVoiceUpdates {
    /// Takes that an op 4 was sent. Discord's limit of messages bounds how many are remembered.
    pub(super) fn sent(&mut self, update: UpdateVoiceState, now: Instant) {
        self.forget(now);
        self.0.retain(|(_, earlier)| earlier.guild != update.guild);
        self.0.push_back((now, update));
    }

    /// Takes our own voice state.
    pub(super) fn answered(&mut self, state: &VoiceState) {
        self.0.retain(|(_, sent)| Some(sent.guild) != state.guild || sent.channel != state.channel);
    }

    /// What may not have arrived, to be sent again.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = UpdateVoiceState> {
        self.forget(now);
        std::mem::take(&mut self.0).into_iter().map(|(_, update)| update)
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|(at, _)| now.saturating_duration_since(*at) < PENDING_TIMEOUT);
    }
}

/// About as long as an answer is waited for; what is older may be against what a moderator did since.
const PENDING_TIMEOUT: Duration = Duration::from_secs(10);
