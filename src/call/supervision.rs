//! Supervision: what a call does about each failure, after which pause, and how often before it gives up.

use std::time::Duration;

use super::Cause;
use crate::gateway::close::{CloseCode, Verdict, verdict_of_loss};
#[cfg(feature = "dave")]
use crate::transport::dave::DaveError;

/// The policy by which a call lives on after failures, or ends.
///
/// | what fails | reaction | what is lost |
/// |---|---|---|
/// | the websocket: reset, zombie, panic of its actor, a close code after which the session may go on | [`Resume`](Reaction::Resume), at first at once, then after pauses | nothing: Discord buffers, audio plays on |
/// | a resume, [`resume_attempts`](Self::resume_attempts) times; a session that was never established | [`Rejoin`](Reaction::Rejoin) after a pause | the frames until a new session is up; tracks wait and go on |
/// | the UDP path, where another socket does not help; the end-to-end encryption; or the actor of either | [`Rejoin`](Reaction::Rejoin) after a pause: key, counters and nonces are gone | as above |
/// | a close code that blames what was sent | [`RejoinOnce`](Reaction::RejoinOnce); the same code again ends the call | as above |
/// | an encryption mode that is refused (4016) | [`OtherMode`](Reaction::OtherMode) | as above |
/// | 4014 and 4022: a move, a kick, or a lost main session | [`AwaitMove`](Reaction::AwaitMove) for [`move_timeout`](Self::move_timeout), then a rejoin | as above |
/// | the actor that mixes and encodes | [`Restart`](Reaction::Restart): the connection is not touched | the tracks of the call, each reported as ended |
/// | a close code after which trying again is wrong, a server that offers nothing usable, a call without end-to-end encryption where it is required | [`GiveUp`](Reaction::GiveUp) | the call, with a typed reason |
///
/// A call that gives up while frames can still be sent ends its speech before, within
/// [`end_speech_timeout`](Self::end_speech_timeout). A rejoin waits for as long as the main gateway takes to answer, where that
/// is longer than the pause: what ended the session may have been a kick, or a move, that is still to be told.
///
/// A shard of a `MainGateway` that panics is started again under the same pauses and the same limit.
///
/// Pauses double from [`first_pause`](Self::first_pause) to [`longest_pause`](Self::longest_pause), and are up to a quarter
/// longer by chance. [`failure_limit`](Self::failure_limit) failures within [`failure_window`](Self::failure_window), or
/// without a success in between, end the call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Supervision {
    /// The pause before the second try to resume, and before the first to rejoin: half a second.
    pub first_pause: Duration,
    /// The longest pause that doubling leads to: 16 s.
    pub longest_pause: Duration,
    /// How many failures end the call: 5.
    pub failure_limit: usize,
    /// How long a failure counts, once the call was live again: a minute.
    pub failure_window: Duration,
    /// How often one loss of the websocket may be answered with a resume: 3.
    pub resume_attempts: u32,
    /// How long Discord may take to answer an op 4, from when it was sent: 10 s.
    pub join_timeout: Duration,
    /// How long an op 4 may wait to be sent: 10 minutes. Discord takes some hundred a minute.
    pub queue_timeout: Duration,
    /// How long the bridge may take for credentials once op 4 was sent: 90 s, which is longer than any of its own deadlines.
    pub credentials_timeout: Duration,
    /// How long after 4014 or 4022 the main gateway may take to say whether it was a move or a kick: 10 s, as for any answer.
    pub move_timeout: Duration,
    /// How long the first keys of a call may take before a join is answered without them: 5 s. What is said before is
    /// withheld.
    pub encryption_timeout: Duration,
    /// How long a call that ends may take for its silence frames and the end of Speaking: half a second.
    pub end_speech_timeout: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(16),
            failure_limit: 5,
            failure_window: Duration::from_secs(60),
            resume_attempts: 3,
            join_timeout: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(600),
            credentials_timeout: Duration::from_secs(90),
            move_timeout: Duration::from_secs(10),
            encryption_timeout: Duration::from_secs(5),
            end_speech_timeout: Duration::from_millis(500),
        }
    }
}

/// What is done about one failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reaction {
    /// Start the actor again; the connection is not touched.
    Restart,
    /// Go on with the voice session on a new websocket.
    Resume,
    /// Leave, and join again for a new voice session.
    Rejoin,
    /// Join again, but end the call when the same happens again.
    RejoinOnce,
    /// Join again without the encryption mode that was refused.
    OtherMode,
    /// Wait for the main gateway to tell a move from a kick.
    AwaitMove,
    /// End the call.
    GiveUp,
}

/// How far the voice session was when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It was not established yet.
    New,
    /// It was established.
    Established,
    /// It was being resumed, and may be resumed once more.
    Resuming,
    /// It was being resumed for the last time.
    LastResume,
}

impl Supervision {
    /// Says what is done about a failure of a voice session that was this far.
    #[must_use]
    pub fn reaction(&self, cause: &Cause, progress: Progress) -> Reaction {
        let reaction = match cause {
            Cause::Closed(code) => Self::reaction_to_close(*code, progress),
            Cause::Handshake(error) => error.verdict().into(),
            Cause::Lost(_) | Cause::Zombie | Cause::Panicked("Gateway") => verdict_of_loss().into(),
            Cause::Panicked("Speaker" | "Listener") => Reaction::Restart,
            #[cfg(feature = "dave")]
            Cause::E2ee(DaveError::NotEncrypted) => Reaction::GiveUp,
            _ => Reaction::Rejoin,
        };
        match (reaction, progress) {
            // A session that was never established, or was lost too often, cannot be resumed.
            (Reaction::Resume, Progress::New | Progress::LastResume) => Reaction::Rejoin,
            _ => reaction,
        }
    }

    fn reaction_to_close(code: CloseCode, progress: Progress) -> Reaction {
        match progress {
            Progress::Resuming | Progress::LastResume => code.verdict_while_resuming().into(),
            Progress::New | Progress::Established => code.verdict().into(),
        }
    }

    /// The pause after so many failures: it doubles with each, and `jitter` in 0..1 lengthens it by up to a quarter.
    #[must_use]
    pub fn pause(&self, failures: usize, jitter: f32) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX).max(1);
        self.first_pause.saturating_mul(factor).min(self.longest_pause).mul_f32(1.0 + 0.25 * jitter)
    }
}

impl From<Verdict> for Reaction {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Resume => Self::Resume,
            Verdict::Rejoin => Self::Rejoin,
            Verdict::RejoinOnce => Self::RejoinOnce,
            Verdict::OtherMode => Self::OtherMode,
            Verdict::AwaitMove => Self::AwaitMove,
            Verdict::Stop => Self::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::session::SessionError;

    #[test]
    fn every_failure_has_its_reaction() {
        let policy = Supervision::default();
        let lost = || Cause::Lost("reset".into());
        let closed = |code| Cause::Closed(CloseCode(code));
        let timeout = || Cause::Handshake(SessionError::Timeout { awaited: "Ready" });
        let no_mode = || Cause::Handshake(SessionError::NoMode { offered: vec![] });
        use Progress::{Established, LastResume, New, Resuming};
        let table = [
            (lost(), New, Reaction::Rejoin),
            (lost(), Established, Reaction::Resume),
            (lost(), Resuming, Reaction::Resume),
            (lost(), LastResume, Reaction::Rejoin),
            (Cause::Zombie, Established, Reaction::Resume),
            (Cause::Panicked("Gateway"), Established, Reaction::Resume),
            (Cause::Panicked("Speaker"), Established, Reaction::Restart),
            (Cause::Panicked("Listener"), Established, Reaction::Restart),
            (Cause::Panicked("Transport"), Established, Reaction::Rejoin),
            (Cause::Panicked("Dave"), Established, Reaction::Rejoin),
            (Cause::Transport("no answer".into()), New, Reaction::Rejoin),
            (timeout(), New, Reaction::Rejoin),
            (no_mode(), New, Reaction::GiveUp),
            (closed(4015), Established, Reaction::Resume),
            (closed(4015), Resuming, Reaction::Rejoin),
            (closed(4006), Established, Reaction::Rejoin),
            (closed(4001), Established, Reaction::RejoinOnce),
            (closed(4016), New, Reaction::OtherMode),
            (closed(4014), Established, Reaction::AwaitMove),
            (closed(4017), New, Reaction::GiveUp),
        ];
        for (cause, progress, reaction) in table {
            assert_eq!(policy.reaction(&cause, progress), reaction, "{cause} when {progress:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_up_to_a_quarter_longer() {
        let policy = Supervision { longest_pause: Duration::from_secs(3), ..Supervision::default() };
        let pauses = [0, 1, 2, 3, 4, 5, 40].map(|failures| policy.pause(failures, 0.0).as_millis());
        assert_eq!(pauses, [500, 500, 1000, 2000, 3000, 3000, 3000]);
        assert_eq!(policy.pause(2, 1.0), Duration::from_millis(1250));
    }
}
