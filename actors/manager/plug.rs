//! The bot's main gateway: plugged in, unplugged, and passed on to the bridge.

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};

use super::{PlugChannel, Unplug, VoiceManager};
use crate::actors::{
    bridge::{
        Bridge, BridgeExited, GuildDeleted, MainGatewayLost, MainGatewayRestored, MainSessionReplaced, Plug,
        RegisterCall, VoiceServerUpdate, VoiceStateUpdate,
    },
    call::NewBridge,
    channel::Forward,
};

impl VoiceManager {
    /// The bridge, once a main gateway is plugged in.
    pub(super) fn bridge(&mut self, ctx: &Context<Self>) -> Option<Addr<Bridge>> {
        let plug = self.plug.as_ref()?;
        let owner = || ctx.address().downgrade().recipient();
        let bridge = self.bridge.take().filter(Addr::connected);
        let bridge = bridge.unwrap_or_else(|| {
            Bridge::new(plug.clone(), self.config.supervision.join_timeout, owner()).start()
        });
        self.bridge = Some(bridge.clone());
        Some(bridge)
    }

    pub(super) fn tell_bridge<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        Bridge: Handler<M>,
    {
        if let Some(bridge) = &self.bridge {
            bridge.do_send(message);
        }
    }

    fn plug_in(&mut self, plug: Plug, ctx: &mut Context<Self>) {
        self.plug = Some(plug.clone());
        if let Some(bridge) = self.bridge(ctx) {
            bridge.do_send(plug);
        }
        for (guild, waiting) in std::mem::take(&mut self.waiting) {
            self.take_up(guild, waiting, ctx);
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

    fn handle(&mut self, PlugChannel { user, gateway }: PlugChannel, ctx: &mut Context<Self>) {
        self.plug_in(Plug::new(user, Forward(gateway).start().recipient()), ctx);
    }
}

impl Handler<BridgeExited> for VoiceManager {
    type Result = ();

    fn handle(&mut self, _: BridgeExited, ctx: &mut Context<Self>) {
        if let Some(bridge) = self.bridge(ctx) {
            for (&guild, entry) in &self.calls {
                let reports = entry.call.downgrade().recipient();
                bridge.do_send(RegisterCall { guild, generation: entry.generation, call: reports });
                entry.call.do_send(NewBridge(bridge.clone().recipient()));
            }
        }
    }
}

impl Handler<Unplug> for VoiceManager {
    type Result = ();

    fn handle(&mut self, Unplug(gateway): Unplug, _: &mut Context<Self>) {
        if self.plug.as_ref().is_some_and(|plug| plug.gateway == gateway) {
            self.plug = None;
            // It does not come back, so there is nothing to wait for.
            self.tell_bridge(MainGatewayRestored);
        }
    }
}

/// What a bot's main gateway says goes on to the bridge.
macro_rules! pass_on {
    ($($message:ident),*) => {$(
        impl Handler<$message> for VoiceManager {
            type Result = ();

            fn handle(&mut self, message: $message, _: &mut Context<Self>) {
                self.tell_bridge(message);
            }
        }
    )*};
}

pass_on!(
    GuildDeleted,
    MainGatewayLost,
    MainSessionReplaced,
    MainGatewayRestored,
    VoiceServerUpdate,
    VoiceStateUpdate
);
