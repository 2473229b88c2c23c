//! Buffered resume of the voice gateway.

use std::time::Duration;

use actix_voice_loopback::{Discord, EventOrder, Rule};
use serde_json::{Value, json};

use crate::client::{Incoming, Setup, Socket, Voice, plain};

/// Loses a voice websocket the hard way.
async fn lose(setup: &Setup, voice: &mut Voice) {
    setup.discord.reset_voice(setup.bot.user_id);
    while voice.socket.next().await != Incoming::Lost {}
}

async fn resume(voice: &Voice, seq_ack: Option<u16>) -> Socket {
    let mut socket = voice.credentials.open().await;
    socket.send(voice.credentials.resume(seq_ack)).await;
    socket
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_replayed_across_the_wrap_with_its_numbers() {
    let mut setup = Setup::on(plain().first_sequence(65_534).start().await).await;
    let mut voice = setup.connect().await;
    assert_eq!(voice.introductions[0]["seq"], 65_534);
    lose(&setup, &mut voice).await;
    let ear = setup.channel.listener("ear");
    ear.announce(1);

    let mut socket = resume(&voice, Some(65_534)).await;
    assert_eq!(socket.text().await["op"], 8);
    assert_eq!(socket.text().await, json!({"op": 9, "d": null}));
    let replay: Vec<Value> = [
        socket.text().await,
        socket.text().await,
        socket.text().await,
        socket.text().await,
        socket.text().await,
    ]
    .into();
    let numbers: Vec<_> = replay.iter().map(|text| (text["op"].as_u64(), text["seq"].as_u64())).collect();
    let expected = [(11, 65_535), (18, 0), (20, 1), (5, 2), (5, 3)];
    assert_eq!(numbers, expected.map(|(op, seq)| (Some(op), Some(seq))));
    assert_eq!(replay[4]["d"]["speaking"], 1);

    ear.leave();
    assert_eq!(socket.text().await["seq"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_keeps_its_ssrc_and_nobody_saw_it_leave() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    lose(&setup, &mut voice).await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    let mut socket = resume(&voice, Some(0)).await;
    socket.op(9).await;
    assert_eq!(setup.discord.connected_to(&setup.channel), [setup.bot.user_id]);
    socket.send(json!({"op": 5, "d": {"speaking": 1, "delay": 0, "ssrc": voice.ssrc}})).await;
    socket.send(json!({"op": 3, "d": {"t": 1, "seq_ack": 0}})).await;
    socket.op(6).await;
    assert_eq!(setup.discord.violations(), []);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_it_is_not_resumed_within_its_window() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    lose(&setup, &mut voice).await;
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(setup.discord.connected_to(&setup.channel).is_empty());
    assert_eq!(resume(&voice, Some(0)).await.close_code().await, 4006);
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_or_never_sent_cannot_be_resumed_from() {
    for seq_ack in [None, Some(0), Some(9)] {
        let mut setup = Setup::new().await;
        let _ear = setup.channel.listener("ear");
        let mut voice = setup.connect().await;
        voice.beat(1, 3).await;
        voice.socket.op(6).await;
        lose(&setup, &mut voice).await;
        assert_eq!(resume(&voice, seq_ack).await.close_code().await, 4006, "{seq_ack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_resume_is_closed_with_4006_and_the_session_is_gone() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.refuse_resume(setup.bot.user_id);
    lose(&setup, &mut voice).await;
    assert_eq!(resume(&voice, Some(0)).await.close_code().await, 4006);
    assert_eq!(resume(&voice, Some(0)).await.close_code().await, 4006);
}

#[tokio::test(start_paused = true)]
async fn the_code_of_the_close_decides_whether_a_session_can_be_resumed() {
    for (code, resumable) in
        [(1000, true), (1001, true), (4015, true), (4009, false), (4014, false), (4022, false)]
    {
        let mut setup = Setup::new().await;
        let mut voice = setup.connect().await;
        setup.discord.close_voice(setup.bot.user_id, code, "");
        assert_eq!(voice.socket.close_code().await, code);
        let mut socket = resume(&voice, Some(0)).await;
        if resumable {
            socket.op(9).await;
        } else {
            assert_eq!(socket.close_code().await, 4006, "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_with_1000_gives_its_session_up() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    voice.socket.close(1000).await;
    assert_eq!(resume(&voice, Some(0)).await.close_code().await, 4006);
}

#[tokio::test(start_paused = true)]
async fn a_resume_takes_over_from_a_websocket_that_is_still_open() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    let mut socket = resume(&voice, Some(0)).await;
    socket.op(9).await;
    assert_eq!(voice.socket.next().await, Incoming::Lost);
}

#[tokio::test(start_paused = true)]
async fn new_server_credentials_end_the_old_session() {
    let discord = plain().event_order(EventOrder::Random).seed(7).start().await;
    let mut setup = Setup::on(discord).await;
    let mut voice = setup.connect().await;
    setup.discord.change_region(&setup.discord.guild("jungle"));
    let update = setup.main.socket.dispatch("VOICE_SERVER_UPDATE").await;
    let mut credentials = voice.credentials.clone();
    credentials.token = update["token"].as_str().expect("a token").to_owned();
    credentials.endpoint = update["endpoint"].as_str().expect("an endpoint").to_owned();
    let _new = Voice::connect(credentials).await;
    assert_eq!(voice.socket.close_code().await, 4014);
    assert_eq!(resume(&voice, Some(0)).await.close_code().await, 4006);
}

#[tokio::test(start_paused = true)]
async fn a_new_server_ends_the_old_session_for_resumes_at_once_and_for_those_who_ignore_it_soon() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    let began = tokio::time::Instant::now();
    setup.discord.change_region(&setup.discord.guild("jungle"));
    assert_eq!(resume(&voice, Some(0)).await.close_code().await, 4006);
    assert_eq!(setup.discord.connected_to(&setup.channel), [setup.bot.user_id], "not yet");
    assert_eq!(voice.socket.close_code().await, 4014);
    let stayed = began.elapsed();
    assert!((5_000..5_100).contains(&stayed.as_millis()), "{stayed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_is_lost_after_a_new_server_came_is_not_waited_for() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.change_region(&setup.discord.guild("jungle"));
    lose(&setup, &mut voice).await;
    let gone = |discord: &Discord| discord.connected_to(&setup.channel).is_empty();
    setup.discord.until(gone, Duration::from_millis(100)).await.expect("gone");
}

#[tokio::test(start_paused = true)]
async fn a_null_endpoint_takes_the_voice_connection_away_at_once() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.take_endpoint(&setup.discord.guild("jungle"));
    assert_eq!(setup.main.socket.dispatch("VOICE_SERVER_UPDATE").await["endpoint"], Value::Null);
    assert_eq!(voice.socket.close_code().await, 4014);
    assert!(setup.discord.connected_to(&setup.channel).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_resumed_on_its_own_server_and_with_its_own_version() {
    let mut setup = Setup::new().await;
    let elsewhere = setup.discord.guild("desert");
    setup.discord.change_region(&elsewhere);
    let other = elsewhere.channel("General");
    let far = setup.main.credentials(&setup.bot, &other).await;
    let mut voice = setup.connect().await;
    assert_ne!(far.endpoint, voice.credentials.endpoint);
    lose(&setup, &mut voice).await;
    for (endpoint, query) in [(&far.endpoint, "?v=8"), (&voice.credentials.endpoint, "?v=7")] {
        let mut socket = Socket::open(endpoint, query).await;
        socket.send(voice.credentials.resume(Some(0))).await;
        assert_eq!(socket.close_code().await, 4006, "{query}");
    }
    resume(&voice, Some(0)).await.op(9).await;
}

#[tokio::test(start_paused = true)]
async fn the_number_in_a_resume_is_audited_like_that_of_a_heartbeat() {
    for (seq_ack, rule) in [
        (Some(4), None),
        (Some(1), Some(Rule::SeqAckBackwards(Some(1)))),
        (None, Some(Rule::SeqAckBackwards(None))),
        (Some(9), Some(Rule::SeqAckUnsent(Some(9)))),
    ] {
        let mut setup = Setup::new().await;
        let _ear = setup.channel.listener("ear");
        let mut voice = setup.connect().await;
        voice.beat(1, 3).await;
        voice.socket.op(6).await;
        lose(&setup, &mut voice).await;
        let mut socket = resume(&voice, seq_ack).await;
        socket.op(8).await;
        socket.next().await;
        let rules = setup.discord.violations().into_iter().map(|violation| violation.rule);
        assert_eq!(rules.collect::<Vec<_>>(), rule.into_iter().collect::<Vec<_>>(), "{seq_ack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_resume_replays_is_as_good_as_new() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    lose(&setup, &mut voice).await;
    let _ear = setup.channel.listener("ear");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut socket = resume(&voice, Some(0)).await;
    socket.op(9).await;
    for (pause, rules) in [(500, vec![]), (900, vec![Rule::SeqAckLate(1)])] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        socket.send(json!({"op": 3, "d": {"t": 1, "seq_ack": 0}})).await;
        socket.op(6).await;
        let found = setup.discord.violations().into_iter().map(|violation| violation.rule);
        assert_eq!(found.collect::<Vec<_>>(), rules);
    }
}
