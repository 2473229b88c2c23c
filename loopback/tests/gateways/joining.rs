//! Op 4 and what follows from it: both events in both orders, null endpoints, refusals, moves and kicks.

use actix_voice_loopback::{Event, EventOrder, Refusal};
use serde_json::{Value, json};

use crate::client::{Incoming, Main, Scene, Voice, plain};

async fn scene(order: EventOrder) -> Scene {
    Scene::on(plain().event_order(order).start().await).await
}

async fn next_name(main: &mut Main) -> String {
    main.socket.text().await["t"].as_str().expect("a dispatch").to_owned()
}

#[tokio::test(start_paused = true)]
async fn both_events_of_a_join_come_in_the_chosen_order() {
    let names = ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"];
    for (order, expected) in
        [(EventOrder::StateFirst, names), (EventOrder::ServerFirst, [names[1], names[0]])]
    {
        let mut scene = scene(order).await;
        scene.main.join(&scene.channel).await;
        assert_eq!([next_name(&mut scene.main).await, next_name(&mut scene.main).await], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_voice_state_carries_the_session_and_the_endpoint_its_port() {
    let mut scene = Scene::new().await;
    let session = scene.main.ready["session_id"].clone();
    let credentials = scene.credentials().await;
    assert_eq!(credentials.session_id, session);
    assert_eq!(credentials.guild, scene.channel.guild_id.to_string());
    assert!(credentials.endpoint.starts_with("127.0.0.1:"), "{}", credentials.endpoint);
}

#[tokio::test(start_paused = true)]
async fn changing_only_the_flags_gives_no_new_server() {
    let mut scene = Scene::new().await;
    let _voice = scene.connect().await;
    let d = json!({
        "guild_id": scene.channel.guild_id.to_string(),
        "channel_id": scene.channel.id.to_string(),
        "self_mute": true,
        "self_deaf": false,
    });
    scene.main.socket.send(json!({"op": 4, "d": d})).await;
    assert_eq!(scene.main.socket.dispatch("VOICE_STATE_UPDATE").await["self_mute"], true);
    scene.main.socket.stays_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_null_endpoint_is_followed_by_a_real_one_when_it_is_given() {
    let mut scene = Scene::new().await;
    scene.discord.null_endpoint_first();
    scene.main.join(&scene.channel).await;
    assert_eq!(scene.main.socket.dispatch("VOICE_SERVER_UPDATE").await["endpoint"], Value::Null);
    scene.discord.give_endpoint(&scene.discord.guild("jungle"));
    assert!(scene.main.socket.dispatch("VOICE_SERVER_UPDATE").await["endpoint"].is_string());
}

#[tokio::test(start_paused = true)]
async fn full_forbidden_and_unknown_channels_answer_with_silence() {
    let mut scene = Scene::new().await;
    let _ear = scene.channel.listener("ear");
    scene.main.socket.dispatch("VOICE_STATE_UPDATE").await;
    scene.channel.user_limit(1);
    scene.main.socket.dispatch("CHANNEL_UPDATE").await;

    scene.main.join(&scene.channel).await;
    scene.main.socket.stays_silent().await;
    let secret = scene.discord.guild("jungle").channel("Secret");
    scene.main.socket.dispatch("CHANNEL_CREATE").await;
    scene.discord.refuse_silently(&secret);
    scene.main.join(&secret).await;
    scene.main.voice_state(scene.channel.guild_id, Some(7)).await;
    scene.main.socket.stays_silent().await;

    let log = scene.discord.log().into_iter();
    let refusals = log.filter_map(|entry| match entry.event {
        Event::Refused(refusal) => Some(refusal),
        _ => None,
    });
    let expected = [Refusal::Full, Refusal::Forbidden, Refusal::UnknownChannel];
    assert_eq!(refusals.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn leaving_tells_of_a_null_channel_and_ends_the_voice_connection() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    scene.main.voice_state(scene.channel.guild_id, None).await;
    let state = scene.main.socket.dispatch("VOICE_STATE_UPDATE").await;
    assert_eq!(state["channel_id"], Value::Null);
    assert_eq!(state["user_id"], scene.bot.user_id.to_string());
    assert_eq!(voice.socket.close_code().await, 4014);
}

#[tokio::test(start_paused = true)]
async fn a_bot_in_a_stage_channel_is_suppressed() {
    let mut scene = Scene::new().await;
    let stage = scene.discord.guild("jungle").stage("Stage");
    scene.main.join(&stage).await;
    assert_eq!(scene.main.socket.dispatch("VOICE_STATE_UPDATE").await["suppress"], true);
}

#[tokio::test(start_paused = true)]
async fn a_kick_takes_company_into_account() {
    for (company, code) in [(true, 4014), (false, 4022)] {
        for order in [EventOrder::StateFirst, EventOrder::ServerFirst] {
            let mut scene = scene(order).await;
            let ear = company.then(|| scene.channel.listener("ear"));
            let mut voice = scene.connect().await;
            scene.discord.kick(scene.bot.user_id, &scene.discord.guild("jungle"));
            assert_eq!(voice.socket.close_code().await, code);
            let state = scene.main.socket.dispatch("VOICE_STATE_UPDATE").await;
            assert_eq!(state["channel_id"], Value::Null);
            drop(ear);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_moved_bot_gets_new_credentials_for_the_other_channel() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    let other = scene.discord.guild("jungle").channel("Other");
    scene.discord.move_to(scene.bot.user_id, &other);
    assert_eq!(voice.socket.close_code().await, 4014);
    let credentials = scene.main.next_credentials(&scene.bot).await;
    assert_ne!(credentials.token, voice.credentials.token);
    let _voice = Voice::connect(credentials).await;
    assert_eq!(scene.discord.connected_to(&other), [scene.bot.user_id]);
    assert!(scene.discord.connected_to(&scene.channel).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_channel_ends_its_call() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    scene.discord.delete_channel(&scene.channel);
    assert_eq!(voice.socket.close_code().await, 4022);
    assert_eq!(scene.main.socket.dispatch("CHANNEL_DELETE").await["id"], scene.channel.id.to_string());
}

#[tokio::test(start_paused = true)]
async fn another_region_has_another_endpoint_and_the_old_credentials_are_spent() {
    let mut scene = Scene::new().await;
    let old = scene.credentials().await;
    scene.discord.change_region(&scene.discord.guild("jungle"));
    let update = scene.main.socket.dispatch("VOICE_SERVER_UPDATE").await;
    assert_ne!(update["endpoint"], old.endpoint);

    let mut socket = old.open().await;
    socket.send(old.identify()).await;
    assert_eq!(socket.close_code().await, 4006);
    let token = update["token"].as_str().expect("a token").to_owned();
    let endpoint = update["endpoint"].as_str().expect("an endpoint").to_owned();
    Voice::connect(crate::client::Credentials { token, endpoint, ..old }).await;
}

#[tokio::test(start_paused = true)]
async fn a_bot_that_lost_its_voice_session_gets_a_new_server_for_the_same_channel() {
    let mut scene = Scene::new().await;
    let mut voice = scene.connect().await;
    scene.discord.close_voice(scene.bot.user_id, 4006, "");
    assert_eq!(voice.socket.next().await, Incoming::Closed(4006));
    let again = scene.credentials().await;
    assert_ne!(again.token, voice.credentials.token);
    Voice::connect(again).await;
}

#[tokio::test(start_paused = true)]
async fn the_close_of_a_move_may_come_after_the_new_server() {
    let mut scene = scene(EventOrder::CloseLast).await;
    let mut voice = scene.connect().await;
    scene.discord.move_to(scene.bot.user_id, &scene.discord.guild("jungle").channel("Other"));
    let credentials = scene.main.next_credentials(&scene.bot).await;
    assert_eq!(voice.socket.close_code().await, 4014);
    let log = scene.discord.log();
    let position = |wanted: fn(&Event) -> bool| log.iter().rposition(|entry| wanted(&entry.event));
    let server = position(
        |event| matches!(event, Event::Sent { name: Some(name), .. } if name == "VOICE_SERVER_UPDATE"),
    );
    let close = position(|event| matches!(event, Event::Closed { code: Some(4014), .. }));
    assert!(server.is_some() && server < close, "{server:?} {close:?}");
    Voice::connect(credentials).await;
}

#[tokio::test(start_paused = true)]
async fn a_guild_goes_and_takes_its_voice_along_without_a_voice_event() {
    for outage in [true, false] {
        let mut scene = Scene::new().await;
        let ear = scene.channel.listener("ear");
        let mut voice = scene.connect().await;
        let guild = scene.discord.guild("jungle");
        if outage {
            scene.discord.make_guild_unavailable(&guild)
        } else {
            scene.discord.delete_guild(&guild)
        }
        let gone = loop {
            let event = scene.main.socket.text().await;
            match event["t"].as_str() {
                Some("GUILD_DELETE") => break event["d"].clone(),
                Some("VOICE_STATE_UPDATE") => assert_ne!(event["d"]["channel_id"], Value::Null),
                _ => {}
            }
        };
        let id = guild.id.to_string();
        assert_eq!(gone, if outage { json!({"id": id, "unavailable": true}) } else { json!({"id": id}) });
        scene.main.socket.stays_silent().await;
        assert_eq!(voice.socket.close_code().await, 4014);

        scene.main.join(&scene.channel).await;
        scene.main.socket.stays_silent().await;
        scene.discord.restore_guild(&guild);
        if outage {
            let back = scene.main.socket.dispatch("GUILD_CREATE").await;
            assert_eq!(back["voice_states"][0]["user_id"], ear.user_id.to_string());
            Voice::connect(scene.credentials().await).await;
        } else {
            scene.main.socket.stays_silent().await;
            assert!(scene.discord.members_of(&scene.channel).is_empty());
        }
    }
}
