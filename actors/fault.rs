//! Faults: makes an actor panic, or a socket refuse, on purpose, so that a test can see what survives. Only with the
//! feature `faults`.

use std::io;

use actix::Message;

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

/// **A test → MainGateway.** Panic in the connection of the shard with this index.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PanicShard(pub u32);

/// An actor of a call, or above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Victim {
    /// The manager of all calls.
    VoiceManager,
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
    /// What makes of packets what is heard.
    Listener,
}

/// **A test → VoiceManager → Call → Transport.** Let the present UDP socket of the guild's call refuse all it is to send.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RefuseSends {
    /// The guild of the call.
    pub guild: GuildId,
    /// With this error.
    pub kind: io::ErrorKind,
}

/// **Parent → child.** Panic.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct PanicNow;

/// Lets a test make this actor panic; each actor says so in its own file.
macro_rules! panics_on_demand {
    ($actor:ident) => {
        impl actix::Handler<crate::actors::fault::PanicNow> for $actor {
            type Result = ();

            fn handle(&mut self, _: crate::actors::fault::PanicNow, _: &mut actix::Context<Self>) {
                panic!("a test made the {} panic", stringify!($actor));
            }
        }
    };
}

pub(super) use panics_on_demand;
