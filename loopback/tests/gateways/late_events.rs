//! Events of the main gateway that are late, out of order, or doubled; and more payloads than Discord takes.

use std::time::Duration;

use actix_voice_loopback::{EventDelivery, Rule, SendLimit};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::client::{Incoming, Main, Setup, Socket, identify, plain};

/// The names and numbers of the dispatches that come within half a minute.
async fn dispatches(socket: &mut Socket) -> Vec<(String, u64)> {
    let mut came = Vec::new();
    let until = Instant::now() + Duration::from_secs(30);
    while let Ok(event) = timeout(until - Instant::now(), socket.receive()).await {
        let Incoming::Text(event) = event else { panic!("{event:?}") };
        if let (Some(name), Some(number)) = (event["t"].as_str(), event["s"].as_u64()) {
            came.push((name.to_owned(), number));
        }
    }
    came
}

/// What the two events of a join look like after a latency, for some seeds.
async fn join_events(delivery: EventDelivery) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for seed in 0..8 {
        let mut setup = Setup::on(plain().seed(seed).start().await).await;
        setup.discord.main_latency(Duration::from_secs(2)..Duration::from_secs(12), delivery);
        let began = Instant::now();
        setup.main.join(&setup.channel).await;
        setup.main.socket.stays_silent_for(Duration::from_secs(2)).await;
        let came = dispatches(&mut setup.main.socket).await;
        assert!(began.elapsed() < Duration::from_secs(40));
        assert_eq!(came.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [3, 4], "{came:?}");
        all.push(came.into_iter().map(|(name, _)| name).collect());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn late_events_come_in_order_or_in_any() {
    let in_order = join_events(EventDelivery::InOrder).await;
    let state_first = ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"];
    assert!(in_order.iter().all(|names| *names == state_first), "{in_order:?}");
    let in_any_order = join_events(EventDelivery::AnyOrder).await;
    let kept = in_any_order.iter().filter(|names| **names == state_first).count();
    assert!((1..8).contains(&kept), "{in_any_order:?}");
    assert_eq!(join_events(EventDelivery::NamesInOrder).await, in_any_order, "two names know no order");
}

#[tokio::test(start_paused = true)]
async fn events_of_one_name_may_keep_their_order_where_others_do_not() {
    for seed in 0..4 {
        let mut setup = Setup::on(plain().seed(seed).start().await).await;
        setup.discord.main_latency(Duration::ZERO..Duration::from_secs(12), EventDelivery::NamesInOrder);
        for name in ["first", "second", "third"] {
            setup.channel.listener(name);
        }
        let mut last = 0;
        for _ in 0..3 {
            let state =
                setup.main.socket.dispatch_within("VOICE_STATE_UPDATE", Duration::from_secs(13)).await;
            let user: u64 = state["user_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            assert!(user > last, "the ids of new members rise");
            last = user;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ready_and_acknowledgements_are_never_late() {
    let setup = Setup::new().await;
    setup.discord.main_latency(Duration::from_secs(9)..Duration::from_secs(10), EventDelivery::AnyOrder);
    let mut socket = Socket::open(&setup.discord.gateway_url(), "?v=10&encoding=json").await;
    let began = Instant::now();
    socket.send(identify(&setup.bot)).await;
    socket.dispatch("READY").await;
    socket.send(json!({"op": 1, "d": 1})).await;
    socket.op(11).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    socket.dispatch("GUILD_CREATE").await;
    assert!(began.elapsed() >= Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_under_way_when_the_websocket_was_lost_comes_with_the_resume() {
    let mut setup = Setup::new().await;
    let session = setup.main.ready["session_id"].clone();
    setup.discord.main_latency(Duration::from_secs(9)..Duration::from_secs(10), EventDelivery::InOrder);
    setup.main.join(&setup.channel).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    setup.discord.reset_main(setup.bot.user_id);
    let mut socket = Socket::open(&setup.discord.gateway_url(), "?v=10&encoding=json").await;
    socket.send(json!({"op": 6, "d": {"token": setup.bot.token, "session_id": session, "seq": 2}})).await;
    let came = dispatches(&mut socket).await;
    let names: Vec<&str> = came.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE", "RESUMED"], "{came:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_may_come_twice_under_two_numbers() {
    let mut setup = Setup::new().await;
    setup.discord.double_main_events(1.0);
    setup.main.join(&setup.channel).await;
    let came = dispatches(&mut setup.main.socket).await;
    assert_eq!(came.len(), 4, "{came:?}");
    assert_eq!(came.last().map(|(_, number)| *number), Some(6));
}

#[tokio::test(start_paused = true)]
async fn too_many_payloads_may_be_tolerated_and_are_a_violation_all_the_same() {
    let discord = plain().send_limit(SendLimit::Tolerate).start().await;
    let bot = discord.bot("parrot");
    discord.guild("jungle");
    let mut main = Main::identify(&discord, &bot).await;
    // With Identify there are 121.
    for _ in 0..120 {
        main.socket.send(json!({"op": 1, "d": 2})).await;
        main.socket.op(11).await;
    }
    let rules: Vec<Rule> = discord.violations().into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::TooManySends]);
}
