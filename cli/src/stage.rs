//! Stage: the loopback Discord that demo and loopback run, on a thread of its own so that it is a peer in real time.
//! Everything that this command asks of the loopback crate is here.

use std::{io::Cursor, net::SocketAddr, sync::mpsc, time::Duration};

use actix_voice::id::{ChannelId, GuildId, Token};
use actix_voice_loopback::{Bot, Channel, Discord, Member, opus::Decoder};
pub use actix_voice_loopback::{Hearing, relay::Keep, score::Score};
use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use crate::{exit::Failure, loopback::Invitation};

/// How the stage is set.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the main gateway listens.
    pub listen: SocketAddr,
    /// How many guilds there are, with a voice channel each, and a listener in it.
    pub guilds: u32,
    /// The token of the bot, instead of a random one.
    pub token: Option<Token>,
    /// Whether what the bot says is kept, or only counted.
    pub keep: Keep,
}

/// A running Discord with a bot account; it ends when this is dropped.
pub struct Stage {
    discord: Discord,
    bot: Bot,
    channel: Channel,
    ear: Member,
    guilds: u32,
    _end: oneshot::Sender<()>,
}

/// When a connection was cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut(Instant);

impl Stage {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub fn raise(plan: Plan) -> Result<Self, Failure> {
        let (started, starting) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("loopback".into());
        let guilds = plan.guilds;
        let spawned = thread.spawn(move || host(&plan, &started, ended));
        spawned.map_err(|error| Failure::Other(format!("no thread for the loopback: {error}")))?;
        let (discord, bot, channel, ear) = starting
            .recv()
            .unwrap_or_else(|_| Err("it panicked".into()))
            .map_err(|cause| Failure::Other(format!("the loopback did not start: {cause}")))?;
        Ok(Self { discord, bot, channel, ear, guilds, _end: end })
    }

    /// How to connect to it.
    pub fn invitation(&self) -> Invitation {
        Invitation {
            gateway: self.discord.gateway_url(),
            token: self.bot.token.clone(),
            user: self.bot.user_id.to_string(),
            guild: self.channel.guild_id.to_string(),
            channel: self.channel.id.to_string(),
            guilds: self.guilds,
        }
    }

    /// The first guild.
    pub fn guild(&self) -> GuildId {
        GuildId(self.channel.guild_id)
    }

    /// Its voice channel.
    pub fn channel(&self) -> ChannelId {
        ChannelId(self.channel.id)
    }

    /// Cuts the bot's connection to the voice gateway, with a TCP reset.
    pub fn cut(&self) -> Cut {
        let at = Instant::now();
        self.discord.reset_voice(self.bot.user_id);
        Cut(at)
    }

    /// The rules of Discord's that the bot has broken.
    pub fn violations(&self) -> Vec<String> {
        self.discord.violations().iter().map(|violation| format!("{:?}", violation.rule)).collect()
    }

    /// What the listener in the first channel has heard of the bot, once it is so many packets, or long enough for what
    /// is on its way.
    pub async fn heard(&self, packets: u64) -> Option<Hearing> {
        let all = |_: &Discord| self.ear.packets_heard(self.bot.user_id) >= packets;
        // What is not heard by then is lost, as the hearing says.
        let _ = self.discord.until(all, ON_ITS_WAY).await;
        self.ear.heard(self.bot.user_id)
    }
}

impl Cut {
    /// The longest time without a packet from the cut until five seconds later.
    pub fn gap(self, hearing: &Hearing) -> Duration {
        let after = hearing
            .audio
            .windows(2)
            .filter(|pair| pair[1].arrival >= self.0 && pair[0].arrival <= self.0 + RECOVERED);
        let gaps = after.map(|pair| pair[1].arrival.saturating_duration_since(pair[0].arrival));
        gaps.max().unwrap_or_default()
    }
}

/// What should be heard when an Ogg Opus recording is played for so many frames, again and again if it is shorter:
/// read and decoded by the loopback's own means.
///
/// # Errors
///
/// When it is no such recording.
pub fn original(recording: &[u8], frames: usize) -> Result<Vec<f32>, Failure> {
    let packets = packets(recording)?;
    let mut decoder = Decoder::new().map_err(|error| Failure::Other(error.to_string()))?;
    let mut decoded = Vec::new();
    for packet in packets.iter().cycle().take(frames) {
        decoder.decode(packet, &mut decoded).map_err(|error| Failure::Other(error.to_string()))?;
    }
    Ok(decoded)
}

/// The audio packets of an Ogg Opus recording, without its two headers (RFC 7845 section 3).
///
/// # Errors
///
/// When it is no Ogg stream.
pub fn packets(recording: &[u8]) -> Result<Vec<Bytes>, Failure> {
    let mut reader = ogg::PacketReader::new(Cursor::new(recording));
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet().map_err(|error| Failure::Other(error.to_string()))? {
        packets.push(Bytes::from(packet.data));
    }
    packets.drain(..packets.len().min(HEADERS));
    Ok(packets)
}

type Started = Result<(Discord, Bot, Channel, Member), String>;

/// Runs Discord on this thread until the stage is dropped.
fn host(plan: &Plan, started: &mpsc::Sender<Started>, ended: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever raises the stage waits for this.
            let _ = started.send(Err(error.to_string()));
            return;
        }
    };
    runtime.block_on(async {
        let _ = started.send(set(plan).await);
        let _ = ended.await;
    });
}

async fn set(plan: &Plan) -> Started {
    let builder = Discord::builder().ip(plan.listen.ip()).port(plan.listen.port()).seed(fastrand::u64(..));
    let discord = builder.try_start().await.map_err(|error| error.to_string())?;
    discord.relay().keep(plan.keep);
    let bot = match &plan.token {
        Some(token) => discord.bot_with_token("bot", &token.0),
        None => discord.bot("bot"),
    };
    // A bot that is alone in an end-to-end encrypted call has nobody to encrypt for, and sends nothing.
    let first = discord.guild("Guild 1").channel("General");
    let ear = first.listener("ear");
    for number in 2..=plan.guilds {
        discord.guild(&format!("Guild {number}")).channel("General").listener("ear");
    }
    Ok((discord, bot, first, ear))
}

/// For what is under way between two threads of one machine.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// By then a cut has long been healed, or it is no matter of a gap.
const RECOVERED: Duration = Duration::from_secs(5);
/// `OpusHead` and `OpusTags`.
const HEADERS: usize = 2;
