//! The programs that are compared, each in a process of its own.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{
    Source, Switch,
    loopback::Loopback,
    measure::{Failure, Plan},
};

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contestant {
    /// The bare loop
    Floor,
    /// actix-voice
    Ours,
    /// songbird
    Rival,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Ours => "actix-voice",
            Self::Rival => "songbird",
        })
    }
}

/// Where the programs are.
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// They are built beside this one.
    ///
    /// # Errors
    ///
    /// When this program does not know where it is itself.
    pub fn find() -> Result<Self, Failure> {
        let own = env::current_exe()?;
        let directory = own.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { directory })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn actix_voice(&self) -> PathBuf {
        self.directory.join("actix-voice")
    }

    fn of(&self, who: Contestant) -> PathBuf {
        match who {
            Contestant::Floor => self.directory.join("floor"),
            Contestant::Ours => self.actix_voice(),
            Contestant::Rival => self.directory.join("../rival/release/rival"),
        }
    }
}

/// A program that plays; it is ended when this is dropped.
pub struct Playing {
    child: Child,
}

impl Playing {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When there is no such program.
    pub fn start(plan: &Plan<'_>, programs: &Programs, loopback: &Loopback) -> Result<Self, Failure> {
        let program = programs.of(plan.who);
        let mut command = Command::new(&program);
        match plan.who {
            Contestant::Ours => ours(&mut command, plan),
            Contestant::Floor | Contestant::Rival => others(&mut command, plan),
        }
        command.args(["--gateway", &loopback.gateway, "--calls", &plan.calls.to_string()]);
        if plan.source != Source::Idle {
            command.arg("--file").arg(plan.track);
        }
        command.env("DISCORD_TOKEN", &loopback.token).env("SSL_CERT_FILE", &loopback.authority);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| not_started(&program, error))?;
        Ok(Self { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it, and returns what it printed on stdout.
    pub fn end(mut self) -> String {
        self.signal(Signal::SIGINT);
        let deadline = Instant::now() + END_TIMEOUT;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        // What hangs is killed when this is dropped, and has printed nothing.
        let output = self.has_ended().then(|| self.child.stdout.take()).flatten();
        output.and_then(|output| std::io::read_to_string(output).ok()).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// There is no such program, or it may not be run.
pub fn not_started(program: &Path, error: std::io::Error) -> Failure {
    Failure::NotStarted { program: program.display().to_string(), error }
}

fn ours(command: &mut Command, plan: &Plan<'_>) {
    command.args(["bench", "--json", "--no-send-limit", "--seconds", FOR_EVER]);
    if plan.dave == Switch::Off {
        command.arg("--without-e2ee");
    }
    match plan.source {
        Source::Passthrough | Source::Encode => {}
        Source::Mix => drop(command.args(["--tracks", "2"])),
        Source::Idle => drop(command.arg("--silent")),
    }
}

fn others(command: &mut Command, plan: &Plan<'_>) {
    command.arg("--source").arg(match plan.source {
        Source::Passthrough => "passthrough",
        Source::Encode => "encode",
        Source::Mix => "mix",
        Source::Idle => "idle",
    });
}

/// In seconds; it is ended before.
const FOR_EVER: &str = "100000";
const END_TIMEOUT: Duration = Duration::from_secs(20);
