//! What a call does next, and what it says of itself.

use super::{Cause, EndReason};
use crate::{gateway::session::Credentials, id::ChannelId};

/// What the call does next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Ask the bridge for fresh credentials.
    Rejoin,
    /// See whether the main gateway still answers: the voice gateway does not.
    DoubtMainGateway,
    /// Tell the main gateway that the bot is no longer in voice.
    Leave,
    /// Begin a new voice session, with a new transport; the old ones are stopped first.
    Identify(Credentials),
    /// Continue the voice session on a new websocket; the transport is left alone.
    Resume(Credentials),
    /// Stop websocket and transport, and wait.
    Close,
    /// Start a speaker: the first, or one in the place of the dead.
    StartSpeaker,
    /// Stop all tracks; answered by [`Recovery::speech_ended`](super::Recovery::speech_ended).
    StopTracks,
    /// Say that the call is in another channel.
    Moved(ChannelId),
    /// Say what is going on.
    Report(ConnectionStatus),
    /// The call is over.
    End(EndReason),
}

/// How the connection fares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// The call can speak, in a new voice session.
    Connected,
    /// The voice session goes on; nothing was lost.
    Resumed,
    /// The websocket was lost; it is being resumed, and the audio plays on.
    Resuming(Cause),
    /// The voice session was lost; a new one is being made, and the tracks wait.
    Reconnecting(Cause),
}
