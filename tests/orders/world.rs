//! A bot on an offline Discord that does what a script says, and all that it was asked, answered and told.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use actix_voice::{
    actors::{
        CallEvent, CallEventKind, CallHandle, Config, Disconnect, Join, JoinError, Login, MainGateway, Speak,
        Subscribe, VoiceManager,
    },
    audio::frame::Frame,
    id::{ChannelId, GuildId, Token},
    source::{Source, SourceError},
};
use actix_voice_loopback::{Bot, Channel, Dave, Discord, EventDelivery, Guild, Member};
use bytes::Bytes;
use tokio::time::Instant;

use crate::script::{Act, Script};

/// Everything of one run.
pub struct World {
    pub discord: Discord,
    pub bot: Bot,
    pub guilds: Vec<GuildRecord>,
    pub config: Config,
    pub manager: Addr<VoiceManager>,
    pub record: Rc<RefCell<Record>>,
    _gateway: Addr<MainGateway>,
}

/// A guild with its channels, each with a member that listens where the call is encrypted.
pub struct GuildRecord {
    pub guild: Guild,
    pub channels: Vec<Channel>,
    pub listeners: Vec<Member>,
}

/// All that happened on the bot's side.
#[derive(Default)]
pub struct Record {
    pub acts: Vec<(Instant, Act)>,
    /// When everything that lasts was ended.
    pub calms: Vec<Instant>,
    pub joins: Vec<Asked<Result<CallHandle, JoinError>>>,
    pub disconnects: Vec<Asked<()>>,
    pub events: Vec<(Instant, CallEvent)>,
}

/// Something that the user asked for.
pub struct Asked<A> {
    pub at: Instant,
    pub guild: usize,
    /// Of a join.
    pub channel: usize,
    pub answer: Option<(Instant, A)>,
}

impl World {
    /// Starts Discord and the bot, and logs it in.
    pub async fn start(script: &Script) -> Self {
        let builder = Discord::builder().seed(script.seed).dave(script.dave).event_order(script.order);
        let discord = builder.clock_step(CLOCK_STEP).start().await;
        let bot = discord.bot("bot");
        let guilds = script.guilds.iter().enumerate().map(|(number, &channels)| {
            let guild = discord.guild(&format!("guild {number}"));
            let channels: Vec<_> =
                (0..channels).map(|channel| guild.channel(&format!("{channel}"))).collect();
            let listen = |channel: &Channel| channel.listener("ear");
            let listeners =
                if script.dave == Dave::Off { vec![] } else { channels.iter().map(listen).collect() };
            GuildRecord { guild, channels, listeners }
        });
        let guilds = guilds.collect();
        let mut config = Config::local();
        config.require_e2ee = script.dave == Dave::Required;
        let manager = VoiceManager::new(config.clone()).start();
        let record = Rc::<RefCell<Record>>::default();
        let recorder = Recorder(Rc::clone(&record)).start();
        manager.send(Subscribe::new(recorder.recipient())).await.expect("the manager lives");
        let token = Token(bot.token.clone());
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
        gateway.send(Login).await.expect("the main gateway lives").expect("the bot logs in");
        Self { discord, bot, guilds, config, manager, record, _gateway: gateway }
    }

    /// Does one step.
    pub fn act(&self, act: &Act) {
        self.record.borrow_mut().acts.push((Instant::now(), act.clone()));
        let (discord, user) = (&self.discord, self.bot.user_id);
        let guild = act.guild().map(|guild| &self.guilds[guild]);
        match (act, guild) {
            (Act::Join { guild, channel }, _) => self.join(*guild, *channel),
            (Act::Disconnect { guild }, _) => self.disconnect(*guild),
            (Act::Speak { frames, .. }, Some(guild)) => self.speak(guild, *frames),
            (Act::Move { channel, .. }, Some(guild)) => discord.move_to(user, &guild.channels[*channel]),
            (Act::Kick { .. }, Some(guild)) => discord.kick(user, &guild.guild),
            (Act::ResetMain, _) => discord.reset_main(user),
            (Act::CloseMain(code), _) => discord.close_main(user, *code),
            (Act::AskToReconnect, _) => discord.reconnect(user),
            (Act::InvalidSession(session), _) => discord.invalid_session(user, *session),
            (Act::LoseMainSession, _) => discord.lose_main_session(user),
            (Act::MuteMainAcks, _) => discord.mute_main_acks(user, 2),
            (Act::MainLatency { upto, delivery }, _) => {
                discord.main_latency(Duration::ZERO..*upto, *delivery)
            }
            (Act::DoubleEvents, _) => discord.double_main_events(0.3),
            (Act::FreezeMain, _) => discord.freeze_main(user),
            (Act::TakeEndpoint { .. }, Some(guild)) => discord.take_endpoint(&guild.guild),
            (Act::GiveEndpoint { .. }, Some(guild)) => discord.give_endpoint(&guild.guild),
            (Act::ChangeRegion { .. }, Some(guild)) => discord.change_region(&guild.guild),
            (Act::Outage { .. }, Some(guild)) => discord.make_guild_unavailable(&guild.guild),
            (Act::EndOutage { .. }, Some(guild)) => discord.restore_guild(&guild.guild),
            (Act::CloseVoice(code), _) => discord.close_voice(user, *code, ""),
            (Act::ResetVoice, _) => discord.reset_voice(user),
            (Act::RefuseResume, _) => discord.refuse_resume(user),
            (Act::MuteAcks, _) => discord.mute_acks(user, 3),
            (Act::FreezeVoice, _) => discord.freeze_voice(user),
            (Act::FreezeNetwork, _) => discord.freeze_network(user),
            (Act::KillMediaPath, _) => discord.kill_media_path(user),
            (_, None) => unreachable!("{act:?} is about a guild"),
        }
    }

    /// Ends the faults that go on until somebody ends them.
    pub fn calm(&self) {
        self.record.borrow_mut().calms.push(Instant::now());
        self.discord.main_latency(Duration::ZERO..Duration::ZERO, EventDelivery::InOrder);
        self.discord.double_main_events(0.0);
        let open = |begun: fn(usize) -> Act, ended: fn(usize) -> Act| {
            let record = self.record.borrow();
            let last = |wanted: Act| record.acts.iter().rposition(|(_, act)| *act == wanted);
            (0..self.guilds.len())
                .filter(|&guild| last(begun(guild)) > last(ended(guild)))
                .collect::<Vec<_>>()
        };
        for guild in open(|guild| Act::TakeEndpoint { guild }, |guild| Act::GiveEndpoint { guild }) {
            self.act(&Act::GiveEndpoint { guild });
        }
        for guild in open(|guild| Act::Outage { guild }, |guild| Act::EndOutage { guild }) {
            self.act(&Act::EndOutage { guild });
        }
    }

    fn join(&self, guild: usize, channel: usize) {
        let known = &self.guilds[guild];
        let id = ChannelId(known.channels[channel].id);
        let joined = self.manager.send(Join::new(GuildId(known.guild.id), id));
        let index = self.record.borrow().joins.len();
        let asked = Asked { at: Instant::now(), guild, channel, answer: None };
        self.record.borrow_mut().joins.push(asked);
        let record = Rc::clone(&self.record);
        actix::spawn(async move {
            let answer = joined.await.expect("the manager lives");
            record.borrow_mut().joins[index].answer = Some((Instant::now(), answer));
        });
    }

    fn disconnect(&self, guild: usize) {
        let left = self.manager.send(Disconnect { guild: GuildId(self.guilds[guild].guild.id) });
        let index = self.record.borrow().disconnects.len();
        let asked = Asked { at: Instant::now(), guild, channel: 0, answer: None };
        self.record.borrow_mut().disconnects.push(asked);
        let record = Rc::clone(&self.record);
        actix::spawn(async move {
            left.await.expect("the manager lives");
            record.borrow_mut().disconnects[index].answer = Some((Instant::now(), ()));
        });
    }

    /// Plays so many frames, where there is a call.
    pub fn speak(&self, guild: &GuildRecord, frames: u32) {
        let speak = Speak::source(GuildId(guild.guild.id), Packets { left: frames });
        self.manager.do_send(speak);
    }

    /// The channels of a guild in which Discord sees the bot.
    pub fn seen_in(&self, guild: usize) -> Vec<usize> {
        let channels = self.guilds[guild].channels.iter().enumerate();
        let inside =
            channels.filter(|(_, channel)| self.discord.members_of(channel).contains(&self.bot.user_id));
        inside.map(|(number, _)| number).collect()
    }

    /// All that happened since then, on both sides.
    pub fn log(&self, since: Instant) -> String {
        let record = self.record.borrow();
        let mut lines: Vec<(Instant, String)> = Vec::new();
        lines.extend(record.acts.iter().map(|(at, act)| (*at, format!("ACT   {act:?}"))));
        let told = |(at, event): &(Instant, CallEvent)| {
            (*at, format!("EVENT guild {}: {:?}", self.number_of(event.guild), event.kind))
        };
        lines.extend(record.events.iter().map(told));
        let answered = |join: &Asked<Result<CallHandle, JoinError>>| {
            let (at, answer) = join.answer.as_ref()?;
            let answer = answer.as_ref().map(|_| ());
            Some((
                *at,
                format!("EVENT guild {}: join of {} is answered: {answer:?}", join.guild, join.channel),
            ))
        };
        lines.extend(record.joins.iter().filter_map(answered));
        for entry in self.discord.log() {
            let line = format!("      {:?} #{} {}", entry.side, entry.connection, entry.event);
            let dull = line.contains("eartbeat") || line.contains("op 3 ") || line.contains("op 11 ");
            if !dull {
                lines.push((entry.at, line));
            }
        }
        lines.retain(|(at, _)| *at >= since);
        lines.sort_by_key(|(at, _)| *at);
        let shown = lines.into_iter().map(|(at, line)| {
            format!("{:>9.3} {}", (at - since).as_secs_f64(), line.chars().take(260).collect::<String>())
        });
        shown.collect::<Vec<_>>().join("\n")
    }

    /// The number of the guild with this id.
    pub fn number_of(&self, guild: GuildId) -> usize {
        let found = self.guilds.iter().position(|known| known.guild.id == guild.0);
        found.expect("calls are in known guilds")
    }
}

/// The actor that records the events of all calls.
struct Recorder(Rc<RefCell<Record>>);

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<CallEvent> for Recorder {
    type Result = ();

    fn handle(&mut self, event: CallEvent, _: &mut Context<Self>) {
        let told = !matches!(event.kind, CallEventKind::Speaking { .. });
        if told {
            self.0.borrow_mut().events.push((Instant::now(), event));
        }
    }
}

/// A source of Opus packets that nobody has to encode.
struct Packets {
    left: u32,
}

impl Source for Packets {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        Ok(Some(Frame::Opus(Bytes::from_static(&PACKET))))
    }
}

/// 20 ms of stereo, full band.
const PACKET: [u8; 8] = [0xFC, 1, 2, 3, 4, 5, 6, 7];
/// A message takes about so long; ten times the default, since minutes pass in each run.
const CLOCK_STEP: Duration = Duration::from_millis(5);
