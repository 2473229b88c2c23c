//! Resuming: a lost websocket is not heard, and nothing that Discord says meanwhile is lost.

use std::time::Duration;

use actix_voice::{
    actors::{
        CallEventKind,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    call::{Cause, ConnectionStatus},
    id::{Token, UserId},
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Discord, Entry, Event, HandshakeStep, Side};

use crate::support::{
    bot::BotOnDiscord,
    events::BotEvent,
    log::{connections, identifies, op, received, resumes, sent_count},
    recording::{longest_gap_in_frames, missed},
    story,
};

async fn resuming(bot: &BotOnDiscord) -> Cause {
    let event = bot
        .next_event("the loss is reported", |event| {
            matches!(event, CallEventKind::Connection(ConnectionStatus::Resuming(_)))
        })
        .await;
    let CallEventKind::Connection(ConnectionStatus::Resuming(cause)) = event else {
        unreachable!("asked for")
    };
    cause
}

/// The track ends, and all of it was heard, without a gap.
async fn assert_heard_whole(bot: &BotOnDiscord, track: TrackId, cuts: u64) {
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    let stats = bot.disconnect().await;
    let heard = bot.heard();
    assert_eq!((stats.resumes, stats.reconnects, stats.malformed), (cuts, 0, 0));
    assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
    assert_eq!(missed("demo.opus", [&heard]), 0);
    assert_eq!(longest_gap_in_frames(&heard), 1);
    assert_eq!(identifies(&bot.discord), 1);
    bot.assert_no_violations();
}

#[test]
fn a_crashed_server_a_reset_and_a_lost_connection_are_not_heard() {
    story(async {
        for code in [4015, 4013, 1000, 1001, 1006] {
            let bot = BotOnDiscord::start().await;
            let track = bot.join_and_play("demo.opus").await;
            bot.discord.close_voice(bot.account.user_id, code, "");
            bot.next_status(ConnectionStatus::Resumed).await;
            assert_eq!(resumes(&bot.discord), 1, "{code}");
            assert_heard_whole(&bot, track, 1).await;
        }
    });
}

#[test]
fn three_cuts_in_one_track_are_not_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        for code in [1006, 4015, 1001] {
            bot.discord.close_voice(bot.account.user_id, code, "");
            bot.next_status(ConnectionStatus::Resumed).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_heard_whole(&bot, track, 3).await;
    });
}

#[test]
fn missed_acks_resume() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.mute_acks(bot.account.user_id, 2);
        assert_eq!(resuming(&bot).await, Cause::Zombie);
        bot.next_status(ConnectionStatus::Resumed).await;
        assert_heard_whole(&bot, track, 1).await;
    });
}

#[test]
fn one_missed_ack_is_forgiven() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.mute_acks(bot.account.user_id, 1);
        assert_heard_whole(&bot, track, 0).await;
    });
}

#[test]
fn a_stalled_connection_resumes() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.stall_voice(bot.account.user_id);
        assert_eq!(resuming(&bot).await, Cause::Zombie);
        bot.next_status(ConnectionStatus::Resumed).await;
        assert_heard_whole(&bot, track, 1).await;
    });
}

/// The number of the last message that was sent before each heartbeat, and what the heartbeat acknowledged.
fn acknowledgements(discord: &Discord) -> Vec<(i64, i64)> {
    let (mut last, mut found) = (-1, Vec::new());
    for entry in discord.log().into_iter().filter(|entry| entry.side == Side::Voice) {
        match entry.event {
            Event::Sent { seq: Some(seq), .. } => last = seq as i64,
            Event::SentBinary { seq: Some(seq), .. } => last = i64::from(seq),
            Event::Received { op: op::HEARTBEAT, d } => {
                found.push((last, d["seq_ack"].as_i64().expect("a beat carries seq_ack")));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn heartbeats_acknowledge_the_last_message_also_across_the_wrap() {
    story(async {
        let bot =
            BotOnDiscord::start_on(Discord::builder().first_sequence(65_520).heartbeat_interval(1_000.0))
                .await;
        bot.join().await;
        for flags in [1, 0, 1, 0, 1, 0, 1, 0] {
            tokio::time::sleep(Duration::from_millis(1_300)).await;
            bot.listener.announce(flags);
            tokio::time::sleep(Duration::from_millis(100)).await;
            bot.discord.send_numbered(bot.account.user_id, op::EXTERNAL_SENDER, vec![1, 2, 3]);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let found = acknowledgements(&bot.discord);
        assert!(found.len() >= 12, "{found:?}");
        for (sent, acknowledged) in &found {
            assert_eq!(acknowledged, sent, "{found:?}");
        }
        assert!(found.iter().any(|(sent, _)| *sent > 65_530) && found.iter().any(|(sent, _)| *sent < 20));
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_resume_across_the_wrap_asks_for_the_right_number() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().first_sequence(65_535)).await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.close_voice(bot.account.user_id, 4015, "");
        bot.next_status(ConnectionStatus::Resumed).await;
        let (_, resume) = received(&bot.discord, Side::Voice, op::RESUME).remove(0);
        let before = bot.discord.log().into_iter().rev().find_map(|entry| match entry.event {
            Event::Sent { op, seq: Some(seq), .. } if op != op::RESUMED => Some(seq),
            _ => None,
        });
        assert!(before.is_some_and(|seq| seq < 10), "{before:?}");
        assert_heard_whole(&bot, track, 1).await;
        assert!(resume["seq_ack"].as_u64().is_some_and(|seq| seq < 10), "{resume}");
    });
}

#[test]
fn what_was_said_in_the_gap_is_replayed() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = bot.join_and_play("demo.opus").await;
        let bot_id = bot.account.user_id;
        bot.discord.close_voice(bot_id, 4015, "");
        // Nobody is connected now: this reaches the bot only by replay.
        let late = bot.channel.listener("late");
        bot.discord.send_numbered(bot_id, op::EXTERNAL_SENDER, vec![1, 2, 3]);
        late.announce(1);
        bot.discord.send_numbered(bot_id, op::EXTERNAL_SENDER, vec![4, 5, 6]);
        bot.next_status(ConnectionStatus::Resumed).await;
        let newcomer = UserId(late.user_id);
        let met = |event: &CallEventKind| matches!(event, CallEventKind::ClientsConnected(users) if users.contains(&newcomer));
        bot.next_event("the newcomer is met", met).await;
        let speaks = |event: &CallEventKind| matches!(event, CallEventKind::Speaking { user, .. } if *user == Some(newcomer));
        bot.next_event("the newcomer speaks", speaks).await;

        tokio::time::sleep(Duration::from_secs(2)).await;
        let log = bot.discord.log();
        let ours = |entry: &&Entry| match &entry.event {
            Event::SentBinary { payload, .. } => payload[..] == [1, 2, 3] || payload[..] == [4, 5, 6],
            _ => false,
        };
        assert_eq!(log.iter().filter(ours).count(), 2, "both binary messages came once");
        // They were read as well: the beats acknowledge all there was.
        let (sent, acknowledged) = *acknowledgements(&bot.discord).last().unwrap();
        assert_eq!(acknowledged, sent);
        assert_heard_whole(&bot, track, 1).await;
    });
}

#[test]
fn speaking_is_said_again_after_a_resume() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.reset_voice(bot.account.user_id);
        bot.next_status(ConnectionStatus::Resumed).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let said = received(&bot.discord, Side::Voice, op::SPEAKING);
        let (resume, _) = received(&bot.discord, Side::Voice, op::RESUME).remove(0);
        let again: Vec<_> = said.iter().filter(|(entry, _)| entry.connection == resume.connection).collect();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].1["speaking"], 1);
        assert_heard_whole(&bot, track, 1).await;
    });
}

/// The tokens of all voice servers that the bot was told of.
fn tokens(bot: &BotOnDiscord) -> Vec<Token> {
    let told = bot.events.all().into_iter().filter_map(|event| match event {
        BotEvent::MainGateway(MainGatewayEvent::Dispatch {
            dispatch: Dispatch::VoiceServerUpdate(server),
            ..
        }) => Some(server.token),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_refused_resume_rejoins_with_fresh_credentials_and_the_track_goes_on() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.refuse_resume(bot.account.user_id);
        bot.discord.close_voice(bot.account.user_id, 4015, "");
        resuming(&bot).await;
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        assert_eq!((stats.resumes, stats.reconnects), (0, 1));
        assert_eq!((resumes(&bot.discord), identifies(&bot.discord)), (1, 2));
        assert_eq!(sent_count(&bot.discord, op::READY), 2, "each Identify was accepted");
        let tokens = tokens(&bot);
        assert_eq!(tokens.len(), 2);
        assert_ne!(tokens[0], tokens[1]);
        let heard = bot.heard();
        assert!(missed("demo.opus", [&heard]) <= 3, "missed {}", missed("demo.opus", [&heard]));
        bot.assert_no_violations();
    });
}

#[test]
fn a_resume_that_comes_too_late_rejoins() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().resume_window(Duration::from_millis(200))).await;
        let track = bot.join_and_play("demo.opus").await;
        // The first attempt fails, and by the second the session is forgotten.
        bot.discord.close_voice_at(HandshakeStep::Connect, 1006);
        bot.discord.reset_voice(bot.account.user_id);
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect_and_drain().await;
        assert_eq!((stats.resumes, stats.reconnects), (0, 1));
        assert_eq!((connections(&bot.discord, Side::Voice), identifies(&bot.discord)), (4, 2));
        bot.assert_no_violations();
    });
}

#[test]
fn a_resume_that_fails_at_first_is_not_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.close_voice_at(HandshakeStep::Connect, 1006);
        bot.discord.close_voice_at(HandshakeStep::Identify, 1006);
        bot.discord.reset_voice(bot.account.user_id);
        bot.next_status(ConnectionStatus::Resumed).await;
        assert_eq!(connections(&bot.discord, Side::Voice), 4);
        assert_heard_whole(&bot, track, 1).await;
    });
}
