//! Faults, each in one line.

use std::time::Duration;

use actix_voice_loopback::{Closer, Discord, Event, HandshakeStep, Side};
use serde_json::json;

use crate::client::{Credentials, Incoming, Setup, Voice, select_protocol};

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
        HandshakeStep::Connect,
        HandshakeStep::Hello,
        HandshakeStep::Identify,
        HandshakeStep::Ready,
        HandshakeStep::SelectProtocol,
        HandshakeStep::Described,
    ];
    for step in stages {
        let mut setup = Setup::new().await;
        let credentials = setup.credentials().await;
        setup.discord.close_voice_at(step, 4015);
        assert_eq!(closed_on_the_way(&credentials).await, 4015, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_be_closed_once_it_speaks_and_once_it_resumed() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.close_voice_at(HandshakeStep::Established, 4015);
    setup.discord.close_voice_at(HandshakeStep::Resumed, 4009);
    voice.speak(0).await;
    assert_eq!(voice.socket.close_code().await, 4015);
    let mut socket = voice.credentials.open().await;
    socket.send(voice.credentials.resume(Some(0))).await;
    socket.op(9).await;
    assert_eq!(socket.close_code().await, 4009);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_says_nothing_and_can_be_resumed_from() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.stall_voice(setup.bot.user_id);
    voice.beat(1, 0).await;
    voice.socket.stays_silent().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut socket = voice.credentials.open().await;
    socket.send(voice.credentials.resume(Some(0))).await;
    socket.op(9).await;
}

#[tokio::test(start_paused = true)]
async fn muted_acknowledgements_come_back_after_as_many_beats() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.mute_acks(setup.bot.user_id, 2);
    for nonce in 1..=3 {
        voice.beat(nonce, 0).await;
    }
    assert_eq!(voice.socket.op(6).await, json!({"t": 3}));
}

#[tokio::test(start_paused = true)]
async fn raw_frames_reach_the_client_as_they_are() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.send_raw_text(setup.bot.user_id, r#"{"op":99,"d":null}"#);
    setup.discord.send_raw_binary(setup.bot.user_id, [0, 5, 27, 0xC0]);
    assert_eq!(voice.socket.text().await, json!({"op": 99, "d": null}));
    assert_eq!(voice.socket.next().await, Incoming::Binary(vec![0, 5, 27, 0xC0]));
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_in_order_what_happened_and_hides_the_tokens() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    voice.speak(0).await;
    let user = setup.bot.user_id;
    let spoke = |discord: &Discord| !discord.received(Side::Voice, user, 5).is_empty();
    setup.discord.until(spoke, Duration::from_secs(1)).await.expect("Speaking");
    setup.discord.close_voice(user, 4014, "");
    voice.socket.close_code().await;

    let log = setup.discord.log();
    let voice_log: Vec<_> =
        log.iter().filter(|entry| entry.side == Side::Voice).map(|entry| &entry.event).collect();
    assert_eq!(voice_log.first(), Some(&&Event::Opened { version: 8 }));
    assert_eq!(voice_log.last(), Some(&&Event::Closed { by: Closer::Server, code: Some(4014) }));
    let position = |wanted: fn(&Event) -> bool| voice_log.iter().position(|event| wanted(event));
    let described = position(|event| matches!(event, Event::Sent { op: 4, .. }));
    let spoke = position(|event| matches!(event, Event::Received { op: 5, .. }));
    assert!(described.is_some() && described < spoke, "{voice_log:?}");
    assert!(!format!("{log:?}").contains(&voice.credentials.token), "the voice token");
    assert!(!format!("{log:?}").contains(&setup.bot.token), "the bot's token");
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_shows_what_happened_last() {
    let mut setup = Setup::new().await;
    setup.credentials().await;
    let error = setup.discord.until(|_| false, Duration::from_secs(5)).await.expect_err("never true");
    let text = error.to_string();
    assert!(text.contains("did not hold within 5s"), "{text}");
    assert!(text.contains("VOICE_SERVER_UPDATE"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_bot_can_be_in_two_guilds_at_once() {
    let mut setup = Setup::new().await;
    let elsewhere = setup.discord.guild("desert").channel("General");
    let first = setup.connect().await;
    let credentials = setup.main.credentials(&setup.bot, &elsewhere).await;
    let mut second = Voice::connect(credentials).await;
    assert_ne!(first.ssrc, second.ssrc);
    setup.discord.kick(setup.bot.user_id, &setup.discord.guild("jungle"));
    second.socket.stays_silent().await;
    assert_eq!(setup.discord.connected_to(&elsewhere), [setup.bot.user_id]);
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
