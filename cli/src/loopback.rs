//! `actix-voice loopback`: Discord on this machine, in the foreground.

use std::{
    future::pending,
    io::{self, BufRead},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use actix_voice::id::Token;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::interval};

use crate::{
    bot::parse_token,
    exit::Failure,
    figures::Figures,
    interrupt::Interrupt,
    local_discord::{Dave, Keep, LocalDiscord, RelayThread, Security, SendLimit, Settings, UnannouncedAudio},
    report::print_json,
    usage,
    wording::count,
};

/// Run Discord on this machine, to point bots at, until Ctrl-C.
///
/// It has a main gateway, a voice gateway, a media relay and end-to-end encryption, a bot account, and guilds with a
/// voice channel and a listener in it each. The first line of stdout is a JSON object that says where and as whom to
/// connect; stderr says the same in words, and then which of Discord's rules a bot breaks, as it breaks them.
#[derive(Debug, Args)]
pub struct Loopback {
    /// Where the main gateway listens, an address with or without a port; the others take free ports of the address
    #[arg(long, value_name = "ADDR", value_parser = parse_listen, default_value = "127.0.0.1")]
    listen: SocketAddr,
    /// How many guilds there are
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2500))]
    guilds: u32,
    /// The token of the bot account, instead of a random one; it is not printed
    #[arg(long, value_name = "T", value_parser = parse_token)]
    token: Option<Token>,
    /// Speak TLS (wss), and write the certificate authority to trust to FILE, as PEM; to loopback-authority.pem unless given
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = DEFAULT_AUTHORITY_FILE)]
    tls: Option<PathBuf>,
    /// Keep what the bot says in each guild, the first hour of it, and write it to DIR at the end, as Ogg Opus
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Let the bot send as many payloads a minute as it likes, so that it can join a thousand channels at once
    #[arg(long)]
    no_send_limit: bool,
    /// Whether calls are encrypted end to end
    #[arg(long, value_enum, default_value_t = Encrypted::On)]
    dave: Encrypted,
    /// Measure what comes of the bot: for each line on standard input, a line of JSON says what came since the line before.
    /// Who sends audio before it says that it speaks is not closed then: at many calls it is read too late what they say
    #[arg(long)]
    measure: bool,
    /// Let so many members of the first channel speak, again and again, for a bot to hear
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=98))]
    speakers: u32,
    /// End when standard input does
    #[arg(long, hide = true)]
    until_end_of_input: bool,
}

/// Whether calls are encrypted end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Encrypted {
    /// As Discord wants it
    On,
    /// As on a stage
    Off,
}

/// Where and as whom a bot connects: the first line of stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoopbackInfo {
    /// Where the main gateway is.
    pub gateway: String,
    /// What the bot identifies with, unless the user has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The certificate authority to trust, if TLS is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
    /// The bot's user.
    pub user: String,
    /// The first guild.
    pub guild: String,
    /// Its voice channel.
    pub channel: String,
    /// How many guilds there are.
    pub guilds: u32,
}

impl Loopback {
    /// # Errors
    ///
    /// When it cannot listen, or not write what it is asked to.
    pub async fn run(self) -> Result<(), Failure> {
        self.check_arguments()?;
        let interrupt = Interrupt::listen()?;
        usage::allow_many_files();
        if let Some(directory) = &self.out {
            std::fs::create_dir_all(directory).map_err(|error| not_written(directory, &error))?;
        }
        let mut discord = LocalDiscord::start(self.settings())?;
        let info = self.info(&discord)?;
        print_json(&info);
        print_instructions(&info);
        self.report_violations(&mut discord, &interrupt).await;
        match &self.out {
            Some(directory) => self.write_recordings(&discord, directory),
            None => Ok(()),
        }
    }

    /// Checks what depends on more than one argument.
    fn check_arguments(&self) -> Result<(), Failure> {
        let certified = ["127.0.0.1", "::1"].map(str::parse).map(Result::ok);
        if self.tls.is_some() && !certified.contains(&Some(self.listen.ip())) {
            let complaint = "--tls works at 127.0.0.1 and ::1 alone, which the certificate is for";
            return Err(Failure::Arguments(complaint.into()));
        }
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings {
            listen: self.listen,
            security: if self.tls.is_some() { Security::Tls } else { Security::None },
            guilds: self.guilds,
            token: self.token.clone(),
            keep: if self.out.is_some() { Keep::Audio } else { Keep::Counts },
            dave: match self.dave {
                Encrypted::On => Dave::Required,
                Encrypted::Off => Dave::Off,
            },
            send_limit: if self.no_send_limit { SendLimit::Lifted } else { SendLimit::Close },
            unannounced_audio: if self.measure {
                UnannouncedAudio::Tolerate
            } else {
                UnannouncedAudio::Close
            },
            relay_thread: if self.measure { RelayThread::Own } else { RelayThread::Shared },
            speakers: self.speakers,
        }
    }

    fn info(&self, discord: &LocalDiscord) -> Result<LoopbackInfo, Failure> {
        let authority = self.tls.as_deref().zip(discord.authority());
        let written = authority.map(|(file, pem)| {
            let written = std::fs::write(file, pem).and_then(|()| std::path::absolute(file));
            written.map_err(|error| not_written(file, &error))
        });
        Ok(LoopbackInfo {
            gateway: discord.gateway(),
            token: Some(discord.token().0.clone()).filter(|_| self.token.is_none()),
            authority: written.transpose()?,
            user: discord.user().to_string(),
            guild: discord.guild().to_string(),
            channel: discord.channel().to_string(),
            guilds: self.guilds,
        })
    }

    /// Reports broken rules until the end.
    async fn report_violations(&self, discord: &mut LocalDiscord, interrupt: &Interrupt) {
        let mut input = Some(lines_of_input()).filter(|_| self.measure || self.until_end_of_input);
        let mut checks = interval(CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = interrupt.requested() => break,
                line = next_line(&mut input) => match line {
                    Some(()) if self.measure => print_json(&Figures::of(discord)),
                    Some(()) => {}
                    None if self.until_end_of_input => break,
                    None => input = None,
                },
                _ = checks.tick() => print_violations(discord.new_violations()),
            }
        }
        print_violations(discord.remaining_violations());
        let broken = discord.violations().len() as u64;
        eprintln!("the bot broke {}", if broken == 0 { "no rule".into() } else { count(broken, "rule") });
    }

    fn write_recordings(&self, discord: &LocalDiscord, directory: &Path) -> Result<(), Failure> {
        let mut files = 0;
        for (guild, hearing) in discord.hearings() {
            let file = directory.join(format!("guild-{guild}-user-{}.ogg", discord.user()));
            std::fs::write(&file, hearing.ogg()).map_err(|error| not_written(&file, &error))?;
            files += 1;
        }
        eprintln!("{} of what the bot said in {}", count(files, "recording"), directory.display());
        Ok(())
    }
}

fn not_written(file: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!("{}: {error}", file.display()))
}

fn print_instructions(info: &LoopbackInfo) {
    let LoopbackInfo { gateway, token, authority, guild, channel, guilds, .. } = info;
    eprintln!("Discord is at {gateway}, with {}; Ctrl-C ends it.", count((*guilds).into(), "guild"));
    match token {
        Some(token) => eprintln!("Point a bot at it: as its main gateway, with the token {token}."),
        None => eprintln!("Point a bot at it: as its main gateway, with the token you gave."),
    }
    let mut environment = String::new();
    if let Some(file) = authority {
        let file = file.display().to_string();
        eprintln!("Its certificates are signed by an authority of its own, in {file}: trust that.");
        environment = format!("SSL_CERT_FILE='{file}' ");
    }
    let token = token.as_deref().unwrap_or("…");
    eprintln!("Or play a file:\n");
    eprintln!(
        "  {environment}DISCORD_TOKEN={token} actix-voice play --gateway {gateway} --guild {guild} --channel {channel} FILE\n"
    );
    eprintln!("Or, with --speakers, record what they say:\n");
    eprintln!(
        "  {environment}DISCORD_TOKEN={token} actix-voice record --gateway {gateway} --guild {guild} --channel {channel} --out DIR\n"
    );
}

fn print_violations(broken: Vec<(String, u64)>) {
    for (rule, times) in broken {
        let often = if times > 1 { format!(" ({times} times)") } else { String::new() };
        eprintln!("the bot broke a rule of Discord's: {rule}{often}");
    }
}

/// The next line, or the end of the input; it never comes where nobody reads.
async fn next_line(input: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match input {
        Some(lines) => lines.recv().await,
        None => pending().await,
    }
}

/// Tells of each line of standard input, and of its end. A thread of its own reads, since a runtime would wait at its end
/// for a read that does not.
fn lines_of_input() -> mpsc::Receiver<()> {
    let (lines, read) = mpsc::channel(1);
    std::thread::spawn(move || {
        // An error is an end too.
        for _ in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(()).is_err() {
                return;
            }
        }
    });
    read
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    let address = alone.or_else(|_| text.parse::<SocketAddr>());
    let address = address.map_err(|_| "an address is 127.0.0.1, 127.0.0.1:8080 or [::1]:8080")?;
    if address.ip().to_canonical().is_unspecified() {
        return Err(WILDCARD_REFUSED.into());
    }
    Ok(address)
}

/// The bot connects to the address that the first line names, so it has to be one that can be connected to.
const WILDCARD_REFUSED: &str = "that is every address of this machine and none that a bot could connect to: \
                        give the one address by which the bot reaches this machine";
/// Where the certificate authority goes unless the user says.
const DEFAULT_AUTHORITY_FILE: &str = "loopback-authority.pem";
/// How often broken rules are looked for.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port() {
        let parsed = |text| parse_listen(text).map(|address| address.to_string());
        assert_eq!(parsed("127.0.0.1"), Ok("127.0.0.1:0".into()));
        assert_eq!(parsed("127.0.0.1:8080"), Ok("127.0.0.1:8080".into()));
        assert_eq!(parsed("::1"), Ok("[::1]:0".into()));
        assert_eq!(parsed("[::1]:8080"), Ok("[::1]:8080".into()));
        assert!(parsed("localhost").is_err());
    }

    #[test]
    fn an_address_that_nobody_can_connect_to_is_refused() {
        for wildcard in ["0.0.0.0", "0.0.0.0:8080", "::", "[::]:8080", "::ffff:0.0.0.0"] {
            assert_eq!(parse_listen(wildcard), Err(WILDCARD_REFUSED.into()), "{wildcard}");
        }
    }
}
