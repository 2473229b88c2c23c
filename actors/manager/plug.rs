//! The bot's main gateways: plugged in, unplugged, and passed on to their bridges.

use actix::{Actor, Addr, Context, Handler};

use super::{PlugChannel, Unplug, VoiceManager};
use crate::{
    actors::{
        bridge::{
            Bridge, BridgeExited, GuildAvailable, GuildDeleted, GuildUnavailable, MainGatewayAnswered,
            MainGatewayLost, MainGatewayRestored, MainSessionReplaced, OfShard, Plug, RegisterCall,
            StageChannel, VoiceServerUpdate, VoiceStateUpdate,
        },
        call::NewBridge,
        channel::Forward,
    },
    bridge::Report,
    call::EndReason,
    id::{GuildId, ShardId},
};

impl VoiceManager {
    /// The bridge to the main gateway of a guild, once that is plugged in.
    pub(super) fn bridge(&mut self, guild: GuildId, ctx: &mut Context<Self>) -> Option<Addr<Bridge>> {
        let shard = self.shards.shard_of(guild);
        self.shards.plugged(shard)?;
        match self.shards.bridge(shard) {
            Some(bridge) => Some(bridge.clone()),
            None => self.start_bridge(shard, ctx),
        }
    }

    fn start_bridge(&mut self, shard: ShardId, ctx: &mut Context<Self>) -> Option<Addr<Bridge>> {
        if self.is_asleep() {
            return None;
        }
        let owner = self.address(ctx).downgrade().recipient();
        let plug = self.shards.plugged(shard)?.clone();
        let (known, join_timeout) = (self.shards.known(shard), self.config.supervision.join_timeout);
        let bridge = Bridge::new(plug, known, join_timeout, owner).start();
        self.shards.bridge_started(shard, bridge.clone());
        Some(bridge)
    }

    /// Starts the bridges to all main gateways that are plugged in and have none.
    pub(super) fn start_bridges(&mut self, ctx: &mut Context<Self>) {
        for shard in self.shards.without_bridge() {
            self.start_bridge(shard, ctx);
        }
    }

    fn plug_in(&mut self, plug: Plug, ctx: &mut Context<Self>) {
        let shard = plug.shard;
        let replaced = self.shards.user().filter(|before| *before != plug.user);
        if let Some(before) = replaced {
            tracing::warn!(before = before.0, user = plug.user.0, "another bot user is plugged in");
            drop(self.disconnect_all(&EndReason::UserReplaced));
            self.shards.clear();
        }
        let known = self.shards.is_known(shard);
        self.shards.plug(plug.clone());
        match self.shards.bridge(shard) {
            Some(bridge) => bridge.do_send(plug),
            None => {
                let bridge = self.start_bridge(shard, ctx);
                if let (Some(bridge), None) = (bridge, replaced) {
                    if !known {
                        self.move_calls_to(shard);
                    }
                    self.hand_over(shard, &bridge);
                }
            }
        }
        let shards = &self.shards;
        for (guild, backlog) in self.waiting.plugged(|guild| shards.shard_of(guild) == shard) {
            self.take_up(guild, backlog, ctx);
        }
    }

    /// The calls of a shard were of another one: they have to join again with this one's session.
    fn move_calls_to(&self, shard: ShardId) {
        for (_, entry) in self.calls.iter().filter(|(guild, _)| self.shards.shard_of(**guild) == shard) {
            entry.call.do_send(Report::MainGatewayRestored);
            entry.call.do_send(Report::MainSessionReplaced);
        }
    }

    /// Tells a new bridge of the calls of its shard, and them of it.
    fn hand_over(&self, shard: ShardId, bridge: &Addr<Bridge>) {
        for (&guild, entry) in self.calls.iter().filter(|(guild, _)| self.shards.shard_of(**guild) == shard) {
            let reports = entry.call.downgrade().recipient();
            bridge.do_send(RegisterCall { guild, generation: entry.generation, call: reports });
            entry.call.do_send(NewBridge(bridge.clone().recipient()));
        }
    }
}

impl Handler<Plug> for VoiceManager {
    type Result = ();

    fn handle(&mut self, plug: Plug, ctx: &mut Context<Self>) {
        self.plug_in(plug, ctx);
    }
}

impl Handler<PlugChannel> for VoiceManager {
    type Result = ();

    fn handle(&mut self, plug: PlugChannel, ctx: &mut Context<Self>) {
        let PlugChannel { user, gateway, shard, guilds } = plug;
        let plug = Plug::new(user, Forward(gateway).start().recipient()).shard(shard);
        self.plug_in(Plug { guilds, ..plug }, ctx);
    }
}

impl Handler<BridgeExited> for VoiceManager {
    type Result = ();

    fn handle(&mut self, BridgeExited(shard): BridgeExited, ctx: &mut Context<Self>) {
        if self.shards.bridge(shard).is_some() {
            // The one that exited had been replaced.
            return;
        }
        if let Some(bridge) = self.start_bridge(shard, ctx) {
            self.hand_over(shard, &bridge);
        }
    }
}

impl Handler<Unplug> for VoiceManager {
    type Result = ();

    fn handle(&mut self, Unplug(gateway): Unplug, _: &mut Context<Self>) {
        for shard in self.shards.unplug(&gateway) {
            // It does not come back, so there is nothing to wait for.
            self.shards.inform(shard, MainGatewayRestored);
        }
    }
}

impl Handler<VoiceStateUpdate> for VoiceManager {
    type Result = ();

    fn handle(&mut self, update: VoiceStateUpdate, _: &mut Context<Self>) {
        if let Some(guild) = update.0.guild {
            self.shards.tell(self.shards.shard_of(guild), update);
        }
    }
}

impl Handler<VoiceServerUpdate> for VoiceManager {
    type Result = ();

    fn handle(&mut self, update: VoiceServerUpdate, _: &mut Context<Self>) {
        self.shards.tell(self.shards.shard_of(update.0.guild), update);
    }
}

impl Handler<GuildDeleted> for VoiceManager {
    type Result = ();

    fn handle(&mut self, deleted: GuildDeleted, _: &mut Context<Self>) {
        self.shards.inform(self.shards.shard_of(deleted.0), deleted);
    }
}

impl Handler<GuildUnavailable> for VoiceManager {
    type Result = ();

    fn handle(&mut self, outage: GuildUnavailable, _: &mut Context<Self>) {
        self.shards.inform(self.shards.shard_of(outage.0), outage);
    }
}

impl Handler<GuildAvailable> for VoiceManager {
    type Result = ();

    fn handle(&mut self, available: GuildAvailable, _: &mut Context<Self>) {
        self.shards.inform(self.shards.shard_of(available.guild), available);
    }
}

impl Handler<StageChannel> for VoiceManager {
    type Result = ();

    fn handle(&mut self, stage: StageChannel, _: &mut Context<Self>) {
        self.shards.inform(self.shards.shard_of(stage.guild), stage);
    }
}

/// What is said of a whole main gateway goes on to its bridge, or to all.
macro_rules! pass_on {
    ($($message:ident),*) => {$(
        impl Handler<$message> for VoiceManager {
            type Result = ();

            fn handle(&mut self, message: $message, _: &mut Context<Self>) {
                self.shards.inform_all(message);
            }
        }

        impl Handler<OfShard<$message>> for VoiceManager {
            type Result = ();

            fn handle(&mut self, OfShard { shard, message }: OfShard<$message>, _: &mut Context<Self>) {
                self.shards.inform(shard, message);
            }
        }
    )*};
}

pass_on!(MainGatewayLost, MainSessionReplaced, MainGatewayRestored, MainGatewayAnswered);
