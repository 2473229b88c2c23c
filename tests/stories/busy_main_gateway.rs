//! A main gateway with much to do: more joins than Discord takes at once, a new session of many calls, and what is asked
//! in quick succession.

use std::time::Duration;

use actix::Addr;
use actix_voice::{
    actors::{
        self, CallEventKind, CallHandle, Config, Disconnect, Join, JoinError, Login, Logout, MainGateway,
        MainSessionReplaced, Plug, Speak, SpeakError, SubscribeChannel, VoiceManager, VoiceServerUpdate,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    bridge::events::{SelfFlags, UpdateVoiceState},
    call::EndReason,
    id::{ChannelId, GuildId, SessionId, Token},
    source::Tone,
    speaker::TrackEnd,
};
use actix_voice_loopback::{Channel, Discord, Invalid, SendLimit, Side};
use tokio::{task::JoinHandle, time::Instant};

use crate::support::{
    bot::BotOnDiscord,
    events::BotEvent,
    log::{identifies, op, received},
    recording::longest_gap_in_frames,
    story,
};

/// Voice channels, each in a guild of its own.
fn channels(discord: &Discord, count: usize) -> Vec<Channel> {
    (0..count).map(|number| discord.guild(&format!("guild {number}")).channel("channel")).collect()
}

fn join_of(channel: &Channel) -> Join {
    Join::new(GuildId(channel.guild_id), ChannelId(channel.id))
}

/// Asks for all channels at once.
fn request_all(bot: &BotOnDiscord, channels: &[Channel]) -> Vec<JoinHandle<Result<CallHandle, JoinError>>> {
    request_all_of(&bot.manager, channels)
}

fn request_all_of(
    manager: &Addr<VoiceManager>,
    channels: &[Channel],
) -> Vec<JoinHandle<Result<CallHandle, JoinError>>> {
    let request = |channel| {
        let asked = manager.send(join_of(channel));
        actix::spawn(async { asked.await.expect("the manager lives") })
    };
    channels.iter().map(request).collect()
}

/// Where Discord sees the bot, of these channels.
fn present(bot: &BotOnDiscord, channels: &[Channel]) -> usize {
    let user = bot.account.user_id;
    channels.iter().filter(|channel| bot.discord.members_of(channel).contains(&user)).count()
}

fn connected(bot: &BotOnDiscord, channels: &[Channel]) -> usize {
    let user = bot.account.user_id;
    channels.iter().filter(|channel| bot.discord.connected_to(channel).contains(&user)).count()
}

fn ends(bot: &BotOnDiscord) -> Vec<CallEventKind> {
    bot.events.call_events().into_iter().filter(|event| matches!(event, CallEventKind::Ended(_))).collect()
}

fn op_4(discord: &Discord) -> usize {
    received(discord, Side::Main, op::UPDATE_VOICE_STATE).len()
}

#[test]
fn three_hundred_calls_survive_a_new_ready_and_lose_nothing_but_time() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let channels = channels(&bot.discord, 300);
        for joining in request_all(&bot, &channels) {
            joining.await.unwrap().expect("a channel that is asked for late is joined late");
        }
        assert_eq!(connected(&bot, &channels), 300);

        bot.discord.invalid_session(bot.account.user_id, Invalid::Lost);
        let lost = |_: &Discord| present(&bot, &channels) == 0;
        bot.discord.until(lost, Duration::from_secs(10)).await.expect("the bot is in no channel any more");
        let back = |_: &Discord| connected(&bot, &channels) == 300;
        let all_back = bot.discord.until(back, Duration::from_secs(400)).await;
        let counts = (present(&bot, &channels), connected(&bot, &channels));
        assert!(all_back.is_ok(), "present, connected: {counts:?}; {:?}", ends(&bot));
        assert_eq!(ends(&bot), []);

        for channel in &channels {
            let stats = bot.manager.send(Disconnect { guild: GuildId(channel.guild_id) }).await.unwrap();
            assert_eq!(stats.expect("the call lived").reconnects, 1);
        }
        let left = |_: &Discord| present(&bot, &channels) == 0;
        bot.discord.until(left, Duration::from_secs(400)).await.expect("no ghost stays behind");
        bot.assert_no_violations();
    });
}

#[test]
fn at_a_gateway_without_a_limit_two_hundred_channels_are_joined_at_once() {
    story(async {
        let discord = Discord::builder().send_limit(SendLimit::Lifted).start().await;
        let (token, channels) = (Token(discord.bot("bot").token.clone()), channels(&discord, 200));
        let config = Config::local();
        let manager = VoiceManager::new(config.clone()).start();
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone());
        let gateway = gateway.send_limit(actors::SendLimit::None).start();
        gateway.send(Login).await.unwrap().expect("the bot is let in");
        let began = Instant::now();
        for joining in request_all_of(&manager, &channels) {
            joining.await.unwrap().expect("the bot joins");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(discord.violations().is_empty());
        gateway.send(Logout).await.unwrap();
    });
}

#[test]
fn a_join_that_discord_does_not_know_of_yet_is_taken_back_by_a_disconnect() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let channels = channels(&bot.discord, 101);
        let mut joining = request_all(&bot, &channels);
        let late = joining.pop().expect("the hundred and first");
        for joined in joining {
            joined.await.unwrap().unwrap();
        }
        let began = Instant::now();
        let guild = GuildId(channels[100].guild_id);
        bot.manager.send(Disconnect { guild }).await.unwrap();
        assert_eq!(late.await.unwrap().unwrap_err(), JoinError::Ended(EndReason::Left));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!((op_4(&bot.discord), present(&bot, &channels[100..])), (100, 0));
    });
}

#[test]
fn what_one_sender_asks_is_done_in_the_order_in_which_it_asked() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let (join, guild) = (join_of(&bot.channel), bot.guild_id());
        let (joined, track) = (bot.manager.send(join), bot.manager.send(tone(guild, 1)));
        let (joined, track) = tokio::join!(joined, track);
        joined.unwrap().expect("the bot joins");
        let track = track.unwrap().expect("what is asked after the join is played in it");
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);

        // A call that is leaving is followed by the next, with its track.
        let (left, joined) = (bot.manager.send(Disconnect { guild }), bot.manager.send(join));
        let track = bot.manager.send(tone(guild, 1));
        let (left, joined, track) = tokio::join!(left, joined, track);
        assert!(left.unwrap().is_some());
        joined.unwrap().expect("the next call joins");
        assert_eq!(bot.track_end(track.unwrap().unwrap()).await, TrackEnd::Finished);
        bot.disconnect_and_drain().await;

        // The last word counts: nobody is left behind in the channel.
        let (joined, left) = (bot.manager.send(join), bot.manager.send(Disconnect { guild }));
        let (joined, left) = tokio::join!(joined, left);
        assert_eq!(joined.unwrap().unwrap_err(), JoinError::Ended(EndReason::Left));
        assert!(left.unwrap().is_some());
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(present(&bot, std::slice::from_ref(&bot.channel)), 0);
        bot.assert_no_violations();
    });
}

#[test]
fn what_is_asked_before_the_login_is_done_after_it_or_taken_back() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let other = bot.discord.bot("another bot");
        let manager = VoiceManager::new(Config::local()).start();
        let second = bot.discord.guild("second").channel("channel");
        let (guild, join) = (bot.guild_id(), join_of(&bot.channel));
        let (joined, track) = (manager.send(join), manager.send(tone(guild, 1)));
        let (taken_back, none) =
            (manager.send(join_of(&second)), manager.send(Disconnect { guild: GuildId(second.guild_id) }));
        let never = manager.send(tone(GuildId(7), 1));
        let logging_in = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let (url, token) = (bot.discord.gateway_url(), Token(other.token.clone()));
            MainGateway::at(&url, token, &bot.config, manager.clone()).start().send(Login).await
        };
        let (joined, track, taken_back, none, never, login) =
            tokio::join!(joined, track, taken_back, none, never, logging_in);
        login.unwrap().unwrap();
        let call = joined.unwrap().expect("the bot joins once it has logged in");
        assert_eq!(call.ended(track.unwrap().expect("it plays")).await, Some(TrackEnd::Finished));
        assert_eq!(taken_back.unwrap().unwrap_err(), JoinError::Ended(EndReason::Left));
        assert!(none.unwrap().is_none());
        assert_eq!(never.unwrap(), Err(SpeakError::NotJoined(GuildId(7))));
        assert!(bot.discord.members_of(&second).is_empty());
    });
}

#[test]
fn a_bot_that_discord_sees_in_a_channel_without_a_call_leaves_it() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let channel = Some(ChannelId(bot.channel.id));
        let ghost = UpdateVoiceState { guild: bot.guild_id(), channel, self_mute: false, self_deaf: false };
        bot.gateway.send(ghost).await.unwrap();
        let there = |_: &Discord| present(&bot, std::slice::from_ref(&bot.channel)) == 1;
        bot.discord.until(there, Duration::from_secs(1)).await.expect("Discord takes it in");
        bot.until_left(Duration::from_secs(2)).await;
        bot.join().await;
    });
}

#[test]
fn a_bot_that_is_moved_before_it_is_connected_answers_its_join() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let second = bot.guild.channel("second");
        bot.discord.null_endpoint_first();
        let moving = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            bot.discord.move_to(bot.account.user_id, &second);
            tokio::time::sleep(Duration::from_secs(1)).await;
            bot.discord.give_endpoint(&bot.guild);
        };
        let (joined, ()) = tokio::join!(bot.request_join(&bot.channel), moving);
        joined.expect("the join is answered where the moderator moved the bot");
        assert_eq!(connected(&bot, std::slice::from_ref(&second)), 1);
        let told = CallEventKind::Moved(ChannelId(second.id));
        assert!(bot.events.call_events().contains(&told), "{:?}", bot.events.call_events());
    });
}

#[test]
fn the_same_voice_server_once_more_changes_nothing() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        let server = bot.events.all().into_iter().find_map(|event| match event {
            BotEvent::MainGateway(MainGatewayEvent::Dispatch {
                dispatch: Dispatch::VoiceServerUpdate(server),
                ..
            }) => Some(server),
            _ => None,
        });
        bot.manager.send(VoiceServerUpdate(server.expect("Discord told one"))).await.unwrap();
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        assert_eq!((stats.reconnects, identifies(&bot.discord)), (0, 1));
        assert_eq!(longest_gap_in_frames(&bot.heard()), 1);
    });
}

#[test]
fn another_program_with_the_same_token_ends_the_call_and_is_not_fought() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let other = VoiceManager::new(Config::local()).start();
        let (url, token) = (bot.discord.gateway_url(), Token(bot.account.token.clone()));
        MainGateway::at(&url, token, &bot.config, other.clone()).start().send(Login).await.unwrap().unwrap();
        let second = bot.guild.channel("second");
        let before = op_4(&bot.discord);
        let call = other.send(join_of(&second)).await.unwrap().expect("the other program joins");
        bot.next_event("the call is taken over", |event| {
            *event == CallEventKind::Ended(EndReason::TakenOver)
        })
        .await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(op_4(&bot.discord), before + 1, "the first program leaves the bot to the second");
        assert!(call.stats().await.is_some(), "the second program's call lives");
        assert_eq!(present(&bot, &[second]), 1);
    });
}

fn tone(guild: GuildId, seconds: u64) -> Speak {
    Speak::source(guild, Tone::new(440.0).lasting(Duration::from_secs(seconds)))
}

#[test]
fn a_bot_is_deaf_unless_its_join_says_otherwise_and_may_change_its_mind() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let join = join_of(&bot.channel);
        bot.manager.send(join).await.unwrap().unwrap();
        bot.manager.send(join.flags(SelfFlags { mute: true, deaf: false })).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let said = received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE);
        let said: Vec<_> =
            said.iter().map(|(_, d)| (d["self_mute"].as_bool(), d["self_deaf"].as_bool())).collect();
        assert_eq!(said, [(Some(false), Some(true)), (Some(true), Some(false))]);
        assert_eq!(identifies(&bot.discord), 1, "the voice session is not touched");
        bot.assert_no_violations();
    });
}

#[test]
fn a_subscriber_that_does_not_read_is_told_of_the_end_all_the_same() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let (to, mut events) = tokio::sync::mpsc::channel(1);
        bot.manager.send(SubscribeChannel::new(to)).await.unwrap();
        bot.join_and_play("demo.opus").await;
        bot.disconnect().await;
        let mut told = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), events.recv()).await {
            told.push(event.kind);
        }
        assert_eq!(told.last(), Some(&CallEventKind::Ended(EndReason::Left)), "{told:?}");
        assert!(told.len() < 5, "what did not fit was dropped: {told:?}");
    });
}

#[test]
fn a_bot_that_does_not_tell_the_name_of_its_new_session_joins_all_the_same() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let over = SessionId("of a session that is over".into());
        let plug = Plug::new(bot.user_id(), bot.gateway.clone().recipient()).session(over);
        bot.manager.send(plug).await.unwrap();
        bot.manager.send(MainSessionReplaced).await.unwrap();
        bot.join().await;
        bot.disconnect_and_drain().await;
    });
}
