//! Why a command failed, and the exit code that says so to a script.

use std::process::ExitCode;

use actix_voice::{
    actors::{JoinError, SpeakError, main_gateway::MainGatewayError},
    call::{Cause, EndReason},
    source::SourceError,
};

use crate::wording::{count, times, were};

/// Shown below the help of the command.
pub const HELP: &str = "\
Exit codes:
  0  done; also when Ctrl-C ended play, bench or loopback early
  1  another failure
  2  wrong arguments
  3  the bot token was refused
  4  the channel was not joined: it is full, a permission is missing, or there is no such channel
  5  a file cannot be read or played, or is damaged
  6  no network: the gateway or the voice server cannot be reached
  7  the audio did not arrive whole, or there was nobody to hear it, or the call ended before it did;
     also when Ctrl-C ended demo early
  8  some of the audio was not sent: the system refused it
  130  a second Ctrl-C ended it at once";

/// What an exit code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Failed = 1,
    Arguments = 2,
    BadToken = 3,
    NotJoined = 4,
    BadFile = 5,
    NoNetwork = 6,
    Incomplete = 7,
    NotSent = 8,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The main gateway refuses the bot.
    #[error(transparent)]
    Refused(#[from] MainGatewayError),
    /// The main gateway cannot be reached.
    #[error("the gateway {url} cannot be reached: {cause}")]
    Unreachable { url: String, cause: String },
    /// The bot is in fewer guilds with a voice channel than there are to be calls.
    #[error(
        "the bot is in {} with a voice channel that it can see, and {} wanted: invite it to more, or ask for fewer with \
         --calls",
        count(*.found as u64, "guild"), if *.wanted == 1 { "a call is".into() } else { format!("{wanted} calls are") }
    )]
    TooFewGuilds { found: usize, wanted: usize },
    /// The channel could not be joined.
    #[error("the channel was not joined: {0}")]
    Join(#[from] JoinError),
    /// The call ended before the audio did.
    #[error("the call ended early: {0}")]
    Ended(EndReason),
    /// A file cannot be played.
    #[error(transparent)]
    File(#[from] SourceError),
    /// The source failed on the way.
    #[error("{0}")]
    Source(String),
    /// There was nothing to send.
    #[error("nothing was heard: there is no sound in what was played")]
    Silent,
    /// Not one frame was sent, for want of a key to encrypt it with.
    #[error("nobody else was in the channel, or no key was agreed on: {} not sent", were(*.0, "frame"))]
    NothingSent(u64),
    /// The system refused frames.
    #[error(
        "{} not sent and {packets} sent: the system refused; look at the routes, the firewall and the load",
        were(*.unsent, "frame")
    )]
    NotSent { unsent: u64, packets: u64 },
    /// What was sent went nowhere for a while.
    #[error("the UDP path died {}, and what was sent meanwhile is lost", times(*.0))]
    PathDied(u64),
    /// The arguments do not fit together.
    #[error("{0}")]
    Arguments(String),
    /// Not all was heard.
    #[error("not heard whole: {0}")]
    NotWhole(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(MainGatewayError::BadToken) => Code::BadToken,
            Self::Refused(_) | Self::Other(_) => Code::Failed,
            Self::Unreachable { .. } => Code::NoNetwork,
            Self::TooFewGuilds { .. } => Code::NotJoined,
            Self::Join(JoinError::Ended(reason)) => match reason {
                EndReason::NotJoined(_) | EndReason::Kicked | EndReason::GuildDeleted => Code::NotJoined,
                EndReason::GaveUp { last: Cause::Join(_), .. } => Code::NotJoined,
                EndReason::GaveUp { last, .. } => network_or(last, Code::Failed),
                _ => Code::Failed,
            },
            Self::Join(_) => Code::Failed,
            Self::Ended(EndReason::GaveUp { last, .. }) => network_or(last, Code::Incomplete),
            Self::Ended(_) | Self::NotWhole(_) | Self::NothingSent(_) | Self::PathDied(_) => Code::Incomplete,
            Self::NotSent { .. } => Code::NotSent,
            Self::Arguments(_) => Code::Arguments,
            Self::File(_) | Self::Source(_) | Self::Silent => Code::BadFile,
        }
    }
}

/// A call that gave up over a broken connection has no network.
fn network_or(last: &Cause, otherwise: Code) -> Code {
    match last {
        Cause::Lost(_) | Cause::Zombie | Cause::Transport(_) => Code::NoNetwork,
        _ => otherwise,
    }
}

impl From<SpeakError> for Failure {
    fn from(error: SpeakError) -> Self {
        match error {
            SpeakError::Source(error) => Self::File(error),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use actix_voice::bridge::JoinFailure;

    use super::*;

    #[test]
    fn every_kind_of_failure_has_its_own_exit_code() {
        let full = JoinError::Ended(EndReason::NotJoined(JoinFailure::NoAnswer));
        let refused = Cause::Join(JoinFailure::NoAnswer);
        let tired = JoinError::Ended(EndReason::GaveUp { failures: 5, last: refused });
        let lost = Cause::Lost("reset".into());
        let missing = SourceError::NotFound { name: "song.opus".into() };
        let cases = [
            (Failure::Refused(MainGatewayError::BadToken), Code::BadToken),
            (Failure::Refused(MainGatewayError::ShardingRequired), Code::Failed),
            (Failure::Join(full), Code::NotJoined),
            (Failure::Join(tired), Code::NotJoined),
            (Failure::File(missing), Code::BadFile),
            (Failure::Unreachable { url: "wss://gateway".into(), cause: "refused".into() }, Code::NoNetwork),
            (Failure::Ended(EndReason::GaveUp { failures: 5, last: lost }), Code::NoNetwork),
            (Failure::Ended(EndReason::Kicked), Code::Incomplete),
            (Failure::NotWhole("3 packets lost".into()), Code::Incomplete),
            (Failure::NothingSent(250), Code::Incomplete),
            (Failure::Silent, Code::BadFile),
            (Failure::PathDied(1), Code::Incomplete),
            (Failure::NotSent { unsent: 3, packets: 247 }, Code::NotSent),
            (Failure::Arguments("--tls".into()), Code::Arguments),
        ];
        for (failure, code) in cases {
            assert_eq!(failure.code(), code, "{failure}");
            assert!(HELP.contains(&format!("\n  {}  ", code as u8)), "{code:?} is explained in the help");
        }
    }
}
