//! The fixture of the stories: a bot on an offline Discord, with a guild, a channel and a member that listens in it.

use std::time::Duration;

use actix::Addr;
use actix_voice::{
    actors::{
        CallEventKind, CallHandle, CallStats, Config, ControlArbiter, Disconnect, Join, JoinError, Listen,
        MainGateway, Speak, Subscribe, TrackHandle, VoiceManager, main_gateway::MainGatewayEvent,
    },
    call::ConnectionStatus,
    hearing::{Heard, Preset},
    id::{ChannelId, GuildId, Token, UserId},
    main_gateway::Dispatch,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Bot, Builder, Channel, Discord, Guild, Hearing, Member};
use tokio::sync::mpsc;

use crate::support::{
    audio::path,
    events::{BotEvent, EventLog},
};

/// A bot that has logged in to an offline Discord, and everything else that a story needs.
pub struct BotOnDiscord {
    pub discord: Discord,
    pub account: Bot,
    pub guild: Guild,
    pub channel: Channel,
    pub listener: Member,
    pub config: Config,
    pub manager: Addr<VoiceManager>,
    pub gateway: Addr<MainGateway>,
    pub events: EventLog,
}

impl BotOnDiscord {
    /// Starts an ordinary Discord, and logs the bot in.
    pub async fn start() -> Self {
        Self::start_on(Discord::builder()).await
    }

    /// Starts this Discord, and logs the bot in.
    pub async fn start_on(discord: Builder) -> Self {
        Self::start_with(discord, |_| ()).await
    }

    /// Starts this Discord, and logs the bot in with a configuration of its own.
    pub async fn start_with(discord: Builder, adjust: impl FnOnce(&mut Config)) -> Self {
        let discord = discord.start().await;
        let mut config = match discord.ca_pem() {
            Some(pem) => {
                let mut config = Config::default().trust(&pem).unwrap();
                config.control_arbiter = ControlArbiter::Callers;
                config.media_arbiters = 0;
                config
            }
            None => Config::local(),
        };
        adjust(&mut config);
        let account = discord.bot("bot");
        let guild = discord.guild("guild");
        let channel = guild.channel("channel");
        let listener = channel.listener("ear");
        let manager = VoiceManager::new(config.clone()).start();
        let events = EventLog::default();
        manager.send(Subscribe::new(events.recorder().recipient())).await.unwrap();
        let token = Token(account.token.clone());
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone());
        let gateway = gateway.listener(events.recorder().recipient()).start();
        let bot = Self { discord, account, guild, channel, listener, config, manager, gateway, events };
        bot.events
            .next("the bot is in its guild", |event| {
                matches!(
                    event,
                    BotEvent::MainGateway(MainGatewayEvent::Dispatch {
                        dispatch: Dispatch::GuildAvailable { .. },
                        ..
                    })
                )
                .then_some(())
            })
            .await;
        bot
    }

    pub fn guild_id(&self) -> GuildId {
        GuildId(self.guild.id)
    }

    pub fn user_id(&self) -> UserId {
        UserId(self.account.user_id)
    }

    /// Joins the fixture's channel.
    pub async fn join(&self) -> CallHandle {
        self.request_join(&self.channel).await.expect("the bot joins")
    }

    /// Listens to everyone in the fixture's guild, for as long as what is returned is kept.
    pub async fn listen(&self, preset: Preset) -> mpsc::Receiver<Heard> {
        let (to, heard) = mpsc::channel(100_000);
        self.manager.send(Listen::frame_channel(self.guild_id(), preset, to)).await.unwrap();
        heard
    }

    /// Asks to join a channel of the fixture's guild.
    pub async fn request_join(&self, channel: &Channel) -> Result<CallHandle, JoinError> {
        self.manager.send(Join::new(self.guild_id(), ChannelId(channel.id))).await.unwrap()
    }

    /// Joins, and plays a file of `tests/audio` for two seconds.
    pub async fn join_and_play(&self, file: &str) -> TrackId {
        self.join().await;
        let track = self.play(file).await;
        self.next_event("the track starts", |event| *event == CallEventKind::TrackStarted(track)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        track
    }

    /// Plays a file of `tests/audio`.
    pub async fn play(&self, file: &str) -> TrackId {
        self.speak(Speak::file(self.guild_id(), path(file))).await
    }

    /// Plays anything.
    pub async fn speak(&self, speak: Speak) -> TrackId {
        self.begin(speak).await.id()
    }

    /// Plays anything, and keeps hold of it.
    pub async fn begin(&self, speak: Speak) -> TrackHandle {
        self.manager.send(speak).await.unwrap().expect("it plays")
    }

    /// Waits for the end of several tracks, in whatever order they come.
    pub async fn track_ends<const N: usize>(&self, tracks: [TrackId; N]) -> [TrackEnd; N] {
        let end = |track| {
            self.events.call_events().into_iter().find_map(|event| match event {
                CallEventKind::TrackEnded(ended, end) if ended == track => Some(end),
                _ => None,
            })
        };
        self.events
            .until("the tracks end", || tracks.iter().all(|track| end(*track).is_some()).then_some(()))
            .await;
        tracks.map(|track| end(track).expect("it has ended"))
    }

    /// Waits for the end of a track.
    pub async fn track_end(&self, track: impl Into<TrackId>) -> TrackEnd {
        let track = track.into();
        self.events
            .next("the track ends", |event| match event {
                BotEvent::Call(CallEventKind::TrackEnded(ended, end)) if *ended == track => Some(end.clone()),
                _ => None,
            })
            .await
    }

    /// Waits for an event of the call, from the first on that was not waited for yet.
    pub async fn next_event(&self, awaited: &str, pick: impl Fn(&CallEventKind) -> bool) -> CallEventKind {
        self.events
            .next(awaited, |event| match event {
                BotEvent::Call(event) if pick(event) => Some(event.clone()),
                _ => None,
            })
            .await
    }

    /// Waits until the connection of the call is reported to be so.
    pub async fn next_status(&self, status: ConnectionStatus) {
        let reported = CallEventKind::Connection(status);
        self.next_event(&format!("{reported:?}"), |event| *event == reported).await;
    }

    /// Disconnects, and waits until every packet has come to the listener, or is known to be lost.
    ///
    /// # Panics
    ///
    /// When a packet does neither within a second.
    pub async fn disconnect(&self) -> CallStats {
        let stats = self.send_disconnect().await;
        let accounted_for = || {
            let heard = self.listener.heard(self.account.user_id);
            heard.map_or(0, |heard| heard.packets + heard.lost)
        };
        let all_heard = |_: &Discord| accounted_for() >= stats.packets;
        if self.discord.until(all_heard, Duration::from_secs(1)).await.is_err() {
            panic!("of {} packets the listener accounts for {}", stats.packets, accounted_for());
        }
        stats
    }

    /// Disconnects where the fixture's listener does not hear every packet, and gives those under way time to arrive.
    pub async fn disconnect_and_drain(&self) -> CallStats {
        let stats = self.send_disconnect().await;
        tokio::time::sleep(ARRIVAL_TIMEOUT).await;
        stats
    }

    async fn send_disconnect(&self) -> CallStats {
        let stats = self.manager.send(Disconnect { guild: self.guild_id() }).await.unwrap();
        stats.expect("there was a call")
    }

    /// Waits until Discord knows that the bot has left the channel.
    pub async fn until_left(&self, limit: Duration) {
        let left = |discord: &Discord| !discord.members_of(&self.channel).contains(&self.account.user_id);
        self.discord.until(left, limit).await.expect("the bot leaves");
    }

    /// What the listener has heard of the bot.
    pub fn heard(&self) -> Hearing {
        self.listener.heard(self.account.user_id).expect("the listener heard the bot")
    }

    /// Asserts that the bot kept to the rules.
    pub fn assert_no_violations(&self) {
        assert_eq!(self.discord.violations(), [], "Discord's rules were broken");
    }
}

/// How long packets may take from the bot to a listener, on the worst of the simulated networks too.
const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(200);
