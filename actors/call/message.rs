//! What a call is told, and what it reports.

use actix::{Addr, Message, Recipient};
use tokio::sync::oneshot;

use super::{
    Call,
    error::{JoinError, SpeakError},
};
use crate::{
    actors::{event::CallEvent, speaker, stats::CallStats},
    bridge::{CallRequest, events::SelfFlags},
    call::EndReason,
    id::{ChannelId, UserId},
    speaker::{TrackEnd, TrackId},
};

/// **VoiceManager → Call.** Be in this channel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct JoinChannel {
    pub(in crate::actors) channel: ChannelId,
    pub(in crate::actors) flags: SelfFlags,
    pub(in crate::actors) outcome: oneshot::Sender<JoinOutcome>,
}

/// What became of a join; a call that can speak in the channel is named.
pub(in crate::actors) type JoinOutcome = Result<JoinedCall, JoinError>;

/// The call that joined: not always the one that was asked first.
#[derive(Clone, Debug)]
pub(in crate::actors) struct JoinedCall {
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) call: Addr<Call>,
}

/// **VoiceManager → Call.** Play this source.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct AttachTrack {
    pub(in crate::actors) attach: speaker::Attach,
    /// Only in the call with this number.
    pub(in crate::actors) generation: Option<u64>,
    pub(in crate::actors) attached: oneshot::Sender<Result<Addr<Call>, SpeakError>>,
}

/// **CallHandle → Call.** Say how this track has ended, once it has.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct AwaitTrackEnd {
    pub(in crate::actors) track: TrackId,
    pub(in crate::actors) ended: oneshot::Sender<TrackEnd>,
}

/// **CallHandle → Call.** Say whether the call is over, or about to be.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub(in crate::actors) struct IsOver;

/// **VoiceManager → Call.** The bridge panicked; this is another, which knows of nothing.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct NewBridge(pub(in crate::actors) Recipient<CallRequest>);

/// **VoiceManager or CallHandle → Call.** End speech, leave and end; answered with what the call has done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct DisconnectCall {
    pub(in crate::actors) reason: EndReason,
    pub(in crate::actors) ended: Option<oneshot::Sender<CallStats>>,
}

/// **CallHandle → Call.** Say what the call has done. Answered with none when a part of it is still to be told by a
/// transport or speaker that is going.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<CallStats>")]
pub(in crate::actors) struct GetStats;

/// **CallHandle → Call.** Work out the verification code with this member.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<String>")]
pub(in crate::actors) struct GetVerificationCode(pub(in crate::actors) UserId);

/// **Call → VoiceManager.** The call with this number says something.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct FromCall {
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) event: CallEvent,
}

/// **Call → VoiceManager.** The call with this number is over. It takes note of what it is asked until [`Release`] comes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct CallEnded {
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) event: CallEvent,
}

/// **VoiceManager → Call.** You are asked nothing more; hand back what is left, and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Release;
