//! A crowd: several bots in one channel, one bot in several guilds.

use std::time::Duration;

use actix::Addr;
use actix_voice::{
    actors::{
        CallEventKind, CallStats, Disconnect, Join, Listen, MainGateway, Speak, Subscribe, VoiceManager,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    hearing::Preset,
    id::{ChannelId, GuildId, Token},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Bot, Channel};
use tokio::sync::mpsc;

use crate::support::{
    audio::path,
    bot::BotOnDiscord,
    events::{BotEvent, EventLog},
    recording::{SILENCE_FRAMES, missed, packets_of},
    story,
};

/// Another bot on the same Discord.
struct OtherBot {
    account: Bot,
    guild: GuildId,
    manager: Addr<VoiceManager>,
    _gateway: Addr<MainGateway>,
}

impl OtherBot {
    /// Logs in and joins the fixture's channel.
    async fn join(bot: &BotOnDiscord, name: &str) -> Self {
        let account = bot.discord.bot(name);
        let manager = VoiceManager::new(bot.config.clone()).start();
        let events = EventLog::default();
        let token = Token(account.token.clone());
        let gateway = MainGateway::at(&bot.discord.gateway_url(), token, &bot.config, manager.clone());
        let gateway = gateway.listener(events.recorder().recipient()).start();
        events
            .next("the guest is in its guild", |event| {
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
        let guild = bot.guild_id();
        let join = Join::new(guild, ChannelId(bot.channel.id));
        manager.send(join).await.unwrap().expect("the guest joins");
        Self { account, guild, manager, _gateway: gateway }
    }

    async fn play(&self, file: &str) {
        let speak = Speak::file(self.guild, path(file));
        self.manager.send(speak).await.unwrap().expect("the file plays");
    }

    async fn disconnect(self) -> CallStats {
        self.manager.send(Disconnect { guild: self.guild }).await.unwrap().expect("there was a call")
    }
}

#[test]
fn bots_in_one_channel_hear_each_other() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Record).await;
        bot.join().await;
        let guest = OtherBot::join(&bot, "guest").await;
        let (to, _guest_hears) = mpsc::channel(1_000);
        guest.manager.send(Listen::frame_channel(guest.guild, Preset::Record, to)).await.unwrap();
        bot.play("speech.opus").await;
        guest.play("music.opus").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let guests = bot.listener.heard(guest.account.user_id).expect("the guest is heard");
        let theirs = guest.disconnect().await;
        let ours = bot.disconnect().await;

        assert_eq!(missed("speech.opus", [&bot.heard()]), 0);
        assert_eq!(missed("music.opus", [&guests]), 0);
        assert!(ours.packets > 300 && theirs.packets > 200, "{} and {}", ours.packets, theirs.packets);
        assert_eq!(ours.transport.counts.voice_packets, theirs.packets);
        assert_eq!(theirs.transport.counts.voice_packets, ours.packets);
        bot.assert_no_violations();
    });
}

#[test]
fn a_simulated_member_is_heard_by_the_bot() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Record).await;
        bot.join().await;
        bot.listener.speak(packets_of("music.opus")).await;
        let spoken = (packets_of("music.opus").len() + SILENCE_FRAMES) as u64;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stats = bot.disconnect().await;
        assert_eq!(stats.transport.counts.voice_packets, spoken);
        bot.assert_no_violations();
    });
}

#[test]
fn one_bot_plays_in_two_guilds_at_once() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let other: Channel = bot.discord.guild("other guild").channel("other channel");
        let other_listener = other.listener("other ear");
        let other_guild = GuildId(other.guild_id);
        let others = EventLog::default();
        let to = others.recorder().recipient();
        bot.manager.send(Subscribe::new(to).guild(other_guild)).await.unwrap();

        bot.join().await;
        let join = Join::new(other_guild, ChannelId(other.id));
        bot.manager.send(join).await.unwrap().expect("the bot joins there too");
        let speech = bot.play("speech.opus").await;
        let speak = Speak::file(other_guild, path("music.opus"));
        let music = bot.manager.send(speak).await.unwrap().expect("the file plays");
        assert_eq!(bot.track_end(music).await, TrackEnd::Finished);
        assert_eq!(bot.track_end(speech).await, TrackEnd::Finished);
        let told =
            |event: &CallEventKind| matches!(event, CallEventKind::TrackStarted(track) if *track == speech);
        assert!(!others.call_events().iter().any(told), "who subscribed to one guild hears of that only");

        let left = bot.manager.send(Disconnect { guild: other_guild }).await.unwrap();
        assert!(left.is_some_and(|stats| stats.packets > 200));
        assert!(bot.discord.connected_to(&bot.channel).contains(&bot.account.user_id));
        bot.disconnect().await;
        assert_eq!(missed("speech.opus", [&bot.heard()]), 0);
        let there = other_listener.heard(bot.account.user_id).expect("it is heard there");
        assert_eq!(missed("music.opus", [&there]), 0);
        assert_eq!((bot.heard().longest_gap, there.longest_gap), (FRAME, FRAME));
        bot.assert_no_violations();
    });
}

const FRAME: Duration = Duration::from_millis(20);
