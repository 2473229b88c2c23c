//! The close codes of the voice gateway, and the reaction to each.
//!
//! [Discord's table](https://docs.discord.com/developers/topics/opcodes-and-status-codes#voice-voice-close-event-codes)
//! names the codes; the reactions are ours.

use std::fmt;

/// The code of a websocket close frame from the voice gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

/// What to do about a lost voice gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Resumes the session over a new websocket; where that fails, rejoins.
    Resume,
    /// Joins anew through the main gateway, with backoff.
    Rejoin,
    /// Joins anew through the main gateway once; a second time running it is final.
    RejoinOnce,
    /// Joins anew once with another encryption mode; without one it is final.
    OtherMode,
    /// Waits for the main gateway to tell a move from a disconnect. Never resumes.
    AwaitMove,
    /// Stops and reports.
    Stop,
}

impl CloseCode {
    /// Says what to do when an established or a new session is closed with this code.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        self.row().0
    }

    /// Says what to do when an attempt to resume is closed with this code.
    ///
    /// What the gateway itself refuses (1000, and any code from 4000) is not resumed a second time.
    #[must_use]
    pub fn verdict_while_resuming(self) -> Verdict {
        match self.verdict() {
            Verdict::Resume if self.0 < 4000 && self.0 != 1000 => Verdict::Resume,
            Verdict::AwaitMove => Verdict::AwaitMove,
            Verdict::Stop => Verdict::Stop,
            _ => Verdict::Rejoin,
        }
    }

    /// Says what happened and, where somebody can do something about it, what.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.row().1
    }

    /// The table: one row per code.
    fn row(self) -> (Verdict, &'static str) {
        use Verdict::{AwaitMove, OtherMode, Rejoin, RejoinOnce, Resume, Stop};
        match self.0 {
            4001 => (RejoinOnce, "unknown opcode: we sent what Discord does not know, please report it"),
            4002 => (RejoinOnce, "payload could not be decoded: we sent it wrong, please report it"),
            4003 => (RejoinOnce, "not authenticated: we spoke before Identify, please report it"),
            4004 => (
                RejoinOnce,
                "token rejected: a voice token serves once, a fresh VOICE_SERVER_UPDATE brings another",
            ),
            4005 => (RejoinOnce, "already authenticated: we identified twice, please report it"),
            4006 => (Rejoin, "session no longer valid: only joining anew helps"),
            4009 => (Rejoin, "session timed out: heartbeats or the resume came too late"),
            4011 => (Rejoin, "server not found: the voice server no longer serves this guild"),
            4012 => (Stop, "unknown protocol: Discord no longer speaks ours, update actix-voice"),
            4013 => (Resume, "voice server's WebRTC crashed"),
            4014 => (AwaitMove, "disconnected: moved, kicked, or the main gateway session was lost"),
            4015 => (Resume, "voice server crashed"),
            4016 => (OtherMode, "unknown encryption mode"),
            4017 => (
                Stop,
                "end-to-end encryption required: build actix-voice with the feature `dave`, and leave \
                 `Config::max_dave_protocol_version` at 1",
            ),
            4020 => (RejoinOnce, "bad request: Discord did not accept what we sent, please report it"),
            4021 => (Stop, "rate limited: too many voice messages or connects, wait before joining again"),
            4022 => {
                (AwaitMove, "call ended: the last client left, the channel is gone, or the server changes")
            }
            1000 => (Resume, "closed normally"),
            1001 => (Resume, "voice server is going away"),
            1006 => (Resume, "connection lost without a close frame"),
            0..=3999 => (Resume, "connection lost"),
            _ => (Rejoin, "unknown close code"),
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.meaning())
    }
}

/// Says what to do when the websocket ends without a close frame: TCP reset, TLS error, end of stream.
#[must_use]
pub fn verdict_of_loss() -> Verdict {
    Verdict::Resume
}

/// The code to close with in order to resume: 1000 and 1001 would end the session.
pub const CLOSE_TO_RESUME: u16 = 4000;

/// The code to close with in order to leave.
pub const CLOSE_FOR_GOOD: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::{
        CloseCode,
        Verdict::{self, AwaitMove, OtherMode, Rejoin, RejoinOnce, Resume, Stop},
        verdict_of_loss,
    };

    /// Code, reaction, reaction to the same code during an attempt to resume.
    const TABLE: [(u16, Verdict, Verdict); 33] = [
        (4001, RejoinOnce, Rejoin),
        (4002, RejoinOnce, Rejoin),
        (4003, RejoinOnce, Rejoin),
        (4004, RejoinOnce, Rejoin),
        (4005, RejoinOnce, Rejoin),
        (4006, Rejoin, Rejoin),
        (4009, Rejoin, Rejoin),
        (4011, Rejoin, Rejoin),
        (4012, Stop, Stop),
        (4013, Resume, Rejoin),
        (4014, AwaitMove, AwaitMove),
        (4015, Resume, Rejoin),
        (4016, OtherMode, Rejoin),
        (4017, Stop, Stop),
        (4020, RejoinOnce, Rejoin),
        (4021, Stop, Stop),
        (4022, AwaitMove, AwaitMove),
        // Transport losses.
        (1000, Resume, Rejoin),
        (1001, Resume, Resume),
        (1006, Resume, Resume),
        (1011, Resume, Resume),
        (0, Resume, Resume),
        (3999, Resume, Resume),
        // Not known to be used on the voice gateway.
        (4000, Rejoin, Rejoin),
        (4007, Rejoin, Rejoin),
        (4008, Rejoin, Rejoin),
        (4010, Rejoin, Rejoin),
        (4018, Rejoin, Rejoin),
        (4019, Rejoin, Rejoin),
        (4023, Rejoin, Rejoin),
        (4999, Rejoin, Rejoin),
        (5000, Rejoin, Rejoin),
        (65535, Rejoin, Rejoin),
    ];

    #[test]
    fn every_close_code_has_its_reaction() {
        for (code, fresh, resuming) in TABLE {
            assert_eq!(CloseCode(code).verdict(), fresh, "{code}");
            assert_eq!(CloseCode(code).verdict_while_resuming(), resuming, "{code} while resuming");
            assert!(!CloseCode(code).meaning().is_empty());
        }
        assert_eq!(verdict_of_loss(), Resume);
    }

    #[test]
    fn every_code_that_discord_documents_says_something_of_its_own() {
        let documented = [1000, 1001, 1006].into_iter().chain(4001..=4006).chain([4009]).chain(4011..=4017);
        let mut meanings: Vec<_> =
            documented.chain(4020..=4022).map(|code| CloseCode(code).meaning()).collect();
        meanings.extend([CloseCode(1011).meaning(), CloseCode(4999).meaning()]);
        let all = meanings.len();
        meanings.sort_unstable();
        meanings.dedup();
        assert_eq!(meanings.len(), all, "two codes mean the same: {meanings:#?}");
    }

    #[test]
    fn a_close_code_prints_with_what_it_means() {
        let shown = CloseCode(4014).to_string();
        assert_eq!(shown, "4014 (disconnected: moved, kicked, or the main gateway session was lost)");
        assert!(CloseCode(4017).to_string().contains("feature `dave`"));
    }
}
