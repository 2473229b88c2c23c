//! Joining: everything that can stand between a Join and a call that speaks.

use std::{net::Ipv6Addr, time::Duration};

use actix::Actor;
use actix_voice::{
    actors::{
        CallEventKind, Config, Join, JoinError, MainGateway, VoiceManager,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    bridge::JoinFailure,
    call::{Cause, ConnectionStatus, EndReason},
    id::{ChannelId, GuildId, Token},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Builder, Channel, Discord, EventOrder, HelloOrder, Side};
use tokio::time::Instant;

use crate::support::{
    bot::Stage,
    events::{Events, Seen},
    log::{connections, identifies, op, received},
    recording::{and_silence, missed, packets_heard, packets_of},
    story,
};

/// Joins, plays and leaves, and the listener hears it whole.
async fn heard_whole(discord: Builder) -> Option<String> {
    let stage = Stage::on(discord).await;
    stage.join().await;
    let track = stage.play("music.opus").await;
    assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
    let stats = stage.leave().await;
    let heard = stage.heard();
    assert_eq!(missed("music.opus", [&heard]), 0);
    assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
    assert_eq!((stats.resumes, stats.reconnects, stats.malformed), (0, 0, 0));
    stage.no_violations();
    stats.transport.mode
}

/// Joins in vain; says why, and how long that took.
async fn refused(stage: &Stage, channel: &Channel) -> (JoinError, Duration) {
    let asked = Instant::now();
    let error = stage.try_join(channel).await.expect_err("the bot is refused");
    (error, asked.elapsed())
}

fn is_about(took: Duration, seconds: f64) -> bool {
    (took.as_secs_f64() - seconds).abs() < 0.5
}

#[test]
fn the_two_events_may_come_in_either_order() {
    story(async {
        for order in [EventOrder::StateFirst, EventOrder::ServerFirst] {
            heard_whole(Discord::builder().event_order(order)).await;
        }
    });
}

#[test]
fn hello_may_come_after_ready() {
    story(async {
        heard_whole(Discord::builder().hello(HelloOrder::AfterReady)).await;
    });
}

#[test]
fn a_null_endpoint_is_waited_out() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.null_endpoint_first();
        let giving = async {
            tokio::time::sleep(Duration::from_secs(25)).await;
            assert_eq!(identifies(&stage.discord), 0);
            stage.discord.give_endpoint(&stage.guild);
        };
        let (joined, ()) = tokio::join!(stage.try_join(&stage.channel), giving);
        joined.expect("the bot joins once there is an endpoint");
        assert_eq!(identifies(&stage.discord), 1);
        stage.leave().await;
        stage.no_violations();
    });
}

#[test]
fn an_endpoint_that_never_comes_is_a_typed_error() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.null_endpoint_first();
        let (error, took) = refused(&stage, &stage.channel).await;
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoEndpoint)));
        assert!(is_about(took, 60.0), "{took:?}");
        assert_eq!(connections(&stage.discord, Side::Voice), 0);
    });
}

#[test]
fn a_join_that_is_refused_is_not_answered_by_another_that_was_not() {
    story(async {
        let stage = Stage::set().await;
        let full = stage.guild.channel("full");
        full.user_limit(1);
        let _first = full.listener("first");
        let (here, there) = tokio::join!(stage.try_join(&stage.channel), stage.try_join(&full));
        assert_eq!(here.unwrap_err(), JoinError::NotMoved(JoinFailure::Superseded));
        assert_eq!(there.unwrap_err(), JoinError::NotMoved(JoinFailure::NoAnswer));
        assert!(stage.discord.connected_to(&stage.channel).contains(&stage.bot.user_id), "where it could be");
    });
}

#[test]
fn a_guild_that_was_away_can_be_joined_again() {
    story(async {
        let stage = Stage::set().await;
        for _ in 0..2 {
            stage.join().await;
            let track = stage.play("music.opus").await;
            stage.what("the track starts", |what| *what == CallEventKind::TrackStarted(track)).await;
            stage.discord.make_guild_unavailable(&stage.guild);
            stage.what("the end", |what| *what == CallEventKind::Ended(EndReason::GuildDeleted)).await;
            stage.discord.restore_guild(&stage.guild);
        }
        stage.join().await;
        let track = stage.play("music.opus").await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        stage.leave().await;
        assert!(packets_heard(&stage.heard()).ends_with(&and_silence(&packets_of("music.opus"))));
        stage.no_violations();
    });
}

#[test]
fn a_full_channel_is_a_typed_error_that_names_the_cause() {
    story(async {
        let stage = Stage::set().await;
        stage.channel.user_limit(1);
        let (error, took) = refused(&stage, &stage.channel).await;
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoAnswer)));
        assert!(error.to_string().contains("channel may be full"), "{error}");
        assert!(is_about(took, 10.0), "{took:?}");

        // Nothing is left behind that would keep a later join from succeeding.
        stage.channel.user_limit(2);
        stage.join().await;
        stage.leave().await;
        stage.no_violations();
    });
}

#[test]
fn a_channel_without_permission_and_one_that_does_not_exist_are_typed_errors() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.refuse_silently(&stage.channel);
        let (error, _) = refused(&stage, &stage.channel).await;
        assert!(error.to_string().contains("CONNECT may be missing"), "{error}");
        let nowhere = Join::new(stage.guild_id(), ChannelId(7));
        let error = stage.manager.send(nowhere).await.unwrap().expect_err("no such channel");
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoAnswer)));
        assert_eq!(connections(&stage.discord, Side::Voice), 0);
    });
}

#[test]
fn three_lost_discovery_answers_cost_three_seconds() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.drop_discovery(3);
        let asked = Instant::now();
        stage.join().await;
        assert!(is_about(asked.elapsed(), 3.0), "{:?}", asked.elapsed());
        assert_eq!(identifies(&stage.discord), 1);
        stage.leave().await;
        stage.no_violations();
    });
}

#[test]
fn discovery_that_is_never_answered_is_a_typed_error() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.drop_discovery(u32::MAX);
        let (error, took) = refused(&stage, &stage.channel).await;
        let JoinError::Ended(EndReason::GaveUp { last: Cause::Transport(why), .. }) = &error else {
            panic!("{error:?}")
        };
        assert!(why.contains("discovery"), "{why}");
        assert!(took < Duration::from_secs(120), "{took:?}");
        assert!(identifies(&stage.discord) <= 5);
    });
}

#[test]
fn ipv6_carries_gateways_and_audio() {
    story(async {
        heard_whole(Discord::builder().ip(Ipv6Addr::LOCALHOST.into())).await;
    });
}

#[test]
fn a_server_with_its_own_certificate_authority_can_be_trusted() {
    story(async {
        heard_whole(Discord::builder().tls()).await;
    });
}

/// Trusts the platform's certificate authorities only.
fn distrustful() -> Config {
    let mut config = Config::default();
    config.media_arbiters = 0;
    config
}

#[test]
fn an_untrusted_main_gateway_is_reported_and_joining_does_not_hang() {
    story(async {
        let discord = Discord::builder().tls().start().await;
        let manager = VoiceManager::new(distrustful()).start();
        let events = Events::default();
        let token = Token(discord.bot("bot").token);
        let gateway = MainGateway::at(&discord.gateway_url(), token, &distrustful(), manager.clone());
        gateway.listener(events.listener().recipient()).start();
        let why = events
            .until("the certificate is refused", |seen| match seen {
                Seen::Main(MainGatewayEvent::Unreachable(why)) => Some(why.clone()),
                _ => None,
            })
            .await;
        assert!(why.contains("certificate"), "{why}");
        let join = Join::new(GuildId(1), ChannelId(2));
        assert_eq!(manager.send(join).await.unwrap().unwrap_err(), JoinError::NotPlugged);
        assert_eq!(connections(&discord, Side::Main), 0);
    });
}

#[test]
fn an_untrusted_voice_gateway_is_a_typed_error() {
    story(async {
        let discord = Discord::builder().tls().start().await;
        let trusting = distrustful().trust(&discord.ca_pem().unwrap()).unwrap();
        let channel = discord.guild("guild").channel("channel");
        let manager = VoiceManager::new(distrustful()).start();
        let events = Events::default();
        let token = Token(discord.bot("bot").token);
        let gateway = MainGateway::at(&discord.gateway_url(), token, &trusting, manager.clone());
        gateway.listener(events.listener().recipient()).start();
        events
            .until("the bot is in its guild", |seen| {
                matches!(seen, Seen::Main(MainGatewayEvent::Dispatch(Dispatch::GuildAvailable { .. })))
                    .then_some(())
            })
            .await;

        let asked = Instant::now();
        let join = Join::new(GuildId(channel.guild_id), ChannelId(channel.id));
        let error = manager.send(join).await.unwrap().unwrap_err();
        let JoinError::Ended(EndReason::GaveUp { last: Cause::Lost(why), .. }) = &error else {
            panic!("{error:?}")
        };
        assert!(why.contains("certificate"), "{why}");
        assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
        assert_eq!(connections(&discord, Side::Voice), 0);
    });
}

#[test]
fn every_encryption_mode_carries_audio() {
    story(async {
        let modes = [
            "aead_aes256_gcm_rtpsize",
            "aead_xchacha20_poly1305_rtpsize",
            #[cfg(feature = "retired-modes")]
            "xsalsa20_poly1305_lite_rtpsize",
            #[cfg(feature = "retired-modes")]
            "aead_aes256_gcm",
            #[cfg(feature = "retired-modes")]
            "xsalsa20_poly1305_lite",
            #[cfg(feature = "retired-modes")]
            "xsalsa20_poly1305_suffix",
            #[cfg(feature = "retired-modes")]
            "xsalsa20_poly1305",
        ];
        for mode in modes {
            assert_eq!(heard_whole(Discord::builder().modes([mode])).await.as_deref(), Some(mode));
        }
    });
}

#[test]
fn the_preferred_mode_is_chosen_wherever_it_stands_in_the_offer() {
    story(async {
        let offer =
            ["xsalsa20_poly1305", "aead_xchacha20_poly1305_rtpsize", "new", "aead_aes256_gcm_rtpsize"];
        let chosen = heard_whole(Discord::builder().modes(offer)).await;
        assert_eq!(chosen.as_deref(), Some("aead_aes256_gcm_rtpsize"));
    });
}

#[test]
fn no_mode_in_common_is_a_typed_error_that_names_the_offer() {
    story(async {
        let stage = Stage::on(Discord::builder().modes(["rot13", "rot26"])).await;
        let (error, took) = refused(&stage, &stage.channel).await;
        assert!(matches!(error, JoinError::Ended(_)), "{error:?}");
        assert!(error.to_string().contains("rot13, rot26"), "{error}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(identifies(&stage.discord), 1);
        // The bot does not stay in the channel as a ghost.
        stage.gone(Duration::from_secs(1)).await;
    });
}

#[test]
fn joining_the_channel_one_is_in_is_answered_at_once() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        stage.join().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(received(&stage.discord, Side::Main, op::UPDATE_VOICE_STATE).len(), 1);
        assert_eq!(stage.events.all().iter().filter(|what| connected(what)).count(), 1);
        stage.leave().await;
        stage.no_violations();
    });
}

fn connected(what: &CallEventKind) -> bool {
    *what == CallEventKind::Connection(ConnectionStatus::Connected)
}
