//! The voice gateway: the handshake, who learns of whom, and close codes.

use std::time::Duration;

use actix_voice_loopback::{Dave, Discord, HelloOrder, Rule, Side};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Credentials, Main, Setup, Socket, Voice, plain, select_protocol};

#[tokio::test(start_paused = true)]
async fn hello_is_fractional_and_ready_tells_of_the_relay() {
    let mut setup = Setup::on(plain().heartbeat_interval(13_750.5).start().await).await;
    let credentials = setup.credentials().await;
    let mut socket = credentials.open().await;
    let hello = socket.text().await;
    assert_eq!(hello, json!({"op": 8, "d": {"v": 8, "heartbeat_interval": 13_750.5}}));

    socket.send(credentials.identify()).await;
    let ready = socket.text().await;
    assert_eq!(ready["op"], 2);
    assert_eq!(ready.get("seq"), None);
    assert_eq!(ready["d"]["ip"], "127.0.0.1");
    assert_eq!(ready["d"]["modes"], json!(["aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize"]));
}

#[tokio::test(start_paused = true)]
async fn the_relay_answers_discovery_for_the_ssrc_of_ready() {
    let mut setup = Setup::new().await;
    let credentials = setup.credentials().await;
    let mut socket = credentials.open().await;
    socket.send(credentials.identify()).await;
    let ready = socket.op(2).await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut request = [0; 74];
    request[1] = 1;
    request[3] = 70;
    let ssrc = u32::try_from(ready["ssrc"].as_u64().expect("an SSRC")).expect("32 bits");
    request[4..8].copy_from_slice(&ssrc.to_be_bytes());
    let port = u16::try_from(ready["port"].as_u64().expect("a port")).expect("16 bits");
    udp.send_to(&request, ("127.0.0.1", port)).await.expect("sent");

    let mut answer = [0; 100];
    let (length, _) = udp.recv_from(&mut answer).await.expect("an answer");
    assert_eq!((length, &answer[..2]), (74, &[0, 2][..]));
    assert_eq!(&answer[8..18], b"127.0.0.1\0");
    let own = udp.local_addr().expect("bound").port();
    assert_eq!(answer[72..74], own.to_be_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_introduced_before_its_session_description() {
    let mut setup = Setup::new().await;
    let ear = setup.channel.listener("ear");
    let voice = setup.connect().await;

    let ops: Vec<_> = voice.introductions.iter().map(|text| text["op"].as_u64().expect("an op")).collect();
    assert_eq!(ops, [11, 18, 20, 5, 15]);
    let numbers: Vec<_> = voice.introductions.iter().map(|text| text["seq"].as_u64()).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(voice.introductions[0]["d"], json!({"user_ids": [ear.user_id.to_string()]}));
    assert_eq!(voice.introductions[3]["d"]["user_id"], ear.user_id.to_string());
    assert_eq!(voice.introductions[3]["d"]["ssrc"], ear.ssrc);
    assert_eq!(voice.description["mode"], "aead_aes256_gcm_rtpsize");
    assert_eq!(voice.description["dave_protocol_version"], 0);
    assert_eq!(voice.description["secret_key"].as_array().map(Vec::len), Some(32));
}

#[tokio::test(start_paused = true)]
async fn those_already_there_learn_who_comes_speaks_and_goes() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    let other = setup.discord.bot("toucan");
    let mut other_main = Main::identify(&setup.discord, &other).await;
    let mut newcomer = Voice::connect(other_main.credentials(&other, &setup.channel).await).await;

    let id = other.user_id.to_string();
    assert_eq!(voice.socket.text().await, json!({"op": 11, "d": {"user_ids": [id]}, "seq": 1}));
    assert_eq!(voice.socket.text().await["op"], 18);
    assert_eq!(voice.socket.text().await["op"], 20);
    newcomer.speak(1).await;
    newcomer.speak(1).await;
    newcomer.speak(0).await;
    let speaking = |flags: u8| json!({"user_id": id, "ssrc": newcomer.ssrc, "speaking": flags});
    assert_eq!(voice.socket.text().await["d"], speaking(1));
    assert_eq!(voice.socket.text().await["d"], speaking(0));
    newcomer.socket.close(1000).await;
    assert_eq!(voice.socket.text().await, json!({"op": 13, "d": {"user_id": id}, "seq": 6}));
    assert_eq!(setup.discord.received(Side::Voice, other.user_id, 5).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_simulated_member_announces_itself_before_it_speaks() {
    let mut setup = Setup::new().await;
    let ear = setup.channel.listener("ear");
    let mut voice = setup.connect().await;
    ear.speak([bytes::Bytes::from_static(&[0xFC, 0xFF, 0xFE])]).await;
    assert_eq!(voice.socket.op(5).await["speaking"], 1);
    assert_eq!(voice.socket.op(5).await["speaking"], 0);
    ear.leave();
    assert_eq!(voice.socket.op(13).await["user_id"], ear.user_id.to_string());
}

#[tokio::test(start_paused = true)]
async fn hello_may_come_after_ready() {
    let mut setup = Setup::on(plain().hello(HelloOrder::AfterReady).start().await).await;
    let credentials = setup.credentials().await;
    let mut socket = credentials.open().await;
    socket.send(credentials.identify()).await;
    assert_eq!(socket.text().await["op"], 2);
    assert_eq!(socket.text().await["op"], 8);
}

#[tokio::test(start_paused = true)]
async fn below_version_8_nothing_is_numbered_and_beats_are_bare() {
    let mut setup = Setup::new().await;
    let credentials = setup.credentials().await;
    let mut socket = Socket::open(&credentials.endpoint, "?v=4").await;
    socket.send(credentials.identify()).await;
    socket.op(2).await;
    socket.send(select_protocol("udp", "aead_aes256_gcm_rtpsize")).await;
    let sink_wants = socket.text().await;
    assert_eq!((&sink_wants["op"], sink_wants.get("seq")), (&json!(15), None));
    socket.send(json!({"op": 3, "d": 12})).await;
    assert_eq!(socket.op(6).await, 12);
}

#[tokio::test(start_paused = true)]
async fn version_9_wants_the_channel() {
    let mut setup = Setup::new().await;
    let credentials = setup.credentials().await;
    let mut socket = Socket::open(&credentials.endpoint, "?v=9").await;
    socket.send(credentials.identify()).await;
    assert_eq!(socket.close_code().await, 4002);
    let mut socket = Socket::open(&credentials.endpoint, "?v=9").await;
    let mut identify = credentials.identify();
    identify["d"]["channel_id"] = Value::from(setup.channel.id.to_string());
    socket.send(identify).await;
    socket.op(2).await;
}

/// What a client sends after Hello, given its credentials, and the code it is closed with.
type Mistake = (&'static str, fn(&Credentials) -> Vec<Value>, u16);

const MISTAKES: [Mistake; 15] = [
    ("unknown op", |_| vec![json!({"op": 77, "d": null})], 4001),
    ("no op", |_| vec![json!({"d": null})], 4002),
    ("identify without a token", |_| vec![json!({"op": 0, "d": {"server_id": "1"}})], 4002),
    ("beat without a nonce", |_| vec![json!({"op": 3, "d": {}})], 4002),
    ("speaking before identify", |_| vec![json!({"op": 5, "d": {}})], 4003),
    ("select protocol before identify", |_| vec![select_protocol("udp", "")], 4003),
    ("wrong token", |c| vec![with(c.identify(), "token", "x")], 4004),
    ("another's token", |c| vec![with(c.identify(), "user_id", "1")], 4004),
    ("identify twice", |c| vec![c.identify(), c.identify()], 4005),
    ("wrong session", |c| vec![with(c.identify(), "session_id", "x")], 4006),
    ("resume of nothing", |c| vec![c.resume(None)], 4006),
    ("unknown guild", |c| vec![with(c.identify(), "server_id", "1")], 4011),
    ("unknown protocol", |c| vec![c.identify(), select_protocol("tcp", "")], 4012),
    ("unknown mode", |c| vec![c.identify(), select_protocol("udp", "xsalsa20_poly1305")], 4016),
    ("resume after identify", |c| vec![c.identify(), c.resume(None)], 4005),
];

fn with(mut message: Value, field: &str, value: &str) -> Value {
    message["d"][field] = Value::from(value);
    message
}

#[tokio::test(start_paused = true)]
async fn each_mistake_at_the_voice_gateway_has_its_close_code() {
    for (mistake, messages, code) in MISTAKES {
        let mut setup = Setup::new().await;
        let credentials = setup.credentials().await;
        let mut socket = credentials.open().await;
        for message in messages(&credentials) {
            socket.send(message).await;
        }
        assert_eq!(socket.close_code().await, code, "{mistake}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_and_what_has_no_version_is_refused() {
    let mut setup = Setup::new().await;
    let credentials = setup.credentials().await;
    let mut socket = credentials.open().await;
    socket.send_raw(Message::text("{")).await;
    assert_eq!(socket.close_code().await, 4002);
    for query in ["", "?v=3", "?v=10"] {
        let mut socket = Socket::open(&credentials.endpoint, query).await;
        assert_eq!(socket.close_code().await, 4012, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_for_one_session() {
    let mut setup = Setup::new().await;
    let voice = setup.connect().await;
    let mut socket = voice.credentials.open().await;
    socket.send(voice.credentials.identify()).await;
    assert_eq!(socket.close_code().await, 4006);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_dave_is_closed_before_ready_where_it_is_required() {
    let mut setup = Setup::on(Discord::builder().dave(Dave::Required).start().await).await;
    let credentials = setup.credentials().await;
    let mut socket = credentials.open().await;
    let mut identify = credentials.identify();
    identify["d"].as_object_mut().expect("an object").remove("max_dave_protocol_version");
    socket.send(identify).await;
    assert_eq!(socket.text().await["op"], 8);
    assert_eq!(socket.close_code().await, 4017);
}

#[tokio::test(start_paused = true)]
async fn json_in_a_binary_frame_is_ignored_without_a_word() {
    let mut setup = Setup::new().await;
    let credentials = setup.credentials().await;
    let mut socket = credentials.open().await;
    socket.op(8).await;
    socket.send_raw(Message::binary(credentials.identify().to_string().into_bytes())).await;
    socket.stays_silent().await;
    assert_eq!(setup.discord.violations()[0].rule, Rule::JsonInBinaryFrame);
}

#[tokio::test(start_paused = true)]
async fn beats_are_acknowledged_with_their_nonce_and_wrong_numbers_are_noticed() {
    let mut setup = Setup::new().await;
    let _ear = setup.channel.listener("ear");
    let mut voice = setup.connect().await;
    for (nonce, seq_ack) in [(7, -1), (8, 4), (9, 3), (10, 5)] {
        voice.beat(nonce, seq_ack).await;
        assert_eq!(voice.socket.op(6).await, json!({"t": nonce}));
    }
    let rules: Vec<_> = setup.discord.violations().into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::SeqAckBackwards(Some(3)), Rule::SeqAckUnsent(Some(5))]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_beating_is_closed_after_one_and_a_half_intervals() {
    let mut setup = Setup::on(plain().heartbeat_interval(2_000.0).start().await).await;
    let mut voice = setup.connect().await;
    let began = tokio::time::Instant::now();
    assert_eq!(voice.socket.close_code().await, 4009);
    let silence = began.elapsed();
    assert!(silence > Duration::from_millis(2_800) && silence < Duration::from_millis(3_200), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn speaking_with_a_foreign_ssrc_is_noticed_and_not_passed_on() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    voice.socket.send(json!({"op": 5, "d": {"speaking": 1, "delay": 0, "ssrc": 1}})).await;
    let noticed = |discord: &Discord| discord.violations().iter().any(|v| v.rule == Rule::ForeignSsrc(1));
    setup.discord.until(noticed, Duration::from_secs(1)).await.expect("a violation");
}

#[tokio::test]
async fn with_tls_both_gateways_are_reached_with_the_authority_alone() {
    let discord = plain().tls().start().await;
    let pem = discord.ca_pem().expect("TLS is on");
    let bot = discord.bot("parrot");
    let channel = discord.guild("jungle").channel("General");
    assert!(discord.gateway_url().starts_with("wss://"));
    let mut socket = Socket::open_tls(&discord.gateway_url(), "?v=10", &pem).await;
    socket.send(crate::client::identify(&bot)).await;
    let ready = socket.dispatch("READY").await;
    let mut main = Main { socket, ready, guilds: Vec::new() };
    let credentials = main.credentials(&bot, &channel).await;

    let mut voice = Socket::open_tls(&credentials.endpoint, "?v=8", &pem).await;
    voice.send(credentials.identify()).await;
    assert!(voice.op(2).await["ssrc"].is_u64());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_lacks_what_was_sent_a_second_before_is_noticed() {
    let mut setup = Setup::new().await;
    let _ear = setup.channel.listener("ear");
    let mut voice = setup.connect().await;
    for (pause, seq_ack) in [(500, -1), (1_000, 2), (1_000, 4)] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        voice.beat(1, seq_ack).await;
        voice.socket.op(6).await;
    }
    let rules: Vec<_> = setup.discord.violations().into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::SeqAckLate(3)]);
}

#[tokio::test(start_paused = true)]
async fn speaking_with_every_packet_is_rate_limited() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    for _ in 0..121 {
        voice.speak(1).await;
    }
    assert_eq!(voice.socket.close_code().await, 4021);
    assert_eq!(setup.discord.violations()[0].rule, Rule::SpeakingTooOften);
}

#[tokio::test(start_paused = true)]
async fn ids_that_are_numbers_are_understood_and_noticed() {
    let mut setup = Setup::new().await;
    let credentials = setup.credentials().await;
    let mut socket = credentials.open().await;
    let mut identify = credentials.identify();
    identify["d"]["user_id"] = Value::from(setup.bot.user_id);
    socket.send(identify).await;
    socket.op(2).await;
    let d = json!({"guild_id": setup.channel.guild_id, "channel_id": null, "self_mute": false, "self_deaf": false});
    setup.main.socket.send(json!({"op": 4, "d": d})).await;
    setup.main.socket.dispatch("VOICE_STATE_UPDATE").await;
    let rules: Vec<_> = setup.discord.violations().into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::NumericId("user_id"), Rule::NumericId("guild_id")]);
}
