//! Shards: the main gateways that a bot has plugged in, and the bridge to each.

use std::collections::BTreeMap;

use actix::{Addr, Handler, Message, Recipient};

use crate::{
    actors::bridge::{Bridge, Fact, GuildPredicate, Known, Plug},
    bridge::events::UpdateVoiceState,
    id::{GuildId, ShardId, UserId},
};

/// All main gateways of one bot. One that does not shard has one, for all guilds.
#[derive(Default)]
pub(super) struct Shards {
    /// How many shards there are, as the last plug has it; 0 before the first.
    count: u32,
    /// Whom the last plug was of.
    user: Option<UserId>,
    by_index: BTreeMap<u32, PluggedShard>,
}

#[derive(Default)]
struct PluggedShard {
    /// None once it is unplugged.
    plug: Option<Plug>,
    /// As the last plug has it.
    guilds: Option<GuildPredicate>,
    bridge: Option<Addr<Bridge>>,
    /// What its next bridge has to know.
    known: Known,
}

impl Shards {
    /// The shard that a guild belongs to.
    pub(super) fn shard_of(&self, guild: GuildId) -> ShardId {
        let takes = |shard: &PluggedShard| shard.guilds.as_ref().is_some_and(|guilds| guilds.has(guild));
        match self.by_index.iter().find(|(_, shard)| takes(shard)) {
            Some((&index, _)) => ShardId { index, count: self.count },
            None => ShardId::of(guild, self.count),
        }
    }

    /// The user that is plugged in, or was last.
    pub(super) fn user(&self) -> Option<UserId> {
        self.user
    }

    /// Takes a plug in the place of the shard's last, or of all with another count of shards.
    pub(super) fn plug(&mut self, plug: Plug) {
        if std::mem::replace(&mut self.count, plug.shard.count) != plug.shard.count {
            self.by_index.clear();
        }
        self.user = Some(plug.user);
        let shard = self.by_index.entry(plug.shard.index).or_default();
        plug.note(&mut shard.known);
        shard.guilds.clone_from(&plug.guilds);
        shard.plug = Some(plug);
    }

    /// What was told of a shard.
    pub(super) fn known(&self, shard: ShardId) -> Known {
        let known = self.by_index.get(&shard.index).filter(|_| shard.count == self.count);
        known.map(|shard| shard.known.clone()).unwrap_or_default()
    }

    /// What was plugged in for a shard, if it still is.
    pub(super) fn plugged(&self, shard: ShardId) -> Option<&Plug> {
        self.by_index.get(&shard.index).filter(|_| shard.count == self.count)?.plug.as_ref()
    }

    /// Whether a shard has been plugged in, among as many as there are.
    pub(super) fn is_known(&self, shard: ShardId) -> bool {
        shard.count == self.count && self.by_index.contains_key(&shard.index)
    }

    /// Takes out all shards of this main gateway, and says which they were.
    pub(super) fn unplug(&mut self, gateway: &Recipient<UpdateVoiceState>) -> Vec<ShardId> {
        let count = self.count;
        let theirs =
            |shard: &&mut PluggedShard| shard.plug.as_ref().is_some_and(|plug| plug.gateway == *gateway);
        let unplugged = self.by_index.iter_mut().filter_map(|(&index, shard)| {
            Some(shard).filter(theirs)?.plug = None;
            Some(ShardId { index, count })
        });
        unplugged.collect()
    }

    /// Forgets all main gateways. The bridges live on for as long as calls have use for them.
    pub(super) fn clear(&mut self) {
        self.by_index.clear();
    }

    /// The bridge to a shard's main gateway, if it runs.
    pub(super) fn bridge(&self, shard: ShardId) -> Option<&Addr<Bridge>> {
        let shard = self.by_index.get(&shard.index).filter(|_| shard.count == self.count)?;
        shard.bridge.as_ref().filter(|bridge| bridge.connected())
    }

    /// The shards that are plugged in, and have no bridge.
    pub(super) fn without_bridge(&self) -> Vec<ShardId> {
        let plugged = self.by_index.iter().filter(|(_, shard)| shard.plug.is_some());
        let shards = plugged.map(|(&index, _)| ShardId { index, count: self.count });
        shards.filter(|shard| self.bridge(*shard).is_none()).collect()
    }

    /// Lets all bridges end, as soon as they have nothing left to do.
    pub(super) fn forget_bridges(&mut self) {
        self.by_index.values_mut().for_each(|shard| shard.bridge = None);
    }

    /// Takes the bridge that was started for a shard.
    pub(super) fn bridge_started(&mut self, shard: ShardId, bridge: Addr<Bridge>) {
        if let Some(shard) = self.by_index.get_mut(&shard.index) {
            shard.bridge = Some(bridge);
        }
    }

    /// Passes a message on to the bridge of a shard.
    pub(super) fn tell<M: Message<Result = ()> + Send + 'static>(&self, shard: ShardId, message: M)
    where
        Bridge: Handler<M>,
    {
        if let Some(bridge) = self.bridge(shard) {
            bridge.do_send(message);
        }
    }

    /// Passes a message on to the bridge of a shard, and notes it for the next.
    pub(super) fn inform<M: Fact + Message<Result = ()> + Send + 'static>(
        &mut self,
        shard: ShardId,
        message: M,
    ) where
        Bridge: Handler<M>,
    {
        let known = self.by_index.get_mut(&shard.index).filter(|_| shard.count == self.count);
        if let Some(shard) = known {
            message.note(&mut shard.known);
        }
        self.tell(shard, message);
    }

    /// Passes a message on to the bridges of all shards, and notes it for the next.
    pub(super) fn inform_all<M: Fact + Message<Result = ()> + Clone + Send + 'static>(&mut self, message: M)
    where
        Bridge: Handler<M>,
    {
        for shard in self.by_index.values_mut() {
            message.note(&mut shard.known);
            if let Some(bridge) = &shard.bridge {
                bridge.do_send(message.clone());
            }
        }
    }
}
