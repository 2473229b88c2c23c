//! Handles for what a Discord is made of: bots, guilds and channels.

use std::fmt;
use std::sync::Arc;

use crate::dave::VERSION;
use crate::member::Member;
use crate::server::{ChannelKind, ChannelRecord};
use crate::shared::Shared;

/// A bot account, made by [`Discord::bot`](crate::Discord::bot).
#[derive(Clone, PartialEq, Eq)]
pub struct Bot {
    /// Its id.
    pub user_id: u64,
    /// What it identifies with at the main gateway.
    pub token: String,
}

impl Bot {
    pub(crate) fn of(shared: &Shared, name: &str, token: Option<&str>) -> Self {
        let (user_id, token) = shared.with(|state, _| state.bot(name, token));
        Self { user_id, token: token.0 }
    }
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot").field("user_id", &self.user_id).field("token", &"***").finish()
    }
}

/// A guild, made by [`Discord::guild`](crate::Discord::guild); every bot is a member.
#[derive(Clone)]
pub struct Guild {
    shared: Arc<Shared>,
    /// Its id.
    pub id: u64,
}

impl Guild {
    pub(crate) fn of(shared: &Arc<Shared>, name: &str) -> Self {
        let id = shared.with(|state, now| state.guild(name, now));
        Self { shared: Arc::clone(shared), id }
    }

    /// The voice channel of this name; it is created when there is none.
    pub fn channel(&self, name: &str) -> Channel {
        self.channel_of(ChannelKind::Voice, name)
    }

    /// The stage channel of this name; it is created when there is none. A user that joins is suppressed, and not
    /// heard until [`Discord::unsuppress`](crate::Discord::unsuppress).
    pub fn stage(&self, name: &str) -> Channel {
        self.channel_of(ChannelKind::Stage, name)
    }

    fn channel_of(&self, kind: ChannelKind, name: &str) -> Channel {
        let id = self.shared.with(|state, now| state.channel(self.id, kind, name, now));
        Channel { shared: Arc::clone(&self.shared), id, guild_id: self.id }
    }
}

impl fmt::Debug for Guild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guild").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A voice or stage channel.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    /// Its id.
    pub id: u64,
    /// The guild it belongs to.
    pub guild_id: u64,
}

impl Channel {
    /// Sets the bitrate, in bits per second; 64,000 to begin with.
    pub fn bitrate(&self, bitrate: u32) -> &Self {
        self.change(|record| record.bitrate = bitrate);
        self
    }

    /// Sets how many may be inside; 0, the default, is no limit.
    pub fn user_limit(&self, limit: u32) -> &Self {
        self.change(|record| record.user_limit = limit);
        self
    }

    /// Puts a simulated member into the channel, that hears and records everyone else.
    pub fn listener(&self, name: &str) -> Member {
        Member::join(&self.shared, self.id, name, VERSION)
    }

    /// Puts a simulated member into the channel whose client knows no end-to-end encryption: it downgrades the call,
    /// and hears and speaks plainly. Discord would refuse it now; see [`Dave::Allowed`](crate::Dave::Allowed).
    pub fn old_listener(&self, name: &str) -> Member {
        Member::join(&self.shared, self.id, name, 0)
    }

    fn change(&self, change: impl FnOnce(&mut ChannelRecord)) {
        self.shared.with(|state, now| state.change_channel(self.id, change, now));
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, guild_id, .. } = self;
        f.debug_struct("Channel").field("id", id).field("guild_id", guild_id).finish_non_exhaustive()
    }
}
