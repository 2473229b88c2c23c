//! Joining: everything that can stand between a Join and a call that speaks.

use std::{env, fs, net::Ipv6Addr, process::Command, time::Duration};

use actix_voice::{
    actors::{
        CallEventKind, Config, ControlArbiter, Join, JoinError, Login, MainGateway, VoiceManager,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    bridge::JoinFailure,
    call::{Cause, ConnectionStatus, EndReason},
    id::{ChannelId, GuildId, Token},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Builder, Channel, Discord, EventOrder, HelloOrder, Side};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    bot::BotOnDiscord,
    events::{BotEvent, EventLog},
    log::{connections, identifies, op, received},
    real_time,
    recording::missed,
    story,
};

/// Joins, plays and leaves, and the listener hears it whole.
async fn plays_whole(discord: Builder) -> Option<String> {
    let bot = BotOnDiscord::start_on(discord).await;
    bot.join().await;
    let track = bot.play("music.opus").await;
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    let stats = bot.disconnect().await;
    let heard = bot.heard();
    assert_eq!(missed("music.opus", [&heard]), 0);
    assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
    assert_eq!((stats.resumes, stats.reconnects, stats.malformed), (0, 0, 0));
    bot.assert_no_violations();
    stats.transport.mode
}

/// Joins in vain; says why, and how long that took.
async fn refused_join(bot: &BotOnDiscord, channel: &Channel) -> (JoinError, Duration) {
    let asked = Instant::now();
    let error = bot.request_join(channel).await.expect_err("the bot is refused");
    (error, asked.elapsed())
}

fn is_about(took: Duration, seconds: f64) -> bool {
    (took.as_secs_f64() - seconds).abs() < 0.5
}

#[test]
fn the_two_events_may_come_in_either_order() {
    story(async {
        for order in [EventOrder::StateFirst, EventOrder::ServerFirst] {
            plays_whole(Discord::builder().event_order(order)).await;
        }
    });
}

#[test]
fn hello_may_come_after_ready() {
    story(async {
        plays_whole(Discord::builder().hello(HelloOrder::AfterReady)).await;
    });
}

#[test]
fn a_null_endpoint_is_waited_out() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.null_endpoint_first();
        let giving = async {
            tokio::time::sleep(Duration::from_secs(25)).await;
            assert_eq!(identifies(&bot.discord), 0);
            bot.discord.give_endpoint(&bot.guild);
        };
        let (joined, ()) = tokio::join!(bot.request_join(&bot.channel), giving);
        joined.expect("the bot joins once there is an endpoint");
        assert_eq!(identifies(&bot.discord), 1);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn an_endpoint_that_never_comes_is_a_typed_error() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.null_endpoint_first();
        let (error, took) = refused_join(&bot, &bot.channel).await;
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoEndpoint)));
        assert!(is_about(took, 60.0), "{took:?}");
        assert_eq!(connections(&bot.discord, Side::Voice), 0);
    });
}

#[test]
fn a_join_that_is_refused_is_not_answered_by_another_that_was_not() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let full = bot.guild.channel("full");
        full.user_limit(1);
        let _first = full.listener("first");
        let (here, there) = tokio::join!(bot.request_join(&bot.channel), bot.request_join(&full));
        assert_eq!(here.unwrap_err(), JoinError::NotMoved(JoinFailure::Superseded));
        assert_eq!(there.unwrap_err(), JoinError::NotMoved(JoinFailure::NoAnswer));
        assert!(bot.discord.connected_to(&bot.channel).contains(&bot.account.user_id), "where it could be");
    });
}

#[test]
fn a_full_channel_is_a_typed_error_that_names_the_cause() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.channel.user_limit(1);
        let (error, took) = refused_join(&bot, &bot.channel).await;
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoAnswer)));
        assert!(error.to_string().contains("channel may be full"), "{error}");
        assert!(is_about(took, 10.0), "{took:?}");

        // Nothing is left behind that would keep a later join from succeeding.
        bot.channel.user_limit(2);
        bot.join().await;
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_channel_without_permission_and_one_that_does_not_exist_are_typed_errors() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.refuse_silently(&bot.channel);
        let (error, _) = refused_join(&bot, &bot.channel).await;
        assert!(error.to_string().contains("CONNECT may be missing"), "{error}");
        let nowhere = Join::new(bot.guild_id(), ChannelId(7));
        let error = bot.manager.send(nowhere).await.unwrap().expect_err("no such channel");
        assert_eq!(error, JoinError::Ended(EndReason::NotJoined(JoinFailure::NoAnswer)));
        assert_eq!(connections(&bot.discord, Side::Voice), 0);
    });
}

#[test]
fn three_lost_discovery_answers_cost_three_seconds() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.drop_discovery(3);
        let asked = Instant::now();
        bot.join().await;
        assert!(is_about(asked.elapsed(), 3.0), "{:?}", asked.elapsed());
        assert_eq!(identifies(&bot.discord), 1);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn discovery_that_is_never_answered_is_a_typed_error() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.drop_discovery(u32::MAX);
        let (error, took) = refused_join(&bot, &bot.channel).await;
        let JoinError::Ended(EndReason::GaveUp { last: Cause::Transport(why), .. }) = &error else {
            panic!("{error:?}")
        };
        assert!(why.contains("discovery"), "{why}");
        assert!(took < Duration::from_secs(120), "{took:?}");
        assert!(identifies(&bot.discord) <= 5);
    });
}

#[test]
fn ipv6_carries_gateways_and_audio() {
    story(async {
        plays_whole(Discord::builder().ip(Ipv6Addr::LOCALHOST.into())).await;
    });
}

#[test]
fn a_server_with_its_own_certificate_authority_can_be_trusted() {
    story(async {
        plays_whole(Discord::builder().tls()).await;
    });
}

/// Trusts the platform's certificate authorities only.
fn distrustful() -> Config {
    let mut config = Config::default();
    config.control_arbiter = ControlArbiter::Callers;
    config.media_arbiters = 0;
    config
}

#[test]
fn an_untrusted_main_gateway_is_reported_and_joining_does_not_hang() {
    story(async {
        let discord = Discord::builder().tls().start().await;
        let manager = VoiceManager::new(distrustful()).start();
        let events = EventLog::default();
        let token = Token(discord.bot("bot").token);
        let gateway = MainGateway::at(&discord.gateway_url(), token, &distrustful(), manager.clone());
        gateway.listener(events.recorder().recipient()).start();
        let why = events
            .next("the certificate is refused", |event| match event {
                BotEvent::MainGateway(MainGatewayEvent::Unreachable { why, .. }) => Some(why.clone()),
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
fn a_certificate_authority_of_the_platform_is_trusted() {
    if let Ok(login) = env::var(LOGIN) {
        return log_in(&login);
    }
    real_time(async {
        let discord = Discord::builder().tls().start().await;
        let trusted = env::temp_dir().join(format!("actix-voice-{}.pem", std::process::id()));
        fs::write(&trusted, discord.ca_pem().unwrap()).unwrap();
        // What the platform trusts is a matter of the process, so the bot has one of its own.
        let mut bot = Command::new(env::current_exe().unwrap());
        bot.args(["--exact", "joining::a_certificate_authority_of_the_platform_is_trusted"]);
        bot.env(LOGIN, format!("{} {}", discord.gateway_url(), discord.bot("bot").token));
        bot.env("SSL_CERT_FILE", &trusted);
        let bot = tokio::task::spawn_blocking(move || bot.output()).await.unwrap().unwrap();
        fs::remove_file(trusted).unwrap();
        assert!(bot.status.success(), "{}", String::from_utf8_lossy(&bot.stdout));
        assert_eq!(connections(&discord, Side::Main), 1);
    });
}

/// Logs in with a URL and a token.
fn log_in(login: &str) {
    let (url, token) = login.split_once(' ').expect("two words");
    real_time(async {
        let manager = VoiceManager::new(distrustful()).start();
        let gateway = MainGateway::at(url, Token(token.into()), &distrustful(), manager).start();
        gateway.send(Login).await.unwrap().expect("Discord lets the bot in");
    });
}

/// Where the other process finds the URL and the token.
const LOGIN: &str = "ACTIX_VOICE_TEST_LOGIN";

#[test]
fn an_untrusted_voice_gateway_is_a_typed_error() {
    story(async {
        let discord = Discord::builder().tls().start().await;
        let trusting = distrustful().trust(&discord.ca_pem().unwrap()).unwrap();
        let channel = discord.guild("guild").channel("channel");
        let manager = VoiceManager::new(distrustful()).start();
        let events = EventLog::default();
        let token = Token(discord.bot("bot").token);
        let gateway = MainGateway::at(&discord.gateway_url(), token, &trusting, manager.clone());
        gateway.listener(events.recorder().recipient()).start();
        events
            .next("the bot is in its guild", |event| {
                matches!(
                    event,
                    BotEvent::MainGateway(MainGatewayEvent::Dispatch {
                        dispatch: Dispatch::GuildAvailable { .. },
                        ..
                    })
                )
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
            assert_eq!(plays_whole(Discord::builder().modes([mode])).await.as_deref(), Some(mode));
        }
    });
}

#[test]
fn the_preferred_mode_is_chosen_wherever_it_stands_in_the_offer() {
    story(async {
        let offer =
            ["xsalsa20_poly1305", "aead_xchacha20_poly1305_rtpsize", "new", "aead_aes256_gcm_rtpsize"];
        let chosen = plays_whole(Discord::builder().modes(offer)).await;
        assert_eq!(chosen.as_deref(), Some("aead_aes256_gcm_rtpsize"));
    });
}

#[test]
fn no_mode_in_common_is_a_typed_error_that_names_the_offer() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().modes(["rot13", "rot26"])).await;
        let (error, took) = refused_join(&bot, &bot.channel).await;
        assert!(matches!(error, JoinError::Ended(_)), "{error:?}");
        assert!(error.to_string().contains("rot13, rot26"), "{error}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(identifies(&bot.discord), 1);
        // The bot does not stay in the channel as a ghost.
        bot.until_left(Duration::from_secs(1)).await;
    });
}

#[test]
fn joining_the_channel_one_is_in_is_answered_at_once() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        bot.join().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE).len(), 1);
        assert_eq!(bot.events.call_events().iter().filter(|event| connected(event)).count(), 1);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

fn connected(event: &CallEventKind) -> bool {
    *event == CallEventKind::Connection(ConnectionStatus::Connected)
}

#[test]
fn a_media_server_named_anew_while_the_bot_joins_leaves_nothing_behind_of_the_one_before() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.drop_discovery(2);
        let renaming = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let server = bot.discord.relay().address();
            let modes = ["aead_aes256_gcm_rtpsize"];
            let primary = json!({ "ip": server.ip(), "port": server.port(), "modes": modes });
            let renamed = json!({ "op": 33, "d": { "primary": primary } });
            bot.discord.send_raw_text(bot.account.user_id, renamed.to_string());
        };
        let (joined, ()) = tokio::join!(bot.request_join(&bot.channel), renaming);
        joined.expect("the bot joins");
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let before = Instant::now();
        let stats = bot.disconnect().await;
        // Nobody waits for the last figures of a transport that was never told to stop.
        assert!(before.elapsed() < Duration::from_secs(1), "it took {:?}", before.elapsed());
        assert_eq!((stats.malformed, stats.packets), (0, bot.heard().packets));
        assert_eq!(missed("music.opus", [&bot.heard()]), 0);
    });
}
