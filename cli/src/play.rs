//! `actix-voice play`: plays files in a voice channel.

use std::{path::PathBuf, time::Duration};

use actix_voice::{
    actors::Entry,
    audio::filter::Filters,
    id::{ChannelId, GuildId, Token},
    queue::QueueRepeat,
    speaker::gain_of_db,
};
use clap::Args;

use crate::{
    bot::{Bot, GatewayUrl, parse_token},
    exit::Failure,
    interrupt::Interrupt,
    playback::join_unless_interrupted,
    queue_playback::{Events, Manner, QueuePlayback},
    report::{self, CallTotals, End},
    screen::Screen,
    sources,
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
    /// Print one JSON object on stdout for each thing that happens
    #[arg(long)]
    json_events: bool,
    /// How loud: a factor of the amplitude (0.5), or decibels (-6dB)
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_volume, allow_hyphen_values = true)]
    volume: f32,
    /// Filters, as docs/filters.md has them: lowpass=20,timescale.speed=1.2,equalizer.3=0.25, or JSON
    #[arg(long, value_name = "FILTERS", default_value = "", hide_default_value = true)]
    filter: Filters,
    /// Make all files as loud as others, −16 LUFS (EBU R128)
    #[arg(long)]
    normalise: bool,
    /// Play all files again after the last, until Ctrl-C
    #[arg(long = "loop")]
    repeat: bool,
    /// Where the first file begins: seconds, or [hours:]minutes:seconds
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_time)]
    seek: Duration,
    /// How long one file is heard together with the next: up to 12 s
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_time)]
    crossfade: Duration,
    /// What to play; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Play {
    /// # Errors
    ///
    /// When not all was played, or none of it was sent.
    pub async fn run(self) -> Result<(), Failure> {
        let screen = Screen::new(None);
        let mut filters = self.filter.clone();
        if self.normalise {
            filters.loudness.get_or_insert_default();
        }
        let manner = Manner {
            volume: self.volume,
            filters,
            start_at: self.seek,
            crossfade: self.crossfade,
            repeat: if self.repeat { QueueRepeat::All } else { QueueRepeat::Off },
            events: if self.json_events { Events::Told } else { Events::Kept },
        };
        let mut playback = QueuePlayback::new(manner, screen.clone());
        let result = match sources::entries(&self.files) {
            Ok(entries) => self.play_files(&mut playback, entries, &screen).await,
            Err(error) => Err(error.into()),
        };
        screen.clear();
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
        playback: &mut QueuePlayback,
        entries: Vec<Entry>,
        screen: &Screen,
    ) -> Result<End, Failure> {
        let interrupt = Interrupt::listen()?;
        let gateway = self.gateway.clone().unwrap_or_default();
        let bot = tokio::select! {
            bot = Bot::log_in(&gateway, self.token.clone(), screen) => bot?,
            () = interrupt.requested() => return Ok(End::Interrupted),
        };
        let result = match join_unless_interrupted(&bot, self.guild, self.channel, &interrupt).await {
            Ok(Some(call)) => playback.run(&bot, &call, entries, &interrupt).await,
            Ok(None) => Ok(End::Interrupted),
            Err(failure) => Err(failure),
        };
        bot.log_out().await;
        result
    }
}

/// Reads a factor, or decibels.
fn parse_volume(text: &str) -> Result<f32, String> {
    let wrong =
        || format!("{text:?} is no volume: a factor from 0 to 5 such as 0.5, or decibels such as -6dB");
    let lower = text.to_ascii_lowercase();
    let factor = match lower.strip_suffix("db") {
        Some(db) => db.trim().parse().ok().map(gain_of_db),
        None => lower.parse().ok(),
    };
    factor.filter(|factor| (0.0..=5.0).contains(factor)).ok_or_else(wrong)
}

/// Reads seconds, minutes and seconds, or hours too.
fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: seconds such as 12.5, or [hours:]minutes:seconds");
    let mut seconds = 0.0;
    if text.split(':').count() > 3 {
        return Err(wrong());
    }
    for part in text.split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().map_err(|_| wrong())?;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_and_times_are_read_in_either_form() {
        assert_eq!(parse_volume("0.5"), Ok(0.5));
        assert!((parse_volume("-6dB").unwrap() - 0.501).abs() < 0.001);
        assert!(parse_volume("9").is_err() && parse_volume("loud").is_err() && parse_volume("NaN").is_err());
        assert_eq!(parse_time("12.5"), Ok(Duration::from_millis(12_500)));
        assert_eq!(parse_time("1:02:03"), Ok(Duration::from_secs(3_723)));
        assert!(parse_time("1:2:3:4").is_err() && parse_time("-1").is_err() && parse_time("").is_err());
    }
}
