//! The loopback in a second process, which ends with ours.

use std::{io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::{exit::Failure, loopback::LoopbackInfo};

/// A loopback that runs in a process of its own; it is ended when this is dropped.
pub struct LoopbackProcess {
    process: Child,
    last_error: JoinHandle<Option<String>>,
}

impl LoopbackProcess {
    /// Starts one with so many guilds.
    ///
    /// # Errors
    ///
    /// When it does not start, with the last thing that it said.
    pub async fn start(guilds: u32) -> Result<(LoopbackInfo, Self), Failure> {
        let program = std::env::current_exe().map_err(|error| not_started(&error))?;
        let mut command = Command::new(program);
        command.args(["loopback", "--until-end-of-input", "--guilds"]).arg(guilds.to_string());
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> Result<(LoopbackInfo, Self), Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A terminal sends Ctrl-C to the whole group; the loopback has to run until the bot has logged out.
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(windows)]
        command.creation_flags(CREATE_NEW_PROCESS_GROUP);
        let mut process = command.spawn().map_err(|error| not_started(&error))?;
        let (output, errors) = (process.stdout.take(), process.stderr.take());
        let last_error = actix_rt::spawn(last_line(errors));
        let mut loopback = Self { process, last_error };
        let cause = match timeout(START_TIMEOUT, first_line(output)).await {
            Ok(Ok(Some(line))) => match serde_json::from_str(&line) {
                Ok(info) => return Ok((info, loopback)),
                Err(error) => error.to_string(),
            },
            Ok(Ok(None)) => loopback.exit_cause().await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it said nothing for {} s", START_TIMEOUT.as_secs()),
        };
        // It may have ended already.
        let _ = loopback.process.start_kill();
        Err(not_started(&loopback.last_error().await.unwrap_or(cause)))
    }

    /// Why a process that has closed its output did so.
    async fn exit_cause(&mut self) -> String {
        match timeout(EXIT_TIMEOUT, self.process.wait()).await {
            Ok(Ok(status)) => format!("it ended at once, with {status}"),
            _ => "it closed its output".into(),
        }
    }

    /// Blames a failure on the loopback if that has ended by itself.
    pub async fn explain(&mut self, failure: Failure) -> Failure {
        match self.process.try_wait() {
            Ok(Some(status)) => {
                let cause = self.last_error().await.unwrap_or_else(|| status.to_string());
                Failure::Other(format!("the loopback ended: {cause}"))
            }
            _ => failure,
        }
    }

    /// The last line that it wrote to stderr, once it has ended.
    async fn last_error(&mut self) -> Option<String> {
        let line = timeout(EXIT_TIMEOUT, &mut self.last_error).await.ok()?.ok()??;
        Some(line.trim_start_matches("actix-voice: ").to_owned())
    }
}

fn not_started(cause: &impl ToString) -> Failure {
    Failure::Other(format!("the loopback did not start: {}", cause.to_string()))
}

async fn first_line(output: Option<impl AsyncRead + Unpin>) -> io::Result<Option<String>> {
    match output {
        Some(output) => BufReader::new(output).lines().next_line().await,
        None => Ok(None),
    }
}

/// Reads to the end, so that the process never waits to write.
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

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
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
        let failure = LoopbackProcess::spawn(shell(script)).await.err().unwrap();
        assert_eq!(failure.to_string(), "the loopback did not start: no port is free");
        let silent = LoopbackProcess::spawn(shell("exit 3")).await.err().unwrap();
        assert_eq!(
            silent.to_string(),
            "the loopback did not start: it ended at once, with exit status: 3",
            "and not that it said nothing for 10 s"
        );
        let nonsense =
            LoopbackProcess::spawn(shell("echo nonsense; exec cat >/dev/null")).await.err().unwrap();
        assert!(nonsense.to_string().starts_with("the loopback did not start: expected"), "{nonsense}");
    }

    #[actix_rt::test]
    async fn a_loopback_that_ends_on_the_way_is_quoted_and_one_that_runs_is_not() {
        let first_line = r#"{"gateway":"ws://g","user":"1","guild":"2","channel":"3","guilds":1}"#;
        let failure = || Failure::NotWhole("3 packets lost".into());
        let script = format!("echo '{first_line}'; echo 'actix-voice: it rained in' >&2; read go; exit 1");
        let (info, mut loopback) = LoopbackProcess::spawn(shell(&script)).await.unwrap();
        assert_eq!((info.gateway.as_str(), info.guilds), ("ws://g", 1));
        assert_eq!(loopback.explain(failure()).await.to_string(), "not heard whole: 3 packets lost");
        drop(loopback.process.stdin.take());
        loopback.process.wait().await.unwrap();
        assert_eq!(loopback.explain(failure()).await.to_string(), "the loopback ended: it rained in");
    }
}
