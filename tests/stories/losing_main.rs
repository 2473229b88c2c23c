//! Losing the main gateway: calls live through what can be resumed, come back from what cannot, and end otherwise.

use std::time::Duration;

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
    bot::BotOnDiscord,
    events::{BotEvent, EventLog},
    log::{connections, identifies, op, received},
    recording::{longest_gap_in_frames, missed},
    story,
};

async fn main_event(bot: &BotOnDiscord, awaited: &str, pick: impl Fn(&MainGatewayEvent) -> bool) {
    bot.events
        .next(awaited, |event| matches!(event, BotEvent::MainGateway(event) if pick(event)).then_some(()))
        .await;
}

/// The loss is reported and resumed, and in the call nothing happens.
async fn assert_not_heard(bot: &BotOnDiscord, track: TrackId, lost: Loss) {
    let lost = |event: &MainGatewayEvent| matches!(event, MainGatewayEvent::Reconnecting { why, .. } if *why == lost);
    main_event(bot, "the loss", lost).await;
    let resumed = |event: &MainGatewayEvent| {
        matches!(event, MainGatewayEvent::Dispatch { dispatch: Dispatch::Resumed, .. })
    };
    main_event(bot, "the resume", resumed).await;
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    let stats = bot.disconnect().await;
    let heard = bot.heard();
    assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
    assert_eq!(longest_gap_in_frames(&heard), 1);
    assert_eq!((stats.resumes, stats.reconnects, identifies(&bot.discord)), (0, 0, 1));
    assert_eq!(connections(&bot.discord, Side::Main), 2);
    bot.assert_no_violations();
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
            let bot = BotOnDiscord::start().await;
            let track = bot.join_and_play("demo.opus").await;
            bot.discord.close_main(bot.account.user_id, code);
            assert_not_heard(&bot, track, loss).await;
        }
    });
}

#[test]
fn a_request_to_reconnect_is_followed_and_not_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.reconnect(bot.account.user_id);
        assert_not_heard(&bot, track, Loss::ReconnectAsked).await;
    });
}

#[test]
fn an_invalid_session_that_can_be_resumed_is_not_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.invalid_session(bot.account.user_id, Invalid::Resumable);
        assert_not_heard(&bot, track, Loss::InvalidSession).await;
    });
}

#[test]
fn a_main_gateway_that_is_away_for_minutes_does_not_end_the_call() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        // Nobody asks Discord for anything until it is back, though the call has to join again.
        bot.manager.send(MainGatewayLost).await.unwrap();
        bot.discord.close_voice(bot.account.user_id, 4006, "");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let asked = received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE).len();
        assert_eq!(asked, 1, "for joining");
        bot.manager.send(MainGatewayRestored).await.unwrap();
        bot.next_status(ConnectionStatus::Connected).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        assert_eq!(bot.disconnect().await.reconnects, 1);
        assert!(missed("demo.opus", [&bot.heard()]) <= 3);
    });
}

#[test]
fn a_join_that_waits_out_an_outage_is_carried_out_in_the_new_session() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.manager.send(MainGatewayLost).await.unwrap();
        let back = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            let gateway = bot.gateway.clone().recipient();
            bot.manager.send(MainSessionReplaced).await.unwrap();
            bot.manager.send(Plug::new(bot.user_id(), gateway)).await.unwrap();
        };
        let (joined, ()) = tokio::join!(bot.request_join(&bot.channel), back);
        joined.expect("the bot joins");

        let other = bot.guild.channel("other");
        bot.manager.send(MainGatewayLost).await.unwrap();
        let back = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            // The other way round, as a bot may.
            let gateway = bot.gateway.clone().recipient();
            bot.manager.send(Plug::new(bot.user_id(), gateway)).await.unwrap();
            bot.manager.send(MainSessionReplaced).await.unwrap();
        };
        let (moved, ()) = tokio::join!(bot.request_join(&other), back);
        moved.expect("the bot moves");
        bot.disconnect().await;
    });
}

#[test]
fn a_first_join_does_not_wait_for_the_main_gateway_for_ever() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.manager.send(MainGatewayLost).await.unwrap();
        let error = bot.request_join(&bot.channel).await.unwrap_err();
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoGateway)));
        bot.gateway.send(Logout).await.unwrap();
        let error = bot.request_join(&bot.channel).await.unwrap_err();
        assert_eq!(error, JoinError::NotPlugged);
    });
}

/// The bot identifies anew, its call comes back, and the track goes on where it was.
async fn assert_comes_back(bot: &BotOnDiscord, track: TrackId) {
    let ready = |event: &MainGatewayEvent| {
        matches!(event, MainGatewayEvent::Dispatch { dispatch: Dispatch::Ready { .. }, .. })
    };
    main_event(bot, "a new session", ready).await;
    bot.next_status(ConnectionStatus::Connected).await;
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    assert_eq!(identifies(&bot.discord), 2);
    let stats = bot.disconnect().await;
    assert_eq!(stats.reconnects, 1);
    let missed = missed("demo.opus", [&bot.heard()]);
    assert!(missed <= 3, "missed {missed}");
    bot.assert_no_violations();
}

#[test]
fn a_main_session_that_is_lost_for_good_brings_the_call_back() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.invalid_session(bot.account.user_id, Invalid::Lost);
        assert_comes_back(&bot, track).await;
    });
}

#[test]
fn a_main_session_that_cannot_be_resumed_brings_the_call_back() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.lose_main_session(bot.account.user_id);
        assert_comes_back(&bot, track).await;
    });
}

#[test]
fn codes_that_end_the_main_session_bring_the_call_back() {
    story(async {
        for code in [4007, 4009] {
            let bot = BotOnDiscord::start().await;
            let track = bot.join_and_play("demo.opus").await;
            bot.discord.close_main(bot.account.user_id, code);
            assert_comes_back(&bot, track).await;
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
            let bot = BotOnDiscord::start().await;
            bot.join_and_play("demo.opus").await;
            bot.discord.close_main(bot.account.user_id, code);
            let refused =
                |event: &MainGatewayEvent| matches!(event, MainGatewayEvent::Refused(why) if *why == error);
            main_event(&bot, "the refusal", refused).await;
            bot.next_event("the call ends with a reason", |event| matches!(event, CallEventKind::Ended(_)))
                .await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            assert_eq!(connections(&bot.discord, Side::Main), 1, "{code}");
            assert_eq!(identifies(&bot.discord), 1, "{code}");
            assert!(!bot.gateway.connected(), "{code}");
            bot.assert_no_violations();
        }
    });
}

#[test]
fn a_wrong_token_is_refused_once() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let events = EventLog::default();
        let before = connections(&bot.discord, Side::Main);
        let token = Token("no such token".into());
        let gateway = MainGateway::at(&bot.discord.gateway_url(), token, &bot.config, bot.manager.clone());
        gateway.listener(events.recorder().recipient()).start();
        let error = events
            .next("the refusal", |event| match event {
                BotEvent::MainGateway(MainGatewayEvent::Refused(error)) => Some(*error),
                _ => None,
            })
            .await;
        assert_eq!(error, MainGatewayError::BadToken);
        assert!(error.to_string().contains("token"), "{error}");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(connections(&bot.discord, Side::Main), before + 1);
    });
}

#[test]
fn a_login_where_nothing_listens_is_answered() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let token = Token("any".into());
        let gateway = MainGateway::at(&format!("ws://{nowhere}"), token, &bot.config, bot.manager.clone());
        let error = gateway.start().send(Login).await.unwrap().unwrap_err();
        assert!(matches!(&error, LoginError::Unreachable(_)), "{error}");
    });
}

#[test]
fn a_join_during_an_outage_is_carried_out_after_it() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.reset_main(bot.account.user_id);
        let asked = Instant::now();
        bot.join().await;
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        // What was asked just before the outage may be lost, so it is asked again.
        let asked = received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE);
        assert!(
            asked.len() <= 2 && asked.iter().all(|(_, update)| !update["channel_id"].is_null()),
            "{asked:?}"
        );
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_farewell_during_an_outage_is_said_after_it() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join_and_play("demo.opus").await;
        let leaving = bot.disconnect();
        // The outage begins while the silence frames are sent.
        let outage = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bot.discord.reset_main(bot.account.user_id);
        };
        tokio::join!(leaving, outage);
        bot.until_left(Duration::from_secs(2)).await;
        bot.assert_no_violations();
    });
}

#[test]
fn both_gateways_lost_at_once_are_not_heard() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder()).await;
        let track = bot.join_and_play("demo.opus").await;
        bot.discord.reset_main(bot.account.user_id);
        bot.discord.reset_voice(bot.account.user_id);
        bot.next_status(ConnectionStatus::Resumed).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        let heard = bot.heard();
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        assert_eq!(longest_gap_in_frames(&heard), 1);
        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        bot.assert_no_violations();
    });
}

#[test]
fn the_end_of_a_main_gateway_that_another_has_replaced_takes_nothing_from_the_manager() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let (url, token) = (bot.discord.gateway_url(), Token(bot.account.token.clone()));
        let next = MainGateway::at(&url, token, &bot.config, bot.manager.clone()).start();
        next.send(Login).await.unwrap().expect("Discord lets the bot in");
        bot.gateway.send(Logout).await.unwrap();
        bot.join().await;
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;

        next.send(Logout).await.unwrap();
        let error = bot.request_join(&bot.channel).await.unwrap_err();
        assert_eq!(error, JoinError::NotPlugged, "that was the last");
    });
}
