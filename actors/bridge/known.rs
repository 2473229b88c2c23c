//! Known: what a bridge was told of its main gateway and guilds, and its successor has to know after a panic.

use std::collections::{HashMap, HashSet};

use super::message::{
    GuildAvailable, GuildDeleted, GuildUnavailable, MainGatewayAnswered, MainGatewayLost,
    MainGatewayRestored, MainSessionReplaced, Plug, StageChannel,
};
use crate::id::{ChannelId, GuildId, SessionId};

/// What is known of one shard.
#[derive(Clone, Debug, Default)]
pub(in crate::actors) struct Known {
    main_gateway: MainGatewayState,
    /// The name of the main session, where it is told.
    session: Option<SessionId>,
    /// The guilds that have an outage.
    outages: HashSet<GuildId>,
    stages: HashMap<GuildId, HashSet<ChannelId>>,
}

/// Whether the main gateway can be asked for anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MainGatewayState {
    #[default]
    Up,
    Lost,
}

impl Known {
    pub(super) fn main_gateway(&self) -> MainGatewayState {
        self.main_gateway
    }

    pub(super) fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    pub(super) fn has_outage(&self, guild: GuildId) -> bool {
        self.outages.contains(&guild)
    }

    pub(super) fn stages(&self, guild: GuildId) -> impl Iterator<Item = ChannelId> {
        self.stages.get(&guild).into_iter().flatten().copied()
    }

    /// The main gateway can be asked again.
    pub(super) fn restored(&mut self) {
        self.main_gateway = MainGatewayState::Up;
    }
}

/// What a bridge is told that its successor has to know, too.
pub(in crate::actors) trait Fact {
    /// Notes it.
    fn note(&self, known: &mut Known);
}

impl Fact for Plug {
    fn note(&self, known: &mut Known) {
        known.session.clone_from(&self.session);
        known.restored();
    }
}

impl Fact for MainGatewayLost {
    fn note(&self, known: &mut Known) {
        known.main_gateway = MainGatewayState::Lost;
    }
}

impl Fact for MainGatewayRestored {
    fn note(&self, known: &mut Known) {
        known.restored();
    }
}

impl Fact for MainSessionReplaced {
    fn note(&self, known: &mut Known) {
        // Its name is told by the next Plug, or never.
        known.session = None;
        known.restored();
    }
}

impl Fact for MainGatewayAnswered {
    fn note(&self, _: &mut Known) {}
}

impl Fact for GuildUnavailable {
    fn note(&self, known: &mut Known) {
        known.outages.insert(self.0);
    }
}

impl Fact for GuildAvailable {
    fn note(&self, known: &mut Known) {
        known.outages.remove(&self.guild);
    }
}

impl Fact for GuildDeleted {
    fn note(&self, known: &mut Known) {
        known.outages.remove(&self.0);
        known.stages.remove(&self.0);
    }
}

impl Fact for StageChannel {
    fn note(&self, known: &mut Known) {
        known.stages.entry(self.guild).or_default().insert(self.channel);
    }
}
