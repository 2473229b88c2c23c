//! Where the manager can live: on a thread of its own beside plain tokio, or in actix's registry.

use std::time::Duration;

use actix::{Actor, Arbiter, SystemRegistry, SystemService};
use actix_voice::{
    actors::{CallStats, Config, Disconnect, Join, JoinError, MainGateway, Speak, VoiceManager},
    id::{ChannelId, GuildId, Token},
    speaker::TrackEnd,
};
use actix_voice_loopback::Discord;

use crate::{
    ears::{and_silence, packets_heard, packets_of},
    players::Round,
    stage::{Stage, real_time, story},
};

#[test]
fn a_call_from_plain_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let discord = Discord::start().await;
        let (bot, channel) = (discord.bot("bot"), discord.guild("guild").channel("channel"));
        let ear = channel.listener("ear");
        let mut config = Config::local();
        config.media_arbiters = 1;
        let manager = VoiceManager::spawn(config.clone()).unwrap();
        let join = Join { guild: GuildId(channel.guild_id), channel: ChannelId(channel.id) };
        assert!(matches!(manager.send(join).await.unwrap(), Err(JoinError::NotPlugged)));

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
        call.speak(Speak::start(call.guild(), Round::new(packets.clone(), 50))).await.unwrap();
        let heard = |_: &Discord| ear.packets_heard(bot.user_id) == 55;
        discord.until(heard, Duration::from_secs(60)).await.unwrap();
        assert_eq!(call.stats().await.unwrap().packets, 55);
        let stats: CallStats = tokio::spawn(async move { call.disconnect().await }).await.unwrap().unwrap();
        assert_eq!((stats.packets, stats.transport.lateness.len()), (55, 55));
        assert!(packets_heard(&ear.heard(bot.user_id).unwrap()) == and_silence(&packets[..50]));
        let disconnect = Disconnect { guild: GuildId(channel.guild_id) };
        assert!(manager.send(disconnect).await.unwrap().is_none());
    });
}

#[test]
fn a_manager_in_the_registry_is_found_from_anywhere() {
    story(async {
        let stage = Stage::set().await;
        SystemRegistry::set(stage.manager.clone());
        let found = VoiceManager::from_registry();
        let join = Join { guild: stage.guild_id(), channel: ChannelId(stage.channel.id) };
        found.send(join).await.unwrap().expect("the bot joins");
        let track = stage.play("music.opus").await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let left = VoiceManager::from_registry().send(Disconnect { guild: stage.guild_id() }).await.unwrap();
        assert_eq!(left.unwrap().packets, packets_of("music.opus").len() as u64 + 5);
    });
}

#[test]
fn a_manager_in_the_registry_is_found_from_another_thread() {
    real_time(async {
        let stage = Stage::with(Discord::builder(), |config| config.media_arbiters = 2).await;
        SystemRegistry::set(stage.manager.clone());
        let join = Join { guild: stage.guild_id(), channel: ChannelId(stage.channel.id) };
        let (joined, joining) = tokio::sync::oneshot::channel();
        let elsewhere = Arbiter::new();
        elsewhere.spawn(async move {
            let _ = joined.send(VoiceManager::from_registry().send(join).await.unwrap());
        });
        let call = joining.await.unwrap().unwrap();
        let track =
            call.speak(Speak::start(call.guild(), Round::new(packets_of("demo.opus"), 25))).await.unwrap();
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        assert_eq!(stage.leave().await.packets, 30);
        elsewhere.stop();
    });
}
