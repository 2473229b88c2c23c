//! Who listens in which guild: in the call that is there, and in those to come.

use std::collections::BTreeMap;

use actix::{Addr, Context, Handler, MessageResult};

use super::VoiceManager;
use crate::{
    actors::{
        call::Call,
        listener::{AddListener, Listen, StopListening},
    },
    hearing::ListenId,
    id::GuildId,
};

/// All who listen.
#[derive(Default)]
pub(super) struct Listeners {
    listens: BTreeMap<ListenId, Listen>,
    last: u64,
}

impl Listeners {
    fn add(&mut self, listen: Listen) -> ListenId {
        self.last += 1;
        let id = ListenId(self.last);
        self.listens.insert(id, listen);
        id
    }
}

impl VoiceManager {
    /// Tells a new call who listens in its guild.
    pub(super) fn add_listeners(&mut self, guild: GuildId, call: &Addr<Call>) {
        for (&id, listen) in self.listeners.listens.iter().filter(|(_, listen)| listen.guild == guild) {
            call.do_send(AddListener { id, listen: listen.clone(), arbiter: self.arbiters.hearing() });
        }
    }
}

impl Handler<Listen> for VoiceManager {
    type Result = MessageResult<Listen>;

    fn handle(&mut self, listen: Listen, _: &mut Context<Self>) -> Self::Result {
        let entry = self.calls.get(&listen.guild);
        let id = self.listeners.add(listen.clone());
        if let Some(entry) = entry {
            entry.call.do_send(AddListener { id, listen, arbiter: self.arbiters.hearing() });
        }
        MessageResult(id)
    }
}

impl Handler<StopListening> for VoiceManager {
    type Result = ();

    fn handle(&mut self, stop: StopListening, _: &mut Context<Self>) {
        let Some(listen) = self.listeners.listens.remove(&stop.0) else { return };
        if let Some(entry) = self.calls.get(&listen.guild) {
            entry.call.do_send(stop);
        }
    }
}
