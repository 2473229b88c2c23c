//! Users, guilds and channels.

use std::collections::BTreeMap;

use crate::token::Token;

/// A user, bot or not.
#[derive(Debug)]
pub(crate) struct UserRecord {
    pub(crate) name: String,
    /// Simulated members have none.
    pub(crate) token: Option<Token>,
}

/// A guild.
#[derive(Debug)]
pub(super) struct GuildRecord {
    pub(super) name: String,
    /// Which voice server the guild is on.
    pub(super) region: usize,
    pub(super) endpoint_withheld: bool,
    /// It has an outage.
    pub(super) unavailable: bool,
}

/// A voice or stage channel.
#[derive(Debug)]
pub(crate) struct ChannelRecord {
    pub(crate) guild: u64,
    pub(crate) name: String,
    pub(crate) kind: ChannelKind,
    pub(crate) bitrate: u32,
    pub(crate) user_limit: u32,
    /// Joins are refused, as for a missing permission.
    pub(crate) forbidden: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    Voice,
    Stage,
}

impl ChannelKind {
    /// <https://docs.discord.com/developers/resources/channel#channel-object-channel-types>
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Voice => 2,
            Self::Stage => 13,
        }
    }
}

/// The owner of users, guilds and channels, by id.
#[derive(Debug, Default)]
pub(super) struct Directory {
    users: BTreeMap<u64, UserRecord>,
    guilds: BTreeMap<u64, GuildRecord>,
    channels: BTreeMap<u64, ChannelRecord>,
    /// Guilds to come have no endpoint either.
    endpoints_withheld: bool,
}

impl Directory {
    pub(super) fn add_user(&mut self, id: u64, name: &str, token: Option<Token>) {
        self.users.insert(id, UserRecord { name: name.to_owned(), token });
    }

    /// The bot of a name, with its token.
    pub(super) fn bot(&self, name: &str) -> Option<(u64, Token)> {
        let mut named = self.users.iter().filter(|(_, user)| user.name == name);
        named.find_map(|(id, user)| Some((*id, user.token.clone()?)))
    }

    /// The bot of a token. Bots may write their token with or without the word "Bot" in front.
    pub(super) fn user_of_token(&self, token: &str) -> Option<u64> {
        let token = token.strip_prefix("Bot ").unwrap_or(token);
        let known = |user: &UserRecord| user.token.as_ref().is_some_and(|known| known.0 == token);
        self.users.iter().find(|(_, user)| known(user)).map(|(id, _)| *id)
    }

    pub(super) fn user_name(&self, user: u64) -> &str {
        self.users.get(&user).map_or("", |user| &user.name)
    }

    pub(super) fn user_count(&self) -> usize {
        self.users.len()
    }

    pub(super) fn add_guild(&mut self, id: u64, name: &str) {
        let endpoint_withheld = self.endpoints_withheld;
        let record = GuildRecord { name: name.to_owned(), region: 0, endpoint_withheld, unavailable: false };
        self.guilds.insert(id, record);
    }

    pub(super) fn guild(&self, guild: u64) -> Option<&GuildRecord> {
        self.guilds.get(&guild)
    }

    /// The guild of a name.
    pub(super) fn guild_named(&self, name: &str) -> Option<u64> {
        self.guilds.iter().find(|(_, guild)| guild.name == name).map(|(id, _)| *id)
    }

    pub(super) fn guilds(&self) -> impl Iterator<Item = (u64, &GuildRecord)> {
        self.guilds.iter().map(|(id, record)| (*id, record))
    }

    /// Begins or ends the outage of a guild; says whether that is a change, or `None` where there is no such guild.
    pub(super) fn set_unavailable(&mut self, guild: u64, unavailable: bool) -> Option<bool> {
        let record = self.guilds.get_mut(&guild)?;
        Some(std::mem::replace(&mut record.unavailable, unavailable) != unavailable)
    }

    /// Moves a guild to the next of so many voice servers.
    pub(super) fn change_region(&mut self, guild: u64, regions: usize) {
        if let Some(record) = self.guilds.get_mut(&guild) {
            record.region = (record.region + 1) % regions;
        }
    }

    pub(super) fn withhold_endpoint(&mut self, guild: u64, withheld: bool) {
        if let Some(record) = self.guilds.get_mut(&guild) {
            record.endpoint_withheld = withheld;
        }
    }

    /// Withholds the endpoint of every guild, also of those to come.
    pub(super) fn withhold_endpoints(&mut self) {
        self.endpoints_withheld = true;
        self.guilds.values_mut().for_each(|guild| guild.endpoint_withheld = true);
    }

    /// Removes a guild and its channels.
    pub(super) fn remove_guild(&mut self, guild: u64) {
        self.channels.retain(|_, channel| channel.guild != guild);
        self.guilds.remove(&guild);
    }

    /// Adds a channel as it is by default.
    pub(super) fn add_channel(&mut self, id: u64, guild: u64, kind: ChannelKind, name: &str) {
        let name = name.to_owned();
        let record = ChannelRecord { guild, name, kind, bitrate: 64_000, user_limit: 0, forbidden: false };
        self.channels.insert(id, record);
    }

    pub(super) fn channel(&self, channel: u64) -> Option<&ChannelRecord> {
        self.channels.get(&channel)
    }

    /// The channel of a guild, kind and name.
    pub(super) fn channel_named(&self, guild: u64, kind: ChannelKind, name: &str) -> Option<u64> {
        let same =
            |channel: &ChannelRecord| channel.guild == guild && channel.kind == kind && channel.name == name;
        self.channels.iter().find(|(_, channel)| same(channel)).map(|(id, _)| *id)
    }

    pub(super) fn channels_of(&self, guild: u64) -> impl Iterator<Item = (u64, &ChannelRecord)> {
        let channels = self.channels.iter().filter(move |(_, channel)| channel.guild == guild);
        channels.map(|(id, record)| (*id, record))
    }

    /// Changes a channel, and shows what it is now.
    pub(super) fn change_channel(
        &mut self,
        channel: u64,
        change: impl FnOnce(&mut ChannelRecord),
    ) -> Option<&ChannelRecord> {
        let record = self.channels.get_mut(&channel)?;
        change(record);
        Some(record)
    }

    pub(super) fn remove_channel(&mut self, channel: u64) -> Option<ChannelRecord> {
        self.channels.remove(&channel)
    }

    pub(super) fn is_stage(&self, channel: u64) -> bool {
        self.channels.get(&channel).is_some_and(|record| record.kind == ChannelKind::Stage)
    }
}
