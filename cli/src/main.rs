//! `actix-voice`: plays into Discord voice channels, shows that it works, and measures it.
//!
//! One file per subcommand: `demo`, `play`, `record`, `loopback`, `bench`. Below them: `bot` (a bot that logs in and joins),
//! `event_collector` (what the bot is told), `playback` (one source played in one call), `queue_playback` (several
//! files), `keys` (what a person presses meanwhile), `sources` (what they are made of), `local_discord` (the loopback), `loopback_process` (the same in a second process),
//! `demo_report` (the demo's verdict), `hear` (what the bot hears in the demo), `recording_files` and `level_meter` (what is made of a recording, and
//! who speaks meanwhile), `report` (the JSON), `figures` (what the loopback measures), `screen`, `interrupt`, `usage`, `wording`, and `exit` (failures and their
//! exit codes).

mod bench;
mod bot;
mod demo;
mod demo_report;
mod event_collector;
mod exit;
mod figures;
mod hear;
mod interrupt;
mod keys;
mod level_meter;
mod local_discord;
mod loopback;
mod loopback_process;
mod play;
mod playback;
mod queue_playback;
mod record;
mod recording_files;
mod report;
mod screen;
mod sources;
mod usage;
mod wording;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// Discord voice from the command line.
///
/// RUST_LOG=actix_voice=debug shows what goes on, on stderr; secrets are never shown.
#[derive(Debug, Parser)]
#[command(name = "actix-voice", version, after_help = exit::HELP, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Play(play::Play),
    Record(record::Record),
    Loopback(loopback::Loopback),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG_FILTER));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match actix::System::new().block_on(run(arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("actix-voice: {failure}");
            failure.code().into()
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(demo) => Box::pin(demo.run()).await,
        Command::Play(play) => Box::pin(play.run()).await,
        Command::Record(record) => Box::pin(record.run()).await,
        Command::Loopback(loopback) => loopback.run().await,
        Command::Bench(bench) => Box::pin(bench.run()).await,
    }
}

/// The command itself reports a file that cannot be played, so the decoders stay silent.
const DEFAULT_LOG_FILTER: &str = "error,symphonia_core=off";
