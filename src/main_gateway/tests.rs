//! Stories of one shard against a scripted Discord.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::close::reaction;
use super::*;
use crate::bridge::events::{UpdateVoiceState, VoiceServer, VoiceState};
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
        std::iter::from_fn(|| self.shard.poll(self.now)).collect()
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
fn op_4_waits_for_the_session_and_keeps_its_order() {
    let mut story = Story::identified();
    story.shard.update_voice_state(update(111));
    story.shard.update_voice_state(UpdateVoiceState { channel: None, ..update(112) });
    assert_eq!(story.actions(), []);
    let actions = story.hear(READY);
    let join = r#"{"op":4,"d":{"guild_id":"111","channel_id":"222","self_mute":false,"self_deaf":false}}"#;
    let leave = r#"{"op":4,"d":{"guild_id":"112","channel_id":null,"self_mute":false,"self_deaf":false}}"#;
    assert_eq!(actions[1..], [send(join), send(leave)]);
}

/// What is sent as soon as the session is resumed.
fn sent_again(story: &mut Story) -> Vec<Action> {
    story.lose(None);
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["6"]);
    let mut actions = story.hear(RESUMED);
    assert_eq!(actions.remove(0), Action::Dispatch(Dispatch::Resumed));
    actions
}

#[test]
fn op_4_is_sent_again_after_a_resume_until_it_is_answered() {
    let mut story = Story::ready();
    story.shard.update_voice_state(update(111));
    story.shard.update_voice_state(UpdateVoiceState { channel: None, ..update(112) });
    let [first, second] = &story.actions()[..] else { panic!("both are sent") };
    let (first, second) = (first.clone(), second.clone());
    // Of somebody else, of another guild, and of another channel: none is the answer.
    for (guild, user, channel) in [(111, 901, 222), (110, 900, 222), (111, 900, 223)] {
        story.hear(&voice_state(guild, user, channel));
    }
    assert_eq!(sent_again(&mut story), [first.clone(), second.clone()]);
    story.hear(&voice_state(111, 900, 222));
    assert_eq!(sent_again(&mut story), [second]);
}

#[test]
fn op_4_is_not_sent_again_when_it_is_old_or_a_later_one_waits() {
    let mut story = Story::ready();
    story.shard.update_voice_state(update(111));
    assert_eq!(ops(&story.actions()), ["4"]);
    story.now += seconds(10);
    assert_eq!(sent_again(&mut story), []);

    story.shard.update_voice_state(update(111));
    assert_eq!(ops(&story.actions()), ["4"]);
    story.lose(None);
    let later = UpdateVoiceState { channel: None, ..update(111) };
    story.shard.update_voice_state(later);
    story.shard.opened(story.now);
    story.hear(HELLO);
    let [_, Action::Send(frame)] = &story.hear(RESUMED)[..] else { panic!("one op 4") };
    assert!(frame.contains(r#""channel_id":null"#), "{frame}");
}

fn voice_state(guild: u64, user: u64, channel: u64) -> String {
    format!(
        r#"{{"op":0,"s":2,"t":"VOICE_STATE_UPDATE","d":{{"guild_id":"{guild}","channel_id":"{channel}","user_id":"{user}","session_id":"5f0c"}}}}"#
    )
}

#[test]
fn op_4_stays_below_the_limit_and_leaves_room_for_beats() {
    let mut story = Story::ready();
    for guild in 0..300 {
        story.shard.update_voice_state(update(guild));
    }
    // Identify counts too.
    assert_eq!(ops(&story.actions()).len(), 109);
    let mut sent: Vec<Instant> = vec![story.now; 110];
    while sent.len() < 300 {
        let actions = story.until_deadline();
        if ops(&actions).contains(&"1".to_owned()) {
            assert_eq!(ops(&actions)[0], "1");
            story.hear(ACK);
        }
        sent.extend(ops(&actions).iter().map(|_| story.now));
        let latest = sent.iter().filter(|at| story.now - **at < seconds(60)).count();
        assert!(latest <= 120, "{latest}");
    }
    assert_eq!(story.shard.dropped(), 0);
}

#[test]
fn of_too_many_op_4_the_oldest_are_dropped_and_counted() {
    let mut story = Story::identified();
    for guild in 0..5000 {
        story.shard.update_voice_state(update(guild));
    }
    assert_eq!(story.shard.dropped(), 5000 - 4096);
    let actions = story.hear(READY);
    assert!(
        matches!(&actions[1], Action::Send(frame) if frame.contains(r#""guild_id":"904""#)),
        "{actions:?}"
    );
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
fn voice_events_are_passed_on() {
    let mut story = Story::ready();
    let state = dispatched(story.hear(
        r#"{"op":0,"s":2,"t":"VOICE_STATE_UPDATE","d":{"guild_id":"111","channel_id":"222","user_id":"900","session_id":"5f0c"}}"#,
    ));
    let Dispatch::VoiceStateUpdate(VoiceState { guild: Some(GuildId(111)), channel, user, .. }) = state
    else {
        panic!("{state:?}")
    };
    assert_eq!((channel, user), (Some(ChannelId(222)), UserId(900)));
    let server = dispatched(story.hear(
        r#"{"op":0,"s":3,"t":"VOICE_SERVER_UPDATE","d":{"token":"hush","guild_id":"111","endpoint":null}}"#,
    ));
    let expected = VoiceServer { guild: GuildId(111), token: Token("hush".into()), endpoint: None };
    assert_eq!(server, Dispatch::VoiceServerUpdate(expected));
}

#[test]
fn a_guild_tells_its_voice_channels_and_who_is_in_them() {
    let mut story = Story::ready();
    let guild = dispatched(story.hear(
        r#"{"op":0,"s":2,"t":"GUILD_CREATE","d":{"id":"111","name":"g","channels":[
            {"id":"1","type":0,"name":"text"},{"id":"2","type":2,"bitrate":96000},{"id":"3","type":13,"bitrate":null}],
            "voice_states":[{"channel_id":"2","user_id":"901","session_id":"s","mute":false}]}}"#,
    ));
    let Dispatch::GuildAvailable { guild, voice_channels, voice_states } = guild else { panic!("{guild:?}") };
    assert_eq!(guild, GuildId(111));
    assert_eq!(voice_channels, [(ChannelId(2), Some(96_000)), (ChannelId(3), None)]);
    assert_eq!((voice_states[0].guild, voice_states[0].user), (Some(GuildId(111)), UserId(901)));
    let gone = story.hear(r#"{"op":0,"s":3,"t":"GUILD_DELETE","d":{"id":"111","unavailable":true}}"#);
    assert_eq!(dispatched(gone), Dispatch::GuildGone(GuildId(111)));
}

#[test]
fn the_bitrate_of_voice_channels_is_passed_on() {
    let mut story = Story::ready();
    let channel = |event, kind| {
        format!(r#"{{"op":0,"s":2,"t":"{event}","d":{{"id":"2","type":{kind},"bitrate":64000}}}}"#)
    };
    let bitrate = Dispatch::ChannelBitrate { channel: ChannelId(2), bitrate: 64_000 };
    assert_eq!(dispatched(story.hear(&channel("CHANNEL_UPDATE", 2))), bitrate);
    assert_eq!(dispatched(story.hear(&channel("CHANNEL_CREATE", 13))), bitrate);
    assert_eq!(story.hear(&channel("CHANNEL_UPDATE", 0)), []);
}

#[test]
fn what_cannot_be_understood_is_counted_and_skipped() {
    let mut story = Story::ready();
    for text in ["", "{}", r#"{"op":-1}"#, r#"{"op":0,"t":"VOICE_STATE_UPDATE","d":{}}"#, RESUMED, READY] {
        assert_eq!(story.hear(text), [], "{text}");
    }
    assert_eq!(story.shard.malformed(), 6);
    assert_eq!(story.hear(r#"{"op":99,"d":{}}"#), []);
    assert_eq!(story.hear(r#"{"op":0,"t":"SOMETHING_NEW","d":null,"s":9}"#), []);
    assert_eq!(story.shard.malformed(), 6);
    assert!(story.shard.is_ready());
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
    assert!(!format!("{:?}", story.shard).contains("hush"));
    let shown = format!("{:?}", story.actions());
    assert!(shown.contains("Send(op 2") && !shown.contains("hush"), "{shown}");
}

#[test]
fn no_prefix_of_a_message_is_taken_for_one() {
    for text in [HELLO, READY, RESUMED] {
        for length in 0..text.len() {
            assert!(decode(&text.as_bytes()[..length]).is_err(), "{text} {length}");
        }
    }
}

proptest! {
    #[test]
    fn random_and_damaged_messages_never_break_the_shard(
        noise in proptest::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut story = Story::ready();
        story.shard.text(&noise, story.now);
        prop_assert_eq!(story.shard.malformed(), 1);
        let mut damaged = READY.as_bytes().to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        story.shard.text(&damaged, story.now);
        story.actions();
        prop_assert!(story.shard.deadline().is_some());
    }
}
