//! Stories of one shard against a scripted Discord.

mod events;
mod hostile;
mod op_4;
mod resuming;
mod sharding;

use std::time::{Duration, Instant};

use super::*;
use crate::bridge::{SendLimit, events::UpdateVoiceState};
use crate::id::{ChannelId, GuildId, SessionId};

const HELLO: &str = r#"{"op":10,"d":{"heartbeat_interval":41250},"s":null,"t":null}"#;
const READY: &str = r#"{"op":0,"s":1,"t":"READY","d":{"v":10,"user":{"id":"900","username":"bot"},"guilds":[{"id":"111","unavailable":true}],"session_id":"5f0c","resume_gateway_url":"wss://gateway-us-east1-b.discord.gg"}}"#;
const RESUMED: &str = r#"{"op":0,"s":7,"t":"RESUMED","d":{"_trace":[]}}"#;
const ACK: &str = r#"{"op":11}"#;
const RESUME_URL: &str = "wss://gateway-us-east1-b.discord.gg";
const QUERY: &str = "/?v=10&encoding=json";

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A shard and the moment it lives in.
struct Story {
    shard: Shard,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        let now = start();
        Self { shard: Shard::new(Token("Bot hush".into()), DISCORD, 1, now), now }
    }

    /// Connects and identifies.
    fn identified() -> Self {
        let mut story = Self::new();
        assert_eq!(story.actions(), [connect(DISCORD)]);
        story.shard.opened(story.now);
        assert_eq!(ops(&story.hear(HELLO)), ["2"]);
        story
    }

    fn ready() -> Self {
        let mut story = Self::identified();
        story.hear(READY);
        story
    }

    /// Is ready, loses the connection and opens the next.
    fn resuming() -> Self {
        let mut story = Self::ready();
        story.hear(r#"{"op":0,"s":6,"t":"TYPING_START","d":{}}"#);
        story.lose(None);
        story.shard.opened(story.now);
        assert_eq!(ops(&story.hear(HELLO)), ["6"]);
        story
    }

    /// Loses the connection and returns the wait before the next is tried.
    fn lose(&mut self, code: Option<u16>) -> Duration {
        self.shard.closed(code, self.now);
        let actions = self.actions();
        let [Action::Reconnecting { after, .. }] = actions[..] else { panic!("{actions:?}") };
        assert_eq!(self.shard.deadline(), Some(self.now + after));
        let next = self.after(after);
        assert!(matches!(next[..], [Action::Connect { .. }]), "{next:?}");
        after
    }

    fn hear(&mut self, text: &str) -> Vec<Action> {
        self.shard.text(text.as_bytes(), self.now);
        self.actions()
    }

    fn after(&mut self, wait: Duration) -> Vec<Action> {
        self.now += wait;
        self.actions()
    }

    fn until_deadline(&mut self) -> Vec<Action> {
        self.now = self.shard.deadline().expect("nothing is awaited");
        self.actions()
    }

    fn actions(&mut self) -> Vec<Action> {
        let (shard, now) = (&mut self.shard, self.now);
        let mut actions = Vec::new();
        while let Some(action) = shard.poll(now) {
            // It is always this shard's turn.
            match action {
                Action::RequestIdentify => shard.may_identify(now),
                action => actions.push(action),
            }
        }
        actions
    }
}

fn connect(base: &str) -> Action {
    Action::Connect { url: format!("{base}{QUERY}") }
}

fn send(text: &str) -> Action {
    Action::Send(text.into())
}

/// The opcodes sent.
fn ops(actions: &[Action]) -> Vec<String> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(frame) => serde_json::from_str::<serde_json::Value>(frame).ok(),
        _ => None,
    });
    sent.map(|frame| frame["op"].to_string()).collect()
}

fn update(guild: u64) -> UpdateVoiceState {
    UpdateVoiceState {
        guild: GuildId(guild),
        channel: Some(ChannelId(222)),
        self_mute: false,
        self_deaf: false,
    }
}

fn dispatched(actions: Vec<Action>) -> Dispatch {
    match actions.as_slice() {
        [Action::Dispatch(dispatch)] => dispatch.clone(),
        _ => panic!("{actions:?}"),
    }
}

#[test]
fn a_new_session_identifies_with_the_two_intents_of_voice() {
    let mut story = Story::new();
    assert_eq!(story.actions(), [connect("wss://gateway.discord.gg")]);
    story.shard.opened(story.now);
    assert_eq!(story.actions(), []);
    let identify = format!(
        r#"{{"op":2,"d":{{"token":"hush","intents":129,"properties":{{"os":"{}","browser":"actix-voice","device":"actix-voice"}}}}}}"#,
        std::env::consts::OS
    );
    assert_eq!(story.hear(HELLO), [send(&identify)]);
    assert!(!story.shard.is_ready());
    let ready = Dispatch::Ready { user: UserId(900), session_id: SessionId("5f0c".into()) };
    assert_eq!(dispatched(story.hear(READY)), ready);
    assert!(story.shard.is_ready());
    assert_eq!(story.shard.user(), Some(UserId(900)));
}

#[test]
fn the_first_beat_comes_within_one_interval_and_the_next_one_interval_later() {
    let mut story = Story::identified();
    let hello = story.now;
    story.hear(READY);
    assert_eq!(story.until_deadline(), [send(r#"{"op":1,"d":1}"#)]);
    let first = story.now - hello;
    assert!(first > Duration::ZERO && first < Duration::from_millis(41_250), "{first:?}");
    assert_eq!(story.after(Duration::from_millis(80)), []);
    story.hear(ACK);
    assert_eq!(story.shard.latency(), Some(Duration::from_millis(80)));
    story.until_deadline();
    assert_eq!(story.now - hello, first + Duration::from_millis(41_250));
}

#[test]
fn bots_with_different_seeds_do_not_beat_at_the_same_time() {
    let first_beat = |seed| {
        let now = start();
        let mut shard = Shard::new(Token("t".into()), DISCORD, seed, now);
        while shard.poll(now).is_some() {}
        shard.opened(now);
        shard.text(HELLO.as_bytes(), now);
        shard.text(READY.as_bytes(), now);
        while shard.poll(now).is_some() {}
        shard.deadline().unwrap() - now
    };
    let beats: std::collections::HashSet<Duration> = (0..100).map(first_beat).collect();
    assert_eq!(beats.len(), 100);
}

#[test]
fn a_beat_is_sent_at_once_when_discord_asks_for_it() {
    let mut story = Story::identified();
    assert_eq!(story.hear(r#"{"op":1,"d":null}"#), [send(r#"{"op":1,"d":null}"#)]);
    story.hear(READY);
    story.hear(r#"{"op":0,"s":42,"t":"TYPING_START","d":{}}"#);
    assert_eq!(story.hear(r#"{"op":1,"d":null}"#), [send(r#"{"op":1,"d":42}"#)]);
}

#[test]
fn stopping_closes_normally_and_nothing_follows() {
    let mut story = Story::ready();
    story.shard.stop();
    assert_eq!(story.actions(), [Action::Close(1000)]);
    story.shard.closed(Some(1000), story.now);
    story.shard.update_voice_state(update(1));
    assert_eq!(story.hear(HELLO), []);
    assert_eq!(story.shard.deadline(), None);
}

#[test]
fn an_address_gets_its_query_once() {
    assert_eq!(address("ws://127.0.0.1:9"), "ws://127.0.0.1:9/?v=10&encoding=json");
    assert_eq!(address("wss://x/?v=6&encoding=etf"), "wss://x/?v=10&encoding=json");
}

#[test]
fn the_token_is_never_printed() {
    let mut story = Story::new();
    story.actions();
    story.shard.opened(story.now);
    story.shard.text(HELLO.as_bytes(), story.now);
    story.shard.may_identify(story.now);
    assert!(!format!("{:?}", story.shard).contains("hush"));
    let shown = format!("{:?}", story.actions());
    assert!(shown.contains("Send(op 2") && !shown.contains("hush"), "{shown}");
}
