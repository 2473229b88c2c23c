//! `actix-voice record`: records a voice channel, a file for each speaker.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use actix::{Actor, Addr};
use actix_voice::{
    actors::{CallHandle, GetSession, Listen, Recorder, StopRecording},
    hearing::{Format, Preset, Rate, Selection},
    id::{ChannelId, GuildId, Token, UserId},
    recording::{MixFormat, RecordingFile, Session, Settings, format_length},
};
use clap::{Args, ValueEnum};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    bot::{Bot, GatewayUrl, parse_token},
    event_collector::BotStatus,
    exit::Failure,
    interrupt::Interrupt,
    level_meter::{LevelMeter, Levels},
    recording_files::{RecordingFolder, check_end},
    screen::Screen,
};

/// Record a voice channel: an Ogg Opus file for each speaker, until Ctrl-C, without transcoding.
///
/// All files begin with the recording, so that they can be laid side by side. A recording that is cut off loses its last
/// second; --repair gives it an end. Tell those whom you record: in many places that is the law.
#[derive(Debug, Args)]
pub struct Record {
    /// The guild
    #[arg(long, value_name = "ID", required_unless_present = "repair")]
    guild: Option<GuildId>,
    /// The voice or stage channel
    #[arg(long, value_name = "ID", required_unless_present = "repair")]
    channel: Option<ChannelId>,
    /// The folder to record into; it is made, and must not hold a recording
    #[arg(long, value_name = "DIR", required_unless_present = "repair")]
    out: Option<PathBuf>,
    /// Record for so long
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Write all speakers as one file too, at the end
    #[arg(long, value_enum, value_name = "FORMAT")]
    mix: Option<Mix>,
    /// Record this user alone; may be given more than once
    #[arg(long = "user", value_name = "ID")]
    users: Vec<UserId>,
    /// Do not record this user, not a byte; may be given more than once
    #[arg(long = "deny", value_name = "ID")]
    denied: Vec<UserId>,
    /// Write a page with waveforms and players too, at the end: index.html
    #[arg(long)]
    html: bool,
    /// Mend the recording in DIR instead: give cut-off files an end, then write the mix and the page
    #[arg(long, value_name = "DIR", conflicts_with_all = ["guild", "channel", "out", "seconds", "users", "denied", "gateway"])]
    repair: Option<PathBuf>,
    /// Another main gateway than Discord's: wss://host:port, or ws://host:port for one without TLS
    #[arg(long, value_name = "URL", value_parser = GatewayUrl::parse)]
    gateway: Option<GatewayUrl>,
    /// The bot's token; better given in the environment, where other users of the machine do not see it
    #[arg(long, env = "DISCORD_TOKEN", hide_env_values = true, value_parser = parse_token, required_unless_present = "repair")]
    token: Option<Token>,
}

/// As what the mix is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mix {
    /// Ogg Opus
    Ogg,
    /// FLAC
    Flac,
}

impl From<Mix> for MixFormat {
    fn from(mix: Mix) -> Self {
        match mix {
            Mix::Ogg => Self::Ogg,
            Mix::Flac => Self::Flac,
        }
    }
}

impl Record {
    /// # Errors
    ///
    /// When it cannot be recorded, or ends before it was asked to.
    pub async fn run(self) -> Result<(), Failure> {
        if let Some(folder) = &self.repair {
            let mut folder = RecordingFolder::open(folder)?;
            let mended = folder.repair()?;
            eprintln!("mended: {}", crate::wording::count(mended as u64, "file"));
            return self.complete(&folder);
        }
        let (Some(guild), Some(channel), Some(out), Some(token)) =
            (self.guild, self.channel, self.out.clone(), self.token.clone())
        else {
            return Err(Failure::Arguments("--guild, --channel, --out and a token are needed".into()));
        };
        let screen = Screen::new(self.seconds.map(Duration::from_secs));
        let settings = Settings::new(guild, channel).selection(self.selection());
        let session = self.record(settings, out.clone(), token, &screen).await;
        screen.clear();
        let session = session?;
        self.complete(&RecordingFolder::open(&out)?)?;
        check_end(&session)
    }

    fn selection(&self) -> Selection {
        let selection = if self.users.is_empty() {
            Selection::all()
        } else {
            Selection::only(self.users.iter().copied())
        };
        selection.deny(self.denied.iter().copied())
    }

    /// Writes what is made of the tracks afterwards, and tells of all.
    fn complete(&self, folder: &RecordingFolder) -> Result<(), Failure> {
        if let Some(mix) = self.mix {
            folder.mix(mix.into())?;
        }
        if self.html {
            folder.write_page()?;
        }
        println!("{}", folder.describe()?);
        Ok(())
    }

    async fn record(
        &self,
        settings: Settings,
        out: PathBuf,
        token: Token,
        screen: &Screen,
    ) -> Result<Session, Failure> {
        let interrupt = Interrupt::listen()?;
        let gateway = self.gateway.clone().unwrap_or_default();
        let bot = Bot::log_in(&gateway, token, screen).await?;
        let session = self.record_as(&bot, settings, out, &interrupt, screen).await;
        bot.log_out().await;
        session
    }

    async fn record_as(
        &self,
        bot: &Bot,
        settings: Settings,
        out: PathBuf,
        interrupt: &Interrupt,
        screen: &Screen,
    ) -> Result<Session, Failure> {
        let (guild, channel) = (settings.guild, settings.channel);
        let (levels, selection) = (Levels::default(), settings.selection.clone());
        let (meter, end) = LevelMeter::new(levels.clone());
        let meter = meter.start();
        // It is told who is there and what the privacy code is only if it is there before.
        let recorder = Recorder::new(bot.manager().clone(), settings, out.clone())
            .map_err(|error| Failure::Other(error.to_string()))?
            .on_end(meter.clone().recipient())
            .start();
        let call = match bot.join(guild, channel).await {
            Ok(call) => call,
            Err(failure) => {
                let _ = stop(&recorder, end).await;
                remove_empty(&out);
                return Err(failure);
            }
        };
        let listen = Listen::frames(guild, Preset::Agent, meter.recipient());
        bot.manager().do_send(listen.format(Format::Mono(Rate::Khz8)).selection(selection));
        screen.print_line(format_args!("recording into {}", out.display()));
        self.follow(bot, guild, &recorder, &levels, interrupt, screen).await;
        let session = stop(&recorder, end).await;
        disconnect(&call).await;
        session
    }

    /// Shows how it goes until it is to end, or has ended.
    async fn follow(
        &self,
        bot: &Bot,
        guild: GuildId,
        recorder: &Addr<Recorder>,
        levels: &Levels,
        interrupt: &Interrupt,
        screen: &Screen,
    ) {
        let over = async {
            match self.seconds {
                Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let call_ended =
            |status: &BotStatus| status.ended_calls.contains_key(&guild) || status.refused.is_some();
        loop {
            tokio::select! {
                () = &mut over => return,
                () = interrupt.requested() => return,
                () = bot.until(call_ended, |_| ()) => return,
                _ = checks.tick() => match recorder.send(GetSession).await {
                    Ok(session) => screen.show_recording(Duration::from_millis(session.duration_ms), &progress(&session, levels)),
                    // It has ended, by a full disk for one.
                    Err(_) => return,
                },
            }
        }
    }
}

fn progress(session: &Session, levels: &Levels) -> String {
    let lost: u64 = session.speakers.iter().map(|speaker| speaker.lost).sum();
    let speakers = crate::wording::count(session.speakers.len() as u64, "speaker");
    format!("{}  {speakers}, {lost} lost  {}", format_length(session.duration_ms), levels.describe())
}

/// Ends the recording, unless it has ended; waits until all is on the disk.
async fn stop(
    recorder: &Addr<Recorder>,
    mut end: watch::Receiver<Option<Session>>,
) -> Result<Session, Failure> {
    recorder.do_send(StopRecording);
    let ended = timeout(STOP_TIMEOUT, end.wait_for(Option::is_some)).await;
    let session = ended.ok().and_then(|ended| ended.ok()?.clone());
    session.ok_or_else(|| Failure::Other("the disk does not take what was recorded".into()))
}

/// Removes a recording that never began.
fn remove_empty(folder: &Path) {
    for file in [RecordingFile::Session, RecordingFile::Events] {
        // What is left behind says by itself that nothing was recorded.
        let _ = std::fs::remove_file(folder.join(file.to_string()));
    }
    let _ = std::fs::remove_dir(folder);
}

async fn disconnect(call: &CallHandle) {
    // A call that is over has left.
    let _ = call.disconnect().await;
}

const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Longer than any disk that works takes for a second of sound.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
