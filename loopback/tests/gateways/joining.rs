//! Op 4 and what follows from it: both events in both orders, null endpoints, refusals, moves and kicks.

use actix_voice_loopback::{Event, EventOrder, Refusal};
use serde_json::{Value, json};

use crate::client::{Incoming, Main, Setup, Voice, plain};

async fn setup(order: EventOrder) -> Setup {
    Setup::on(plain().event_order(order).start().await).await
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
        let mut setup = setup(order).await;
        setup.main.join(&setup.channel).await;
        assert_eq!([next_name(&mut setup.main).await, next_name(&mut setup.main).await], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_voice_state_carries_the_session_and_the_endpoint_its_port() {
    let mut setup = Setup::new().await;
    let session = setup.main.ready["session_id"].clone();
    let credentials = setup.credentials().await;
    assert_eq!(credentials.session_id, session);
    assert_eq!(credentials.guild, setup.channel.guild_id.to_string());
    assert!(credentials.endpoint.starts_with("127.0.0.1:"), "{}", credentials.endpoint);
}

#[tokio::test(start_paused = true)]
async fn changing_only_the_flags_gives_no_new_server() {
    let mut setup = Setup::new().await;
    let _voice = setup.connect().await;
    let d = json!({
        "guild_id": setup.channel.guild_id.to_string(),
        "channel_id": setup.channel.id.to_string(),
        "self_mute": true,
        "self_deaf": false,
    });
    setup.main.socket.send(json!({"op": 4, "d": d})).await;
    assert_eq!(setup.main.socket.dispatch("VOICE_STATE_UPDATE").await["self_mute"], true);
    setup.main.socket.stays_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_null_endpoint_is_followed_by_a_real_one_when_it_is_given() {
    let mut setup = Setup::new().await;
    setup.discord.null_endpoint_first();
    setup.main.join(&setup.channel).await;
    assert_eq!(setup.main.socket.dispatch("VOICE_SERVER_UPDATE").await["endpoint"], Value::Null);
    setup.discord.give_endpoint(&setup.discord.guild("jungle"));
    assert!(setup.main.socket.dispatch("VOICE_SERVER_UPDATE").await["endpoint"].is_string());
}

#[tokio::test(start_paused = true)]
async fn full_forbidden_and_unknown_channels_answer_with_silence() {
    let mut setup = Setup::new().await;
    let _ear = setup.channel.listener("ear");
    setup.main.socket.dispatch("VOICE_STATE_UPDATE").await;
    setup.channel.user_limit(1);
    setup.main.socket.dispatch("CHANNEL_UPDATE").await;

    setup.main.join(&setup.channel).await;
    setup.main.socket.stays_silent().await;
    let secret = setup.discord.guild("jungle").channel("Secret");
    setup.main.socket.dispatch("CHANNEL_CREATE").await;
    setup.discord.refuse_silently(&secret);
    setup.main.join(&secret).await;
    setup.main.voice_state(setup.channel.guild_id, Some(7)).await;
    setup.main.socket.stays_silent().await;

    let log = setup.discord.log().into_iter();
    let refusals = log.filter_map(|entry| match entry.event {
        Event::Refused(refusal) => Some(refusal),
        _ => None,
    });
    let expected = [Refusal::Full, Refusal::Forbidden, Refusal::UnknownChannel];
    assert_eq!(refusals.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn leaving_tells_of_a_null_channel_and_ends_the_voice_connection() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.main.voice_state(setup.channel.guild_id, None).await;
    let state = setup.main.socket.dispatch("VOICE_STATE_UPDATE").await;
    assert_eq!(state["channel_id"], Value::Null);
    assert_eq!(state["user_id"], setup.bot.user_id.to_string());
    assert_eq!(voice.socket.close_code().await, 4014);
}

#[tokio::test(start_paused = true)]
async fn a_bot_in_a_stage_channel_is_suppressed() {
    let mut setup = Setup::new().await;
    let stage = setup.discord.guild("jungle").stage("Stage");
    setup.main.join(&stage).await;
    assert_eq!(setup.main.socket.dispatch("VOICE_STATE_UPDATE").await["suppress"], true);
}

#[tokio::test(start_paused = true)]
async fn a_kick_takes_company_into_account() {
    for (company, code) in [(true, 4014), (false, 4022)] {
        for order in [EventOrder::StateFirst, EventOrder::ServerFirst] {
            let mut setup = setup(order).await;
            let ear = company.then(|| setup.channel.listener("ear"));
            let mut voice = setup.connect().await;
            setup.discord.kick(setup.bot.user_id, &setup.discord.guild("jungle"));
            assert_eq!(voice.socket.close_code().await, code);
            let state = setup.main.socket.dispatch("VOICE_STATE_UPDATE").await;
            assert_eq!(state["channel_id"], Value::Null);
            drop(ear);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_moved_bot_gets_new_credentials_for_the_other_channel() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    let other = setup.discord.guild("jungle").channel("Other");
    setup.discord.move_to(setup.bot.user_id, &other);
    assert_eq!(voice.socket.close_code().await, 4014);
    let credentials = setup.main.next_credentials(&setup.bot).await;
    assert_ne!(credentials.token, voice.credentials.token);
    let _voice = Voice::connect(credentials).await;
    assert_eq!(setup.discord.connected_to(&other), [setup.bot.user_id]);
    assert!(setup.discord.connected_to(&setup.channel).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_channel_ends_its_call() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.delete_channel(&setup.channel);
    assert_eq!(voice.socket.close_code().await, 4022);
    assert_eq!(setup.main.socket.dispatch("CHANNEL_DELETE").await["id"], setup.channel.id.to_string());
}

#[tokio::test(start_paused = true)]
async fn another_region_has_another_endpoint_and_the_old_credentials_are_spent() {
    let mut setup = Setup::new().await;
    let old = setup.credentials().await;
    setup.discord.change_region(&setup.discord.guild("jungle"));
    let update = setup.main.socket.dispatch("VOICE_SERVER_UPDATE").await;
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
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.close_voice(setup.bot.user_id, 4006, "");
    assert_eq!(voice.socket.next().await, Incoming::Closed(4006));
    let again = setup.credentials().await;
    assert_ne!(again.token, voice.credentials.token);
    Voice::connect(again).await;
}

#[tokio::test(start_paused = true)]
async fn the_close_of_a_move_may_come_after_the_new_server() {
    let mut setup = setup(EventOrder::CloseLast).await;
    let mut voice = setup.connect().await;
    setup.discord.move_to(setup.bot.user_id, &setup.discord.guild("jungle").channel("Other"));
    let credentials = setup.main.next_credentials(&setup.bot).await;
    assert_eq!(voice.socket.close_code().await, 4014);
    let log = setup.discord.log();
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
        let mut setup = Setup::new().await;
        let ear = setup.channel.listener("ear");
        let mut voice = setup.connect().await;
        let guild = setup.discord.guild("jungle");
        if outage {
            setup.discord.make_guild_unavailable(&guild)
        } else {
            setup.discord.delete_guild(&guild)
        }
        let gone = loop {
            let event = setup.main.socket.text().await;
            match event["t"].as_str() {
                Some("GUILD_DELETE") => break event["d"].clone(),
                Some("VOICE_STATE_UPDATE") => assert_ne!(event["d"]["channel_id"], Value::Null),
                _ => {}
            }
        };
        let id = guild.id.to_string();
        assert_eq!(gone, if outage { json!({"id": id, "unavailable": true}) } else { json!({"id": id}) });
        setup.main.socket.stays_silent().await;
        assert_eq!(voice.socket.close_code().await, 4014);

        setup.main.join(&setup.channel).await;
        setup.main.socket.stays_silent().await;
        setup.discord.restore_guild(&guild);
        if outage {
            let back = setup.main.socket.dispatch("GUILD_CREATE").await;
            assert_eq!(back["voice_states"][0]["user_id"], ear.user_id.to_string());
            Voice::connect(setup.credentials().await).await;
        } else {
            setup.main.socket.stays_silent().await;
            assert!(setup.discord.members_of(&setup.channel).is_empty());
        }
    }
}
