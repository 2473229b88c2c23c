//! Who is in which voice channel.

use std::collections::BTreeMap;

use crate::relay::Relay;

/// The voice state of a user in a guild.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VoiceState {
    /// `None` only in the event that tells of leaving.
    pub(super) channel: Option<u64>,
    pub(super) session_id: String,
    pub(super) self_mute: bool,
    pub(super) self_deaf: bool,
    pub(super) suppress: bool,
}

/// The owner of the voice states. The relay lets nobody hear a user whose state says that it is suppressed.
pub(super) struct VoiceStates {
    by_guild_and_user: BTreeMap<(u64, u64), VoiceState>,
    relay: Relay,
}

impl VoiceStates {
    pub(super) fn new(relay: Relay) -> Self {
        Self { by_guild_and_user: BTreeMap::new(), relay }
    }

    pub(super) fn put(&mut self, guild: u64, user: u64, state: VoiceState) {
        self.take(guild, user);
        if let Some(channel) = state.channel.filter(|_| state.suppress) {
            self.relay.suppress(channel, user);
        }
        self.by_guild_and_user.insert((guild, user), state);
    }

    pub(super) fn take(&mut self, guild: u64, user: u64) -> Option<VoiceState> {
        let state = self.by_guild_and_user.remove(&(guild, user))?;
        if let Some(channel) = state.channel {
            self.relay.unsuppress(channel, user);
        }
        Some(state)
    }

    pub(super) fn get(&self, guild: u64, user: u64) -> Option<&VoiceState> {
        self.by_guild_and_user.get(&(guild, user))
    }

    /// The channel that a user is in.
    pub(super) fn channel_of(&self, guild: u64, user: u64) -> Option<u64> {
        self.get(guild, user)?.channel
    }

    pub(super) fn in_guild(&self, guild: u64) -> impl Iterator<Item = (u64, &VoiceState)> {
        let inside = self.by_guild_and_user.range((guild, 0)..=(guild, u64::MAX));
        inside.map(|((_, user), state)| (*user, state))
    }

    /// The users in a channel, each with its guild.
    pub(super) fn in_channel(&self, channel: u64) -> Vec<(u64, u64)> {
        self.keys(|_, state| state.channel == Some(channel))
    }

    /// The guilds and users whose voice state belongs to a main session.
    pub(super) fn of_session(&self, session: &str) -> Vec<(u64, u64)> {
        self.keys(|_, state| state.session_id == session)
    }

    /// The guilds in which a user is suppressed.
    pub(super) fn suppressed(&self, user: u64) -> Vec<(u64, u64)> {
        self.keys(|one, state| one == user && state.suppress)
    }

    /// How many others are in a channel.
    pub(super) fn others_in(&self, channel: u64, user: u64) -> usize {
        self.in_channel(channel).into_iter().filter(|(_, other)| *other != user).count()
    }

    fn keys(&self, fits: impl Fn(u64, &VoiceState) -> bool) -> Vec<(u64, u64)> {
        let fitting = self.by_guild_and_user.iter().filter(|((_, user), state)| fits(*user, state));
        fitting.map(|(key, _)| *key).collect()
    }
}
