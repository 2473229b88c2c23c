//! Bots in many guilds have several shards: each concerns its own guilds only, and they identify as Discord allows.

use std::time::Duration;

use actix::Addr;
use actix_voice::{
    actors::{
        CallEventKind, CallHandle, Config, Join, JoinError, Login, Logout, MainGateway, MainGatewayLost,
        MainGatewayRestored, Plug, Shards, Speak, Subscribe, VoiceManager,
        fault::PanicShard,
        main_gateway::{GatewayBotError, LoginError, MainGatewayError, MainGatewayEvent},
    },
    call::{ConnectionStatus, EndReason},
    id::{ChannelId, GuildId, ShardId, Token, UserId},
    source::Tone,
};
use actix_voice_loopback::{Bot, Builder, Channel, Discord, Event, Guild, Side};
use tokio::time::Instant;

use crate::support::{
    events::{BotEvent, EventLog},
    log::{connections, op, received},
    story,
};

/// A bot that is in a guild of each of several shards.
struct ShardedBot {
    discord: Discord,
    account: Bot,
    manager: Addr<VoiceManager>,
    gateway: Addr<MainGateway>,
    /// Of the main gateway.
    events: EventLog,
    places: Vec<Place>,
}

/// A guild of a shard, and what is told of its call.
struct Place {
    guild: Guild,
    channel: Channel,
    events: EventLog,
}

impl ShardedBot {
    /// Starts a bot with these shards; there is a guild of each of `count`.
    async fn start(discord: Builder, count: u32, shards: Shards) -> Self {
        Self::start_against(discord.start().await, count, shards).await
    }

    async fn start_against(discord: Discord, count: u32, shards: Shards) -> Self {
        let config = Config::local();
        let account = discord.bot("bot");
        let manager = VoiceManager::new(config.clone()).start();
        let mut places = Vec::new();
        for index in 0..count {
            let guild = guild_of(&discord, ShardId { index, count });
            let (channel, events) = (guild.channel("channel"), EventLog::default());
            let told = Subscribe::new(events.recorder().recipient()).guild(GuildId(guild.id));
            manager.send(told).await.unwrap();
            places.push(Place { guild, channel, events });
        }
        let (token, events) = (Token(account.token.clone()), EventLog::default());
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).shards(shards);
        let gateway = gateway.listener(events.recorder().recipient()).start();
        Self { discord, account, manager, gateway, events, places }
    }

    async fn log_in(&self) -> Result<UserId, LoginError> {
        self.gateway.send(Login).await.unwrap()
    }

    /// Joins the channel in the guild of a shard.
    async fn join(&self, shard: usize) -> Result<CallHandle, JoinError> {
        let Place { guild, channel, .. } = &self.places[shard];
        self.manager.send(Join::new(GuildId(guild.id), ChannelId(channel.id))).await.unwrap()
    }

    /// Joins there, and speaks.
    async fn speak(&self, shard: usize) -> CallHandle {
        let call = self.join(shard).await.expect("the bot joins");
        call.speak(Speak::source(call.guild(), Tone::new(440.0))).await.expect("it speaks");
        call
    }

    /// Waits until the connection of a shard's call is reported to be so.
    async fn until(&self, shard: usize, status: ConnectionStatus) {
        let awaited = format!("{status:?}");
        let reported = BotEvent::Call(CallEventKind::Connection(status));
        let same = |event: &BotEvent| (format!("{event:?}") == format!("{reported:?}")).then_some(());
        self.places[shard].events.next(&awaited, same).await;
    }

    /// How the connection of a shard's call fared.
    fn statuses(&self, shard: usize) -> Vec<ConnectionStatus> {
        let events = self.places[shard].events.call_events().into_iter();
        let statuses = events.filter_map(|event| match event {
            CallEventKind::Connection(status) => Some(status),
            _ => None,
        });
        statuses.collect()
    }

    /// When each shard identified, in seconds since the first, and which it was.
    fn identifies(&self) -> Vec<(u64, serde_json::Value)> {
        let all = received(&self.discord, Side::Main, op::MAIN_IDENTIFY);
        let first = all.first().expect("a shard identified").0.at;
        all.into_iter().map(|(entry, d)| ((entry.at - first).as_secs(), d["shard"].clone())).collect()
    }

    fn errors(&self) -> Vec<GatewayBotError> {
        let all = self.events.all().into_iter();
        let errors = all.filter_map(|event| match event {
            BotEvent::MainGateway(MainGatewayEvent::ShardsUnknown(error)) => Some(error),
            _ => None,
        });
        errors.collect()
    }

    fn assert_no_violations(&self) {
        assert_eq!(self.discord.violations(), [], "Discord's rules were broken");
    }
}

/// A guild whose events come to this shard.
fn guild_of(discord: &Discord, shard: ShardId) -> Guild {
    let mut guilds = (0..).map(|number| discord.guild(&format!("guild {number}")));
    guilds.find(|guild| shard.has(GuildId(guild.id))).expect("ids are spread over all shards")
}

/// How often Discord was asked for the number of shards, and with which status it answered.
fn requests(discord: &Discord) -> Vec<u16> {
    let answers = discord.log().into_iter().filter_map(|entry| match entry.event {
        Event::Rest { status } => Some(status),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_shard_that_loses_its_session_concerns_the_calls_of_its_guilds_only() {
    story(async {
        let discord = Discord::builder().shards(2).max_concurrency(2);
        let bot = ShardedBot::start(discord, 2, Shards::Auto).await;
        bot.log_in().await.expect("Discord lets the bot in");
        let calls = [bot.speak(0).await, bot.speak(1).await];
        bot.discord.lose_shard_session(bot.account.user_id, 1);
        bot.until(1, ConnectionStatus::Connected).await;
        bot.until(1, ConnectionStatus::Connected).await;
        tokio::time::sleep(Duration::from_secs(30)).await;

        assert_eq!(bot.statuses(0), [ConnectionStatus::Connected], "the other shard's call is told nothing");
        let lost = |event: &BotEvent| match event {
            BotEvent::MainGateway(MainGatewayEvent::Reconnecting { shard, .. }) => Some(*shard),
            _ => None,
        };
        assert_eq!(bot.events.next("the loss", lost).await, ShardId { index: 1, count: 2 });
        let stats = [calls[0].disconnect().await.unwrap(), calls[1].disconnect().await.unwrap()];
        assert_eq!((stats[0].reconnects, stats[1].reconnects), (0, 1));
        bot.assert_no_violations();
    });
}

#[test]
fn a_main_gateway_may_have_guilds_by_another_rule_than_discords() {
    story(async {
        let bot = ShardedBot::start(Discord::builder(), 1, Shards::One).await;
        let user = bot.log_in().await.expect("Discord lets the bot in");
        let gateway = || bot.gateway.clone().recipient();
        let here = GuildId(bot.places[0].guild.id);
        let formula = ShardId::of(here, 2);
        let other = ShardId { index: 1 - formula.index, ..formula };
        bot.manager
            .send(Plug::new(user, gateway()).shard(other).guilds(move |guild| guild == here))
            .await
            .unwrap();
        bot.manager.send(Plug::new(user, gateway()).shard(formula).guilds(|_| false)).await.unwrap();
        let asked = Instant::now();
        bot.manager.send(MainGatewayLost.of(formula)).await.unwrap();
        bot.join(0).await.expect("the bot joins by the main gateway that has the guild");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        bot.manager.send(MainGatewayLost.of(other)).await.unwrap();
        bot.discord.close_voice(bot.account.user_id, 4006, "");
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE).len(), 1, "it is away");
        bot.manager.send(MainGatewayRestored.of(other)).await.unwrap();
        bot.until(0, ConnectionStatus::Connected).await;
    });
}

#[test]
fn a_shard_that_is_away_holds_up_the_joins_of_its_guilds_only() {
    story(async {
        let discord = Discord::builder().shards(2).max_concurrency(2);
        let bot = ShardedBot::start(discord, 2, Shards::Auto).await;
        bot.log_in().await.expect("Discord lets the bot in");
        let away = ShardId { index: 1, count: 2 };
        bot.manager.send(MainGatewayLost.of(away)).await.unwrap();
        let asked = Instant::now();
        bot.join(0).await.expect("the bot joins where its shard is there");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let back = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            bot.manager.send(MainGatewayRestored.of(away)).await.unwrap();
        };
        let (joined, ()) = tokio::join!(bot.join(1), back);
        joined.expect("the bot joins once the shard is back");
        assert!(asked.elapsed() >= Duration::from_secs(20), "{:?}", asked.elapsed());
    });
}

#[test]
fn shards_identify_as_fast_as_discord_allows_and_no_faster() {
    story(async {
        let shard = |index: u32| serde_json::json!([index, 3]);
        let paces = [(1, [0, 5, 10]), (2, [0, 0, 5]), (16, [0, 0, 0])];
        for (max_concurrency, seconds) in paces {
            let discord = Discord::builder().shards(3).max_concurrency(max_concurrency);
            let bot = ShardedBot::start(discord, 3, Shards::Auto).await;
            bot.log_in().await.expect("Discord lets the bot in");
            let expected: Vec<_> = seconds.into_iter().zip((0..3).map(shard)).collect();
            let mut identifies = bot.identifies();
            identifies.sort_by_key(|(at, shard)| (*at, shard.to_string()));
            assert_eq!(identifies, expected, "{max_concurrency} at once");
            for shard in 0..3 {
                bot.join(shard).await.expect("the bot joins in the guilds of each shard");
            }
            assert_eq!(requests(&bot.discord), [200]);
            bot.assert_no_violations();
        }
    });
}

#[test]
fn a_join_waits_for_the_shard_of_its_guild() {
    story(async {
        let bot = ShardedBot::start(Discord::builder().shards(3), 3, Shards::Auto).await;
        let asked = Instant::now();
        let (first, last) = tokio::join!(async { (bot.join(0).await, asked.elapsed()) }, async {
            (bot.join(2).await, asked.elapsed())
        });
        first.0.expect("the first shard's is there at once");
        assert!(first.1 < Duration::from_secs(3), "{:?}", first.1);
        last.0.expect("the last shard's is waited for");
        assert!((10..13).contains(&last.1.as_secs()), "{:?}", last.1);
    });
}

#[test]
fn a_program_may_run_some_of_the_shards() {
    story(async {
        let discord = Discord::builder().shards(2).max_concurrency(2);
        let bot = ShardedBot::start(discord, 4, Shards::Of { ids: 1..3, total: 4 }).await;
        bot.log_in().await.expect("Discord lets the bot in");
        let shards: Vec<_> = bot.identifies().into_iter().map(|(_, shard)| shard).collect();
        assert_eq!(shards, [serde_json::json!([1, 4]), serde_json::json!([2, 4])]);
        bot.join(1).await.expect("the bot joins");
        assert_eq!(bot.join(3).await.unwrap_err(), JoinError::NotPlugged, "that shard runs elsewhere");
        bot.gateway.send(Logout).await.unwrap();
        assert_eq!(bot.join(1).await.unwrap_err(), JoinError::NotPlugged);
        bot.assert_no_violations();
    });
}

#[test]
fn discord_is_asked_again_for_the_number_of_shards_when_it_does_not_answer() {
    story(async {
        let discord = Discord::builder().shards(2).max_concurrency(2).start().await;
        discord.fail_rest(2, 503);
        let bot = ShardedBot::start_against(discord, 2, Shards::Auto).await;
        let error = bot.log_in().await.expect_err("it is told at once");
        assert!(matches!(&error, LoginError::Unreachable(why) if why.contains("503")), "{error}");
        while bot.log_in().await.is_err() {}
        assert_eq!(requests(&bot.discord), [503, 503, 200]);
        assert_eq!(bot.errors(), [GatewayBotError::Status(503), GatewayBotError::Status(503)]);
        assert_eq!(bot.identifies().len(), 2);
    });
}

#[test]
fn a_bot_does_without_the_number_of_shards_that_discord_never_tells() {
    story(async {
        let discord = Discord::start().await;
        discord.fail_rest(5, 503);
        let bot = ShardedBot::start_against(discord, 1, Shards::Auto).await;
        while bot.log_in().await.is_err() {}
        assert_eq!(bot.identifies(), [(0, serde_json::Value::Null)]);
        bot.join(0).await.expect("the bot joins");
        assert_eq!(requests(&bot.discord).len(), 5);
    });
}

#[test]
fn a_wrong_token_is_refused_before_anything_connects() {
    story(async {
        let discord = Discord::start().await;
        let manager = VoiceManager::new(Config::local()).start();
        let (config, token) = (Config::local(), Token("no such token".into()));
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager).shards(Shards::Auto);
        let error = gateway.start().send(Login).await.unwrap().unwrap_err();
        assert_eq!(error, LoginError::Refused(MainGatewayError::BadToken));
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!((requests(&discord), connections(&discord, Side::Main)), (vec![401], 0));
    });
}

#[test]
fn a_bot_that_has_grown_too_big_for_its_shards_gets_more_and_its_calls_come_back() {
    story(async {
        let bot = ShardedBot::start(Discord::builder().max_concurrency(2), 2, Shards::Auto).await;
        bot.log_in().await.expect("Discord lets the bot in");
        let calls = [bot.speak(0).await, bot.speak(1).await];
        bot.discord.require_shards(2);
        bot.discord.lose_main_session(bot.account.user_id);
        for shard in 0..2 {
            bot.until(shard, ConnectionStatus::Connected).await;
            bot.until(shard, ConnectionStatus::Connected).await;
        }
        assert_eq!(requests(&bot.discord), [200, 200]);
        for call in calls {
            let stats = call.disconnect().await.expect("the call lives");
            assert_eq!(stats.reconnects, 1);
        }
        bot.assert_no_violations();
    });
}

#[test]
fn too_few_shards_that_the_user_chose_are_refused_with_a_remedy() {
    story(async {
        let discord = Discord::start().await;
        discord.require_shards(2);
        for shards in [Shards::One, Shards::Of { ids: 0..1, total: 1 }] {
            let bot = ShardedBot::start_against(discord.clone(), 1, shards).await;
            let error = bot.log_in().await.expect_err("one shard is too few");
            assert_eq!(error, LoginError::Refused(MainGatewayError::ShardingRequired));
            assert!(error.to_string().contains("Shards::Auto"), "{error}");
        }
    });
}

#[test]
fn nobody_identifies_while_no_session_start_is_left() {
    story(async {
        let discord = Discord::builder().shards(3).max_concurrency(3);
        let discord = discord.session_starts(2, Duration::from_secs(60));
        let bot = ShardedBot::start(discord, 3, Shards::Auto).await;
        bot.join(0).await.expect("the first is in at once");
        let third = || bot.identifies().get(2).map(|(at, _)| *at);
        bot.discord.until(|_| third().is_some(), Duration::from_secs(120)).await.unwrap();
        assert!((59..62).contains(&third().unwrap()), "{:?}", third());
    });
}

#[test]
fn a_panic_of_a_shard_is_resumed_and_not_noticed_by_any_call() {
    story(async {
        let discord = Discord::builder().shards(2).max_concurrency(2);
        let bot = ShardedBot::start(discord, 2, Shards::Auto).await;
        bot.log_in().await.expect("Discord lets the bot in");
        let calls = [bot.speak(0).await, bot.speak(1).await];
        bot.gateway.send(PanicShard(1)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;

        let resumes = received(&bot.discord, Side::Main, op::MAIN_RESUME);
        assert_eq!((resumes.len(), bot.identifies().len()), (1, 2));
        // Op 4 goes to the connection that is there now.
        let other = bot.places[1].guild.channel("other");
        let there = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        bot.manager.send(there).await.unwrap().expect("the bot moves");
        assert_eq!(bot.statuses(0), [ConnectionStatus::Connected]);
        let stats = [calls[0].disconnect().await.unwrap(), calls[1].disconnect().await.unwrap()];
        assert_eq!((stats[0].reconnects, stats[1].reconnects), (0, 1), "one of which is the move");
        bot.assert_no_violations();
    });
}

#[test]
fn a_join_during_a_panic_of_its_shard_is_carried_out_after_it() {
    story(async {
        let bot = ShardedBot::start(Discord::builder(), 1, Shards::One).await;
        bot.log_in().await.expect("Discord lets the bot in");
        bot.gateway.send(PanicShard(0)).await.unwrap();
        let asked = Instant::now();
        bot.join(0).await.expect("the bot joins");
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    });
}

#[test]
fn a_shard_that_panics_again_and_again_is_given_up_with_words() {
    story(async {
        let bot = ShardedBot::start(Discord::builder(), 1, Shards::One).await;
        bot.log_in().await.expect("Discord lets the bot in");
        for _ in 0..5 {
            bot.gateway.do_send(PanicShard(0));
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let refused = |event: &BotEvent| match event {
            BotEvent::MainGateway(MainGatewayEvent::Refused(error)) => Some(*error),
            _ => None,
        };
        assert_eq!(bot.events.next("the end", refused).await, MainGatewayError::Panicked);
        assert!(!bot.gateway.connected());
        assert_eq!(bot.join(0).await.unwrap_err(), JoinError::NotPlugged);
    });
}

#[test]
fn another_user_that_is_plugged_in_ends_the_calls_of_the_one_before() {
    story(async {
        let bot = ShardedBot::start(Discord::builder(), 1, Shards::One).await;
        bot.log_in().await.expect("Discord lets the bot in");
        bot.speak(0).await;
        let (config, other) = (Config::local(), bot.discord.bot("other"));
        let url = bot.discord.gateway_url();
        let second = MainGateway::at(&url, Token(other.token.clone()), &config, bot.manager.clone()).start();
        second.send(Login).await.unwrap().expect("Discord lets the other bot in");
        let ended = BotEvent::Call(CallEventKind::Ended(EndReason::UserReplaced));
        let same = |event: &BotEvent| (format!("{event:?}") == format!("{ended:?}")).then_some(());
        bot.places[0].events.next("the call ends", same).await;
        let channel = bot.places[0].channel.clone();
        let left = |discord: &Discord| !discord.members_of(&channel).contains(&bot.account.user_id);
        bot.discord.until(left, Duration::from_secs(5)).await.expect("the first bot leaves");

        bot.join(0).await.expect("the other bot joins");
        assert_eq!(bot.discord.members_of(&channel), [other.user_id]);
        bot.assert_no_violations();
    });
}

#[test]
fn a_plug_of_the_same_shard_takes_the_place_of_the_one_before() {
    story(async {
        let bot = ShardedBot::start(Discord::builder(), 1, Shards::One).await;
        let user = bot.log_in().await.expect("Discord lets the bot in");
        // A bot may say which shard it has even if that is the only one.
        let plug = Plug::new(user, bot.gateway.clone().recipient()).shard(ShardId { index: 0, count: 1 });
        let call = bot.speak(0).await;
        bot.manager.send(plug).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(bot.statuses(0), [ConnectionStatus::Connected]);
        assert_eq!(call.disconnect().await.unwrap().reconnects, 0);
    });
}
