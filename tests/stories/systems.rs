//! Where the manager can live: on a thread of its own beside plain tokio, or in actix's registry.

use std::time::Duration;

use actix::{Arbiter, SystemRegistry, SystemService};
use actix_voice::{
    actors::{
        CallEventKind, CallStats, Config, Disconnect, Join, JoinError, Login, MainGateway, PlugChannel,
        Shutdown, Speak, Subscribe, SubscribeChannel, VoiceManager, VoiceServerUpdate, VoiceStateUpdate,
    },
    bridge::events::{VoiceServer, VoiceState},
    call::EndReason,
    id::{ChannelId, GuildId, Token, UserId},
    speaker::TrackEnd,
};
use actix_voice_loopback::Discord;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::support::{
    bot::BotOnDiscord,
    events::EventLog,
    real_time,
    recording::{SILENCE_FRAMES, packets_heard, packets_of, with_silence},
    sources::LoopSource,
    story,
};

/// The main gateway of a bot that knows no actors.
struct OwnGateway(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl OwnGateway {
    /// Connects and identifies.
    async fn connect(url: &str, token: &str) -> Self {
        let (websocket, _) = connect_async(format!("{url}/?v=10&encoding=json")).await.unwrap();
        let mut gateway = Self(websocket);
        let properties = json!({ "os": "any", "browser": "none", "device": "none" });
        gateway.send(2, json!({ "token": token, "intents": 1 | 1 << 7, "properties": properties })).await;
        while gateway.dispatch().await.0 != "READY" {}
        gateway
    }

    async fn send(&mut self, op: u8, d: Value) {
        self.0.send(Message::text(json!({ "op": op, "d": d }).to_string())).await.unwrap();
    }

    /// The next event.
    async fn dispatch(&mut self) -> (String, Value) {
        loop {
            let message = self.0.next().await.expect("the connection stays").unwrap();
            let Message::Text(text) = message else { continue };
            let mut payload: Value = serde_json::from_str(&text).unwrap();
            if let Value::String(name) = payload["t"].take() {
                return (name, payload["d"].take());
            }
        }
    }
}

#[test]
fn a_call_from_plain_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let discord = Discord::start().await;
        let (bot, channel) = (discord.bot("bot"), discord.guild("guild").channel("channel"));
        let listener = channel.listener("ear");
        let mut config = Config::local();
        config.media_arbiters = 1;
        let manager = VoiceManager::spawn(config.clone()).unwrap();
        let join = Join::new(GuildId(channel.guild_id), ChannelId(channel.id));
        let (url, token, plugged) = (discord.gateway_url(), Token(bot.token.clone()), manager.clone());
        std::thread::spawn(move || {
            let system = actix::System::new();
            system.block_on(async { MainGateway::at(&url, token, &config, plugged).start() });
            system.run()
        });
        let call = async {
            loop {
                match manager.send(join).await.unwrap() {
                    Err(JoinError::NotPlugged) => tokio::task::yield_now().await,
                    joined => return joined.unwrap(),
                }
            }
        };
        let call = tokio::time::timeout(Duration::from_secs(60), call).await.unwrap();
        let packets = packets_of("demo.opus");
        call.speak(Speak::start(call.guild(), LoopSource::new(packets.clone(), 50))).await.unwrap();
        let spoken = 50 + SILENCE_FRAMES as u64;
        let heard = |_: &Discord| listener.packets_heard(bot.user_id) == spoken;
        discord.until(heard, Duration::from_secs(60)).await.unwrap();
        assert_eq!(call.stats().await.unwrap().packets, spoken);
        let stats: CallStats = tokio::spawn(async move { call.disconnect().await }).await.unwrap().unwrap();
        assert_eq!((stats.packets, stats.transport.lateness.len()), (spoken, spoken));
        assert!(packets_heard(&listener.heard(bot.user_id).unwrap()) == with_silence(&packets[..50]));
        let disconnect = Disconnect { guild: GuildId(channel.guild_id) };
        assert!(manager.send(disconnect).await.unwrap().is_none());
    });
}

#[test]
fn a_bot_without_actors_plugs_in_and_listens_with_channels() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let discord = Discord::start().await;
        let (bot, channel) = (discord.bot("bot"), discord.guild("guild").channel("channel"));
        let listener = channel.listener("ear");
        let manager = VoiceManager::spawn(Config::local()).unwrap();
        let (to, mut events) = mpsc::channel(100);
        manager.send(SubscribeChannel::new(to)).await.unwrap();
        let mut main = OwnGateway::connect(&discord.gateway_url(), &bot.token).await;
        let (gateway, mut updates) = mpsc::channel(10);
        manager.send(PlugChannel::new(UserId(bot.user_id), gateway)).await.unwrap();
        let received = manager.clone();
        let relaying = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(update) = updates.recv() => main.send(4, json!(update)).await,
                    (name, d) = main.dispatch() => match &name[..] {
                        "VOICE_STATE_UPDATE" => received.do_send(VoiceStateUpdate(VoiceState::deserialize(d).unwrap())),
                        "VOICE_SERVER_UPDATE" => received.do_send(VoiceServerUpdate(VoiceServer::deserialize(d).unwrap())),
                        _ => {}
                    },
                }
            }
        });
        let join = Join::new(GuildId(channel.guild_id), ChannelId(channel.id));
        let call = manager.send(join).await.unwrap().expect("the bot joins");
        let packets = packets_of("demo.opus");
        let track = call.speak(Speak::start(call.guild(), LoopSource::new(packets.clone(), 50))).await.unwrap();
        assert_eq!(call.ended(&track).await, Some(TrackEnd::Finished));
        manager.send(Shutdown).await.unwrap();
        relaying.abort();
        let mut received = Vec::new();
        while let Some(event) = events.recv().await {
            received.push(event.kind);
        }
        assert!(received.contains(&CallEventKind::TrackStarted(track.id())), "{received:?}");
        assert_eq!(received.last(), Some(&CallEventKind::Ended(EndReason::Stopped)), "the channel closes after the last event");
        assert!(packets_heard(&listener.heard(bot.user_id).unwrap()).starts_with(&packets[..50]));
    });
}

#[test]
fn who_subscribes_twice_is_told_once() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let events = EventLog::default();
        let to = events.recorder().recipient();
        for _ in 0..2 {
            bot.manager.send(Subscribe::new(to.clone())).await.unwrap();
        }
        bot.join().await;
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let starts =
            events.call_events().into_iter().filter(|event| *event == CallEventKind::TrackStarted(track));
        assert_eq!(starts.count(), 1);
    });
}

#[test]
fn a_manager_in_the_registry_is_found_from_anywhere() {
    story(async {
        let bot = BotOnDiscord::start().await;
        SystemRegistry::set(bot.manager.clone());
        let found = VoiceManager::from_registry();
        let join = Join::new(bot.guild_id(), ChannelId(bot.channel.id));
        found.send(join).await.unwrap().expect("the bot joins");
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let left = VoiceManager::from_registry().send(Disconnect { guild: bot.guild_id() }).await.unwrap();
        assert_eq!(left.unwrap().packets, (packets_of("music.opus").len() + SILENCE_FRAMES) as u64);
    });
}

#[test]
fn a_manager_in_the_registry_is_found_from_another_thread() {
    real_time(async {
        let bot = BotOnDiscord::start_with(Discord::builder(), |config| config.media_arbiters = 2).await;
        SystemRegistry::set(bot.manager.clone());
        let join = Join::new(bot.guild_id(), ChannelId(bot.channel.id));
        let (joined, joining) = tokio::sync::oneshot::channel();
        let elsewhere = Arbiter::new();
        elsewhere.spawn(async move {
            let _ = joined.send(VoiceManager::from_registry().send(join).await.unwrap());
        });
        let call = joining.await.unwrap().unwrap();
        let track = call
            .speak(Speak::start(call.guild(), LoopSource::new(packets_of("demo.opus"), 25)))
            .await
            .unwrap();
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        assert_eq!(bot.disconnect().await.packets, 25 + SILENCE_FRAMES as u64);
        elsewhere.stop();
    });
}

#[test]
fn a_registered_manager_that_was_shut_down_is_ready_for_the_next_join() {
    story(async {
        let bot = BotOnDiscord::start().await;
        SystemRegistry::set(bot.manager.clone());
        for _ in 0..3 {
            let join = Join::new(bot.guild_id(), ChannelId(bot.channel.id));
            VoiceManager::from_registry().send(join).await.unwrap().expect("the bot joins");
            let track = bot.play("music.opus").await;
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
            VoiceManager::from_registry().send(Shutdown).await.unwrap();
            let ended = CallEventKind::Ended(EndReason::Stopped);
            bot.next_event("the subscribers are told of the end", |event| *event == ended).await;
            bot.until_left(Duration::from_secs(3)).await;
        }
        bot.assert_no_violations();
    });
}

#[test]
fn a_manager_that_was_shut_down_does_nothing_until_it_is_asked_to() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.manager.send(Shutdown).await.unwrap();
        // The bot's other manager is in voice: the one that sleeps does not take it out.
        let other = VoiceManager::new(bot.config.clone()).start();
        let (url, token) = (bot.discord.gateway_url(), Token(bot.account.token.clone()));
        let gateway = MainGateway::at(&url, token, &bot.config, other.clone()).start();
        gateway.send(Login).await.unwrap().expect("Discord lets the bot in");
        let call = other.send(Join::new(bot.guild_id(), ChannelId(bot.channel.id))).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(call.disconnect().await.expect("the call lives").reconnects, 0);
    });
}

#[test]
fn two_shutdowns_at_once_are_both_answered_and_what_is_asked_meanwhile_is_refused() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join_and_play("demo.opus").await;
        let other = bot.discord.guild("other").channel("other");
        let join = Join::new(GuildId(other.guild_id), ChannelId(other.id));
        let (first, second, joined) =
            tokio::join!(bot.manager.send(Shutdown), bot.manager.send(Shutdown), bot.manager.send(join));
        first.unwrap();
        second.unwrap();
        assert_eq!(joined.unwrap().unwrap_err(), JoinError::Ended(EndReason::Stopped));
        bot.until_left(Duration::from_secs(3)).await;
        bot.manager.send(Shutdown).await.expect("one that sleeps has shut down");
    });
}

#[test]
fn a_manager_that_nobody_has_any_more_takes_the_bot_out_of_its_channel_with_all_good_manners() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let discord = Discord::start().await;
        let (bot, channel) = (discord.bot("bot"), discord.guild("guild").channel("channel"));
        let listener = channel.listener("ear");
        let manager = VoiceManager::spawn(Config::local()).unwrap();
        let mut main = OwnGateway::connect(&discord.gateway_url(), &bot.token).await;
        let (gateway, mut updates) = mpsc::channel(10);
        manager.send(PlugChannel::new(UserId(bot.user_id), gateway)).await.unwrap();
        let received = manager.downgrade();
        let relaying = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(update) = updates.recv() => main.send(4, json!(update)).await,
                    (name, d) = main.dispatch() => {
                        let Some(manager) = received.upgrade() else { continue };
                        match &name[..] {
                            "VOICE_STATE_UPDATE" => manager.do_send(VoiceStateUpdate(VoiceState::deserialize(d).unwrap())),
                            "VOICE_SERVER_UPDATE" => manager.do_send(VoiceServerUpdate(VoiceServer::deserialize(d).unwrap())),
                            _ => {}
                        }
                    }
                }
            }
        });
        let guild = GuildId(channel.guild_id);
        let call = manager.send(Join::new(guild, ChannelId(channel.id))).await.unwrap().expect("it joins");
        call.speak(Speak::start(guild, LoopSource::new(packets_of("demo.opus"), usize::MAX))).await.unwrap();
        let speaks = |_: &Discord| listener.packets_heard(bot.user_id) > 10;
        discord.until(speaks, Duration::from_secs(60)).await.unwrap();
        drop((call, manager));
        let left = |discord: &Discord| discord.members_of(&channel) == [listener.user_id];
        discord.until(left, Duration::from_secs(60)).await.expect("the bot leaves");
        assert_eq!(discord.violations(), [], "it ends its speech and says that it leaves");
        relaying.abort();
    });
}
