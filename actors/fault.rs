//! Faults: makes an actor panic on purpose, so that a test can see what survives. Only with the feature `faults`.

use actix::{Context, Handler, Message};

use super::{
    bridge::Bridge, dave::Dave, gateway::Gateway, heartbeat::Heartbeater, speaker::Speaker,
    transport::Transport,
};
use crate::id::GuildId;

/// **A test → VoiceManager → Call.** Panic in this actor of the guild's call.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Panic {
    /// The guild of the call.
    pub guild: GuildId,
    /// Which of its actors.
    pub victim: Victim,
}

/// An actor of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Victim {
    /// What stands between the main gateway and all calls.
    Bridge,
    /// The call itself.
    Call,
    /// The websocket.
    Gateway,
    /// The heartbeats of the websocket.
    Heartbeater,
    /// The UDP socket.
    Transport,
    /// The mixer and encoder.
    Speaker,
    /// The end-to-end encryption.
    Dave,
}

/// **Parent → child.** Panic.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct PanicNow;

macro_rules! mortal {
    ($($actor:ident),*) => {$(
        impl Handler<PanicNow> for $actor {
            type Result = ();

            fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
                panic!("a test made the {} panic", stringify!($actor));
            }
        }
    )*};
}

mortal!(Bridge, Dave, Gateway, Heartbeater, Speaker, Transport);
