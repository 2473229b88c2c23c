//! The actors: they move bytes and time, and do what the machines in the rest of the crate decide.
//!
//! ```text
//!              your bot (its own main gateway, or ours: MainGateway)
//!      Join, Speak, Disconnect │  ▲ CallEvent      VoiceStateUpdate │  ▲ UpdateVoiceState (op 4)
//!                              ▼  │              VoiceServerUpdate ▼  │
//!  control   ┌── VoiceManager ─────────────────────────────── Bridge ──┐  the caller's arbiter
//!            │        │ one per guild                        │         │
//!            │        ▼                      Credentials     │         │
//!            │       Call ◀──────────────────────────────────┘         │
//!            │        ├──▶ Gateway ◀── Beat ──▶ Heartbeater            │  Gateway: wss, JSON and binary ops
//!            │        ├──▶ Dave, on an arbiter of its own              │  Dave: MLS, off the packet path
//!            └────────┼───▲────────────────────────────────────────────┘
//!  media     ┌────────┼───│ Speaking, by way of the Call ──────────────┐  media arbiters: nothing else runs here
//!            │        ├──▶ Speaker ◀── Supply, Demand ──▶ Source       │  Speaker: 20 ms, mix, encode
//!            │        │       ▼ VoiceFrame                             │  Source: many, on other arbiters
//!            │        └──▶ Transport                                   │  Transport: udp, RTP, DAVE, cipher
//!            └─────────────────────────────────────────────────────────┘
//! ```
//!
//! Every box is an actor over one machine. A parent owns its children and replaces the dead; a child reports to
//! its parent, and its last report is `Exited`, which is sent also when it panics.
//!
//! | what fails | what is lost | what happens |
//! |---|---|---|
//! | Heartbeater | the round trips it was measuring | Gateway starts another |
//! | Gateway, or its connection | nothing: Discord buffers, audio plays on | Call resumes the voice session |
//! | Transport | the frames until a new session is up: key, counters and nonces are gone, so nothing may be sent with them | Call rejoins; tracks wait and go on |
//! | Dave | the MLS group, and with it the keys | as Transport |
//! | Speaker | the tracks of this call, each reported as ended | Call starts another; the connection is not touched |
//! | Source | its own track, reported as ended after what it had supplied | the other tracks play on |
//! | Call | itself: it leaves, and ends with a reason | the others live on |
//! | Bridge | what Discord said at that moment | VoiceManager starts another, and each call tells it where the bot is |
//! | VoiceManager | all calls, which leave and end with a reason | the bot starts another |
//!
//! Supervision needs unwinding panics: with `panic = "abort"` a panic still ends the process.

pub mod bridge;
pub mod call;
mod channel;
pub mod config;
mod dave;
pub mod event;
#[cfg(feature = "faults")]
pub mod fault;
mod gateway;
mod heartbeat;
pub mod main_gateway;
pub mod manager;
mod metronome;
pub mod source;
mod speaker;
pub mod stats;
mod transport;
mod websocket;

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, SpawnHandle};

use crate::call::Cause;

pub use self::{
    bridge::{
        GuildDeleted, MainGatewayLost, MainGatewayRestored, MainSessionReplaced, VoiceServerUpdate,
        VoiceStateUpdate,
    },
    call::CallHandle,
    config::{Config, Encryption},
    event::{CallEvent, CallEventKind},
    main_gateway::{Login, Logout, MainGateway},
    manager::{
        ChannelBitrate, Disconnect, Join, JoinError, Plug, PlugChannel, Shutdown, Speak, SpeakError,
        StopSpeaking, Subscribe, SubscribeChannel, VoiceManager,
    },
    source::{Demand, Player, Pusher, Supplier},
    stats::CallStats,
};
pub use crate::bridge::events::UpdateVoiceState;

/// The one clock: real on a running system, pausable in tests.
#[must_use]
pub fn now() -> Instant {
    actix::clock::Instant::now().into_std()
}

/// An actor that carries out what its machine orders.
trait Driven: Actor<Context = Context<Self>> {
    /// Does all that the machine orders now, and sets the alarm to its deadline.
    fn drive(&mut self, ctx: &mut Self::Context);
}

/// Why an actor that does I/O will have stopped.
#[derive(Debug)]
enum Exit {
    /// By a panic, unless something else was noted before.
    Unforeseen,
    Asked,
    Failed(Cause),
}

impl Exit {
    /// What to report to the owner of this actor; nothing when it was asked to stop.
    fn cause(&mut self, actor: &'static str) -> Option<Cause> {
        match std::mem::replace(self, Self::Asked) {
            Self::Asked => None,
            Self::Failed(cause) => Some(cause),
            Self::Unforeseen => Some(Cause::Panicked(actor)),
        }
    }
}

/// The one timer of an actor on a control arbiter.
#[derive(Debug, Default)]
struct Alarm(Option<(Instant, SpawnHandle)>);

impl Alarm {
    /// Wakes the actor at `deadline`, instead of when it was to be woken before.
    fn set<A: Driven>(&mut self, deadline: Option<Instant>, ctx: &mut Context<A>) {
        let at = deadline.map(|deadline| deadline.max(now()));
        match (&self.0, at) {
            (Some((set, _)), Some(at)) if *set == at => return,
            (Some((_, timer)), _) => {
                ctx.cancel_future(*timer);
            }
            (None, _) => {}
        }
        self.0 = at.map(|at| (at, ctx.run_later(at - now(), |actor: &mut A, ctx| actor.drive(ctx))));
    }
}
