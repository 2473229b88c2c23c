//! What a transport is told and reports.

use std::net::SocketAddr;

use actix::Message;

use crate::{
    actors::{packet_inbox::PacketInbox, stats::TransportStats},
    call::Cause,
    gateway::payload::{SessionDescription, SpeakingFlags},
    id::{Ssrc, UserId},
    transport::{Deafness, DeafnessRemedy, PathStatus, WebsocketLoss},
};

impl Message for SessionDescription {
    type Result = ();
}

/// **Call → Transport.** This user's packets have this SSRC.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct SsrcAssigned {
    pub(in crate::actors) user: UserId,
    pub(in crate::actors) ssrc: Ssrc,
    /// Whether the user is marked as speaking.
    pub(in crate::actors) flags: SpeakingFlags,
}

/// **Call → Transport.** This user has left.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct UserLeft(pub(in crate::actors) UserId);

/// **Call → Transport.** Put what opens into this inbox; with none, nobody listens.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Hear(pub(in crate::actors) Option<PacketInbox>);

/// **Call → Transport.** How the websocket of the voice session fares.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) enum Websocket {
    Lost(WebsocketLoss),
    /// Something came over it, while the path is dead.
    Heard,
    Resumed,
}

/// **Call → Transport.** The voice session goes on at this media server; with none, another is still to be named.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct ServerChanged(pub(in crate::actors) Option<SocketAddr>);

/// **Call → Transport.** Stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Stop;

/// **Call → Transport.** Say what was sent and received.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "TransportStats")]
pub(in crate::actors) struct GetStats;

/// **Transport → Call.** What the transport with this number says.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct FromTransport {
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) report: Report,
}

#[derive(Clone, Debug)]
pub(in crate::actors) enum Report {
    /// Our address as the voice server sees it.
    Discovered(SocketAddr),
    /// There is a key to seal packets with.
    Opened,
    /// The UDP path died, or is back.
    Path(PathStatus),
    /// Too many frames in a row did not open end to end.
    FailedFrames,
    /// Others speak, and nothing of it is understood.
    Deaf(Deafness, Option<DeafnessRemedy>),
    /// The transport is no more; `cause` is none when it was asked to stop.
    Exited { cause: Option<Cause>, stats: Box<TransportStats> },
}
