//! `actix-voice demo`: shows that it works, and how well, without Discord.

use std::path::PathBuf;

use actix_voice::{actors::CallStats, audio::frame::FRAME, source};
use bytes::Bytes;
use clap::Args;
use tokio::sync::oneshot;

use crate::{
    bot::{Bot, GatewayUrl},
    demo_report::{CutResult, DemoReport},
    exit::Failure,
    hear::hear,
    interrupt::Interrupt,
    local_discord::{self, Cut, Hearing, Keep, LocalDiscord, Score, Settings},
    playback::Playback,
    report::End,
    screen::Screen,
    sources::Repeated,
};

/// Play a recording into a Discord on this machine, cut the connection on the way, and tell what was heard.
///
/// Exit code 0 only if it was heard whole: every packet of the recording byte for byte, across the cut, none of them later
/// than a listener's jitter buffer hides, and no rule of Discord's broken.
#[derive(Debug, Args)]
pub struct Demo {
    /// How long to play, 5 to 600, again and again if need be; the length of the recording unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=600))]
    seconds: Option<u32>,
    /// Write what was heard to DIR: heard.ogg, or the recording of --hear
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Let the bot hear instead: two members speak, a tenth of their packets is lost, and the bot's recording is compared with
    /// what they said. Exit code 0 only if it is as good as the network allows
    #[arg(long)]
    hear: bool,
}

impl Demo {
    /// # Errors
    ///
    /// When it was not heard whole.
    pub async fn run(self) -> Result<(), Failure> {
        if self.hear {
            return self.hear().await;
        }
        let packets = local_discord::packets(RECORDING)?;
        let frames = self.seconds.map_or(packets.len(), |seconds| seconds as usize * FRAMES_PER_SECOND);
        let sent = packets.iter().cycle().take(frames).cloned().collect();
        let report = self.play_and_listen(sent).await?;
        println!("{report}");
        if let Some(directory) = &self.out {
            let file = directory.join("heard.ogg");
            let written = std::fs::create_dir_all(directory)
                .and_then(|()| std::fs::write(&file, report.hearing.ogg()))
                .map_err(|error| Failure::Other(format!("{}: {error}", file.display())));
            written?;
            println!("recording  {}", file.display());
        }
        report.verdict()?;
        println!("\nheard whole");
        Ok(())
    }

    async fn hear(&self) -> Result<(), Failure> {
        let folder = self
            .out
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join(format!("actix-voice-demo-{}", std::process::id())));
        let report = hear(self.seconds.unwrap_or(HEARD_SECONDS), &folder).await;
        if self.out.is_none() {
            // What is left there is the system's to remove.
            let _ = std::fs::remove_dir_all(&folder);
        }
        let report = report?;
        println!("{report}");
        if self.out.is_some() {
            println!("recording  {}", folder.display());
        }
        report.verdict()?;
        println!("\nheard as well as can be");
        Ok(())
    }

    async fn play_and_listen(&self, sent: Vec<Bytes>) -> Result<DemoReport, Failure> {
        let interrupt = Interrupt::listen()?;
        let listen = ([127, 0, 0, 1], 0).into();
        let settings = Settings { keep: Keep::Audio, ..Settings::at(listen) };
        let discord = LocalDiscord::start(settings)?;
        let frames = sent.len() as u64;
        let length = FRAME * u32::try_from(frames).unwrap_or(u32::MAX);
        let screen = Screen::new(Some(length));
        let gateway = GatewayUrl::parse(&discord.gateway()).map_err(Failure::Other)?;

        let source = Repeated::new(|| source::from_reader("demo.opus", RECORDING))?.limit(frames);
        let bot = tokio::select! {
            bot = Bot::log_in(&gateway, discord.token(), &screen) => bot?,
            () = interrupt.requested() => return Err(interrupted()),
        };
        let mut playback = Playback::new(discord.guild(), discord.channel(), screen.clone());
        let mut cut: Option<Cut> = None;
        let cut_in_the_middle = |so_far: &CallStats| {
            if cut.is_none() && so_far.speaker.frames >= frames / 2 {
                screen.print_line("cutting the connection to the voice gateway");
                cut = Some(discord.cut());
            }
        };
        let ended = playback.run(&bot, source, &interrupt, cut_in_the_middle).await;
        bot.log_out().await;
        if let End::Interrupted = ended? {
            return Err(interrupted());
        }
        let Playback { stats, played, .. } = playback;
        let compared = async {
            let hearing = discord.hearing_after(stats.packets).await;
            let hearing = hearing.ok_or_else(|| Failure::NotWhole("nothing was heard".into()))?;
            compare(hearing, sent).await
        };
        let (hearing, score, sent) = tokio::select! {
            compared = compared => compared?,
            () = interrupt.requested() => return Err(interrupted()),
        };
        let cut_result = cut.map_or(CutResult::NotCut, |cut| {
            cut.gap(&hearing).map_or(CutResult::NothingAfter, CutResult::Gap)
        });
        let violations = discord.violations();
        Ok(DemoReport { stats, played, hearing, score, sent, cut_after: length / 2, cut_result, violations })
    }
}

fn interrupted() -> Failure {
    Failure::NotWhole("interrupted".into())
}

/// Compares what was heard with what was sent, on a thread of its own: that may take a while, and Ctrl-C ends it.
async fn compare(hearing: Hearing, sent: Vec<Bytes>) -> Result<(Hearing, Score, Vec<Bytes>), Failure> {
    let (sender, compared) = oneshot::channel();
    std::thread::spawn(move || {
        let score = local_discord::decode(&sent)
            .and_then(|original| hearing.score(&original).map_err(|error| Failure::Other(error.to_string())));
        // The demo may have been interrupted and wait no longer.
        let _ = sender.send(score.map(|score| (hearing, score, sent)));
    });
    compared.await.unwrap_or_else(|_| Err(Failure::Other("comparing what was heard failed".into())))
}

/// Guitar, drum and voice; see tests/audio/README.md for whose.
const RECORDING: &[u8] = include_bytes!("../../tests/audio/demo.opus");
const FRAMES_PER_SECOND: usize = 50;
/// How long two members speak.
const HEARD_SECONDS: u32 = 12;
