//! What the tests of the command share: a Discord with a bot, a channel and a listener, and the command run against it.

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

/// An offline Discord with a bot, a guild, a voice channel and a member that listens in it.
pub struct Fixture {
    pub discord: Discord,
    pub bot: Bot,
    pub guild: Guild,
    pub channel: Channel,
    pub listener: Member,
    _exclusive: MutexGuard<'static, ()>,
}

/// Waits until no other test of this binary does anything in real time; until this is dropped none will. A [`Fixture`] has
/// it already.
pub async fn exclusive() -> MutexGuard<'static, ()> {
    EXCLUSIVE.lock().await
}

impl Fixture {
    /// Starts an ordinary Discord.
    pub async fn start() -> Self {
        Self::start_with(Discord::builder()).await
    }

    /// Starts this Discord.
    pub async fn start_with(builder: Builder) -> Self {
        let exclusive = exclusive().await;
        let discord = builder.start().await;
        let (bot, guild) = (discord.bot("bot"), discord.guild("guild"));
        let channel = guild.channel("channel");
        let listener = channel.listener("ear");
        Self { discord, bot, guild, channel, listener, _exclusive: exclusive }
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
        self.listener.heard(self.bot.user_id).expect("something was heard")
    }

    /// Waits until the listener has heard so many packets of the bot.
    pub async fn until_heard(&self, packets: u64) {
        let enough = |_: &Discord| self.listener.packets_heard(self.bot.user_id) >= packets;
        self.discord.until(enough, TEST_TIMEOUT).await.expect("the bot is heard");
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

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Finished {
    finish(command.spawn().expect("it starts")).await
}

/// Waits until a command ends.
pub async fn finish(child: Child) -> Finished {
    Finished(timeout(TEST_TIMEOUT, child.wait_with_output()).await.expect("it ends").expect("it ran"))
}

/// What Ctrl-C does.
#[cfg(unix)]
pub fn interrupt(child: &Child) {
    signal(child, rustix::process::Signal::INT);
}

/// Sends it a signal.
#[cfg(unix)]
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(pid(child), signal).expect("it is ours");
}

#[cfg(unix)]
pub fn pid(child: &Child) -> rustix::process::Pid {
    child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())).expect("it runs")
}

/// What a running command writes to stderr.
pub struct Stderr {
    lines: Lines<BufReader<ChildStderr>>,
    text: String,
}

impl Stderr {
    /// Listens; what it says does not turn up in [`Finished`] then.
    pub fn of(child: &mut Child) -> Self {
        let lines = BufReader::new(child.stderr.take().expect("nobody listens yet")).lines();
        Self { lines, text: String::new() }
    }

    /// Waits until it says this, and returns all it has said.
    pub async fn until(&mut self, text: &str) -> &str {
        while !self.text.contains(text) {
            let line = timeout(TEST_TIMEOUT, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {text} in: {}", self.text)).unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended, and no {text} in: {}", self.text));
            self.text.push_str(&line);
            self.text.push('\n');
        }
        &self.text
    }

    /// All it has said, once it has ended.
    pub async fn all(mut self) -> String {
        while let Some(line) = timeout(TEST_TIMEOUT, self.lines.next_line()).await.expect("it ends").unwrap()
        {
            self.text.push_str(&line);
            self.text.push('\n');
        }
        self.text
    }
}

/// A command that has ended.
pub struct Finished(Output);

impl Finished {
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
static EXCLUSIVE: Mutex<()> = Mutex::const_new(());
/// How long a test waits for anything; nothing takes so long, not even on a busy machine.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);
