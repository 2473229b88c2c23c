//! What a bot says to its recorder, and what it is told.

use actix::Message;
use tokio::sync::oneshot;

use crate::{
    id::{ChannelId, GuildId, UserId},
    recording::{RecordingEnd, Session},
};

/// **Recorder → your actor.** A recording is about to begin: say so to those who will be heard. What they say is not recorded before
/// this is answered, or 30 s have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct RecordingBegins {
    /// The guild.
    pub guild: GuildId,
    /// The channel.
    pub channel: ChannelId,
}

/// **Recorder → your actor.** The recording is over, and all that could be written is.
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct RecordingEnded {
    /// How it ended.
    pub end: RecordingEnd,
    /// What is known of it.
    pub session: Session,
}

/// **Your bot → Recorder.** Mark this moment, in `events.jsonl` and `labels.txt`.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Mark(pub String);

/// **Your bot → Recorder.** Record nothing until [`ResumeRecording`]; the time goes on, and is silent.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PauseRecording;

/// **Your bot → Recorder.** Go on recording.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ResumeRecording;

/// **Your bot → Recorder.** This user does not want to be recorded: remove what was recorded, and keep nothing more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Refuse(pub UserId);

/// **Your bot → Recorder.** This user, who refused before, agrees to be recorded from now on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Agree(pub UserId);

/// **Your bot → Recorder.** Say what is known of the recording so far.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Session")]
pub struct GetSession;

/// **Your bot → Recorder.** End the recording: what is said from now on is not part of it. Answered once all is written, which takes
/// a second, with what is known of it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Session")]
pub struct StopRecording;

/// **Writer → Recorder.** A file cannot be written.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct WriteFailed(pub(super) RecordingEnd);

/// Who waits for the end of the recording.
pub(super) type EndWaiter = oneshot::Sender<Session>;
