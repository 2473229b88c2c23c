//! Faults, each in one line.

use std::time::Duration;

use actix_voice_loopback::{Closer, Discord, Event, Side, Stage};
use serde_json::json;

use crate::client::{Credentials, Incoming, Scene, Voice, select_protocol};

/// Goes as far as it can and says the code it was closed with.
async fn closed_on_the_way(credentials: &Credentials) -> u16 {
    let mut socket = credentials.open().await;
    let mut messages =
        vec![credentials.identify(), select_protocol("udp", "aead_aes256_gcm_rtpsize")].into_iter();
    socket.send(messages.next().expect("two")).await;
    loop {
        match socket.next().await {
            Incoming::Closed(code) => return code,
            Incoming::Lost => panic!("lost"),
            other if other.op() == Some(2) => socket.send(messages.next().expect("one")).await,
            other if other.op() == Some(4) => {
                let ssrc = 0;
                socket.send(json!({"op": 5, "d": {"speaking": 0, "delay": 0, "ssrc": ssrc}})).await;
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_be_closed_at_every_stage_of_the_handshake() {
    let stages = [
        Stage::Connect,
        Stage::Hello,
        Stage::Identify,
        Stage::Ready,
        Stage::SelectProtocol,
        Stage::Described,
    ];
    for stage in stages {
        let mut scene = Scene::new().await;
        let credentials = scene.credentials().await;
        scene.discord.close_voice_at(stage, 4015);
        assert_eq!(closed_on_the_way(&credentials).await, 4015, "{stage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_be_closed_once_it_speaks_and_once_it_resumed() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    scene.discord.close_voice_at(Stage::Established, 4015);
    scene.discord.close_voice_at(Stage::Resumed, 4009);
    voice.speak(0).await;
    assert_eq!(voice.socket.close_code().await, 4015);
    let mut socket = voice.credentials.open().await;
    socket.send(voice.credentials.resume(Some(0))).await;
    socket.op(9).await;
    assert_eq!(socket.close_code().await, 4009);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_says_nothing_and_can_be_resumed_from() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    scene.discord.stall_voice(scene.bot.user_id);
    voice.beat(1, 0).await;
    voice.socket.stays_silent().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut socket = voice.credentials.open().await;
    socket.send(voice.credentials.resume(Some(0))).await;
    socket.op(9).await;
}

#[tokio::test(start_paused = true)]
async fn muted_acknowledgements_come_back_after_as_many_beats() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    scene.discord.mute_acks(scene.bot.user_id, 2);
    for nonce in 1..=3 {
        voice.beat(nonce, 0).await;
    }
    assert_eq!(voice.socket.op(6).await, json!({"t": 3}));
}

#[tokio::test(start_paused = true)]
async fn raw_frames_reach_the_client_as_they_are() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    scene.discord.send_raw_text(scene.bot.user_id, r#"{"op":99,"d":null}"#);
    scene.discord.send_raw_binary(scene.bot.user_id, [0, 5, 27, 0xC0]);
    assert_eq!(voice.socket.text().await, json!({"op": 99, "d": null}));
    assert_eq!(voice.socket.next().await, Incoming::Binary(vec![0, 5, 27, 0xC0]));
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_in_order_what_happened_and_hides_the_tokens() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    voice.speak(0).await;
    let user = scene.bot.user_id;
    let spoke = |discord: &Discord| !discord.received(Side::Voice, user, 5).is_empty();
    scene.discord.until(spoke, Duration::from_secs(1)).await.expect("Speaking");
    scene.discord.close_voice(user, 4014, "");
    voice.socket.close_code().await;

    let log = scene.discord.log();
    let voice_log: Vec<_> =
        log.iter().filter(|entry| entry.side == Side::Voice).map(|entry| &entry.event).collect();
    assert_eq!(voice_log.first(), Some(&&Event::Opened { version: 8 }));
    assert_eq!(voice_log.last(), Some(&&Event::Closed { by: Closer::Server, code: Some(4014) }));
    let position = |wanted: fn(&Event) -> bool| voice_log.iter().position(|event| wanted(event));
    let described = position(|event| matches!(event, Event::Sent { op: 4, .. }));
    let spoke = position(|event| matches!(event, Event::Received { op: 5, .. }));
    assert!(described.is_some() && described < spoke, "{voice_log:?}");
    assert!(!format!("{log:?}").contains(&voice.credentials.token), "the voice token");
    assert!(!format!("{log:?}").contains(&scene.bot.token), "the bot's token");
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_shows_what_happened_last() {
    let mut scene = Scene::new().await;
    scene.credentials().await;
    let error = scene.discord.until(|_| false, Duration::from_secs(5)).await.expect_err("never true");
    let text = error.to_string();
    assert!(text.contains("did not hold within 5s"), "{text}");
    assert!(text.contains("VOICE_SERVER_UPDATE"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_bot_can_be_in_two_guilds_at_once() {
    let mut scene = Scene::new().await;
    let elsewhere = scene.discord.guild("desert").channel("General");
    let first = scene.connect().await;
    let credentials = scene.main.credentials(&scene.bot, &elsewhere).await;
    let mut second = Voice::connect(credentials).await;
    assert_ne!(first.ssrc, second.ssrc);
    scene.discord.kick(scene.bot.user_id, &scene.discord.guild("jungle"));
    second.socket.stays_silent().await;
    assert_eq!(scene.discord.connected_to(&elsewhere), [scene.bot.user_id]);
}

#[tokio::test(start_paused = true)]
async fn turning_dave_takes_somebody_in_the_channel() {
    let discord = Discord::start().await;
    let channel = discord.guild("jungle").channel("General");
    let turn = || discord.turn_dave(&channel, |settings| settings.op24_on_empty_join = true);
    let early = std::panic::catch_unwind(std::panic::AssertUnwindSafe(turn)).expect_err("nobody is there");
    let said = early.downcast_ref::<String>().expect("a message");
    assert!(said.contains("nobody is in channel"), "{said}");
    let _ear = channel.listener("ear");
    turn();
}
