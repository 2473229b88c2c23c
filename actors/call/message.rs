//! What is said to a call, and what it says.

use actix::{Addr, Message};
use tokio::sync::oneshot;

use crate::{
    actors::{CallEvent, CallStats, JoinError, SpeakError, bridge::Bridge, speaker},
    call::EndReason,
    id::{ChannelId, UserId},
    speaker::{TrackEnd, TrackId},
};

/// **VoiceManager → Call.** Be in this channel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Enter {
    pub(in crate::actors) channel: ChannelId,
    pub(in crate::actors) entered: oneshot::Sender<Entered>,
}

/// What became of [`Enter`].
#[derive(Clone, Debug)]
pub(in crate::actors) enum Entered {
    /// The call can speak in the channel.
    There,
    /// It will not get there.
    Failed(JoinError),
    /// It was on its way out already, and is gone now: the next call may.
    Over,
}

/// **VoiceManager → Call.** Play this source.
#[derive(Clone, Message)]
#[rtype(result = "Result<(), SpeakError>")]
pub(in crate::actors) struct Attach(pub(in crate::actors) speaker::Attach);

/// **CallHandle → Call.** Say how this track has ended, once it has.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct AwaitEnd {
    pub(in crate::actors) track: TrackId,
    pub(in crate::actors) ended: oneshot::Sender<TrackEnd>,
}

/// **VoiceManager → Call.** The bridge panicked; this is another, which knows of nothing.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct NewBridge(pub(in crate::actors) Addr<Bridge>);

/// **VoiceManager or CallHandle → Call.** Say goodbye and end; answered with what the call has done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Part {
    pub(in crate::actors) reason: EndReason,
    pub(in crate::actors) parted: Option<oneshot::Sender<CallStats>>,
}

/// **CallHandle → Call.** Say what the call has done. Answered with none when a part of it is still to be told by a
/// transport or speaker that is going.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<CallStats>")]
pub(in crate::actors) struct TellStats;

/// **CallHandle → Call.** Work out the verification code with this member.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<String>")]
pub(in crate::actors) struct VerificationCode(pub(in crate::actors) UserId);

/// **Call → VoiceManager.** The call with this number says something; when it ends, it is the last.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct FromCall {
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) event: CallEvent,
}
