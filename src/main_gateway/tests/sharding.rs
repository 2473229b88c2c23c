//! Stories of many shards: which are started, in which order they identify, and what happens when Discord does not say.

use super::*;
use crate::call::Supervision;
use crate::main_gateway::{GatewayBot, GatewayBotError, Sharding, ShardingAction, Shards};

/// A machine and the moment it lives in.
struct Many {
    sharding: Sharding,
    now: Instant,
}

fn bot(shards: u32, max_concurrency: u32, remaining: u32) -> GatewayBot {
    let body = format!(
        r#"{{"url":"wss://gateway.discord.gg","shards":{shards},"session_start_limit":{{"total":1000,
            "remaining":{remaining},"reset_after":14400000,"max_concurrency":{max_concurrency}}}}}"#
    );
    GatewayBot::read(200, None, body.as_bytes()).unwrap()
}

fn shard(index: u32, count: u32) -> ShardId {
    ShardId { index, count }
}

impl Many {
    fn new(shards: Shards) -> Self {
        let now = start();
        Self { sharding: Sharding::new(shards, Supervision::default(), 1, now), now }
    }

    fn answered(answer: GatewayBot) -> Self {
        let mut many = Self::new(Shards::Auto);
        assert_eq!(many.actions(), [ShardingAction::Request]);
        many.sharding.answered(Ok(answer), many.now);
        many
    }

    /// Every shard asks for its turn as soon as it is started.
    fn actions(&mut self) -> Vec<ShardingAction> {
        let mut actions = Vec::new();
        while let Some(action) = self.sharding.poll(self.now) {
            if let ShardingAction::Start(id) = action {
                self.sharding.identify_requested(id);
            }
            actions.push(action);
        }
        actions
    }

    fn until_deadline(&mut self) -> Vec<ShardingAction> {
        self.now = self.sharding.deadline(self.now).expect("something is awaited");
        self.actions()
    }

    /// When each shard was let identify, in seconds, up to so many.
    fn identified(&mut self, count: usize) -> Vec<(u32, u64)> {
        let (began, mut identified) = (self.now, Vec::new());
        let mut actions = self.actions();
        loop {
            let now = (self.now - began).as_secs();
            identified.extend(actions.into_iter().filter_map(|action| match action {
                ShardingAction::Identify(id) => Some((id.index, now)),
                _ => None,
            }));
            if identified.len() >= count {
                return identified;
            }
            actions = self.until_deadline();
        }
    }
}

#[test]
fn shards_of_one_key_identify_five_seconds_apart_and_those_of_others_at_once() {
    assert_eq!(Many::answered(bot(3, 1, 1000)).identified(3), [(0, 0), (1, 5), (2, 10)]);
    assert_eq!(Many::answered(bot(3, 2, 1000)).identified(3), [(0, 0), (1, 0), (2, 5)]);
    assert_eq!(Many::answered(bot(4, 16, 1000)).identified(4), [(0, 0), (1, 0), (2, 0), (3, 0)]);
}

#[test]
fn how_many_shards_run_here_is_known_once_discord_has_said_it_and_until_the_end() {
    let mut many = Many::new(Shards::Auto);
    assert_eq!(many.sharding.size(), None);
    many.actions();
    assert_eq!(many.sharding.size(), None, "Discord has not answered");
    many.sharding.answered(Ok(bot(3, 1, 1000)), many.now);
    assert_eq!((many.sharding.size(), many.sharding.count()), (Some(3), 3));
    many.sharding.stop();
    assert_eq!(many.sharding.size(), None);
}

#[test]
fn no_more_shards_are_started_than_may_identify_at_once() {
    let mut many = Many::answered(bot(100, 2, 1000));
    let starts = |actions: Vec<ShardingAction>| {
        actions.into_iter().filter(|action| matches!(action, ShardingAction::Start(_))).count()
    };
    assert_eq!(starts(many.actions()), 4, "two identified, and two wait for their turn");
    assert_eq!(starts(many.until_deadline()), 2);
}

#[test]
fn nobody_identifies_when_no_session_start_is_left_until_there_is() {
    let identified = Many::answered(bot(4, 16, 2)).identified(4);
    assert_eq!(identified, [(0, 0), (1, 0), (2, 14_400), (3, 14_400)]);
}

#[test]
fn discord_is_asked_again_after_pauses_and_then_the_bot_does_without() {
    let mut many = Many::new(Shards::Auto);
    many.actions();
    let began = many.now;
    let error = GatewayBotError::Status(503);
    for _ in 0..4 {
        many.sharding.answered(Err(error.clone()), many.now);
        assert_eq!(many.actions(), [ShardingAction::Report(error.clone())]);
        assert_eq!(many.until_deadline(), [ShardingAction::Request]);
    }
    assert!((7..16).contains(&(many.now - began).as_secs()), "{:?}", many.now - began);
    many.sharding.answered(Err(error.clone()), many.now);
    let single = ShardId::SINGLE;
    let alone =
        [ShardingAction::Report(error), ShardingAction::Start(single), ShardingAction::Identify(single)];
    assert_eq!(many.actions(), alone);
}

#[test]
fn an_answer_that_never_comes_is_a_failure_and_one_that_comes_too_late_is_none() {
    let mut many = Many::new(Shards::Auto);
    many.actions();
    let asked = many.now;
    let late = many.until_deadline();
    assert_eq!(many.now - asked, seconds(10));
    assert!(matches!(late[..], [ShardingAction::Report(GatewayBotError::Unreachable(_))]), "{late:?}");
    many.sharding.answered(Ok(bot(7, 1, 1000)), many.now);
    assert_eq!(many.actions(), []);
    assert_eq!(many.until_deadline(), [ShardingAction::Request]);
}

#[test]
fn a_server_that_cannot_be_asked_has_one_shard_at_once_and_a_wrong_token_is_the_end() {
    let mut many = Many::new(Shards::Auto);
    many.actions();
    many.sharding.answered(Err(GatewayBotError::Status(404)), many.now);
    assert!(many.actions().contains(&ShardingAction::Identify(ShardId::SINGLE)));

    let mut many = Many::new(Shards::Auto);
    many.actions();
    many.sharding.answered(Err(GatewayBotError::Unauthorized), many.now);
    assert_eq!(many.actions(), [ShardingAction::Fail(MainGatewayError::BadToken)]);
    assert_eq!(many.sharding.deadline(many.now), None);
}

#[test]
fn a_rate_limit_is_waited_out() {
    let limited = GatewayBot::read(429, Some(64.5), b"{}").unwrap_err();
    let mut many = Many::new(Shards::Auto);
    many.actions();
    let asked = many.now;
    many.sharding.answered(Err(limited), many.now);
    many.actions();
    assert_eq!(many.until_deadline(), [ShardingAction::Request]);
    assert_eq!(many.now - asked, Duration::from_millis(64_500));
}

#[test]
fn too_few_shards_are_asked_for_again_if_discord_chooses_and_are_the_end_otherwise() {
    let mut many = Many::answered(bot(1, 1, 1000));
    many.actions();
    many.sharding.refused(shard(0, 1), MainGatewayError::ShardingRequired, many.now);
    assert_eq!(many.actions(), [ShardingAction::Close]);
    assert_eq!(many.until_deadline(), [ShardingAction::Request]);
    many.sharding.answered(Ok(bot(2, 2, 999)), many.now);
    let started = many.actions();
    assert!(started.contains(&ShardingAction::Start(shard(1, 2))), "{started:?}");

    for shards in [Shards::One, Shards::Of { ids: 0..1, total: 1 }] {
        let mut many = Many::new(shards);
        many.actions();
        many.sharding.answered(Ok(bot(9, 1, 1000)), many.now);
        many.actions();
        many.sharding.refused(shard(0, 1), MainGatewayError::ShardingRequired, many.now);
        assert_eq!(many.actions(), [ShardingAction::Fail(MainGatewayError::ShardingRequired)]);
    }
}

#[test]
fn a_discord_that_always_wants_more_shards_is_not_asked_for_ever() {
    let mut many = Many::answered(bot(1, 1, 1000));
    for _ in 0..5 {
        many.actions();
        many.sharding.refused(shard(0, 1), MainGatewayError::ShardingRequired, many.now);
        assert_eq!(many.actions(), [ShardingAction::Close]);
        many.until_deadline();
        many.sharding.answered(Ok(bot(1, 1, 1000)), many.now);
    }
    many.actions();
    many.sharding.refused(shard(0, 1), MainGatewayError::ShardingRequired, many.now);
    assert_eq!(many.actions(), [ShardingAction::Fail(MainGatewayError::ShardingRequired)]);
}

#[test]
fn a_shard_that_panics_is_started_again_after_a_pause_and_the_fifth_time_in_a_minute_is_the_end() {
    let mut many = Many::new(Shards::One);
    many.actions();
    for panics in 1..5 {
        let panicked = many.now;
        many.sharding.panicked(ShardId::SINGLE, many.now);
        assert_eq!(many.actions(), []);
        assert!(many.until_deadline().contains(&ShardingAction::Start(ShardId::SINGLE)));
        let pause = Duration::from_millis(500) * 2_u32.pow(panics - 1);
        assert!((pause..pause * 2).contains(&(many.now - panicked)), "{:?}", many.now - panicked);
    }
    many.sharding.panicked(ShardId::SINGLE, many.now);
    assert_eq!(many.actions(), [ShardingAction::Fail(MainGatewayError::Panicked)]);

    let mut many = Many::new(Shards::One);
    for _ in 0..20 {
        many.actions();
        many.sharding.panicked(ShardId::SINGLE, many.now);
        many.now += seconds(30);
    }
    assert!(!many.actions().contains(&ShardingAction::Fail(MainGatewayError::Panicked)));
}

#[test]
fn a_shard_of_several_says_which_it_is_and_another_goes_on_with_its_session() {
    let mut story = Story::new();
    story.shard = story.shard.of(shard(2, 5));
    story.actions();
    story.shard.opened(story.now);
    let identify = story.hear(HELLO);
    let [Action::Send(identify)] = &identify[..] else { panic!("{identify:?}") };
    assert!(identify.contains(r#""shard":[2,5]"#), "{identify}");
    story.hear(READY);
    story.hear(r#"{"op":0,"s":6,"t":"TYPING_START","d":{}}"#);

    let point = story.shard.resume_point().expect("there is a session");
    let mut next = Story::new();
    next.shard = next.shard.of(shard(2, 5)).resume(point);
    assert_eq!(next.actions(), [connect(RESUME_URL)]);
    next.shard.opened(next.now);
    assert_eq!(next.hear(HELLO), [send(r#"{"op":6,"d":{"token":"hush","session_id":"5f0c","seq":6}}"#)]);
}

#[test]
fn the_gateway_is_asked_for_beside_its_websocket() {
    assert_eq!(GatewayBot::address(DISCORD), "https://discord.com/api/v10/gateway/bot");
    assert_eq!(GatewayBot::address("ws://127.0.0.1:9/?v=10"), "http://127.0.0.1:9/api/v10/gateway/bot");
    assert_eq!(GatewayBot::authorization(&Token("Bot hush".into())), "Bot hush");
    assert_eq!(GatewayBot::authorization(&Token("hush".into())), "Bot hush");
    assert_eq!(GatewayBot::read(200, None, b"{}"), Err(GatewayBotError::Unreadable));
}
