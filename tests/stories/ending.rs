//! The end of a call: what is asked in that very instant is done, in order, by the next call.

use std::time::Duration;

use actix_voice::{
    actors::{Config, Disconnect, Join, JoinError, MainGateway, Speak, VoiceManager},
    bridge::JoinFailure,
    call::EndReason,
    id::{ChannelId, GuildId, Token},
    speaker::TrackEnd,
};
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};

use crate::support::{audio::path, bot::BotOnDiscord, recording::missed, story};

/// Plays this with a bot in a call, which ends that many turns of the scheduler before.
fn at_every_turn_of_an_end(play: impl AsyncFn(&BotOnDiscord, usize)) {
    for turns in 0..TURNS {
        story(async {
            let bot = BotOnDiscord::start().await;
            bot.join().await;
            let ending = bot.manager.send(Disconnect { guild: bot.guild_id() });
            for _ in 0..turns {
                yield_now().await;
            }
            play(&bot, turns).await;
            assert!(ending.await.unwrap().is_some(), "after {turns} turns: the end is answered");
            bot.assert_no_violations();
        });
    }
}

#[test]
fn a_join_another_join_and_a_track_that_are_sent_while_a_call_ends_are_for_the_next() {
    at_every_turn_of_an_end(async |bot, turns| {
        let second = bot.guild.channel("second");
        let join = |channel| bot.manager.send(Join::new(bot.guild_id(), ChannelId(channel)));
        let (first, then) = (join(bot.channel.id), join(second.id));
        let speaking = bot.manager.send(Speak::file(bot.guild_id(), path("music.opus")));
        let all = async { tokio::join!(first, then, speaking) };
        let (first, then, track) = timeout(HALF_A_MINUTE, all).await.expect("all are answered");
        let superseded = JoinError::NotMoved(JoinFailure::Superseded);
        let first = first.unwrap().map(drop);
        assert!(first.is_ok() || first == Err(superseded), "after {turns} turns: {first:?}");
        then.unwrap().unwrap_or_else(|error| panic!("after {turns} turns: {error}"));
        let track = track.unwrap().unwrap_or_else(|error| panic!("after {turns} turns: {error}"));
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        assert_eq!(bot.discord.connected_to(&second), [bot.account.user_id], "after {turns} turns");
        bot.disconnect_and_drain().await;
    });
}

#[test]
fn a_join_that_is_taken_back_while_a_call_ends_leads_nowhere() {
    at_every_turn_of_an_end(async |bot, turns| {
        let joining = bot.manager.send(Join::new(bot.guild_id(), ChannelId(bot.channel.id)));
        let leaving = bot.manager.send(Disconnect { guild: bot.guild_id() });
        let both = async { tokio::join!(joining, leaving) };
        let (joined, left) = timeout(HALF_A_MINUTE, both).await.expect("both are answered");
        left.unwrap();
        let left = JoinError::Ended(EndReason::Left);
        assert_eq!(joined.unwrap().map(drop), Err(left), "after {turns} turns");
        tokio::time::sleep(HALF_A_MINUTE).await;
        assert_eq!(bot.discord.members_of(&bot.channel), [bot.listener.user_id], "after {turns} turns");
    });
}

#[test]
fn a_join_waits_for_the_main_gateway_as_long_as_if_none_had_waited_before() {
    story(async {
        let manager = VoiceManager::new(Config::local()).start();
        let (guild, channel) = (GuildId(1), ChannelId(2));
        let first = manager.send(Join::new(guild, channel));
        tokio::time::sleep(Duration::from_secs(20)).await;
        manager.send(Disconnect { guild }).await.unwrap();
        assert_eq!(first.await.unwrap().map(drop), Err(JoinError::Ended(EndReason::Left)));
        let asked = Instant::now();
        let second = manager.send(Join::new(guild, channel)).await.unwrap();
        assert_eq!(second.map(drop), Err(JoinError::NotPlugged));
        assert_eq!(asked.elapsed().as_secs(), 30);
    });
}

#[test]
fn what_is_asked_before_a_main_gateway_is_plugged_in_is_done_once_one_is() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let manager = VoiceManager::new(bot.config.clone()).start();
        let second = bot.discord.bot("second");
        let joining = manager.send(Join::new(bot.guild_id(), ChannelId(bot.channel.id)));
        let speaking = manager.send(Speak::file(bot.guild_id(), path("music.opus")));
        let logging_in = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let token = Token(second.token.clone());
            MainGateway::at(&bot.discord.gateway_url(), token, &bot.config, manager.clone()).start()
        };
        let (joined, spoken, _gateway) = tokio::join!(joining, speaking, logging_in);
        joined.unwrap().expect("the bot joins");
        spoken.unwrap().expect("the file plays");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let heard = bot.listener.heard(second.user_id).expect("it is heard");
        assert_eq!(missed("music.opus", [&heard]), 0);
    });
}

const HALF_A_MINUTE: Duration = Duration::from_secs(30);
/// An end takes some twenty turns.
const TURNS: usize = 60;
