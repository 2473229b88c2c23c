//! Moving: between channels, between servers, and out.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, JoinError},
    call::{Cause, ConnectionStatus, EndReason},
    id::ChannelId,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Channel, Discord, EventDelivery, EventOrder, Member};

use crate::support::{
    bot::BotOnDiscord,
    log::identifies,
    real_time,
    recording::{longest_gap_in_frames, missed},
    story,
};

/// Plays the same with the events and the close of every change in each order.
fn in_each_order(play: impl AsyncFn(BotOnDiscord)) {
    for order in [EventOrder::StateFirst, EventOrder::ServerFirst, EventOrder::CloseLast] {
        story(async {
            play(BotOnDiscord::start_on(Discord::builder().event_order(order)).await).await;
        });
    }
}

/// The track ends; one listener heard its beginning, the other the rest.
async fn assert_heard_by_both(
    bot: &BotOnDiscord,
    track: TrackId,
    second: &Channel,
    second_listener: &Member,
) {
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    assert_eq!(bot.discord.members_of(second), [bot.account.user_id, second_listener.user_id]);
    assert_eq!(bot.discord.members_of(&bot.channel), [bot.listener.user_id]);
    let stats = bot.disconnect_and_drain().await;
    assert_eq!((stats.resumes, stats.reconnects), (0, 1));
    let (before, after) =
        (bot.heard(), second_listener.heard(bot.account.user_id).expect("it is heard there"));
    assert!(before.packets > 90 && after.packets > 140, "{} and {}", before.packets, after.packets);
    let missed = missed("music.opus", [&before, &after]);
    assert!(missed <= 3, "missed {missed}");
    bot.assert_no_violations();
}

#[test]
fn a_move_by_a_moderator_keeps_the_track_playing_in_the_new_channel() {
    in_each_order(async |bot| {
        let second = bot.guild.channel("second");
        let second_listener = second.listener("second ear");
        let track = bot.join_and_play("music.opus").await;
        bot.discord.move_to(bot.account.user_id, &second);
        bot.next_event("the move", |event| *event == CallEventKind::Moved(ChannelId(second.id))).await;
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(identifies(&bot.discord), 2);
        assert_heard_by_both(&bot, track, &second, &second_listener).await;
    });
}

#[test]
fn joining_another_channel_moves_the_call_and_its_track() {
    in_each_order(async |bot| {
        let second = bot.guild.channel("second");
        let second_listener = second.listener("second ear");
        let track = bot.join_and_play("music.opus").await;
        bot.request_join(&second).await.expect("the bot moves");
        assert!(bot.discord.connected_to(&second).contains(&bot.account.user_id));
        assert_eq!(identifies(&bot.discord), 2);
        assert_heard_by_both(&bot, track, &second, &second_listener).await;
    });
}

/// The track ends, and but for the moment of the change all of it was heard.
async fn assert_heard_after_change(bot: &BotOnDiscord, track: TrackId) {
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    let stats = bot.disconnect().await;
    assert_eq!((stats.resumes, stats.reconnects), (0, 1));
    let missed = missed("music.opus", [&bot.heard()]);
    assert!(missed <= 3, "missed {missed}");
    bot.assert_no_violations();
}

#[test]
fn a_change_of_region_is_followed() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("music.opus").await;
        bot.discord.change_region(&bot.guild);
        let changed = CallEventKind::Connection(ConnectionStatus::Reconnecting(Cause::ServerChanged));
        bot.next_event("the change is reported", |event| *event == changed).await;
        bot.next_status(ConnectionStatus::Connected).await;
        assert_heard_after_change(&bot, track).await;
    });
}

#[test]
fn a_voice_server_that_is_taken_away_is_waited_for() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("music.opus").await;
        bot.discord.take_endpoint(&bot.guild);
        let lost = CallEventKind::Connection(ConnectionStatus::Reconnecting(Cause::EndpointLost));
        bot.next_event("the loss is reported", |event| *event == lost).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(identifies(&bot.discord), 1, "there is nothing to connect to");
        bot.discord.give_endpoint(&bot.guild);
        bot.next_status(ConnectionStatus::Connected).await;
        assert_heard_after_change(&bot, track).await;
    });
}

/// Waits for the end of the call and sees that it stays over.
async fn assert_kicked(bot: &BotOnDiscord, track: TrackId) {
    assert_eq!(bot.track_end(track).await, TrackEnd::Stopped);
    bot.next_event("the end", |event| matches!(event, CallEventKind::Ended(EndReason::Kicked))).await;
    let log = bot.discord.log().len();
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(identifies(&bot.discord), 1);
    assert!(!bot.discord.members_of(&bot.channel).contains(&bot.account.user_id));
    // The last messages may still have been under way; a rejoin would be dozens.
    let more = bot.discord.log().len() - log;
    assert!(more <= 4, "{more} more messages");
    bot.assert_no_violations();
}

#[test]
fn a_kick_ends_the_call_with_its_reason_whichever_socket_says_it_first() {
    in_each_order(async |bot| {
        let track = bot.join_and_play("music.opus").await;
        bot.discord.kick(bot.account.user_id, &bot.guild);
        assert_kicked(&bot, track).await;
    });
}

#[test]
fn a_kick_is_a_kick_however_late_its_state_comes() {
    for late in [1_000, 4_900, 5_100, 9_000, 9_900].map(Duration::from_millis) {
        story(async move {
            let bot = BotOnDiscord::start().await;
            let track = bot.join_and_play("music.opus").await;
            bot.discord.main_latency(late..late + Duration::from_millis(1), EventDelivery::InOrder);
            bot.discord.kick(bot.account.user_id, &bot.guild);
            assert_kicked(&bot, track).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert_eq!(bot.discord.members_of(&bot.channel), [bot.listener.user_id], "it stays away");
        });
    }
}

#[test]
fn a_kick_of_a_lone_bot_ends_the_call_too() {
    in_each_order(async |bot| {
        bot.listener.leave();
        let track = bot.join_and_play("music.opus").await;
        bot.discord.kick(bot.account.user_id, &bot.guild);
        assert_kicked(&bot, track).await;
    });
}

#[test]
fn a_deleted_channel_ends_the_call() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("music.opus").await;
        bot.discord.delete_channel(&bot.channel);
        assert_kicked(&bot, track).await;
    });
}

#[test]
fn a_call_that_ends_never_tells_less_than_it_told_before() {
    real_time(async {
        let bot = BotOnDiscord::start_with(Discord::builder(), |config| config.media_arbiters = 1).await;
        let call = bot.join().await;
        bot.play("music.opus").await;
        let heard = |_: &Discord| bot.listener.packets_heard(bot.account.user_id) > 20;
        bot.discord.until(heard, Duration::from_secs(60)).await.expect("the bot is heard");
        let mut reported = call.stats().await.expect("the call goes on").packets;
        assert!(reported > 20, "{reported} packets");
        bot.discord.kick(bot.account.user_id, &bot.guild);
        while let Some(stats) = call.stats().await {
            assert!(stats.packets >= reported, "{} packets after {reported}", stats.packets);
            reported = stats.packets;
        }
    });
}

#[test]
fn a_bot_that_was_kicked_can_join_again() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("music.opus").await;
        bot.discord.kick(bot.account.user_id, &bot.guild);
        bot.next_event("the end", |event| matches!(event, CallEventKind::Ended(EndReason::Kicked))).await;
        bot.join().await;
        let again = bot.play("music.opus").await;
        assert_ne!(track, again);
        assert_eq!(bot.track_end(again).await, TrackEnd::Finished);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn the_voice_states_of_others_are_ignored() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let second = bot.guild.channel("second");
        let track = bot.join_and_play("music.opus").await;
        let stranger = bot.channel.listener("stranger");
        tokio::time::sleep(Duration::from_millis(500)).await;
        bot.discord.move_to(stranger.user_id, &second);
        tokio::time::sleep(Duration::from_millis(500)).await;
        bot.discord.kick(stranger.user_id, &bot.guild);
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        let heard = bot.heard();
        assert_eq!((heard.lost, missed("music.opus", [&heard])), (0, 0));
        assert_eq!(longest_gap_in_frames(&heard), 1);
        assert_eq!((stats.resumes, stats.reconnects, identifies(&bot.discord)), (0, 0, 1));
        bot.assert_no_violations();
    });
}

#[test]
fn of_two_joins_at_once_both_are_answered_and_the_later_wins() {
    in_each_order(async |bot| {
        let second = bot.guild.channel("second");
        let (first, later) = tokio::join!(bot.request_join(&bot.channel), bot.request_join(&second));
        // What became of the first is no matter, but it must not wait for ever.
        drop(first);
        later.expect("the later is in its channel");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(bot.discord.connected_to(&second), [bot.account.user_id]);
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_join_of_the_channel_from_which_a_moderator_has_just_moved_the_bot_leads_back_there() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let second = bot.guild.channel("second");
        bot.join().await;
        // The main gateway is away when the bot is moved, so the bot is asked to be where it believes to be.
        bot.discord.close_main(bot.account.user_id, 4000);
        tokio::time::sleep(Duration::from_millis(20)).await;
        bot.discord.move_to(bot.account.user_id, &second);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let joined = tokio::time::timeout(Duration::from_secs(30), bot.request_join(&bot.channel)).await;
        joined.expect("the join is answered").expect("the bot is back");
        let back = |discord: &Discord| discord.connected_to(&bot.channel).contains(&bot.account.user_id);
        bot.discord.until(back, Duration::from_secs(5)).await.expect("the bot is back");
    });
}

#[test]
fn a_bot_that_is_kicked_while_it_moves_stays_nowhere() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let second = bot.guild.channel("second");
        bot.join().await;
        let (least, most) = (Duration::from_millis(2_000), Duration::from_millis(2_001));
        bot.discord.main_latency(least..most, EventDelivery::InOrder);
        bot.discord.kick(bot.account.user_id, &bot.guild);
        let joined = bot.request_join(&second).await;
        assert_eq!(joined.unwrap_err(), JoinError::Ended(EndReason::Kicked));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!bot.discord.members_of(&second).contains(&bot.account.user_id), "no ghost stays behind");
    });
}
