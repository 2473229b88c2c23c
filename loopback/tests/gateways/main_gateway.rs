//! The main gateway: sessions, dispatches, resumes and close codes.

use std::time::Duration;

use actix_voice_loopback::{Discord, Invalid, Rule, SendLimit};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Incoming, Main, Setup, Socket, identify, plain};

#[tokio::test(start_paused = true)]
async fn ready_names_the_guilds_and_each_comes_with_its_channels_and_voice_states() {
    let discord = plain().start().await;
    let bot = discord.bot("parrot");
    let guild = discord.guild("jungle");
    let (general, stage) = (guild.channel("General"), guild.stage("Stage"));
    general.bitrate(96_000).user_limit(5);
    let ear = general.listener("ear");

    let main = Main::identify(&discord, &bot).await;

    assert_eq!(main.ready["user"]["id"], bot.user_id.to_string());
    assert_eq!(main.ready["guilds"], json!([{"id": guild.id.to_string(), "unavailable": true}]));
    assert_eq!(main.ready["resume_gateway_url"], discord.gateway_url());
    let channels = main.guilds[0]["channels"].as_array().expect("channels");
    assert_eq!(channels[0]["id"], general.id.to_string());
    assert_eq!(channels[0]["bitrate"], 96_000);
    assert_eq!(channels[0]["user_limit"], 5);
    assert_eq!((&channels[0]["type"], &channels[1]["type"]), (&json!(2), &json!(13)));
    assert_eq!(channels[1]["id"], stage.id.to_string());
    let state = &main.guilds[0]["voice_states"][0];
    assert_eq!(state["user_id"], ear.user_id.to_string());
    assert_eq!(state["channel_id"], general.id.to_string());
    assert_eq!(state.get("guild_id"), None);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_acknowledged_and_a_silent_client_is_closed() {
    let mut setup = Setup::new().await;
    setup.main.socket.send(json!({"op": 1, "d": 2})).await;
    setup.main.socket.op(11).await;
    let began = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(61_000)).await;
    assert_eq!(setup.main.socket.close_code().await, 4000);
    assert!(began.elapsed() < Duration::from_secs(63), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_gets_what_it_missed_under_the_old_numbers() {
    let mut setup = Setup::new().await;
    let session = setup.main.ready["session_id"].clone();
    setup.discord.reset_main(setup.bot.user_id);
    assert_eq!(setup.main.socket.next().await, Incoming::Lost);
    let ear = setup.channel.listener("ear");

    let mut socket = Socket::open(&setup.discord.gateway_url(), "?v=10&encoding=json").await;
    socket.op(10).await;
    socket.send(json!({"op": 6, "d": {"token": setup.bot.token, "session_id": session, "seq": 2}})).await;

    let missed = socket.text().await;
    assert_eq!((&missed["t"], &missed["s"]), (&json!("VOICE_STATE_UPDATE"), &json!(3)));
    assert_eq!(missed["d"]["user_id"], ear.user_id.to_string());
    let resumed = socket.text().await;
    assert_eq!((&resumed["t"], &resumed["s"]), (&json!("RESUMED"), &json!(4)));
}

#[tokio::test(start_paused = true)]
async fn a_voice_connection_survives_a_main_session_that_is_resumed_in_time() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    let session = setup.main.ready["session_id"].clone();
    setup.discord.reconnect(setup.bot.user_id);
    setup.main.socket.op(7).await;
    setup.main.socket.close(4000).await;
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut socket = Socket::open(&setup.discord.gateway_url(), "?v=10&encoding=json").await;
    socket.send(json!({"op": 6, "d": {"token": setup.bot.token, "session_id": session, "seq": 4}})).await;
    socket.dispatch("RESUMED").await;

    voice.socket.stays_silent().await;
    assert_eq!(setup.discord.members_of(&setup.channel), [setup.bot.user_id]);
}

#[tokio::test(start_paused = true)]
async fn a_main_session_that_is_not_resumed_takes_the_bot_out_of_voice() {
    let discord = plain().main_resume_window(Duration::from_secs(2)).start().await;
    let mut setup = Setup::on(discord).await;
    let mut voice = setup.connect().await;
    setup.discord.reset_main(setup.bot.user_id);
    assert_eq!(voice.socket.close_code().await, 4014);
    assert!(setup.discord.members_of(&setup.channel).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_goodbye_leaves_voice_at_once() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.main.socket.close(1000).await;
    assert_eq!(voice.socket.close_code().await, 4014);
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_cannot_be_resumed_but_the_connection_can_identify_anew() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    let session = setup.main.ready["session_id"].clone();
    setup.discord.invalid_session(setup.bot.user_id, Invalid::Lost);
    assert_eq!(setup.main.socket.op(9).await, Value::Bool(false));
    assert_eq!(voice.socket.close_code().await, 4014);

    let resume = json!({"op": 6, "d": {"token": setup.bot.token, "session_id": session, "seq": 2}});
    setup.main.socket.send(resume).await;
    assert_eq!(setup.main.socket.op(9).await, Value::Bool(false));
    setup.main.socket.send(identify(&setup.bot)).await;
    let ready = setup.main.socket.dispatch("READY").await;
    assert_ne!(ready["session_id"], session);
}

#[tokio::test(start_paused = true)]
async fn each_mistake_at_the_main_gateway_has_its_close_code() {
    let discord = plain().start().await;
    let bot = discord.bot("parrot");
    discord.guild("jungle");
    let properties = json!({});
    let mistakes: [(&str, Vec<String>, u16); 9] = [
        ("unknown op", vec![json!({"op": 77, "d": null}).to_string()], 4001),
        ("no JSON", vec!["{".to_owned()], 4002),
        ("too large", vec![json!({"op": 1, "d": "x".repeat(4_096)}).to_string()], 4002),
        ("op 4 before identify", vec![json!({"op": 4, "d": {}}).to_string()], 4003),
        (
            "bad token",
            vec![json!({"op": 2, "d": {"token": "x", "properties": properties}}).to_string()],
            4004,
        ),
        (
            "no intents",
            vec![json!({"op": 2, "d": {"token": bot.token, "properties": properties}}).to_string()],
            4013,
        ),
        ("twice", vec![identify(&bot).to_string(), identify(&bot).to_string()], 4005),
        (
            "op 4 without flags",
            vec![identify(&bot).to_string(), r#"{"op":4,"d":{"guild_id":"1"}}"#.to_owned()],
            4002,
        ),
        (
            "resume of another's",
            vec![json!({"op": 6, "d": {"token": "x", "session_id": "x", "seq": 1}}).to_string()],
            4004,
        ),
    ];
    for (mistake, messages, code) in mistakes {
        let mut socket = Socket::open(&discord.gateway_url(), "?v=10&encoding=json").await;
        for message in messages {
            socket.send_raw(Message::text(message)).await;
        }
        assert_eq!(socket.close_code().await, code, "{mistake}");
    }
    let mut old = Socket::open(&discord.gateway_url(), "?v=6").await;
    assert_eq!(old.close_code().await, 4012);
}

#[tokio::test(start_paused = true)]
async fn a_resume_from_the_future_is_closed_with_4007() {
    let mut setup = Setup::new().await;
    let session = setup.main.ready["session_id"].clone();
    setup.main.socket.close(4000).await;
    let mut socket = Socket::open(&setup.discord.gateway_url(), "?v=10").await;
    socket.send(json!({"op": 6, "d": {"token": setup.bot.token, "session_id": session, "seq": 99}})).await;
    assert_eq!(socket.close_code().await, 4007);
}

fn rules(discord: &Discord) -> Vec<Rule> {
    discord.violations().into_iter().map(|violation| violation.rule).collect()
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_carries_the_last_number_that_came() {
    let mut setup = Setup::new().await;
    for (pause, told) in [(0, Value::Null), (2_000, json!(2)), (0, json!(1)), (0, json!(3))] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        setup.main.socket.send(json!({"op": 1, "d": told})).await;
        setup.main.socket.op(11).await;
    }
    let wrong = |told| Rule::WrongSequence { told: Some(told), last: 2 };
    assert_eq!(rules(&setup.discord), [wrong(1), wrong(3)]);
}

#[tokio::test(start_paused = true)]
async fn muted_acknowledgements_come_back_after_as_many_beats() {
    let mut setup = Setup::new().await;
    setup.discord.mute_main_acks(setup.bot.user_id, 2);
    for _ in 0..2 {
        setup.main.socket.send(json!({"op": 1, "d": 2})).await;
        setup.main.socket.stays_silent().await;
    }
    setup.main.socket.send(json!({"op": 1, "d": 2})).await;
    setup.main.socket.op(11).await;
}

#[tokio::test(start_paused = true)]
async fn more_than_120_payloads_within_a_minute_are_too_many() {
    let mut setup = Setup::new().await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        for _ in 0..120 {
            setup.main.socket.send(json!({"op": 1, "d": 2})).await;
            setup.main.socket.op(11).await;
        }
    }
    setup.main.socket.send(json!({"op": 1, "d": 2})).await;
    assert_eq!(setup.main.socket.close_code().await, 4008);
    assert_eq!(rules(&setup.discord), [Rule::TooManySends]);
}

#[tokio::test(start_paused = true)]
async fn where_the_limit_is_lifted_any_number_of_payloads_is_taken() {
    let mut setup = Setup::on(plain().send_limit(SendLimit::Lifted).start().await).await;
    for _ in 0..500 {
        setup.main.socket.send(json!({"op": 1, "d": 2})).await;
        setup.main.socket.op(11).await;
    }
    assert_eq!(rules(&setup.discord), []);
}

#[tokio::test(start_paused = true)]
async fn a_shard_sees_its_own_guilds_only_and_identifies_when_it_may() {
    let discord = plain().shards(2).start().await;
    let bot = discord.bot("parrot");
    let guilds = [discord.guild("jungle"), discord.guild("desert")];
    let shard_of = |id: u64| (id >> 22) % 2;
    assert_ne!(shard_of(guilds[0].id), shard_of(guilds[1].id), "ids follow each other");

    let identify_as = |shard: Value| {
        let properties = json!({"os": "x", "browser": "x", "device": "x"});
        json!({"op": 2, "d": {"token": bot.token, "intents": 129, "properties": properties, "shard": shard}})
    };
    for guild in &guilds {
        let mut socket = Socket::open(&discord.gateway_url(), "?v=10&encoding=json").await;
        socket.op(10).await;
        socket.send(identify_as(json!([shard_of(guild.id), 2]))).await;
        let ready = socket.text().await;
        assert_eq!(ready["d"]["shard"], json!([shard_of(guild.id), 2]));
        assert_eq!(ready["d"]["guilds"], json!([{"id": guild.id.to_string(), "unavailable": true}]));
        // Shards of one rate-limit key are five seconds apart.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(discord.violations(), []);

    let mut socket = Socket::open(&discord.gateway_url(), "?v=10&encoding=json").await;
    socket.op(10).await;
    socket.send(identify_as(json!([2, 2]))).await;
    assert_eq!(socket.close_code().await, 4010);

    for (shard, answer) in [(0, 0), (1, 9)] {
        let mut socket = Socket::open(&discord.gateway_url(), "?v=10&encoding=json").await;
        socket.op(10).await;
        socket.send(identify_as(json!([shard, 2]))).await;
        assert_eq!(socket.text().await["op"], answer);
    }
    let rules: Vec<Rule> = discord.violations().into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::IdentifiedTooSoon { shard: 1 }]);

    discord.require_shards(3);
    let mut socket = Socket::open(&discord.gateway_url(), "?v=10&encoding=json").await;
    socket.op(10).await;
    socket.send(identify_as(json!([0, 2]))).await;
    assert_eq!(socket.close_code().await, 4011);
}

#[tokio::test]
async fn the_gateway_is_told_to_who_knows_the_token() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let discord = plain().shards(7).max_concurrency(16).start().await;
    let bot = discord.bot("parrot");
    let ask = |path: &'static str, token: String| {
        let host = discord.gateway_url().trim_start_matches("ws://").to_owned();
        async move {
            let mut stream = tokio::net::TcpStream::connect(&host).await.expect("the listener is there");
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nAuthorization: Bot {token}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("it answers");
            answer
        }
    };
    let answer = ask("/api/v10/gateway/bot", bot.token.clone()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["shards"], &body["url"]), (&json!(7), &json!(discord.gateway_url())));
    assert_eq!(body["session_start_limit"]["max_concurrency"], 16);
    assert!(ask("/api/v10/gateway/bot", "none".into()).await.starts_with("HTTP/1.1 401 "));
    assert!(ask("/api/v10/users/@me", bot.token).await.starts_with("HTTP/1.1 404 "));
}
