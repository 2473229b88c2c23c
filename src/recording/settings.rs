//! Settings: what is recorded, and of whom.

use crate::{
    hearing::Selection,
    id::{ChannelId, GuildId},
};

/// What is recorded, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The guild.
    pub guild: GuildId,
    /// The channel that the recording begins in.
    pub channel: ChannelId,
    /// Who may be recorded. Of everyone else not a byte is kept.
    pub selection: Selection,
}

impl Settings {
    /// Records everyone in this channel.
    #[must_use]
    pub fn new(guild: GuildId, channel: ChannelId) -> Self {
        Self { guild, channel, selection: Selection::all() }
    }

    /// Records whom this selection accepts.
    #[must_use]
    pub fn selection(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }
}
