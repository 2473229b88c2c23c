//! The loopback, which measures when packets come.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::Deserialize;

use crate::{
    Switch,
    contestant::{Programs, not_started},
    measure::{Failure, Plan},
};

/// A loopback; it is ended when this is dropped.
pub struct Loopback {
    pub gateway: String,
    pub token: String,
    /// The file with the certificate authority to trust.
    pub authority: PathBuf,
    child: Child,
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

/// The first line that it prints.
#[derive(Deserialize)]
struct Info {
    gateway: String,
    token: String,
    authority: PathBuf,
}

/// What came since it was asked before.
#[derive(Clone, Debug, Deserialize)]
pub struct Figures {
    pub seconds: f64,
    pub calls: u32,
    pub senders: u32,
    pub packets: u64,
    pub lost: u64,
    pub spacing_error_us: Spread,
    pub lateness_us: Spread,
    pub late: u64,
    pub histogram: Vec<(u64, u64)>,
    pub cpu_seconds: Option<f64>,
    pub limit: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Spread {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Loopback {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When there is no such program, or it does not start.
    pub fn start(plan: &Plan<'_>, programs: &Programs) -> Result<Self, Failure> {
        let program = programs.actix_voice();
        let authority = programs.directory().join("loopback-authority.pem");
        let mut command = Command::new(&program);
        command.args(["loopback", "--measure", "--until-end-of-input", "--no-send-limit"]);
        command.args(["--guilds", &plan.calls.to_string()]).arg("--tls").arg(authority);
        command.args(["--dave", if plan.dave == Switch::On { "on" } else { "off" }]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| not_started(&program, error))?;
        let output = child.stdout.take().ok_or(Failure::LoopbackEnded)?;
        let (questions, mut answers) = (child.stdin.take(), BufReader::new(output).lines());
        let line = answers.next().ok_or(Failure::LoopbackEnded)??;
        let Info { gateway, token, authority } = serde_json::from_str(&line)?;
        Ok(Self { gateway, token, authority, child, questions, answers })
    }

    /// What came since this was asked before.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn figures(&mut self) -> Result<Figures, Failure> {
        let questions = self.questions.as_mut().ok_or(Failure::LoopbackEnded)?;
        questions.write_all(b"\n")?;
        let line = self.answers.next().ok_or(Failure::LoopbackEnded)??;
        Ok(serde_json::from_str(&line)?)
    }

    /// Ends it, and returns what it says of the rules that were broken.
    pub fn end(mut self) -> Vec<String> {
        drop(self.questions.take());
        let errors = self.child.stderr.take();
        let lines =
            errors.into_iter().flat_map(|errors| BufReader::new(errors).lines().map_while(Result::ok));
        lines.filter(|line| line.starts_with("the bot broke a rule")).collect()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
