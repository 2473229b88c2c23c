//! How late the frames of a bot leave in a call of 25 members, while nobody comes or goes, and while somebody does four
//! times a second and every coming and going is an MLS commit.
//!
//! `cargo bench --bench lateness`, some 25 seconds of real time. The voice server and the 24 others, who are real
//! participants of the group, run in the same process on a thread of their own.

use std::error::Error;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_voice::actors::manager::Shutdown;
use actix_voice::actors::{CallStats, Config, Encryption, Join, MainGateway, Speak, VoiceManager};
use actix_voice::id::{ChannelId, GuildId, Token};
use actix_voice::source::Tone;
use actix_voice_loopback::{Bot, Channel, Discord, Member};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

const MEMBERS: usize = 25;
const MEASURED: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);
/// Half a second of packets: by then everything has begun.
const SETTLED: u64 = 25;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let [call, epochs, frames, skipped] = ["call of 25 members, 10 s", "epochs", "frames", "skipped"];
    println!("{call:<30} {epochs:>7} {frames:>7} {skipped:>8} {:>9} {:>9} {:>9}", "p50", "p99", "max");
    let cases = [("nobody comes or goes", Bustle::None), ("joins and leaves, 4 a second", Bustle::Comings)];
    for (name, bustle) in cases {
        let (stats, epochs) = measure(bustle)?;
        let (late, skipped) = (&stats.transport.lateness, stats.speaker.skipped + stats.transport.withheld);
        println!(
            "{name:<30} {epochs:>7} {:>7} {skipped:>8} {:>9.2?} {:>9.2?} {:>9.2?}",
            late.len(),
            late.quantile(0.5),
            late.quantile(0.99),
            late.max(),
        );
    }
    Ok(())
}

/// Whether members come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bustle {
    None,
    Comings,
}

/// What the thread of the voice server tells before it begins.
struct Place {
    url: String,
    bot: Bot,
    channel: Channel,
}

fn measure(bustle: Bustle) -> Result<(CallStats, u64), Box<dyn Error>> {
    let (told, place) = mpsc::channel();
    let (heard, speaking) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| runtime.block_on(serve(bustle, told, heard, ended)))
    });
    let place = place.recv()?;
    let stats = actix::System::new().block_on(talk(place, speaking, end))?;
    Ok((stats, joined(server)?))
}

fn joined(server: JoinHandle<std::io::Result<u64>>) -> Result<u64, Box<dyn Error>> {
    Ok(server.join().map_err(|_| "the voice server panicked")??)
}

/// The voice server and everyone in it but the bot; says how many epochs passed while the bot spoke.
async fn serve(
    bustle: Bustle,
    told: mpsc::Sender<Place>,
    heard: oneshot::Sender<()>,
    mut ended: oneshot::Receiver<()>,
) -> u64 {
    let discord = Discord::start().await;
    let channel = discord.guild("guild").channel("room");
    let mut members: Vec<Member> = (2..MEMBERS).map(|name| channel.listener(&name.to_string())).collect();
    let settled = |discord: &Discord| discord.dave_members(&channel).len() == members.len();
    if discord.until(settled, PATIENCE).await.is_err() {
        return 0;
    }
    let bot = discord.bot("bot");
    let place = Place { url: discord.gateway_url(), bot: bot.clone(), channel: channel.clone() };
    // Whoever waits for one of these sees that it is gone.
    let _ = told.send(place);
    if discord.until(|_| members[0].packets_heard(bot.user_id) >= SETTLED, PATIENCE).await.is_ok() {
        let _ = heard.send(());
    }
    let before = discord.dave_epoch(&channel);
    loop {
        if timeout(PAUSE, &mut ended).await.is_ok() {
            return discord.dave_epoch(&channel) - before;
        }
        match bustle {
            Bustle::None => {}
            Bustle::Comings if members.len() < MEMBERS - 1 => members.push(channel.listener("guest")),
            Bustle::Comings => members.swap_remove(0).leave(),
        }
    }
}

async fn talk(
    place: Place,
    speaking: oneshot::Receiver<()>,
    end: oneshot::Sender<()>,
) -> Result<CallStats, Box<dyn Error>> {
    let mut config = Config::default();
    config.encryption = Encryption::None;
    config.media_arbiters = 1;
    let manager = VoiceManager::spawn(config.clone())?;
    let token = Token(place.bot.token.clone());
    let _gateway = actix::Actor::start(MainGateway::at(&place.url, token, &config, manager.clone()));
    let (guild, channel) = (GuildId(place.channel.guild_id), ChannelId(place.channel.id));
    let call = manager.send(Join::new(guild, channel)).await??;
    call.speak(Speak::source(guild, Tone::new(440.0))).await?;
    speaking.await.map_err(|_| "the bot was not heard")?;
    sleep(MEASURED).await;
    let stats = call.stats().await.ok_or("the call ended")?;
    let _ = end.send(());
    call.disconnect().await;
    manager.send(Shutdown).await?;
    Ok(stats)
}
