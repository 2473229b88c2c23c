//! Lodger: the loopback in a second process, which ends with ours.

use std::{io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::{exit::Failure, loopback::Invitation};

/// A loopback that runs in a process of its own; it is ended when this is dropped.
pub struct Lodger {
    process: Child,
    last_words: JoinHandle<Option<String>>,
}

impl Lodger {
    /// Starts one with so many guilds.
    ///
    /// # Errors
    ///
    /// When it does not start, with the last thing that it said.
    pub async fn invite(guilds: u32) -> Result<(Invitation, Self), Failure> {
        let program = std::env::current_exe().map_err(|error| broken(&error))?;
        let mut command = Command::new(program);
        command.args(["loopback", "--until-end-of-input", "--guilds"]).arg(guilds.to_string());
        Self::take_in(command).await
    }

    async fn take_in(mut command: Command) -> Result<(Invitation, Self), Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A terminal sends Ctrl-C to the whole group; the loopback has to outlive the goodbye.
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(windows)]
        command.creation_flags(CREATE_NEW_PROCESS_GROUP);
        let mut process = command.spawn().map_err(|error| broken(&error))?;
        let (output, errors) = (process.stdout.take(), process.stderr.take());
        let last_words = actix_rt::spawn(last_line(errors));
        let mut lodger = Self { process, last_words };
        let cause = match timeout(PATIENCE, first_line(output)).await {
            Ok(Ok(Some(line))) => match serde_json::from_str(&line) {
                Ok(invitation) => return Ok((invitation, lodger)),
                Err(error) => error.to_string(),
            },
            Ok(Ok(None)) => lodger.how_it_ended().await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it said nothing for {} s", PATIENCE.as_secs()),
        };
        // It may have ended already.
        let _ = lodger.process.start_kill();
        Err(broken(&lodger.words().await.unwrap_or(cause)))
    }

    /// Of one that says no more.
    async fn how_it_ended(&mut self) -> String {
        match timeout(PATIENCE, self.process.wait()).await {
            Ok(Ok(status)) => format!("it ended at once, with {status}"),
            _ => "it closed its output".into(),
        }
    }

    /// Blames a failure on the loopback if that has ended by itself.
    pub async fn explain(&mut self, failure: Failure) -> Failure {
        match self.process.try_wait() {
            Ok(Some(status)) => {
                let words = self.words().await.unwrap_or_else(|| status.to_string());
                Failure::Other(format!("the loopback ended: {words}"))
            }
            _ => failure,
        }
    }

    /// What it said last, once it has ended.
    async fn words(&mut self) -> Option<String> {
        let words = timeout(PATIENCE, &mut self.last_words).await.ok()?.ok()??;
        Some(words.trim_start_matches("actix-voice: ").to_owned())
    }
}

fn broken(cause: &impl ToString) -> Failure {
    Failure::Other(format!("the loopback did not start: {}", cause.to_string()))
}

async fn first_line(output: Option<impl AsyncRead + Unpin>) -> io::Result<Option<String>> {
    match output {
        Some(output) => BufReader::new(output).lines().next_line().await,
        None => Ok(None),
    }
}

/// Reads to the end, so that whoever writes is never held up.
async fn last_line(errors: Option<impl AsyncRead + Unpin>) -> Option<String> {
    let mut lines = BufReader::new(errors?).lines();
    let mut last = None;
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.trim().is_empty() {
            last = Some(line);
        }
    }
    last
}

/// For how long it may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// <https://learn.microsoft.com/windows/win32/procthread/process-creation-flags>
#[cfg(windows)]
const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[actix_rt::test]
    async fn a_loopback_that_does_not_start_is_quoted() {
        let script = "echo hello >&2; echo 'actix-voice: no port is free' >&2; exit 1";
        let failure = Lodger::take_in(shell(script)).await.err().unwrap();
        assert_eq!(failure.to_string(), "the loopback did not start: no port is free");
        let mute = Lodger::take_in(shell("exit 3")).await.err().unwrap();
        assert_eq!(
            mute.to_string(),
            "the loopback did not start: it ended at once, with exit status: 3",
            "and not that it said nothing for 10 s"
        );
        let nonsense = Lodger::take_in(shell("echo nonsense; exec cat >/dev/null")).await.err().unwrap();
        assert!(nonsense.to_string().starts_with("the loopback did not start: expected"), "{nonsense}");
    }

    #[actix_rt::test]
    async fn a_loopback_that_ends_on_the_way_is_quoted_and_one_that_runs_is_not() {
        let invitation = r#"{"gateway":"ws://g","user":"1","guild":"2","channel":"3","guilds":1}"#;
        let failure = || Failure::NotWhole("3 packets lost".into());
        let script = format!("echo '{invitation}'; echo 'actix-voice: it rained in' >&2; read go; exit 1");
        let (told, mut lodger) = Lodger::take_in(shell(&script)).await.unwrap();
        assert_eq!((told.gateway.as_str(), told.guilds), ("ws://g", 1));
        assert_eq!(lodger.explain(failure()).await.to_string(), "not heard whole: 3 packets lost");
        drop(lodger.process.stdin.take());
        lodger.process.wait().await.unwrap();
        assert_eq!(lodger.explain(failure()).await.to_string(), "the loopback ended: it rained in");
    }
}
