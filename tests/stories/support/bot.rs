//! The stage that stories play on: an offline Discord, a bot, one channel and somebody who listens.
//!
//! Everything runs on one thread and on paused time, so a story takes as long as its work, not as its hours.

use std::time::Duration;

use actix::{Actor, Addr};
use actix_voice::{
    actors::{
        CallEventKind, CallHandle, CallStats, Config, Disconnect, Join, JoinError, MainGateway, Speak,
        Subscribe, VoiceManager, main_gateway::MainGatewayEvent,
    },
    id::{ChannelId, GuildId, Token, UserId},
    main_gateway::Dispatch,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Bot, Builder, Channel, Discord, Guild, Hearing, Member};

use crate::support::{
    audio::path,
    events::{Events, Seen},
};

/// Everything a story needs.
pub struct Stage {
    pub discord: Discord,
    pub bot: Bot,
    pub guild: Guild,
    pub channel: Channel,
    pub ear: Member,
    pub config: Config,
    pub manager: Addr<VoiceManager>,
    pub gateway: Addr<MainGateway>,
    pub events: Events,
}

impl Stage {
    /// A bot that has just logged in to an ordinary Discord.
    pub async fn set() -> Self {
        Self::on(Discord::builder()).await
    }

    /// A bot that has just logged in to this Discord.
    pub async fn on(discord: Builder) -> Self {
        Self::with(discord, |_| ()).await
    }

    /// A bot with a configuration of its own that has just logged in to this Discord.
    pub async fn with(discord: Builder, adjust: impl FnOnce(&mut Config)) -> Self {
        let discord = discord.start().await;
        let mut config = match discord.ca_pem() {
            Some(pem) => {
                let mut config = Config::default().trust(&pem).unwrap();
                config.media_arbiters = 0;
                config
            }
            None => Config::local(),
        };
        adjust(&mut config);
        let bot = discord.bot("bot");
        let guild = discord.guild("guild");
        let channel = guild.channel("channel");
        let ear = channel.listener("ear");
        let manager = VoiceManager::new(config.clone()).start();
        let events = Events::default();
        manager.send(Subscribe::new(events.listener().recipient())).await.unwrap();
        let token = Token(bot.token.clone());
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone());
        let gateway = gateway.listener(events.listener().recipient()).start();
        let stage = Self { discord, bot, guild, channel, ear, config, manager, gateway, events };
        stage
            .events
            .until("the bot is in its guild", |seen| {
                matches!(seen, Seen::Main(MainGatewayEvent::Dispatch(Dispatch::GuildAvailable { .. })))
                    .then_some(())
            })
            .await;
        stage
    }

    pub fn guild_id(&self) -> GuildId {
        GuildId(self.guild.id)
    }

    pub fn user_id(&self) -> UserId {
        UserId(self.bot.user_id)
    }

    /// Joins the channel of the stage.
    pub async fn join(&self) -> CallHandle {
        self.try_join(&self.channel).await.expect("the bot joins")
    }

    pub async fn try_join(&self, channel: &Channel) -> Result<CallHandle, JoinError> {
        self.manager.send(Join::new(self.guild_id(), ChannelId(channel.id))).await.unwrap()
    }

    /// Plays a file of `tests/audio`.
    pub async fn play(&self, file: &str) -> TrackId {
        self.speak(Speak::file(self.guild_id(), path(file))).await
    }

    /// Plays anything.
    pub async fn speak(&self, speak: Speak) -> TrackId {
        self.manager.send(speak).await.unwrap().expect("it plays")
    }

    /// Waits for the end of several tracks, in whatever order they come.
    pub async fn ends_of<const N: usize>(&self, tracks: [TrackId; N]) -> [TrackEnd; N] {
        let end = |track| {
            self.events.all().into_iter().find_map(|what| match what {
                CallEventKind::TrackEnded(ended, end) if ended == track => Some(end),
                _ => None,
            })
        };
        self.events
            .until_told("the tracks end", || tracks.iter().all(|track| end(*track).is_some()).then_some(()))
            .await;
        tracks.map(|track| end(track).expect("it has ended"))
    }

    /// Waits for the end of a track.
    pub async fn end_of(&self, track: TrackId) -> TrackEnd {
        self.events
            .until("the track ends", |seen| match seen {
                Seen::Call(CallEventKind::TrackEnded(ended, end)) if *ended == track => Some(end.clone()),
                _ => None,
            })
            .await
    }

    /// Waits for something to happen in the call, from the first event on that was not waited for yet.
    pub async fn what(&self, awaited: &str, pick: impl Fn(&CallEventKind) -> bool) -> CallEventKind {
        self.events
            .until(awaited, |seen| match seen {
                Seen::Call(what) if pick(what) => Some(what.clone()),
                _ => None,
            })
            .await
    }

    /// Leaves, and waits until what was sent has come to the listener, or is lost.
    pub async fn leave(&self) -> CallStats {
        let left = self.manager.send(Disconnect { guild: self.guild_id() }).await.unwrap();
        let stats = left.expect("there was a call");
        let all_heard = |_: &Discord| {
            self.ear.heard(self.bot.user_id).is_some_and(|heard| heard.packets + heard.lost >= stats.packets)
        };
        // What is lost at the very end nobody can count.
        let _ = self.discord.until(all_heard, Duration::from_secs(1)).await;
        stats
    }

    /// Waits until Discord knows that the bot has left the channel.
    pub async fn gone(&self, limit: Duration) {
        let gone = |discord: &Discord| !discord.members_of(&self.channel).contains(&self.bot.user_id);
        self.discord.until(gone, limit).await.expect("the bot leaves");
    }

    /// What the listener has heard of the bot.
    pub fn heard(&self) -> Hearing {
        self.ear.heard(self.bot.user_id).expect("the listener heard the bot")
    }

    /// The bot kept to the rules.
    pub fn no_violations(&self) {
        assert_eq!(self.discord.violations(), [], "Discord's rules were broken");
    }
}
