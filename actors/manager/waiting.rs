//! Waiting: what is asked for a guild while no call can do it, until a main gateway is plugged in or the call before is gone.

use std::collections::HashMap;

use crate::{
    actors::call::{AttachTrack, Backlog, JoinChannel, JoinError, Released},
    id::GuildId,
};

/// All guilds for which something waits.
#[derive(Default)]
pub(super) struct Waiting {
    guilds: HashMap<GuildId, Wait>,
    last_wait: u64,
}

/// Tells the waits of one guild from each other: a timer of an earlier one does not end a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaitId(u64);

struct Wait {
    id: WaitId,
    awaited: Awaited,
    backlog: Backlog,
}

enum Awaited {
    /// A main gateway, or a manager that is awake.
    Plug,
    /// The last word of the call with this number.
    Release {
        generation: u64,
        /// What the call was asked is not wanted any more, for this reason.
        cancelled: Option<JoinError>,
    },
}

impl Waiting {
    /// Keeps a join until a main gateway is plugged in. The first for its guild begins a wait.
    pub(super) fn for_plug(&mut self, guild: GuildId, join: JoinChannel) -> Option<WaitId> {
        if let Some(wait) = self.guilds.get_mut(&guild) {
            wait.backlog.join(join);
            return None;
        }
        let mut backlog = Backlog::default();
        backlog.join(join);
        Some(self.begin(guild, Awaited::Plug, backlog))
    }

    /// Keeps from now on what is asked for a guild until its call has handed back what it was asked.
    pub(super) fn for_release(&mut self, guild: GuildId, generation: u64) -> WaitId {
        let before = self.guilds.remove(&guild).map(|wait| wait.backlog);
        self.begin(guild, Awaited::Release { generation, cancelled: None }, before.unwrap_or_default())
    }

    fn begin(&mut self, guild: GuildId, awaited: Awaited, backlog: Backlog) -> WaitId {
        self.last_wait += 1;
        let id = WaitId(self.last_wait);
        self.guilds.insert(guild, Wait { id, awaited, backlog });
        id
    }

    /// Keeps a join if the last word of a call is awaited in its guild; otherwise gives it back.
    pub(super) fn join_after_release(&mut self, guild: GuildId, join: JoinChannel) -> Option<JoinChannel> {
        match self.guilds.get_mut(&guild) {
            Some(Wait { awaited: Awaited::Release { .. }, backlog, .. }) => {
                backlog.join(join);
                None
            }
            _ => Some(join),
        }
    }

    /// Keeps a track for the call that is to come; gives it back if there is none.
    pub(super) fn attach(&mut self, guild: GuildId, track: AttachTrack) -> Option<AttachTrack> {
        match self.guilds.get_mut(&guild) {
            Some(Wait { awaited: Awaited::Release { .. }, backlog, .. }) => backlog.keep(track),
            Some(Wait { awaited: Awaited::Plug, backlog, .. }) => backlog.attach(track, guild),
            None => return Some(track),
        }
        None
    }

    pub(super) fn contains(&self, guild: GuildId) -> bool {
        self.guilds.contains_key(&guild)
    }

    /// Answers with this error whoever has asked for something in this guild.
    pub(super) fn cancel(&mut self, guild: GuildId, error: &JoinError) {
        let Some(wait) = self.guilds.get_mut(&guild) else { return };
        wait.backlog.cancel(error, guild);
        match &mut wait.awaited {
            Awaited::Release { cancelled, .. } => *cancelled = Some(error.clone()),
            Awaited::Plug => drop(self.guilds.remove(&guild)),
        }
    }

    /// As [`Self::cancel`], in all guilds.
    pub(super) fn cancel_all(&mut self, error: &JoinError) {
        let guilds: Vec<_> = self.guilds.keys().copied().collect();
        guilds.into_iter().for_each(|guild| self.cancel(guild, error));
    }

    /// What waits for a main gateway in these guilds.
    pub(super) fn plugged(&mut self, are_here: impl Fn(GuildId) -> bool) -> Vec<(GuildId, Backlog)> {
        let here =
            self.guilds.extract_if(|guild, wait| are_here(*guild) && matches!(wait.awaited, Awaited::Plug));
        here.map(|(guild, wait)| (guild, wait.backlog)).collect()
    }

    /// What the call was asked last, if it is still wanted, and what has waited for that.
    pub(super) fn released(&mut self, Released { guild, generation, mut backlog }: Released) -> Vec<Backlog> {
        let awaited = |wait: &Wait| match &wait.awaited {
            Awaited::Release { generation: awaited, cancelled } if *awaited == generation => {
                Some(cancelled.clone())
            }
            _ => None,
        };
        let Some(cancelled) = self.guilds.get(&guild).and_then(awaited) else { return vec![backlog] };
        if let Some(error) = cancelled {
            backlog.cancel(&error, guild);
        }
        let since = self.guilds.remove(&guild).map(|wait| wait.backlog);
        std::iter::once(backlog).chain(since).collect()
    }

    /// What has waited in vain, if it is still this wait.
    pub(super) fn expired(&mut self, guild: GuildId, id: WaitId) -> Option<Backlog> {
        self.guilds.get(&guild).filter(|wait| wait.id == id)?;
        self.guilds.remove(&guild).map(|wait| wait.backlog)
    }

    /// All that waits, for whatever.
    pub(super) fn take(&mut self) -> Vec<(GuildId, Backlog)> {
        self.guilds.drain().map(|(guild, wait)| (guild, wait.backlog)).collect()
    }
}
