//! The Discord on this machine that `demo` and `loopback` run, on a thread of its own so that it is a peer in real time.
//! Everything that this command asks of the loopback crate is here.

use std::{collections::BTreeMap, io::Cursor, iter, net::SocketAddr, sync::mpsc, time::Duration};

use actix_voice::id::{ChannelId, GuildId, Token, UserId};
use actix_voice_loopback::{
    Bot, Channel, Discord, Member, Violation,
    opus::{Decoder, OpusError},
    speech::{ClientVoice, Speech, synthesise},
};
pub use actix_voice_loopback::{
    Dave, Hearing, RelayThread, SendLimit, UnannouncedAudio,
    judge::Judgement,
    netem::Trace,
    recorder::DurationHistogram,
    relay::{Keep, Measurement},
    score::Score,
};
use bytes::Bytes;
use tokio::{runtime::Handle, sync::oneshot, task::JoinSet, time::Instant};

use crate::exit::Failure;

/// What the Discord is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the main gateway listens.
    pub listen: SocketAddr,
    /// Whether the gateways speak TLS.
    pub security: Security,
    /// How many guilds there are, with a voice channel each, and a listener in it.
    pub guilds: u32,
    /// The token of the bot, instead of a random one.
    pub token: Option<Token>,
    /// Whether what the bot says is kept, or only counted.
    pub keep: Keep,
    /// Whether calls are encrypted end to end.
    pub dave: Dave,
    /// Whether the bot may send as much as it likes.
    pub send_limit: SendLimit,
    /// What becomes of a call that is not announced in time.
    pub unannounced_audio: UnannouncedAudio,
    /// Where the media relay runs.
    pub relay_thread: RelayThread,
    /// How many members of the first channel speak, again and again.
    pub speakers: u32,
}

impl Settings {
    /// One guild, no TLS, and everything as on Discord.
    pub fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            security: Security::None,
            guilds: 1,
            token: None,
            keep: Keep::default(),
            dave: Dave::default(),
            send_limit: SendLimit::default(),
            unannounced_audio: UnannouncedAudio::default(),
            relay_thread: RelayThread::default(),
            speakers: 0,
        }
    }
}

/// Whether the gateways speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// `ws://`
    None,
    /// `wss://`, with a certificate authority of its own, for 127.0.0.1 and ::1.
    Tls,
}

/// A running Discord with a bot account; it ends when this is dropped.
pub struct LocalDiscord {
    setup: Setup,
    /// The broken rules that have been reported, and how many times each was broken.
    reported: BTreeMap<String, u64>,
    _shutdown: oneshot::Sender<()>,
}

/// What there is in it.
struct Setup {
    discord: Discord,
    bot: Bot,
    first: VoiceRoom,
    others: Vec<VoiceRoom>,
    runtime: Handle,
}

/// The voice channel of a guild, and the member that listens in it for as long as this is kept.
struct VoiceRoom {
    channel: Channel,
    listener: Member,
}

/// What a member has said.
pub struct Said {
    /// Its user.
    pub user: UserId,
    /// What is heard where nothing is lost: 48 kHz, stereo, interleaved.
    pub audio: Vec<f32>,
    /// Packets that were lost on the way.
    pub dropped: u64,
}

/// When a connection was cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut(Instant);

impl LocalDiscord {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub fn start(settings: Settings) -> Result<Self, Failure> {
        let (started, starting) = mpsc::channel();
        let (shutdown, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("loopback".into());
        let spawned = thread.spawn(move || run_discord(&settings, &started, ended));
        spawned.map_err(|error| Failure::Other(format!("no thread for the loopback: {error}")))?;
        let setup = starting
            .recv()
            .unwrap_or_else(|_| Err("it panicked".into()))
            .map_err(|cause| Failure::Other(format!("the loopback did not start: {cause}")))?;
        Ok(Self { setup, reported: BTreeMap::new(), _shutdown: shutdown })
    }

    /// Where the main gateway is.
    pub fn gateway(&self) -> String {
        self.setup.discord.gateway_url()
    }

    /// The certificate authority to trust, as PEM, if TLS is spoken.
    pub fn authority(&self) -> Option<String> {
        self.setup.discord.ca_pem()
    }

    /// What the bot identifies with.
    pub fn token(&self) -> Token {
        Token(self.setup.bot.token.clone())
    }

    /// The bot's user.
    pub fn user(&self) -> UserId {
        UserId(self.setup.bot.user_id)
    }

    /// The first guild.
    pub fn guild(&self) -> GuildId {
        GuildId(self.setup.first.channel.guild_id)
    }

    /// Its voice channel.
    pub fn channel(&self) -> ChannelId {
        ChannelId(self.setup.first.channel.id)
    }

    /// In how many calls the bot is.
    pub fn calls(&self) -> usize {
        self.setup.discord.calls_of(self.setup.bot.user_id)
    }

    /// Measures what has come of the bot since this was asked last.
    pub fn measure(&self) -> Measurement {
        self.setup.discord.relay().measure()
    }

    /// Cuts the bot's connection to the voice gateway, with a TCP reset.
    pub fn cut(&self) -> Cut {
        let at = Instant::now();
        self.setup.discord.reset_voice(self.setup.bot.user_id);
        Cut(at)
    }

    /// The rules of Discord's that the bot has broken.
    pub fn violations(&self) -> Vec<String> {
        self.setup.discord.violations().iter().map(rule).collect()
    }

    /// The rules that the bot has broken since the last report, and how many times. Those are left out that Discord forgives
    /// a bot that only left to return.
    pub fn new_violations(&mut self) -> Vec<(String, u64)> {
        let settled = self.setup.discord.settled_violations();
        count_new(&mut self.reported, &settled)
    }

    /// The rules that the bot has broken since the last report, and how many times, now that it will not return.
    pub fn remaining_violations(&mut self) -> Vec<(String, u64)> {
        let all = self.setup.discord.violations();
        count_new(&mut self.reported, &all)
    }

    /// Lets new members of the first channel speak at once for so long, as soon as all there have keys; of each is said with which
    /// voice it speaks, and what is lost on the way.
    ///
    /// # Errors
    ///
    /// When libopus does not encode it.
    pub fn speak(
        &self,
        length: Duration,
        members: impl IntoIterator<Item = (u64, Trace)>,
    ) -> Result<oneshot::Receiver<Vec<Said>>, Failure> {
        let failed = |error: OpusError| Failure::Other(error.to_string());
        let mut speakers = Vec::new();
        for (seed, trace) in members {
            let speech = ClientVoice::discord().speak(&synthesise(seed, length)).map_err(failed)?;
            let (audio, dropped) =
                (speech.decoded().map_err(failed)?, noticed_losses(&speech, trace.clone()));
            let member = self.setup.first.channel.listener(&format!("speaker {seed}"));
            member.trace(trace);
            let said = Said { user: UserId(member.user_id), audio, dropped };
            speakers.push((member, speech, said));
        }
        let (done, saying) = oneshot::channel();
        let (discord, channel) = (self.setup.discord.clone(), self.setup.first.channel.clone());
        self.setup.runtime.spawn(async move {
            // The bot and the one who always listens are there too.
            let keyed = |discord: &Discord| discord.dave_members(&channel).len() >= speakers.len() + 2;
            // Who has no key is not heard, which the comparison tells.
            let _ = discord.until(keyed, KEYS_TIMEOUT).await;
            let mut speaking = JoinSet::new();
            for (member, speech, said) in speakers {
                speaking.spawn(async move {
                    member.say_all(&speech).await;
                    said
                });
            }
            // The demo may have been interrupted.
            let _ = done.send(speaking.join_all().await);
        });
        Ok(saying)
    }

    /// What the listeners have heard of the bot, by guild.
    pub fn hearings(&self) -> impl Iterator<Item = (GuildId, Hearing)> {
        let Setup { first, others, bot, .. } = &self.setup;
        let heard =
            |room: &VoiceRoom| Some((GuildId(room.channel.guild_id), room.listener.heard(bot.user_id)?));
        iter::once(first).chain(others).filter_map(heard)
    }

    /// What the listener in the first channel has heard of the bot. Waits for so many packets, but no longer than packets
    /// take to arrive.
    pub async fn hearing_after(&self, packets: u64) -> Option<Hearing> {
        let Setup { discord, bot, first: VoiceRoom { listener, .. }, .. } = &self.setup;
        let all_arrived = |_: &Discord| listener.packets_heard(bot.user_id) >= packets;
        // What is not heard by then is lost, as the hearing says.
        let _ = discord.until(all_arrived, ARRIVAL_TIMEOUT).await;
        listener.heard(bot.user_id)
    }
}

impl Cut {
    /// The longest time without a packet from the cut until five seconds later; none if no packet came after the cut.
    pub fn gap(self, hearing: &Hearing) -> Option<Duration> {
        let after = hearing
            .audio
            .windows(2)
            .filter(|pair| pair[1].arrival >= self.0 && pair[0].arrival <= self.0 + RECOVERY_WINDOW);
        let gaps = after.map(|pair| pair[1].arrival.saturating_duration_since(pair[0].arrival));
        gaps.max()
    }
}

/// How many packets are lost between two that are not: of those before and after nobody knows.
fn noticed_losses(speech: &Speech, mut trace: Trace) -> u64 {
    let came = speech.packets.iter().map(|_| trace.fate().arrivals().count() > 0).collect::<Vec<_>>();
    let (first, last) = (came.iter().position(|came| *came), came.iter().rposition(|came| *came));
    let between = first.zip(last).map_or(&[][..], |(first, last)| &came[first..last]);
    between.iter().filter(|came| !**came).count() as u64
}

/// What should be heard when these packets are sent, decoded by the loopback's own means.
///
/// # Errors
///
/// When they are no Opus.
pub fn decode(packets: &[Bytes]) -> Result<Vec<f32>, Failure> {
    let mut decoder = Decoder::new().map_err(|error| Failure::Other(error.to_string()))?;
    let mut decoded = Vec::new();
    for packet in packets {
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
    packets.drain(..packets.len().min(HEADER_PACKETS));
    Ok(packets)
}

/// The rules that were broken more often than was reported, and how many times more. Marks them as reported.
fn count_new(reported: &mut BTreeMap<String, u64>, violations: &[Violation]) -> Vec<(String, u64)> {
    let mut broken = BTreeMap::new();
    for rule in violations.iter().map(rule) {
        *broken.entry(rule).or_default() += 1;
    }
    let before = std::mem::replace(reported, broken);
    let more = |(rule, times): (&String, &u64)| {
        let new = times.saturating_sub(before.get(rule).copied().unwrap_or(0));
        (new > 0).then(|| (rule.clone(), new))
    };
    reported.iter().filter_map(more).collect()
}

fn rule(violation: &Violation) -> String {
    violation.rule.to_string()
}

type StartResult = Result<Setup, String>;

/// Runs Discord on this thread until the [`LocalDiscord`] is dropped.
fn run_discord(settings: &Settings, started: &mpsc::Sender<StartResult>, ended: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // `LocalDiscord::start` waits for this.
            let _ = started.send(Err(error.to_string()));
            return;
        }
    };
    runtime.block_on(async {
        let _ = started.send(set_up(settings).await);
        let _ = ended.await;
    });
}

async fn set_up(settings: &Settings) -> StartResult {
    let mut builder = Discord::builder()
        .ip(settings.listen.ip())
        .port(settings.listen.port())
        .seed(fastrand::u64(..))
        .dave(settings.dave)
        .send_limit(settings.send_limit)
        .unannounced_audio(settings.unannounced_audio)
        .relay_thread(settings.relay_thread);
    if settings.security == Security::Tls {
        builder = builder.tls();
    }
    let discord = builder.try_start().await.map_err(|error| error.to_string())?;
    discord.relay().keep(settings.keep);
    let bot = match &settings.token {
        Some(token) => discord.bot_with_token("bot", &token.0),
        None => discord.bot("bot"),
    };
    // A bot that is alone in an end-to-end encrypted call has nobody to encrypt for, and sends nothing.
    let room = |number: u32| {
        let channel = discord.guild(&format!("Guild {number}")).channel("General");
        VoiceRoom { listener: channel.listener("ear"), channel }
    };
    let first = room(1);
    let others = (2..=settings.guilds).map(room).collect();
    for number in 1..=settings.speakers {
        let speaker = first.channel.listener(&format!("speaker {number}"));
        tokio::spawn(speak_again_and_again(speaker, number.into()));
    }
    Ok(Setup { first, others, bot, discord, runtime: Handle::current() })
}

/// Says something else each time, with pauses in between.
async fn speak_again_and_again(speaker: Member, mut seed: u64) {
    loop {
        // It has the default settings, which libopus knows.
        let Ok(speech) = ClientVoice::discord().speak(&synthesise(seed, MONOLOGUE)) else { return };
        speaker.say_all(&speech).await;
        seed += 1_000;
    }
}

/// How long keys may take to be agreed on.
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member speaks before it says something else.
const MONOLOGUE: Duration = Duration::from_secs(20);
/// How long packets may take from one thread of this machine to another.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long after a cut a gap counts as its effect; the connection is back by then, or it never comes back.
const RECOVERY_WINDOW: Duration = Duration::from_secs(5);
/// `OpusHead` and `OpusTags`.
const HEADER_PACKETS: usize = 2;

#[cfg(test)]
mod tests {
    use actix_voice_loopback::Rule;

    use super::*;

    #[test]
    fn a_broken_rule_is_told_once_however_late_it_turns_out() {
        let broken = |rule| Violation { at: Instant::now(), user: None, rule };
        let (plain, often) = (|| broken(Rule::PlainAudio), || broken(Rule::SpeakingTooOften));
        let reported = |rule: Rule, times| (rule.to_string(), times);
        let mut so_far = BTreeMap::new();
        let mut more = |violations: &[Violation]| count_new(&mut so_far, violations);
        assert_eq!(more(&[often(), often()]), [reported(Rule::SpeakingTooOften, 2)]);
        assert_eq!(
            more(&[plain(), often(), often()]),
            [reported(Rule::PlainAudio, 1)],
            "the older is told later"
        );
        assert_eq!(more(&[plain(), often(), often()]), []);
    }
}
