//! A crowd: several bots in one channel, one bot in several guilds.

use std::time::Duration;

use actix::{Actor, Addr};
use actix_voice::{
    actors::{
        CallEventKind, CallStats, Disconnect, Join, MainGateway, Speak, Subscribe, VoiceManager,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    id::{ChannelId, GuildId, Token},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Bot, Channel};

use crate::support::{
    audio::path,
    bot::Stage,
    events::{Events, Seen},
    recording::{missed, packets_of},
    story,
};

/// Another bot on the same Discord.
struct Guest {
    bot: Bot,
    guild: GuildId,
    manager: Addr<VoiceManager>,
    _gateway: Addr<MainGateway>,
}

impl Guest {
    /// Logs in and joins the channel of the stage.
    async fn join(stage: &Stage, name: &str) -> Self {
        let bot = stage.discord.bot(name);
        let manager = VoiceManager::new(stage.config.clone()).start();
        let events = Events::default();
        let token = Token(bot.token.clone());
        let gateway = MainGateway::at(&stage.discord.gateway_url(), token, &stage.config, manager.clone());
        let gateway = gateway.listener(events.listener().recipient()).start();
        events
            .until("the guest is in its guild", |seen| {
                matches!(seen, Seen::Main(MainGatewayEvent::Dispatch(Dispatch::GuildAvailable { .. })))
                    .then_some(())
            })
            .await;
        let guild = stage.guild_id();
        let join = Join::new(guild, ChannelId(stage.channel.id));
        manager.send(join).await.unwrap().expect("the guest joins");
        Self { bot, guild, manager, _gateway: gateway }
    }

    async fn play(&self, file: &str) {
        let speak = Speak::file(self.guild, path(file));
        self.manager.send(speak).await.unwrap().expect("the file plays");
    }

    async fn leave(self) -> CallStats {
        self.manager.send(Disconnect { guild: self.guild }).await.unwrap().expect("there was a call")
    }
}

#[test]
fn bots_in_one_channel_hear_each_other() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let guest = Guest::join(&stage, "guest").await;
        stage.play("speech.opus").await;
        guest.play("music.opus").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let guests = stage.ear.heard(guest.bot.user_id).expect("the guest is heard");
        let theirs = guest.leave().await;
        let ours = stage.leave().await;

        assert_eq!(missed("speech.opus", [&stage.heard()]), 0);
        assert_eq!(missed("music.opus", [&guests]), 0);
        assert!(ours.packets > 300 && theirs.packets > 200, "{} and {}", ours.packets, theirs.packets);
        assert_eq!(ours.transport.counts.voice_packets, theirs.packets);
        assert_eq!(theirs.transport.counts.voice_packets, ours.packets);
        stage.no_violations();
    });
}

#[test]
fn a_simulated_member_is_heard_by_the_bot() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        stage.ear.speak(packets_of("music.opus")).await;
        let spoken = packets_of("music.opus").len() as u64 + 5;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stats = stage.leave().await;
        assert_eq!(stats.transport.counts.voice_packets, spoken);
        stage.no_violations();
    });
}

#[test]
fn one_bot_plays_in_two_guilds_at_once() {
    story(async {
        let stage = Stage::set().await;
        let other: Channel = stage.discord.guild("other guild").channel("other channel");
        let other_ear = other.listener("other ear");
        let other_guild = GuildId(other.guild_id);
        let others = Events::default();
        let to = others.listener().recipient();
        stage.manager.send(Subscribe::new(to).guild(other_guild)).await.unwrap();

        stage.join().await;
        let join = Join::new(other_guild, ChannelId(other.id));
        stage.manager.send(join).await.unwrap().expect("the bot joins there too");
        let speech = stage.play("speech.opus").await;
        let speak = Speak::file(other_guild, path("music.opus"));
        let music = stage.manager.send(speak).await.unwrap().expect("the file plays");
        assert_eq!(stage.end_of(music).await, TrackEnd::Finished);
        assert_eq!(stage.end_of(speech).await, TrackEnd::Finished);
        let told =
            |what: &CallEventKind| matches!(what, CallEventKind::TrackStarted(track) if *track == speech);
        assert!(!others.all().iter().any(told), "who subscribed to one guild hears of that only");

        let left = stage.manager.send(Disconnect { guild: other_guild }).await.unwrap();
        assert!(left.is_some_and(|stats| stats.packets > 200));
        assert!(stage.discord.connected_to(&stage.channel).contains(&stage.bot.user_id));
        stage.leave().await;
        assert_eq!(missed("speech.opus", [&stage.heard()]), 0);
        let there = other_ear.heard(stage.bot.user_id).expect("it is heard there");
        assert_eq!(missed("music.opus", [&there]), 0);
        assert_eq!((stage.heard().longest_gap, there.longest_gap), (FRAME, FRAME));
        stage.no_violations();
    });
}

const FRAME: Duration = Duration::from_millis(20);
