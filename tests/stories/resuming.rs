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
use actix_voice_loopback::{Discord, Entry, Event, Side, Stage as Moment};

use crate::support::{
    bot::Stage,
    events::Seen,
    log::{answers, connections, identifies, op, received, resumes},
    recording::missed,
    story,
};

/// A stage on which the demo is playing for two seconds already.
async fn playing(stage: &Stage) -> TrackId {
    stage.join().await;
    let track = stage.play("demo.opus").await;
    stage.what("the track starts", |what| matches!(what, CallEventKind::TrackStarted(_))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    track
}

async fn resumed(stage: &Stage) {
    stage.what("the resume", |what| *what == CallEventKind::Connection(ConnectionStatus::Resumed)).await;
}

async fn resuming(stage: &Stage) -> Cause {
    let what = stage
        .what("the loss is reported", |what| {
            matches!(what, CallEventKind::Connection(ConnectionStatus::Resuming(_)))
        })
        .await;
    let CallEventKind::Connection(ConnectionStatus::Resuming(cause)) = what else {
        unreachable!("asked for")
    };
    cause
}

/// The track ends, and all of it was heard, without a gap.
async fn heard_whole(stage: &Stage, track: TrackId, cuts: u64) {
    assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
    let stats = stage.leave().await;
    let heard = stage.heard();
    assert_eq!((stats.resumes, stats.reconnects, stats.malformed), (cuts, 0, 0));
    assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
    assert_eq!(missed("demo.opus", [&heard]), 0);
    assert_eq!(heard.longest_gap, Duration::from_millis(20));
    assert_eq!(identifies(&stage.discord), 1);
    stage.no_violations();
}

#[test]
fn a_crashed_server_a_reset_and_a_lost_connection_are_not_heard() {
    story(async {
        for code in [4015, 4013, 1000, 1001, 1006] {
            let stage = Stage::set().await;
            let track = playing(&stage).await;
            stage.discord.close_voice(stage.bot.user_id, code, "");
            resumed(&stage).await;
            assert_eq!(resumes(&stage.discord), 1, "{code}");
            heard_whole(&stage, track, 1).await;
        }
    });
}

#[test]
fn three_cuts_in_one_track_are_not_heard() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        for code in [1006, 4015, 1001] {
            stage.discord.close_voice(stage.bot.user_id, code, "");
            resumed(&stage).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        heard_whole(&stage, track, 3).await;
    });
}

#[test]
fn missed_acks_resume() {
    story(async {
        let stage = Stage::on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = playing(&stage).await;
        stage.discord.mute_acks(stage.bot.user_id, 2);
        assert_eq!(resuming(&stage).await, Cause::Zombie);
        resumed(&stage).await;
        heard_whole(&stage, track, 1).await;
    });
}

#[test]
fn one_missed_ack_is_forgiven() {
    story(async {
        let stage = Stage::on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = playing(&stage).await;
        stage.discord.mute_acks(stage.bot.user_id, 1);
        heard_whole(&stage, track, 0).await;
    });
}

#[test]
fn a_stalled_connection_resumes() {
    story(async {
        let stage = Stage::on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = playing(&stage).await;
        stage.discord.stall_voice(stage.bot.user_id);
        assert_eq!(resuming(&stage).await, Cause::Zombie);
        resumed(&stage).await;
        heard_whole(&stage, track, 1).await;
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
        let stage = Stage::on(Discord::builder().first_sequence(65_520).heartbeat_interval(1_000.0)).await;
        stage.join().await;
        for flags in [1, 0, 1, 0, 1, 0, 1, 0] {
            tokio::time::sleep(Duration::from_millis(1_300)).await;
            stage.ear.announce(flags);
            tokio::time::sleep(Duration::from_millis(100)).await;
            stage.discord.send_numbered(stage.bot.user_id, op::EXTERNAL_SENDER, vec![1, 2, 3]);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let found = acknowledgements(&stage.discord);
        assert!(found.len() >= 12, "{found:?}");
        for (sent, acknowledged) in &found {
            assert_eq!(acknowledged, sent, "{found:?}");
        }
        assert!(found.iter().any(|(sent, _)| *sent > 65_530) && found.iter().any(|(sent, _)| *sent < 20));
        stage.leave().await;
        stage.no_violations();
    });
}

#[test]
fn a_resume_across_the_wrap_asks_for_the_right_number() {
    story(async {
        let stage = Stage::on(Discord::builder().first_sequence(65_535)).await;
        let track = playing(&stage).await;
        stage.discord.close_voice(stage.bot.user_id, 4015, "");
        resumed(&stage).await;
        let (_, resume) = received(&stage.discord, Side::Voice, op::RESUME).remove(0);
        let before = stage.discord.log().into_iter().rev().find_map(|entry| match entry.event {
            Event::Sent { op, seq: Some(seq), .. } if op != op::RESUMED => Some(seq),
            _ => None,
        });
        assert!(before.is_some_and(|seq| seq < 10), "{before:?}");
        heard_whole(&stage, track, 1).await;
        assert!(resume["seq_ack"].as_u64().is_some_and(|seq| seq < 10), "{resume}");
    });
}

#[test]
fn what_was_said_in_the_gap_is_replayed() {
    story(async {
        let stage = Stage::on(Discord::builder().heartbeat_interval(1_000.0)).await;
        let track = playing(&stage).await;
        let bot = stage.bot.user_id;
        stage.discord.close_voice(bot, 4015, "");
        // Nobody is connected now: this reaches the bot only by replay.
        let late = stage.channel.listener("late");
        stage.discord.send_numbered(bot, op::EXTERNAL_SENDER, vec![1, 2, 3]);
        late.announce(1);
        stage.discord.send_numbered(bot, op::EXTERNAL_SENDER, vec![4, 5, 6]);
        resumed(&stage).await;
        let newcomer = UserId(late.user_id);
        let met = |what: &CallEventKind| matches!(what, CallEventKind::ClientsConnected(users) if users.contains(&newcomer));
        stage.what("the newcomer is met", met).await;
        let speaks = |what: &CallEventKind| matches!(what, CallEventKind::Speaking { user, .. } if *user == Some(newcomer));
        stage.what("the newcomer speaks", speaks).await;

        tokio::time::sleep(Duration::from_secs(2)).await;
        let log = stage.discord.log();
        let ours = |entry: &&Entry| match &entry.event {
            Event::SentBinary { payload, .. } => payload[..] == [1, 2, 3] || payload[..] == [4, 5, 6],
            _ => false,
        };
        assert_eq!(log.iter().filter(ours).count(), 2, "both binary messages came once");
        // They were read as well: the beats acknowledge all there was.
        let (sent, acknowledged) = *acknowledgements(&stage.discord).last().unwrap();
        assert_eq!(acknowledged, sent);
        heard_whole(&stage, track, 1).await;
    });
}

#[test]
fn speaking_is_said_again_after_a_resume() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.reset_voice(stage.bot.user_id);
        resumed(&stage).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let said = received(&stage.discord, Side::Voice, op::SPEAKING);
        let (resume, _) = received(&stage.discord, Side::Voice, op::RESUME).remove(0);
        let again: Vec<_> = said.iter().filter(|(entry, _)| entry.connection == resume.connection).collect();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].1["speaking"], 1);
        heard_whole(&stage, track, 1).await;
    });
}

/// The tokens of all voice servers that the bot was told of.
fn tokens(stage: &Stage) -> Vec<Token> {
    let told = stage.events.seen().into_iter().filter_map(|seen| match seen {
        Seen::Main(MainGatewayEvent::Dispatch(Dispatch::VoiceServerUpdate(server))) => Some(server.token),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_refused_resume_rejoins_with_fresh_credentials_and_the_track_goes_on() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.refuse_resume(stage.bot.user_id);
        stage.discord.close_voice(stage.bot.user_id, 4015, "");
        resuming(&stage).await;
        stage
            .what("a new session", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
            .await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;

        assert_eq!((stats.resumes, stats.reconnects), (0, 1));
        assert_eq!((resumes(&stage.discord), identifies(&stage.discord)), (1, 2));
        assert_eq!(answers(&stage.discord, op::READY), 2, "each Identify was accepted");
        let tokens = tokens(&stage);
        assert_eq!(tokens.len(), 2);
        assert_ne!(tokens[0], tokens[1]);
        let heard = stage.heard();
        assert!(missed("demo.opus", [&heard]) <= 3, "missed {}", missed("demo.opus", [&heard]));
        stage.no_violations();
    });
}

#[test]
fn a_resume_that_comes_too_late_rejoins() {
    story(async {
        let stage = Stage::on(Discord::builder().resume_window(Duration::from_millis(200))).await;
        let track = playing(&stage).await;
        // The first attempt fails, and by the second the session is forgotten.
        stage.discord.close_voice_at(Moment::Connect, 1006);
        stage.discord.reset_voice(stage.bot.user_id);
        stage
            .what("a new session", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
            .await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        assert_eq!((stats.resumes, stats.reconnects), (0, 1));
        assert_eq!((connections(&stage.discord, Side::Voice), identifies(&stage.discord)), (4, 2));
        stage.no_violations();
    });
}

#[test]
fn a_resume_that_fails_at_first_is_not_heard() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.close_voice_at(Moment::Connect, 1006);
        stage.discord.close_voice_at(Moment::Identify, 1006);
        stage.discord.reset_voice(stage.bot.user_id);
        resumed(&stage).await;
        assert_eq!(connections(&stage.discord, Side::Voice), 4);
        heard_whole(&stage, track, 1).await;
    });
}
