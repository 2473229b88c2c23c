//! Hall: a Discord with a bot, a channel and a listener, and the command run against it.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use actix_voice_loopback::{Bot, Builder, Channel, Discord, Guild, Hearing, Member};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    sync::{Mutex, MutexGuard},
    time::timeout,
};

/// The place of a test.
pub struct Hall {
    pub discord: Discord,
    pub bot: Bot,
    pub guild: Guild,
    pub channel: Channel,
    pub ear: Member,
    _turn: MutexGuard<'static, ()>,
}

/// Waits until no other test of this binary does anything in real time; until this is dropped none will. A [`Hall`] has
/// it already.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

impl Hall {
    /// An ordinary Discord.
    pub async fn open() -> Self {
        Self::on(Discord::builder()).await
    }

    /// This Discord.
    pub async fn on(builder: Builder) -> Self {
        let turn = turn().await;
        let discord = builder.start().await;
        let (bot, guild) = (discord.bot("bot"), discord.guild("guild"));
        let channel = guild.channel("channel");
        let ear = channel.listener("ear");
        Self { discord, bot, guild, channel, ear, _turn: turn }
    }

    /// `play --json` with the right arguments, except for what is to be played.
    pub fn play(&self) -> Command {
        let mut command = self.play_as(&self.bot.token);
        command.arg("--json");
        command
    }

    /// `play` with this token.
    pub fn play_as(&self, token: &str) -> Command {
        let mut command = command();
        command.env("DISCORD_TOKEN", token).args(["play", "--gateway", &self.discord.gateway_url()]);
        command.args(["--guild", &self.guild.id.to_string(), "--channel", &self.channel.id.to_string()]);
        command
    }

    /// What the listener has heard of the bot.
    pub fn heard(&self) -> Hearing {
        self.ear.heard(self.bot.user_id).expect("something was heard")
    }

    /// Waits until the listener has heard so many packets of the bot.
    pub async fn until_heard(&self, packets: u64) {
        let enough = |_: &Discord| self.ear.packets_heard(self.bot.user_id) >= packets;
        self.discord.until(enough, PATIENCE).await.expect("the bot is heard");
    }
}

/// The command, without the environment's token.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_actix-voice"));
    command.env_remove("DISCORD_TOKEN").env_remove("RUST_LOG").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A recording of the tests.
pub fn audio(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/audio")).join(name)
}

/// A file of this content.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("a temporary file");
    path
}

/// Runs it to its end.
pub async fn run(mut command: Command) -> Ran {
    finish(command.spawn().expect("it starts")).await
}

/// Waits for its end.
pub async fn finish(child: Child) -> Ran {
    Ran(timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").expect("it ran"))
}

/// What Ctrl-C does.
#[cfg(unix)]
pub fn interrupt(child: &Child) {
    signal(child, rustix::process::Signal::INT);
}

/// Sends it a signal.
#[cfg(unix)]
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(id(child), signal).expect("it is ours");
}

#[cfg(unix)]
pub fn id(child: &Child) -> rustix::process::Pid {
    child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())).expect("it runs")
}

/// What a running command says on stderr.
pub struct Words {
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Words {
    /// Listens; what it says does not turn up in [`Ran`] then.
    pub fn of(child: &mut Child) -> Self {
        let lines = BufReader::new(child.stderr.take().expect("nobody listens yet")).lines();
        Self { lines, said: String::new() }
    }

    /// Waits until it says this, and returns all it has said.
    pub async fn until(&mut self, text: &str) -> &str {
        while !self.said.contains(text) {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {text} in: {}", self.said)).unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended, and no {text} in: {}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
        }
        &self.said
    }

    /// All it has said, once it has ended.
    pub async fn all(mut self) -> String {
        while let Some(line) = timeout(PATIENCE, self.lines.next_line()).await.expect("it ends").unwrap() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        self.said
    }
}

/// A command that has ended.
pub struct Ran(Output);

impl Ran {
    /// Expects this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "stdout: {}\nstderr: {}", self.stdout(), self.stderr());
        self
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        let stdout = self.stdout();
        assert_eq!(stdout.lines().count(), 1, "one line: {stdout}");
        serde_json::from_str(&stdout).expect("a JSON object")
    }
}

/// What plays in real time is not disturbed by other tests, also where one process runs them all.
static TURN: Mutex<()> = Mutex::const_new(());
/// Longer than anything takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
