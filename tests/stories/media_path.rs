//! The UDP path dies or moves while the voice session lives: the audio is back soon, and nothing is told as sent that was
//! not.

use std::{io::ErrorKind, time::Duration};

use actix_voice::{
    actors::{CallEventKind, CallStats, Speak, fault::RefuseSends},
    audio::frame::FRAME,
    call::{Cause, ConnectionStatus},
    speaker::{TrackEnd, TrackId},
    transport::{PathLoss, PathStatus},
};
use actix_voice_loopback::{Builder, Discord, Event, NewSource, Side};

use crate::support::{
    bot::BotOnDiscord,
    log::{identifies, op, received, resumes},
    recording::{SILENCE_FRAMES, longest_gap_in_frames, packets_of},
    sources::LoopSource,
    story,
};

const SECOND: Duration = Duration::from_secs(1);

/// Plays for so many seconds, of which seven are over: the first keepalive has been echoed.
async fn playing(discord: Builder, seconds: usize) -> (BotOnDiscord, TrackId) {
    let bot = BotOnDiscord::start_on(discord).await;
    let track = join_and_play(&bot, seconds).await;
    tokio::time::sleep(7 * SECOND).await;
    (bot, track)
}

async fn join_and_play(bot: &BotOnDiscord, seconds: usize) -> TrackId {
    bot.join().await;
    let source = LoopSource::new(packets_of("demo.opus"), 50 * seconds);
    bot.speak(Speak::start(bot.guild_id(), source)).await
}

async fn next_path_status(bot: &BotOnDiscord) -> PathStatus {
    let event = bot.next_event("the path", |event| matches!(event, CallEventKind::MediaPath(_))).await;
    let CallEventKind::MediaPath(status) = event else { unreachable!("asked for") };
    status
}

/// What was reported of the connection and the path, in order.
fn reported(bot: &BotOnDiscord) -> Vec<String> {
    let events = bot.events.call_events().into_iter();
    let events = events.filter_map(|event| match event {
        CallEventKind::Connection(ConnectionStatus::Resuming(_)) => Some("resuming".to_owned()),
        CallEventKind::Connection(ConnectionStatus::Reconnecting(Cause::Transport(_))) => {
            Some("reconnecting".to_owned())
        }
        CallEventKind::Connection(status) => Some(format!("{status:?}").to_lowercase()),
        CallEventKind::MediaPath(PathStatus::Dead(_)) => Some("dead".to_owned()),
        CallEventKind::MediaPath(status) => Some(format!("{status:?}").to_lowercase()),
        _ => None,
    });
    events.collect()
}

/// The track ends, every frame that was due has been sent or is counted as unsent, and every packet was heard or is lost.
async fn finish(bot: &BotOnDiscord, track: TrackId) -> CallStats {
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    let stats = bot.disconnect().await;
    let heard = bot.heard();
    assert_eq!(heard.packets + heard.lost, stats.packets, "every packet is accounted for");
    assert_frames_add_up(bot, &stats);
    stats
}

/// As [`finish`], after a gap so long that a listener takes what follows for another stream.
async fn finish_after_long_gap(bot: &BotOnDiscord, track: TrackId) -> CallStats {
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    let stats = bot.disconnect_and_drain().await;
    assert_frames_add_up(bot, &stats);
    stats
}

fn assert_frames_add_up(bot: &BotOnDiscord, stats: &CallStats) {
    let unsent = stats.transport.unsent + stats.transport.withheld + stats.speaker.unsent;
    assert_eq!(stats.packets + unsent, stats.speaker.frames, "every frame is accounted for");
    bot.assert_no_violations();
}

/// How often Select Protocol was sent.
fn selects(bot: &BotOnDiscord) -> usize {
    received(&bot.discord, Side::Voice, op::SELECT_PROTOCOL).len()
}

/// How many key packages the bot has sent.
fn key_packages(bot: &BotOnDiscord) -> usize {
    let sent = |event: &Event| matches!(event, Event::ReceivedBinary { op: op::KEY_PACKAGE, .. });
    let log = bot.discord.log();
    log.iter().filter(|entry| entry.user == Some(bot.account.user_id) && sent(&entry.event)).count()
}

#[test]
fn a_path_that_dies_alone_is_replaced_within_nine_seconds_and_the_session_lives_on() {
    story(async {
        for new_source in [NewSource::Follow, NewSource::Select] {
            let (bot, track) = playing(Discord::builder().new_source(new_source), 30).await;
            bot.discord.kill_media_path(bot.account.user_id);
            assert_eq!(next_path_status(&bot).await, PathStatus::Dead(PathLoss::EchoesStopped));
            assert_eq!(next_path_status(&bot).await, PathStatus::Restored);
            let epoch = bot.discord.dave_epoch(&bot.channel);
            let stats = finish(&bot, track).await;

            assert_eq!(reported(&bot), ["connected", "dead", "restored"], "{new_source:?}");
            assert_eq!((stats.path_losses, stats.reconnects, stats.resumes), (1, 0, 0));
            assert_eq!((identifies(&bot.discord), selects(&bot)), (1, 2));
            assert_eq!((stats.transport.unsent, stats.transport.withheld), (0, 0));
            let heard = bot.heard();
            assert!(heard.longest_gap < 9 * SECOND, "{new_source:?}: {:?}", heard.longest_gap);
            assert!(heard.lost >= 100, "only {} were lost, with the path dead for seconds", heard.lost);
            let group = (epoch, key_packages(&bot), heard.undecryptable);
            assert_eq!(group, (1, 1, 0), "the group is as it was");
        }
    });
}

#[test]
fn a_websocket_and_a_path_that_are_lost_together_are_both_back_within_three_seconds() {
    story(async {
        for new_source in [NewSource::Follow, NewSource::Select] {
            let (bot, track) = playing(Discord::builder().new_source(new_source), 20).await;
            bot.discord.kill_media_path(bot.account.user_id);
            bot.discord.reset_voice(bot.account.user_id);
            bot.next_status(ConnectionStatus::Resumed).await;
            assert_eq!(next_path_status(&bot).await, PathStatus::Dead(PathLoss::WebsocketLost));
            assert_eq!(next_path_status(&bot).await, PathStatus::Restored);
            let stats = finish(&bot, track).await;

            assert_eq!(reported(&bot), ["connected", "resuming", "resumed", "dead", "restored"]);
            assert_eq!((stats.path_losses, stats.reconnects, stats.resumes), (1, 0, 1));
            assert_eq!((identifies(&bot.discord), resumes(&bot.discord)), (1, 1));
            let gap = bot.heard().longest_gap;
            assert!(gap < 3 * SECOND, "{new_source:?}: {gap:?}");
        }
    });
}

#[test]
fn a_path_that_outlives_its_websocket_is_asked_once_and_kept() {
    story(async {
        let (bot, track) = playing(Discord::builder().new_source(NewSource::Pinned), 20).await;
        for _ in 0..3 {
            bot.discord.reset_voice(bot.account.user_id);
            bot.next_status(ConnectionStatus::Resumed).await;
        }
        let stats = finish(&bot, track).await;
        assert_eq!((stats.path_losses, stats.reconnects, stats.resumes), (0, 0, 3));
        assert_eq!((bot.heard().lost, longest_gap_in_frames(&bot.heard())), (0, 1));
        assert_eq!((selects(&bot), bot.discord.relay().counters().discoveries), (1, 4));
    });
}

#[test]
fn a_network_that_is_away_as_a_whole_costs_a_resume_and_no_new_session() {
    story(async {
        let (bot, track) = playing(Discord::builder().new_source(NewSource::Select), 60).await;
        bot.discord.kill_media_path(bot.account.user_id);
        bot.discord.drop_discovery(u32::MAX);
        bot.discord.stall_voice(bot.account.user_id);
        bot.next_status(ConnectionStatus::Resumed).await;
        bot.discord.drop_discovery(0);
        assert_eq!(next_path_status(&bot).await, PathStatus::Restored);
        let stats = finish_after_long_gap(&bot, track).await;

        assert_eq!(reported(&bot), ["connected", "dead", "resuming", "resumed", "restored"]);
        assert_eq!((stats.path_losses, stats.resumes, stats.reconnects), (1, 1, 0));
        let gap = bot.heard().longest_gap;
        assert!(gap < 18 * SECOND, "{gap:?}");
    });
}

#[test]
fn an_address_that_is_told_over_a_dead_websocket_is_told_again() {
    story(async {
        let (bot, track) = playing(Discord::builder().new_source(NewSource::Select), 40).await;
        bot.discord.kill_media_path(bot.account.user_id);
        bot.discord.stall_voice(bot.account.user_id);
        assert_eq!(next_path_status(&bot).await, PathStatus::Dead(PathLoss::EchoesStopped));
        assert_eq!(next_path_status(&bot).await, PathStatus::Restored);
        let stats = finish_after_long_gap(&bot, track).await;
        assert_eq!(reported(&bot), ["connected", "dead", "resuming", "resumed", "restored"]);
        assert_eq!((stats.resumes, stats.reconnects, selects(&bot)), (1, 0, 2));
    });
}

#[test]
fn where_the_server_knows_no_other_source_the_bot_joins_anew() {
    story(async {
        let (bot, track) = playing(Discord::builder().new_source(NewSource::Pinned), 40).await;
        bot.discord.kill_media_path(bot.account.user_id);
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect_and_drain().await;

        assert_eq!(reported(&bot), ["connected", "dead", "reconnecting", "connected"]);
        assert_eq!((stats.path_losses, stats.reconnects, identifies(&bot.discord)), (1, 1, 2));
        let heard = bot.heard();
        assert!(heard.longest_gap < 22 * SECOND, "{:?}", heard.longest_gap);
        assert!(heard.packets > 50 * 20, "the rest was heard: {} packets", heard.packets);
        assert_frames_add_up(&bot, &stats);
    });
}

#[test]
fn a_path_that_dies_again_as_soon_as_it_is_back_is_given_up() {
    story(async {
        let (bot, track) = playing(Discord::builder(), 40).await;
        for status in [PathStatus::Dead(PathLoss::EchoesStopped), PathStatus::Restored] {
            bot.discord.kill_media_path(bot.account.user_id);
            assert_eq!(next_path_status(&bot).await, status);
        }
        tokio::time::sleep(FRAME * 3).await;
        bot.discord.kill_media_path(bot.account.user_id);
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect_and_drain().await;
        assert_eq!(reported(&bot), ["connected", "dead", "restored", "reconnecting", "connected"]);
        assert_eq!((stats.path_losses, stats.reconnects), (1, 1));
        bot.assert_no_violations();
    });
}

#[test]
fn a_server_that_never_echoes_is_asked_once_and_left_alone_for_ten_minutes() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().clock_step(SECOND / 10)).await;
        bot.discord.mute_echoes(bot.account.user_id);
        let track = join_and_play(&bot, 600).await;
        tokio::time::sleep(590 * SECOND).await;
        let stats = finish(&bot, track).await;
        assert_eq!(reported(&bot), ["connected"]);
        assert_eq!((stats.transport.round_trip, bot.heard().lost), (None, 0));
        assert_eq!(bot.discord.relay().counters().discoveries, 2);
    });
}

#[test]
fn echoes_that_stop_while_the_audio_arrives_cost_one_question() {
    story(async {
        let (bot, track) = playing(Discord::builder(), 60).await;
        bot.discord.mute_echoes(bot.account.user_id);
        let stats = finish(&bot, track).await;
        assert_eq!(reported(&bot), ["connected"]);
        assert_eq!((stats.path_losses, bot.heard().lost, longest_gap_in_frames(&bot.heard())), (0, 0, 1));
        assert_eq!((bot.discord.relay().counters().discoveries, selects(&bot)), (2, 1));
    });
}

#[test]
fn what_the_system_refuses_is_not_told_as_sent_and_another_socket_helps() {
    story(async {
        let (bot, track) = playing(Discord::builder(), 15).await;
        let kind = ErrorKind::NetworkUnreachable;
        bot.manager.send(RefuseSends { guild: bot.guild_id(), kind }).await.unwrap();
        assert_eq!(next_path_status(&bot).await, PathStatus::Dead(PathLoss::SendsFailed(kind)));
        assert_eq!(next_path_status(&bot).await, PathStatus::Restored);
        let stats = finish(&bot, track).await;

        assert_eq!(reported(&bot), ["connected", "dead", "restored"]);
        assert_eq!((stats.transport.unsent, stats.reconnects), (10, 0));
        assert_eq!(stats.packets, (15 * 50 + SILENCE_FRAMES) as u64 - 10);
        assert_eq!(stats.transport.lateness.len(), stats.packets);
        // The numbers of packets go on where they were, and their times do not: a gap that every receiver knows.
        let heard = bot.heard();
        assert_eq!((heard.lost, longest_gap_in_frames(&heard)), (0, 11));
    });
}

/// Op 33 with this media server.
fn media_server(primary: serde_json::Value) -> String {
    serde_json::json!({"op": 33, "d": {"primary": primary}}).to_string()
}

#[test]
fn another_media_server_takes_the_session_over_and_without_one_nothing_is_told_as_sent() {
    story(async {
        let (bot, track) = playing(Discord::builder().new_source(NewSource::Select), 20).await;
        let address = bot.discord.relay().address();
        bot.discord.send_raw_text(bot.account.user_id, media_server(serde_json::Value::Null));
        assert_eq!(next_path_status(&bot).await, PathStatus::Dead(PathLoss::ServerChanged));
        // No longer than a pause in speech.
        tokio::time::sleep(SECOND / 2).await;
        let server = serde_json::json!({
            "ip": address.ip().to_string(), "port": address.port(), "modes": ["aead_aes256_gcm_rtpsize"],
        });
        bot.discord.send_raw_text(bot.account.user_id, media_server(server));
        assert_eq!(next_path_status(&bot).await, PathStatus::Restored);
        let stats = finish(&bot, track).await;
        assert_eq!(reported(&bot), ["connected", "dead", "restored"]);
        assert!((24..30).contains(&stats.transport.unsent), "{} unsent in 0.5 s", stats.transport.unsent);
        assert_eq!((identifies(&bot.discord), selects(&bot), key_packages(&bot)), (1, 2, 1));
    });
}

#[test]
fn a_healthy_call_sends_its_packets_its_keepalives_and_one_question() {
    story(async {
        let (bot, track) = playing(Discord::builder(), 60).await;
        let stats = finish(&bot, track).await;
        let counters = bot.discord.relay().counters();
        let keepalives = stats.transport.counts.keepalives;
        assert_eq!((keepalives, counters.keepalives, counters.discoveries), (12, 12, 1));
        assert_eq!(counters.received, stats.packets + keepalives + 1, "and nothing else");
        assert_eq!(reported(&bot), ["connected"]);
    });
}
