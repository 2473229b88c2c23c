//! Stories of lost connections, and of what comes back.

use super::*;
use crate::main_gateway::close::reaction;

#[test]
fn an_unacknowledged_beat_makes_a_zombie_which_is_closed_to_be_resumed() {
    let mut story = Story::ready();
    assert_eq!(ops(&story.until_deadline()), ["1"]);
    let actions = story.until_deadline();
    assert!(
        matches!(actions[..], [Action::Close(4000), Action::Reconnecting { why: Loss::Zombie, .. }]),
        "{actions:?}"
    );
    assert_eq!(story.until_deadline(), [connect("wss://gateway-us-east1-b.discord.gg")]);
    story.shard.opened(story.now);
    let resume = r#"{"op":6,"d":{"token":"hush","session_id":"5f0c","seq":1}}"#;
    assert_eq!(story.hear(HELLO), [send(resume)]);
}

#[test]
fn a_probe_finds_a_dead_connection_within_seconds() {
    let mut story = Story::ready();
    story.shard.probe(story.now);
    assert_eq!(ops(&story.actions()), ["1"]);
    let before = story.now;
    let actions = story.until_deadline();
    assert!(matches!(actions[..], [Action::Close(4000), Action::Reconnecting { why: Loss::Zombie, .. }]));
    assert_eq!(story.now - before, seconds(5));
}

#[test]
fn a_probe_that_is_answered_changes_nothing() {
    let mut story = Story::ready();
    story.shard.probe(story.now);
    assert_eq!(ops(&story.actions()), ["1"]);
    assert_eq!(story.after(seconds(4)), []);
    assert_eq!(story.hear(r#"{"op":11}"#), [Action::Answered]);
    assert_eq!(story.hear(r#"{"op":11}"#), []);
    assert_eq!(story.after(seconds(2)), []);
    assert!(story.shard.is_ready());
}

#[test]
fn a_gateway_that_is_slow_rather_than_dead_is_given_longer() {
    for (latency, patience) in [(0, 5), (2, 5), (8, 16)] {
        let mut story = Story::resuming();
        story.now += seconds(latency);
        story.hear(RESUMED);
        story.shard.probe(story.now);
        story.actions();
        story.after(seconds(patience) - Duration::from_millis(1));
        assert!(story.shard.is_ready(), "after almost {patience} s");
        story.after(Duration::from_millis(1));
        assert!(!story.shard.is_ready(), "after {patience} s");
    }
}

#[test]
fn a_resumed_session_replays_and_goes_on() {
    let mut story = Story::resuming();
    let replayed = dispatched(story.hear(
        r#"{"op":0,"s":7,"t":"VOICE_SERVER_UPDATE","d":{"token":"t","guild_id":"111","endpoint":"x:1"}}"#,
    ));
    assert!(matches!(replayed, Dispatch::VoiceServerUpdate(_)));
    assert_eq!(dispatched(story.hear(RESUMED)), Dispatch::Resumed);
    assert!(story.shard.is_ready());
}

#[test]
fn the_close_codes_of_the_main_gateway_have_their_reactions() {
    use MainGatewayError::{BadIntents, BadShard, BadToken, BadVersion, DisallowedIntents, ShardingRequired};
    let table = [
        (4004, Reaction::Fail(BadToken)),
        (4007, Reaction::Identify),
        (4009, Reaction::Identify),
        (4010, Reaction::Fail(BadShard)),
        (4011, Reaction::Fail(ShardingRequired)),
        (4012, Reaction::Fail(BadVersion)),
        (4013, Reaction::Fail(BadIntents)),
        (4014, Reaction::Fail(DisallowedIntents)),
    ];
    for (code, expected) in table {
        assert_eq!(reaction(code), expected, "{code}");
    }
    for code in [1000, 1001, 1006, 4000, 4001, 4002, 4003, 4005, 4008, 4006, 4015, 4999] {
        assert_eq!(reaction(code), Reaction::Resume, "{code}");
    }
}

#[test]
fn a_final_close_code_ends_everything_with_a_remedy() {
    let mut story = Story::identified();
    story.shard.closed(Some(4004), story.now);
    assert_eq!(story.actions(), [Action::Fail(MainGatewayError::BadToken)]);
    assert_eq!(story.shard.deadline(), None);
    assert_eq!(story.after(seconds(1000)), []);
    assert!(MainGatewayError::BadToken.to_string().contains("developer portal"));
}

#[test]
fn a_close_that_ends_the_session_identifies_anew_at_the_first_address() {
    let mut story = Story::ready();
    story.shard.closed(Some(4009), story.now);
    story.actions();
    assert_eq!(story.until_deadline(), [connect(DISCORD)]);
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["2"]);
}

#[test]
fn op_7_reconnects_and_resumes() {
    let mut story = Story::ready();
    let actions = story.hear(r#"{"op":7,"d":null}"#);
    assert!(
        matches!(actions[..], [Action::Close(4000), Action::Reconnecting { why: Loss::ReconnectAsked, .. }]),
        "{actions:?}"
    );
    story.until_deadline();
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["6"]);
}

#[test]
fn op_9_true_resumes_and_op_9_false_waits_one_to_five_seconds_and_identifies() {
    let mut story = Story::ready();
    story.hear(r#"{"op":9,"d":true}"#);
    story.until_deadline();
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["6"]);

    let actions = story.hear(r#"{"op":9,"d":false}"#);
    let [Action::Close(4000), Action::Reconnecting { after, why: Loss::InvalidSession }] = actions[..] else {
        panic!("{actions:?}")
    };
    assert!(after >= seconds(1) && after <= seconds(5), "{after:?}");
    assert_eq!(story.until_deadline(), [connect(DISCORD)]);
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["2"]);
    // The new session begins without a sequence number.
    assert_eq!(story.hear(r#"{"op":1,"d":null}"#), [send(r#"{"op":1,"d":null}"#)]);
}

#[test]
fn waits_double_from_half_a_second_to_sixteen() {
    let mut story = Story::new();
    story.actions();
    let longest = [500, 1000, 2000, 4000, 8000, 16_000, 16_000, 16_000];
    for longest in longest.map(Duration::from_millis) {
        let wait = story.lose(None);
        assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
    }
    story.shard.opened(story.now);
    story.hear(HELLO);
    story.hear(READY);
    let wait = story.lose(None);
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
}

#[test]
fn a_session_that_cannot_be_resumed_is_given_up_after_five_tries() {
    let mut story = Story::ready();
    story.shard.closed(None, story.now);
    story.actions();
    for _ in 0..5 {
        assert_eq!(story.until_deadline(), [connect(RESUME_URL)]);
        story.shard.opened(story.now);
        assert_eq!(ops(&story.hear(HELLO)), ["6"]);
        story.shard.closed(None, story.now);
        story.actions();
    }
    assert_eq!(story.until_deadline(), [connect(DISCORD)]);
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["2"]);
}

#[test]
fn a_cut_of_the_network_costs_no_session_however_long_it_is() {
    let mut story = Story::ready();
    let begin = story.now;
    story.shard.closed(None, story.now);
    story.actions();
    for attempt in 1..100 {
        let address = if attempt <= 5 { RESUME_URL } else { DISCORD };
        assert_eq!(story.until_deadline(), [connect(address)], "attempt {attempt}");
        story.shard.closed(None, story.now);
        story.actions();
    }
    assert!(story.now - begin > seconds(600));
    assert_eq!(story.until_deadline(), [connect(DISCORD)]);
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["6"]);
    story.hear(RESUMED);
    story.shard.closed(None, story.now);
    story.actions();
    assert_eq!(story.until_deadline(), [connect(RESUME_URL)], "where Discord wants resumes");
}

#[test]
fn identifies_keep_five_seconds_apart_and_below_a_thousand_a_day() {
    let mut story = Story::identified();
    let begin = story.now;
    let mut identifies = 1;
    while story.now - begin < seconds(86_400) {
        story.lose(Some(4009));
        story.shard.opened(story.now);
        let before = identifies;
        identifies += ops(&story.hear(HELLO)).len();
        assert_eq!(identifies, before + 1);
        assert!(story.now - begin >= seconds(5) * (before as u32));
    }
    assert!(identifies < 1000, "{identifies}");
}

#[test]
fn every_step_to_a_session_has_its_deadline() {
    let late = |story: &mut Story, wait, what| {
        let actions = story.after(wait);
        let [Action::Close(4000), Action::Reconnecting { why: Loss::Timeout { awaited }, .. }] = actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!(awaited, what);
    };
    let mut story = Story::new();
    story.actions();
    late(&mut story, seconds(10), "the websocket to open");

    let mut story = Story::new();
    story.actions();
    story.shard.opened(story.now);
    assert_eq!(story.after(seconds(9)), []);
    late(&mut story, seconds(1), "Hello");

    late(&mut Story::identified(), seconds(30), "READY");
    late(&mut Story::resuming(), seconds(30), "RESUMED");
}

#[test]
fn a_clear_address_to_resume_at_is_not_trusted_with_the_token() {
    let mut story = Story::identified();
    story.hear(&READY.replace("wss://gateway-us", "ws://gateway-us"));
    story.shard.closed(None, story.now);
    story.actions();
    assert_eq!(story.until_deadline(), [connect(DISCORD)]);
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["6"]);
}
