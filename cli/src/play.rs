//! `actix-voice play`: plays files in a voice channel.

use std::path::PathBuf;

use actix_voice::{
    id::{ChannelId, GuildId, Token},
    source::Source,
};
use clap::Args;

use crate::{
    bot::{Bot, GatewayUrl, parse_token},
    exit::Failure,
    interrupt::Interrupt,
    playback::Playback,
    report::{self, CallTotals, End},
    screen::Screen,
    sources::Playlist,
};

/// Play files in a voice channel, one after another.
///
/// Ogg Opus passes through untouched; WAV, FLAC, MP3, Ogg Vorbis, MP4/AAC, WebM/Matroska, AIFF and CAF are decoded and
/// encoded. Whatever else ffmpeg knows is played through it where it is installed. Pipes are files too: /dev/stdin, <(…).
/// Ctrl-C stops politely: speech ends with silence, and the bot leaves; a second one ends it at once. Calls are encrypted
/// end to end, for those who are there: while the bot is alone in the channel, what it plays is not sent. Platform roots
/// are trusted, and those in the file that SSL_CERT_FILE names.
#[derive(Debug, Args)]
pub struct Play {
    /// The guild
    #[arg(long, value_name = "ID")]
    guild: GuildId,
    /// The voice or stage channel
    #[arg(long, value_name = "ID")]
    channel: ChannelId,
    /// Another main gateway than Discord's: wss://host:port, or ws://host:port for one without TLS
    #[arg(long, value_name = "URL", value_parser = GatewayUrl::parse)]
    gateway: Option<GatewayUrl>,
    /// The bot's token; better given in the environment, where other users of the machine do not see it
    #[arg(long, env = "DISCORD_TOKEN", hide_env_values = true, value_parser = parse_token)]
    token: Token,
    /// Print one JSON object on stdout at the end
    #[arg(long)]
    json: bool,
    /// What to play
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Play {
    /// # Errors
    ///
    /// When not all was played, or none of it was sent.
    pub async fn run(self) -> Result<(), Failure> {
        let (playback, result) = match Playlist::open(&self.files) {
            Ok(playlist) => {
                let screen = Screen::new(playlist.duration());
                let mut playback = Playback::new(self.guild, self.channel, screen.clone());
                let result = self.play_files(&mut playback, playlist, &screen).await;
                screen.clear();
                (playback, result)
            }
            Err(error) => (Playback::new(self.guild, self.channel, Screen::new(None)), Err(error.into())),
        };
        let totals = CallTotals::of(&playback.stats);
        let result = result.and_then(|end| totals.check_sent(end));
        let report = totals.report(playback.played, report::describe_end(&result));
        report::print_lines(&report, &result);
        if self.json {
            report::print_json(&report);
        }
        result.map(|_| ())
    }

    async fn play_files(
        &self,
        playback: &mut Playback,
        playlist: Playlist,
        screen: &Screen,
    ) -> Result<End, Failure> {
        let interrupt = Interrupt::listen()?;
        let gateway = self.gateway.clone().unwrap_or_default();
        let bot = tokio::select! {
            bot = Bot::log_in(&gateway, self.token.clone(), screen) => bot?,
            () = interrupt.requested() => return Ok(End::Interrupted),
        };
        let result = playback.run(&bot, playlist.report_to(screen.clone()), &interrupt, |_| {}).await;
        bot.log_out().await;
        result
    }
}
