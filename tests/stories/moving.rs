//! Moving: between channels, between servers, and out.

use std::time::Duration;

use actix_voice::{
    actors::CallEventKind,
    call::{Cause, ConnectionStatus, EndReason},
    id::ChannelId,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Channel, Discord, EventOrder, Member};

use crate::support::{bot::Stage, log::identifies, real_time, recording::missed, story};

/// Plays the same with the events and the close of every change in each order.
fn in_each_order(play: impl AsyncFn(Stage)) {
    for order in [EventOrder::StateFirst, EventOrder::ServerFirst, EventOrder::CloseLast] {
        story(async {
            play(Stage::on(Discord::builder().event_order(order)).await).await;
        });
    }
}

async fn playing(stage: &Stage) -> TrackId {
    stage.join().await;
    let track = stage.play("music.opus").await;
    stage.what("the track starts", |what| matches!(what, CallEventKind::TrackStarted(_))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    track
}

async fn connected(stage: &Stage) {
    stage.what("a new session", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected)).await;
}

/// The track ends; one listener heard its beginning, the other the rest.
async fn heard_by_both(stage: &Stage, track: TrackId, second: &Channel, second_ear: &Member) {
    assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
    assert_eq!(stage.discord.members_of(second), [stage.bot.user_id, second_ear.user_id]);
    assert_eq!(stage.discord.members_of(&stage.channel), [stage.ear.user_id]);
    let stats = stage.leave().await;
    assert_eq!((stats.resumes, stats.reconnects), (0, 1));
    let (before, after) = (stage.heard(), second_ear.heard(stage.bot.user_id).expect("it is heard there"));
    assert!(before.packets > 90 && after.packets > 140, "{} and {}", before.packets, after.packets);
    let missed = missed("music.opus", [&before, &after]);
    assert!(missed <= 3, "missed {missed}");
    stage.no_violations();
}

#[test]
fn a_move_by_a_moderator_keeps_the_track_playing_in_the_new_channel() {
    in_each_order(async |stage| {
        let second = stage.guild.channel("second");
        let second_ear = second.listener("second ear");
        let track = playing(&stage).await;
        stage.discord.move_to(stage.bot.user_id, &second);
        stage.what("the move", |what| *what == CallEventKind::Moved(ChannelId(second.id))).await;
        connected(&stage).await;
        assert_eq!(identifies(&stage.discord), 2);
        heard_by_both(&stage, track, &second, &second_ear).await;
    });
}

#[test]
fn joining_another_channel_moves_the_call_and_its_track() {
    in_each_order(async |stage| {
        let second = stage.guild.channel("second");
        let second_ear = second.listener("second ear");
        let track = playing(&stage).await;
        stage.try_join(&second).await.expect("the bot moves");
        assert!(stage.discord.connected_to(&second).contains(&stage.bot.user_id));
        assert_eq!(identifies(&stage.discord), 2);
        heard_by_both(&stage, track, &second, &second_ear).await;
    });
}

/// The track ends, and but for the moment of the change all of it was heard.
async fn heard_but_for_a_moment(stage: &Stage, track: TrackId) {
    assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
    let stats = stage.leave().await;
    assert_eq!((stats.resumes, stats.reconnects), (0, 1));
    let missed = missed("music.opus", [&stage.heard()]);
    assert!(missed <= 3, "missed {missed}");
    stage.no_violations();
}

#[test]
fn a_change_of_region_is_followed() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.change_region(&stage.guild);
        let changed = CallEventKind::Connection(ConnectionStatus::Reconnecting(Cause::ServerChanged));
        stage.what("the change is reported", |what| *what == changed).await;
        connected(&stage).await;
        heard_but_for_a_moment(&stage, track).await;
    });
}

#[test]
fn a_voice_server_that_is_taken_away_is_waited_for() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.take_endpoint(&stage.guild);
        let lost = CallEventKind::Connection(ConnectionStatus::Reconnecting(Cause::EndpointLost));
        stage.what("the loss is reported", |what| *what == lost).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(identifies(&stage.discord), 1, "there is nothing to connect to");
        stage.discord.give_endpoint(&stage.guild);
        connected(&stage).await;
        heard_but_for_a_moment(&stage, track).await;
    });
}

/// Waits for the end of the call and sees that it stays over.
async fn kicked(stage: &Stage, track: TrackId) {
    assert_eq!(stage.end_of(track).await, TrackEnd::Stopped);
    stage.what("the end", |what| matches!(what, CallEventKind::Ended(EndReason::Kicked))).await;
    let log = stage.discord.log().len();
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(identifies(&stage.discord), 1);
    assert!(!stage.discord.members_of(&stage.channel).contains(&stage.bot.user_id));
    // The last messages may still have been under way; a rejoin would be dozens.
    let more = stage.discord.log().len() - log;
    assert!(more <= 4, "{more} more messages");
    stage.no_violations();
}

#[test]
fn a_kick_ends_the_call_with_its_reason_whichever_socket_says_it_first() {
    in_each_order(async |stage| {
        let track = playing(&stage).await;
        stage.discord.kick(stage.bot.user_id, &stage.guild);
        kicked(&stage, track).await;
    });
}

#[test]
fn a_kick_of_a_lone_bot_ends_the_call_too() {
    in_each_order(async |stage| {
        stage.ear.leave();
        let track = playing(&stage).await;
        stage.discord.kick(stage.bot.user_id, &stage.guild);
        kicked(&stage, track).await;
    });
}

#[test]
fn a_deleted_channel_ends_the_call() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.delete_channel(&stage.channel);
        kicked(&stage, track).await;
    });
}

#[test]
fn a_call_that_ends_never_tells_less_than_it_told_before() {
    real_time(async {
        let stage = Stage::with(Discord::builder(), |config| config.media_arbiters = 1).await;
        let call = stage.join().await;
        stage.play("music.opus").await;
        let heard = |_: &Discord| stage.ear.packets_heard(stage.bot.user_id) > 20;
        stage.discord.until(heard, Duration::from_secs(60)).await.expect("the bot is heard");
        let mut told = call.stats().await.expect("the call goes on").packets;
        assert!(told > 20, "{told} packets");
        stage.discord.kick(stage.bot.user_id, &stage.guild);
        while let Some(stats) = call.stats().await {
            assert!(stats.packets >= told, "{} packets after {told}", stats.packets);
            told = stats.packets;
        }
    });
}

#[test]
fn a_bot_that_was_kicked_can_join_again() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.kick(stage.bot.user_id, &stage.guild);
        stage.what("the end", |what| matches!(what, CallEventKind::Ended(EndReason::Kicked))).await;
        stage.join().await;
        let again = stage.play("music.opus").await;
        assert_ne!(track, again);
        assert_eq!(stage.end_of(again).await, TrackEnd::Finished);
        stage.leave().await;
        stage.no_violations();
    });
}

#[test]
fn the_voice_states_of_others_are_ignored() {
    story(async {
        let stage = Stage::set().await;
        let second = stage.guild.channel("second");
        let track = playing(&stage).await;
        let stranger = stage.channel.listener("stranger");
        tokio::time::sleep(Duration::from_millis(500)).await;
        stage.discord.move_to(stranger.user_id, &second);
        tokio::time::sleep(Duration::from_millis(500)).await;
        stage.discord.kick(stranger.user_id, &stage.guild);
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        let heard = stage.heard();
        assert_eq!((heard.lost, missed("music.opus", [&heard])), (0, 0));
        assert_eq!(heard.longest_gap, Duration::from_millis(20));
        assert_eq!((stats.resumes, stats.reconnects, identifies(&stage.discord)), (0, 0, 1));
        stage.no_violations();
    });
}

#[test]
fn of_two_joins_at_once_both_are_answered_and_the_later_wins() {
    in_each_order(async |stage| {
        let second = stage.guild.channel("second");
        let (first, later) = tokio::join!(stage.try_join(&stage.channel), stage.try_join(&second));
        // What became of the first is no matter, but it must not wait for ever.
        drop(first);
        later.expect("the later is in its channel");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(stage.discord.connected_to(&second), [stage.bot.user_id]);
        let track = stage.play("music.opus").await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        stage.leave().await;
        stage.no_violations();
    });
}
