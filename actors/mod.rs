//! The actors: they move bytes and time, and do what the machines in the rest of the crate decide.
//!
//! ```text
//!              your bot (its own main gateway, or ours: MainGateway)
//!      Join, Speak, Disconnect │  ▲ CallEvent      VoiceStateUpdate │  ▲ UpdateVoiceState (op 4)
//!                              ▼  │              VoiceServerUpdate ▼  │
//!  control   ┌── VoiceManager ─────────────────────────────── Bridge ──┐  one arbiter, without user code
//!            │        │ one per guild                        │         │
//!            │        ▼                      Credentials     │         │
//!            │       Call ◀──────────────────────────────────┘         │
//!            │        ├──▶ Gateway ◀── Beat ──▶ Heartbeater            │  Gateway: wss, JSON and binary ops
//!            │        ├──▶ Dave, on an arbiter of its own              │  Dave: MLS, off the packet path
//!            └────────┼───▲────────────────────────────────────────────┘
//!  media     ┌────────┼───│ Speaking, by way of the Call ──────────────┐  media arbiters: nothing else runs here
//!            │        ├──▶ Speaker ◀── Supply, Demand ──▶ Source       │  Speaker: 20 ms, mix, encode
//!            │        │       ▼ VoiceSender, which is called           │  Source: many, on other arbiters
//!            │        └──▶ Transport                                   │  Transport: udp, RTP, DAVE, cipher
//!            └─────────────────┼───────────────────────────────────────┘
//!  hearing   ┌─────────────────▼───────────────────────────────────────┐  hearing arbiters: they decode, and run no user code
//!            │             Listener ── Heard, VoiceTick ──▶ your bot   │  Listener: order, losses, ticks; owned by the Call
//!            └─────────────────────────────────────────────────────────┘
//! ```
//!
//! A bot that shards has one Bridge for each shard, and MainGateway one ShardConnection, which owns the websocket.
//!
//! Every box is an actor over one machine. A parent owns its children and replaces the dead; a child reports to
//! its parent, and its last report is `Exited`, which is sent also when it panics. The `use` lines say the same: a parent
//! imports its children, and a child neither its parent nor a sibling.
//!
//! How soon a call mends a failure, and when it gives up, is the policy in [`Supervision`](crate::call::Supervision).
//!
//! | what fails | what is lost | what happens |
//! |---|---|---|
//! | Heartbeater | the round trips it was measuring | Gateway starts another |
//! | Gateway, or its connection | nothing: Discord buffers, audio plays on | Call resumes the voice session |
//! | the UDP path | what is sent until it is noticed | Transport takes another socket; if that does not help, Call rejoins |
//! | Transport | the frames until a new session is up: key, counters and nonces are gone, so nothing may be sent with them | Call rejoins; tracks wait and go on |
//! | Dave | the MLS group, and with it the keys | as Transport |
//! | Speaker | the tracks of this call, each reported as ended | Call starts another; the connection is not touched |
//! | Listener | what waited to be heard | Call starts another, for all who listen; nobody else notices |
//! | one who listens | what it was to hear | the others hear on |
//! | Source | its own track, reported as ended after what it had supplied | the other tracks play on |
//! | Call | itself: it leaves, and ends with a reason | the others live on |
//! | Bridge | what Discord said at that moment | VoiceManager starts another, which is told whether the main gateway is away, which guilds have an outage, and which channels are stages; each call tells it where the bot is |
//! | Recorder | what waits in it, less than a second | the files are whole up to there; the bot starts another, in another folder |
//! | the disk of a Recorder | what is not written yet | Recorder ends, with a reason; what is written is whole |
//! | VoiceManager | what it was handling | it goes on, with its calls, subscribers and arbiters; also when it is registered |
//! | ShardConnection of a MainGateway | nothing: Discord buffers | MainGateway starts another after a pause, which resumes the main session; the fifth time in a minute it stops, with a reason |
//! | MainGateway | its main sessions: its calls leave | the bot starts another |
//!
//! Supervision needs unwinding panics: with `panic = "abort"` a panic still ends the process.

pub mod bridge;
pub mod call;
mod channel;
pub mod config;
mod dave;
mod delivery;
mod driven;
pub mod event;
#[cfg(feature = "faults")]
pub mod fault;
mod gateway;
mod heartbeat;
mod listener;
pub mod main_gateway;
pub mod manager;
pub mod meters;
mod metronome;
mod packet_inbox;
pub mod queue;
pub mod recorder;
pub mod source;
mod speaker;
pub mod stats;
mod tcp;
mod transport;
mod udp;
mod voice_sender;
mod websocket;

pub use self::{
    bridge::{
        GuildAvailable, GuildDeleted, GuildPredicate, GuildUnavailable, MainGatewayAnswered, MainGatewayLost,
        MainGatewayRestored, MainSessionReplaced, OfShard, Plug, ProbeMainGateway, StageChannel,
        VoiceServerUpdate, VoiceStateUpdate,
    },
    call::{JoinError, SpeakError},
    config::{Admission, Config, ControlArbiter, Encryption, MediaPriority, StartError},
    driven::now,
    event::{CallEvent, CallEventKind},
    listener::{Ears, Listen, StopListening},
    main_gateway::{Login, Logout, MainGateway, Shards},
    manager::{
        CallHandle, ChannelBitrate, Disconnect, Join, PlugChannel, Shutdown, Speak, StopSpeaking, Subscribe,
        SubscribeChannel, TrackError, TrackHandle, VoiceManager,
    },
    queue::{
        Enqueue, Entry, GetQueue, Queue, QueueEvent, QueueEventKind, QueueSnapshot, QueueState, Rearrange,
        TakeSnapshot,
    },
    recorder::{
        Agree, GetSession, Mark, PauseRecording, RecordError, Recorder, RecordingBegins, RecordingEnded,
        Refuse, ResumeRecording, StopRecording,
    },
    source::{Demand, Player, Pusher, Supplier},
    stats::CallStats,
};
pub use crate::{
    bridge::{
        SendLimit,
        events::{SelfFlags, UpdateVoiceState},
    },
    hearing::ListenId,
};
