//! `actix-voice bench`: many calls of one bot, and what they cost.

use std::{
    iter,
    path::PathBuf,
    time::{Duration, Instant},
};

use actix_voice::{
    actors::{CallHandle, SendLimit, Speak, now},
    id::{ChannelId, GuildId, Token},
    source,
};
use clap::Args;
use serde::Serialize;
use tokio::time::{sleep_until, timeout};

use crate::{
    bot::{Bot, GatewayUrl, parse_token},
    event_collector::BotStatus,
    exit::Failure,
    interrupt::Interrupt,
    loopback_process::LoopbackProcess,
    report::{self, CallTotals, End, Report},
    screen::Screen,
    sources::Repeated,
    usage::{Usage, allow_many_files},
    wording::count,
};

/// Play a file in many guilds at once, and tell what it costs.
///
/// One bot joins the first voice channel of the first N guilds that it is told of, plays FILE in each (again and again
/// if it is shorter than T seconds), leaves, and reports what `play --json` does, for all calls together, and what they
/// cost. Discord lets a bot join some hundred channels a minute; more take accordingly longer. To compare that with other
/// libraries, see benches/compare.
#[derive(Debug, Args)]
pub struct Bench {
    /// How many calls
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2500))]
    calls: u32,
    /// For how long all of them play
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The main gateway, wss://host:port or ws://host:port; a loopback in a second process unless given
    #[arg(long, value_name = "URL", value_parser = GatewayUrl::parse, requires = "token")]
    gateway: Option<GatewayUrl>,
    /// The bot's token, for --gateway
    #[arg(long, value_name = "T", env = "DISCORD_TOKEN", hide_env_values = true, value_parser = parse_token)]
    token: Option<Token>,
    /// What to play; Opus passes through, anything else is encoded
    #[arg(long, value_name = "FILE", required_unless_present = "silent")]
    file: Option<PathBuf>,
    /// How many tracks play FILE at once in each call; several are mixed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    tracks: u32,
    /// Join, and play nothing
    #[arg(long, conflicts_with_all = ["file", "tracks"])]
    silent: bool,
    /// The gateway takes any number of joins at once
    #[arg(long, requires = "gateway")]
    no_send_limit: bool,
    /// Speak, too, where the gateway does not let calls be encrypted end to end
    #[arg(long, requires = "gateway")]
    without_e2ee: bool,
    /// Print one JSON object on stdout at the end
    #[arg(long)]
    json: bool,
}

/// The object that `bench --json` prints.
#[derive(Debug, Serialize)]
struct Costs {
    #[serde(flatten)]
    report: Report,
    calls: usize,
    /// Processor time of this process for each second of each call, while all spoke.
    cpu_seconds_per_call_second: Option<f64>,
    resident_bytes: Option<u64>,
    threads: Option<u64>,
    /// From the first join until the track of the last call began.
    seconds_until_all_speak: Option<f64>,
}

/// What has been measured so far.
#[derive(Default)]
struct Measurements {
    calls: Vec<CallHandle>,
    until_all_speak: Option<Duration>,
    /// When all calls spoke, and what the process had used by then.
    all_spoke_at: Option<(Instant, Usage)>,
    played: Duration,
    cpu: Option<Duration>,
    usage: Option<Usage>,
}

impl Bench {
    /// # Errors
    ///
    /// When not all calls played to the end.
    pub async fn run(self) -> Result<(), Failure> {
        allow_many_files();
        let mut totals = CallTotals::default();
        let mut measurements = Measurements::default();
        let result = self.run_bench(&mut measurements, &mut totals).await;
        // A bench without a file is silent on purpose.
        let result = result.and_then(|end| if self.silent { Ok(end) } else { totals.check_sent(end) });
        let costs = measurements.costs(totals.report(measurements.played, report::describe_end(&result)));
        costs.print(&result);
        if self.json {
            report::print_json(&costs);
        }
        result.map(|_| ())
    }

    async fn run_bench(
        &self,
        measurements: &mut Measurements,
        totals: &mut CallTotals,
    ) -> Result<End, Failure> {
        let interrupt = Interrupt::listen()?;
        // A file that cannot be played is known before anything is started.
        if let Some(file) = &self.file {
            source::open(file)?;
        }
        let given = self.gateway.clone().zip(self.token.clone());
        let (gateway, token, loopback) = match given {
            Some((gateway, token)) => (gateway, token, None),
            None => {
                let (info, loopback) = tokio::select! {
                    started = LoopbackProcess::start(self.calls) => started?,
                    () = interrupt.requested() => return Ok(End::Interrupted),
                };
                let gateway = GatewayUrl::parse(&info.gateway).map_err(Failure::Other)?;
                (gateway, Token(info.token.unwrap_or_default()), Some(loopback))
            }
        };
        let result = self.run_bot(&gateway, token, &interrupt, measurements, totals).await;
        match (result, loopback) {
            (Err(failure), Some(mut loopback)) => Err(loopback.explain(failure).await),
            (result, _) => result,
        }
    }

    /// From logging in to logging out.
    async fn run_bot(
        &self,
        gateway: &GatewayUrl,
        token: Token,
        interrupt: &Interrupt,
        measurements: &mut Measurements,
        totals: &mut CallTotals,
    ) -> Result<End, Failure> {
        let screen = Screen::silent();
        let mut config = gateway.config();
        config.require_e2ee = !self.without_e2ee;
        let bot = tokio::select! {
            bot = Bot::log_in_to(gateway, &config, self.send_limit(), token, &screen) => bot?,
            () = interrupt.requested() => return Ok(End::Interrupted),
        };
        let result = tokio::select! {
            result = self.measure(&bot, measurements) => result,
            () = interrupt.requested() => Ok(End::Interrupted),
        };
        measurements.finish(totals).await;
        bot.log_out().await;
        result
    }

    async fn measure(&self, bot: &Bot, measurements: &mut Measurements) -> Result<End, Failure> {
        let guilds = self.guilds(bot).await?;
        let began = now();
        let at_once = match self.send_limit() {
            SendLimit::Discords => JOINS_PER_WINDOW,
            _ => guilds.len(),
        };
        for (number, guilds) in guilds.chunks(at_once).enumerate() {
            let at = began + JOIN_WINDOW * u32::try_from(number).unwrap_or(u32::MAX);
            sleep_until(at.into()).await;
            self.join_all(bot, guilds, measurements).await?;
        }
        let speaking = if self.silent { 0 } else { guilds.len() };
        let all_speak_or_one_ended =
            |status: &BotStatus| status.speaking.len() >= speaking || !status.ended_calls.is_empty();
        bot.until(all_speak_or_one_ended, |_| ()).await;
        let until_all_speak = now() - began;
        let calls = count(measurements.calls.len() as u64, "call");
        let what = if self.silent { "joined" } else { "spoke" };
        eprintln!("{calls} {what} after {:.1} s", until_all_speak.as_secs_f64());
        measurements.until_all_speak = Some(until_all_speak);
        measurements.all_spoke_at = Some((now(), Usage::now()));
        let ended = bot.until(
            |status| !status.ended_calls.is_empty(),
            |status| status.ended_calls.values().next().cloned(),
        );
        match timeout(Duration::from_secs(self.seconds.into()), ended).await {
            Ok(Some(reason)) => Err(Failure::Ended(reason)),
            _ => Ok(End::Finished),
        }
    }

    fn send_limit(&self) -> SendLimit {
        if self.no_send_limit { SendLimit::None } else { SendLimit::Discords }
    }

    /// The guilds to join, once the bot has been told of enough.
    async fn guilds(&self, bot: &Bot) -> Result<Vec<(GuildId, ChannelId)>, Failure> {
        let wanted = self.calls as usize;
        let enough =
            bot.until(|status| status.guilds.len() >= wanted, |status| status.guilds[..wanted].to_vec());
        let guilds = timeout(GUILDS_TIMEOUT, enough).await;
        guilds.map_err(|_| Failure::TooFewGuilds {
            found: bot.read_status(|status| status.guilds.len()),
            wanted,
        })
    }

    /// Joins these guilds all at once, and starts to play in each.
    async fn join_all(
        &self,
        bot: &Bot,
        guilds: &[(GuildId, ChannelId)],
        measurements: &mut Measurements,
    ) -> Result<(), Failure> {
        let joining: Vec<_> = guilds
            .iter()
            .map(|&(guild, channel)| {
                let (join, file, tracks) = (bot.join(guild, channel), self.file.clone(), self.tracks);
                actix_rt::spawn(async move {
                    let call = join.await?;
                    for file in iter::repeat_n(file, tracks as usize).flatten() {
                        let source = Repeated::new(move || source::open(&file))?;
                        call.speak(Speak::source(guild, source)).await?;
                    }
                    Ok::<_, Failure>(call)
                })
            })
            .collect();
        for joined in joining {
            let call = joined.await.map_err(|error| Failure::Other(error.to_string()))?;
            measurements.calls.push(call?);
        }
        Ok(())
    }
}

impl Measurements {
    /// Measures for the last time, and disconnects all calls.
    async fn finish(&mut self, totals: &mut CallTotals) {
        if let Some((since, before)) = self.all_spoke_at {
            let usage = Usage::now();
            self.played = now() - since;
            self.cpu = usage.cpu.zip(before.cpu).map(|(after, before)| after.saturating_sub(before));
            self.usage = Some(usage);
        }
        let disconnect = |call: &CallHandle| {
            let call = call.clone();
            actix_rt::spawn(async move { call.disconnect().await })
        };
        let disconnecting: Vec<_> = self.calls.iter().map(disconnect).collect();
        for disconnected in disconnecting {
            if let Ok(Some(stats)) = disconnected.await {
                totals.add(&stats);
            }
        }
    }

    fn costs(&self, report: Report) -> Costs {
        let call_seconds = self.played.as_secs_f64() * self.calls.len() as f64;
        let a_call_second = |cpu: Duration| cpu.as_secs_f64() / call_seconds;
        Costs {
            report,
            calls: self.calls.len(),
            cpu_seconds_per_call_second: self.cpu.filter(|_| call_seconds > 0.0).map(a_call_second),
            resident_bytes: self.usage.and_then(|usage| usage.resident),
            threads: self.usage.and_then(|usage| usage.threads),
            seconds_until_all_speak: self.until_all_speak.map(|until| until.as_secs_f64()),
        }
    }
}

impl Costs {
    fn print(&self, result: &Result<End, Failure>) {
        report::print_lines(&self.report, result);
        if let Some(share) = self.cpu_seconds_per_call_second {
            eprintln!("{:.3} % of a core for each call", share * 100.0);
        }
        if let (Some(resident), Some(threads)) = (self.resident_bytes, self.threads) {
            eprintln!("{:.1} MiB resident, {threads} threads", resident as f64 / f64::from(1 << 20));
        }
    }
}

/// Discord takes 120 messages a minute from a bot; some are left for heartbeats.
const JOINS_PER_WINDOW: usize = 100;
const JOIN_WINDOW: Duration = Duration::from_secs(61);
/// How long the main gateway may take to name enough guilds.
const GUILDS_TIMEOUT: Duration = Duration::from_secs(10);
