//! `actix-voice demo`: shows that it works, and how well, without Discord.

use std::{fmt, path::PathBuf, time::Duration};

use actix_voice::{actors::CallStats, audio::frame::FRAME, source};
use clap::Args;

use crate::{
    bot::{Bot, Door, parse_token},
    exit::Failure,
    interrupt::interrupted,
    performance::Performance,
    report::{End, times},
    screen::Screen,
    sources::Repeated,
    stage::{self, Cut, Hearing, Keep, Plan, Score, Stage},
};

/// Play a recording into a Discord on this machine, cut the connection on the way, and tell what was heard.
///
/// Exit code 0 only if it was heard whole.
#[derive(Debug, Args)]
pub struct Demo {
    /// How long to play, again and again if need be; the length of the recording unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=3600))]
    seconds: Option<u32>,
    /// Write what was heard to DIR/heard.ogg
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What came of it.
struct Account {
    stats: CallStats,
    played: Duration,
    hearing: Hearing,
    score: Score,
    gap: Option<Duration>,
    cut_after: Duration,
    violations: Vec<String>,
}

impl Demo {
    /// # Errors
    ///
    /// When it was not heard whole.
    pub async fn run(self) -> Result<(), Failure> {
        let whole = stage::packets(RECORDING)?.len();
        let frames = self.seconds.map_or(whole, |seconds| seconds as usize * FRAMES_A_SECOND);
        let account = self.perform(frames).await?;
        println!("{account}");
        if let Some(directory) = &self.out {
            let file = directory.join("heard.ogg");
            let written = std::fs::create_dir_all(directory)
                .and_then(|()| std::fs::write(&file, account.hearing.ogg()))
                .map_err(|error| Failure::Other(format!("{}: {error}", file.display())));
            written?;
            println!("recording  {}", file.display());
        }
        account.verdict()
    }

    async fn perform(&self, frames: usize) -> Result<Account, Failure> {
        let stop = interrupted()?;
        let here = ([127, 0, 0, 1], 0).into();
        let stage = Stage::raise(Plan { listen: here, guilds: 1, token: None, keep: Keep::Audio })?;
        let length = FRAME * u32::try_from(frames).unwrap_or(u32::MAX);
        let screen = Screen::new(Some(length));
        let invitation = stage.invitation();
        let door = Door::parse(&invitation.gateway).map_err(Failure::Other)?;
        let token = parse_token(&invitation.token).map_err(Failure::Other)?;

        let source = Repeated::new(|| source::from_reader("demo.opus", RECORDING))?.frames(frames as u64);
        let bot = Bot::log_in(&door, token, &screen).await?;
        let mut performance = Performance::new(stage.guild(), stage.channel(), screen.clone());
        let mut cut: Option<Cut> = None;
        let cut_in_the_middle = |so_far: &CallStats| {
            if cut.is_none() && so_far.speaker.frames >= frames as u64 / 2 {
                screen.say("cutting the connection to the voice gateway");
                cut = Some(stage.cut());
            }
        };
        let ended = performance.run(&bot, source, stop, cut_in_the_middle).await;
        bot.log_out().await;
        if let End::Interrupted = ended? {
            return Err(Failure::NotWhole("interrupted".into()));
        }
        let Performance { stats, played, .. } = performance;
        let hearing = stage.heard(stats.packets).await;
        let hearing = hearing.ok_or_else(|| Failure::NotWhole("nothing was heard".into()))?;
        let score = hearing.score(&stage::original(RECORDING, frames)?);
        Ok(Account {
            gap: cut.map(|cut| cut.gap(&hearing)),
            cut_after: length / 2,
            score: score.map_err(|error| Failure::Other(error.to_string()))?,
            violations: stage.violations(),
            hearing,
            stats,
            played,
        })
    }
}

impl Account {
    fn verdict(&self) -> Result<(), Failure> {
        let Self { hearing, score, stats, .. } = self;
        if hearing.packets != stats.packets || hearing.lost > 0 {
            let complaint = format!("{} packets of {} were heard", hearing.packets, stats.packets);
            return Err(Failure::NotWhole(complaint));
        }
        if hearing.undecryptable > 0 {
            return Err(Failure::NotWhole(format!("{} packets do not decrypt", hearing.undecryptable)));
        }
        if !score.is_faithful() {
            return Err(Failure::NotWhole(format!("it {score}")));
        }
        println!("\nheard whole");
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stats, played, hearing, score, gap, cut_after, violations } = self;
        let mode = stats.transport.mode.as_deref().unwrap_or("nothing");
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        writeln!(f, "played     {:.1} s over {mode}", played.as_secs_f64())?;
        writeln!(f, "sent       {} packets, {} bytes", stats.packets, stats.bytes)?;
        let Hearing { packets, lost, out_of_order, duplicates, .. } = hearing;
        writeln!(f, "heard      {packets} packets")?;
        writeln!(f, "lost       {lost} ({out_of_order} out of order, {duplicates} twice)")?;
        match gap {
            Some(gap) => {
                let (resumes, rejoins) = (times(stats.resumes), times(stats.reconnects));
                write!(f, "cut        after {:.1} s, TCP reset; ", cut_after.as_secs_f64())?;
                writeln!(f, "resumed {resumes}, joined anew {rejoins}")?;
                writeln!(
                    f,
                    "gap        {:.1} ms from packet to packet at the cut, of 20.0 ms",
                    millis(*gap)
                )?;
            }
            None => writeln!(f, "cut        none: it was over too soon")?,
        }
        histogram(f, hearing)?;
        if !violations.is_empty() {
            writeln!(f, "broken     {} of Discord's rules: {}", violations.len(), violations.join(", "))?;
        }
        write!(f, "match      {score}")
    }
}

/// How late packets came, against the most punctual of them.
fn histogram(f: &mut fmt::Formatter<'_>, hearing: &Hearing) -> fmt::Result {
    let all = hearing.lateness.count().max(1);
    let mut from = Duration::ZERO;
    let mut name = "late";
    for bound in LATE.iter().map(|bound| Some(Duration::from_micros(*bound))).chain([None]) {
        let count = hearing.lateness.count_between(from, bound.unwrap_or(Duration::MAX));
        let label = match bound {
            Some(bound) => format!("up to {} ms", bound.as_secs_f64() * 1000.0),
            None => "more".into(),
        };
        if count > 0 {
            let bar = "█".repeat((count * BAR).div_ceil(all) as usize);
            writeln!(f, "{name:<10} {label:<12} {count:>7} {bar}")?;
            name = "";
        }
        from = bound.unwrap_or_default() + Duration::from_micros(1);
    }
    Ok(())
}

/// Guitar, drum and voice; see tests/audio/README.md for whose.
const RECORDING: &[u8] = include_bytes!("../../tests/audio/demo.opus");
const FRAMES_A_SECOND: usize = 50;
/// The bounds of the histogram, in microseconds.
const LATE: [u64; 8] = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 100_000];
/// How many characters stand for all packets.
const BAR: u64 = 40;
