//! Losing the main gateway: calls live through what can be resumed, come back from what cannot, and end otherwise.

use std::time::Duration;

use actix::Actor;
use actix_voice::{
    actors::{
        CallEventKind, JoinError, Login, Logout, MainGateway, MainGatewayLost, MainGatewayRestored,
        MainSessionReplaced, Plug,
        main_gateway::{Dispatch, LoginError, Loss, MainGatewayError, MainGatewayEvent},
    },
    bridge::JoinFailure,
    call::{ConnectionStatus, EndReason},
    id::Token,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Discord, Invalid, Side};
use tokio::time::Instant;

use crate::support::{
    bot::Stage,
    events::{Events, Seen},
    log::{connections, identifies, op, received},
    recording::missed,
    story,
};

async fn playing(stage: &Stage) -> TrackId {
    stage.join().await;
    let track = stage.play("demo.opus").await;
    stage.what("the track starts", |what| matches!(what, CallEventKind::TrackStarted(_))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    track
}

async fn main_event(stage: &Stage, awaited: &str, pick: impl Fn(&MainGatewayEvent) -> bool) {
    stage.events.until(awaited, |seen| matches!(seen, Seen::Main(event) if pick(event)).then_some(())).await;
}

/// The loss is reported and resumed, and in the call nothing happens.
async fn not_heard(stage: &Stage, track: TrackId, lost: Loss) {
    let lost =
        |event: &MainGatewayEvent| matches!(event, MainGatewayEvent::Reconnecting(why) if *why == lost);
    main_event(stage, "the loss", lost).await;
    let resumed = |event: &MainGatewayEvent| matches!(event, MainGatewayEvent::Dispatch(Dispatch::Resumed));
    main_event(stage, "the resume", resumed).await;
    assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
    let stats = stage.leave().await;
    let heard = stage.heard();
    assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
    assert_eq!(heard.longest_gap, Duration::from_millis(20));
    assert_eq!((stats.resumes, stats.reconnects, identifies(&stage.discord)), (0, 0, 1));
    assert_eq!(connections(&stage.discord, Side::Main), 2);
    stage.no_violations();
}

#[test]
fn a_main_gateway_that_is_lost_and_resumed_is_not_heard() {
    story(async {
        let losses = [
            (1006, Loss::Severed),
            (4000, Loss::Closed(4000)),
            (4008, Loss::Closed(4008)),
            (1001, Loss::Closed(1001)),
        ];
        for (code, loss) in losses {
            let stage = Stage::set().await;
            let track = playing(&stage).await;
            stage.discord.close_main(stage.bot.user_id, code);
            not_heard(&stage, track, loss).await;
        }
    });
}

#[test]
fn a_request_to_reconnect_is_followed_and_not_heard() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.reconnect(stage.bot.user_id);
        not_heard(&stage, track, Loss::ReconnectAsked).await;
    });
}

#[test]
fn an_invalid_session_that_can_be_resumed_is_not_heard() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.invalid_session(stage.bot.user_id, Invalid::Resumable);
        not_heard(&stage, track, Loss::InvalidSession).await;
    });
}

#[test]
fn a_main_gateway_that_is_away_for_minutes_does_not_end_the_call() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        // Nobody asks Discord for anything until it is back, though the call has to join again.
        stage.manager.send(MainGatewayLost).await.unwrap();
        stage.discord.close_voice(stage.bot.user_id, 4006, "");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let asked = received(&stage.discord, Side::Main, op::UPDATE_VOICE_STATE).len();
        assert_eq!(asked, 1, "for joining");
        stage.manager.send(MainGatewayRestored).await.unwrap();
        stage
            .what("the call is back", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
            .await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        assert_eq!(stage.leave().await.reconnects, 1);
        assert!(missed("demo.opus", [&stage.heard()]) <= 3);
    });
}

#[test]
fn a_join_that_waits_out_an_outage_is_carried_out_in_the_new_session() {
    story(async {
        let stage = Stage::set().await;
        stage.manager.send(MainGatewayLost).await.unwrap();
        let back = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            let gateway = stage.gateway.clone().recipient();
            stage.manager.send(MainSessionReplaced).await.unwrap();
            stage.manager.send(Plug::new(stage.user_id(), gateway)).await.unwrap();
        };
        let (joined, ()) = tokio::join!(stage.try_join(&stage.channel), back);
        joined.expect("the bot joins");

        let other = stage.guild.channel("other");
        stage.manager.send(MainGatewayLost).await.unwrap();
        let back = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            // The other way round, as a bot may.
            let gateway = stage.gateway.clone().recipient();
            stage.manager.send(Plug::new(stage.user_id(), gateway)).await.unwrap();
            stage.manager.send(MainSessionReplaced).await.unwrap();
        };
        let (moved, ()) = tokio::join!(stage.try_join(&other), back);
        moved.expect("the bot moves");
        stage.leave().await;
    });
}

#[test]
fn a_first_join_does_not_wait_for_the_main_gateway_for_ever() {
    story(async {
        let stage = Stage::set().await;
        stage.manager.send(MainGatewayLost).await.unwrap();
        let error = stage.try_join(&stage.channel).await.unwrap_err();
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoGateway)));
        stage.gateway.send(Logout).await.unwrap();
        let error = stage.try_join(&stage.channel).await.unwrap_err();
        assert_eq!(error, JoinError::NotPlugged);
    });
}

/// The bot identifies anew, its call comes back, and the track goes on where it was.
async fn comes_back(stage: &Stage, track: TrackId) {
    let ready =
        |event: &MainGatewayEvent| matches!(event, MainGatewayEvent::Dispatch(Dispatch::Ready { .. }));
    main_event(stage, "a new session", ready).await;
    stage
        .what("the call is back", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
        .await;
    assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
    assert_eq!(identifies(&stage.discord), 2);
    let stats = stage.leave().await;
    assert_eq!(stats.reconnects, 1);
    let missed = missed("demo.opus", [&stage.heard()]);
    assert!(missed <= 3, "missed {missed}");
    stage.no_violations();
}

#[test]
fn a_main_session_that_is_lost_for_good_brings_the_call_back() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.invalid_session(stage.bot.user_id, Invalid::Lost);
        comes_back(&stage, track).await;
    });
}

#[test]
fn a_main_session_that_cannot_be_resumed_brings_the_call_back() {
    story(async {
        let stage = Stage::set().await;
        let track = playing(&stage).await;
        stage.discord.lose_main_session(stage.bot.user_id);
        comes_back(&stage, track).await;
    });
}

#[test]
fn codes_that_end_the_main_session_bring_the_call_back() {
    story(async {
        for code in [4007, 4009] {
            let stage = Stage::set().await;
            let track = playing(&stage).await;
            stage.discord.close_main(stage.bot.user_id, code);
            comes_back(&stage, track).await;
        }
    });
}

#[test]
fn a_main_gateway_that_refuses_the_bot_says_why_and_nothing_loops() {
    story(async {
        let fatal = [
            (4004, MainGatewayError::BadToken),
            (4010, MainGatewayError::BadShard),
            (4011, MainGatewayError::ShardingRequired),
            (4012, MainGatewayError::BadVersion),
            (4013, MainGatewayError::BadIntents),
            (4014, MainGatewayError::DisallowedIntents),
        ];
        for (code, error) in fatal {
            let stage = Stage::set().await;
            playing(&stage).await;
            stage.discord.close_main(stage.bot.user_id, code);
            let refused =
                |event: &MainGatewayEvent| matches!(event, MainGatewayEvent::Refused(why) if *why == error);
            main_event(&stage, "the refusal", refused).await;
            stage.what("the call ends with a reason", |what| matches!(what, CallEventKind::Ended(_))).await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            assert_eq!(connections(&stage.discord, Side::Main), 1, "{code}");
            assert_eq!(identifies(&stage.discord), 1, "{code}");
            assert!(!stage.gateway.connected(), "{code}");
            stage.no_violations();
        }
    });
}

#[test]
fn a_wrong_token_is_refused_once() {
    story(async {
        let stage = Stage::set().await;
        let events = Events::default();
        let before = connections(&stage.discord, Side::Main);
        let token = Token("no such token".into());
        let gateway =
            MainGateway::at(&stage.discord.gateway_url(), token, &stage.config, stage.manager.clone());
        gateway.listener(events.listener().recipient()).start();
        let error = events
            .until("the refusal", |seen| match seen {
                Seen::Main(MainGatewayEvent::Refused(error)) => Some(*error),
                _ => None,
            })
            .await;
        assert_eq!(error, MainGatewayError::BadToken);
        assert!(error.to_string().contains("token"), "{error}");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(connections(&stage.discord, Side::Main), before + 1);
    });
}

#[test]
fn a_login_where_nothing_listens_is_answered() {
    story(async {
        let stage = Stage::set().await;
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let token = Token("any".into());
        let gateway =
            MainGateway::at(&format!("ws://{nowhere}"), token, &stage.config, stage.manager.clone());
        let error = gateway.start().send(Login).await.unwrap().unwrap_err();
        assert!(matches!(&error, LoginError::Unreachable(_)), "{error}");
    });
}

#[test]
fn a_join_during_an_outage_is_carried_out_after_it() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.reset_main(stage.bot.user_id);
        let asked = Instant::now();
        stage.join().await;
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let track = stage.play("music.opus").await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        // What was asked just before the outage may be lost, so it is asked again.
        let asked = received(&stage.discord, Side::Main, op::UPDATE_VOICE_STATE);
        assert!(
            asked.len() <= 2 && asked.iter().all(|(_, update)| !update["channel_id"].is_null()),
            "{asked:?}"
        );
        stage.leave().await;
        stage.no_violations();
    });
}

#[test]
fn a_farewell_during_an_outage_is_said_after_it() {
    story(async {
        let stage = Stage::set().await;
        playing(&stage).await;
        let leaving = stage.leave();
        // The outage begins while the five silence frames are sent.
        let outage = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stage.discord.reset_main(stage.bot.user_id);
        };
        tokio::join!(leaving, outage);
        stage.gone(Duration::from_secs(2)).await;
        stage.no_violations();
    });
}

#[test]
fn both_gateways_lost_at_once_are_not_heard() {
    story(async {
        let stage = Stage::on(Discord::builder()).await;
        let track = playing(&stage).await;
        stage.discord.reset_main(stage.bot.user_id);
        stage.discord.reset_voice(stage.bot.user_id);
        stage.what("the resume", |what| *what == CallEventKind::Connection(ConnectionStatus::Resumed)).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;
        let heard = stage.heard();
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        assert_eq!(heard.longest_gap, Duration::from_millis(20));
        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        stage.no_violations();
    });
}
