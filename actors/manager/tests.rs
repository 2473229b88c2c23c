//! What a manager keeps, and for how long.

use actix::Message;

use super::*;
use crate::{actors::bridge::Plug, bridge::events::UpdateVoiceState, id::UserId};

/// How many calls the manager knows.
#[derive(Message)]
#[rtype(result = "usize")]
struct CountCalls;

impl Handler<CountCalls> for VoiceManager {
    type Result = usize;

    fn handle(&mut self, _: CountCalls, _: &mut Context<Self>) -> usize {
        self.calls.len()
    }
}

/// A main gateway of a Discord that never answers.
struct Silent;

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<UpdateVoiceState> for Silent {
    type Result = ();

    fn handle(&mut self, _: UpdateVoiceState, _: &mut Context<Self>) {}
}

#[actix::test]
async fn a_call_that_has_ended_is_forgotten() {
    tokio::time::pause();
    let manager = VoiceManager::new(Config::local()).start();
    manager.send(Plug::new(UserId(1), Silent.start().recipient())).await.unwrap();
    for guild in (1..=3).map(GuildId) {
        let joined = manager.send(Join::new(guild, ChannelId(2))).await.unwrap();
        joined.expect_err("nobody answers");
    }
    assert_eq!(manager.send(CountCalls).await.unwrap(), 0);
}
