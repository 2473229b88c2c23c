//! Stories of one websocket against a scripted voice gateway.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::gateway::close::Verdict;
use crate::gateway::payload::{DaveEvent, Outgoing};
use crate::id::{ChannelId, GuildId, SecretKey, SessionId, Token, UserId};

const HELLO: &str = r#"{"op":8,"d":{"v":8,"heartbeat_interval":13750.0}}"#;
const READY: &str = r#"{"op":2,"d":{"ssrc":3213,"ip":"104.29.158.39","port":19312,"modes":["aead_aes256_gcm_rtpsize","aead_xchacha20_poly1305_rtpsize"]}}"#;
const DESCRIPTION: &str = r#"{"op":4,"d":{"mode":"aead_aes256_gcm_rtpsize","secret_key":[7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7],"dave_protocol_version":1}}"#;
const RESUMED: &str = r#"{"op":9,"d":null}"#;
const SILENT: &str = r#"{"op":5,"d":{"speaking":0,"delay":0,"ssrc":3213}}"#;
const SPEAKING: &str = r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":3213}}"#;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn credentials() -> Credentials {
    Credentials {
        guild: GuildId(111),
        channel: ChannelId(222),
        user: UserId(900),
        session_id: SessionId("5f0c".into()),
        token: Token("hush".into()),
        endpoint: "c-ewr12.discord.media:2096".into(),
    }
}

/// A session and the moment it lives in.
struct Story {
    session: Session,
    now: Instant,
}

impl Story {
    fn identify() -> Self {
        Self::begin(Start::Identify { max_dave_protocol_version: 1, refused_modes: Vec::new() })
    }

    fn resume(seq_ack: Option<u16>) -> Self {
        Self::begin(Start::Resume { seq_ack, ssrc: Ssrc(3213) })
    }

    fn begin(how: Start) -> Self {
        let now = start();
        Self { session: Session::new(credentials(), how, now), now }
    }

    /// Runs the whole handshake.
    fn established() -> Self {
        let mut story = Self::identify();
        story.hear(HELLO);
        story.hear(READY);
        story.session.discovered("203.0.113.7:51234".parse().unwrap(), story.now);
        let actions = story.hear(DESCRIPTION);
        assert!(actions.contains(&text(SILENT)), "{actions:?}");
        story
    }

    fn hear(&mut self, message: &str) -> Vec<Action> {
        self.session.text(message.as_bytes(), self.now);
        self.actions()
    }

    fn hear_binary(&mut self, frame: &[u8]) -> Vec<Action> {
        self.session.binary(frame, self.now);
        self.actions()
    }

    fn beat(&mut self, nonce: u64) -> Vec<Action> {
        self.session.beat(nonce);
        self.actions()
    }

    fn after(&mut self, wait: Duration) -> Vec<Action> {
        self.now += wait;
        self.actions()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll(self.now)).collect()
    }
}

fn text(message: &str) -> Action {
    Action::Send(Outgoing::Text(message.into()))
}

fn server() -> SocketAddr {
    "104.29.158.39:19312".parse().unwrap()
}

fn modes() -> Vec<String> {
    vec!["aead_aes256_gcm_rtpsize".into(), "aead_xchacha20_poly1305_rtpsize".into()]
}

fn timeout(awaited: &'static str) -> Vec<Action> {
    vec![Action::Fail(SessionError::Timeout { awaited })]
}

#[test]
fn the_whole_handshake_in_order() {
    let mut story = Story::identify();
    assert_eq!(
        story.actions(),
        [text(
            r#"{"op":0,"d":{"server_id":"111","user_id":"900","session_id":"5f0c","token":"hush","max_dave_protocol_version":1}}"#
        )]
    );
    assert_eq!(story.hear(HELLO), [Action::Beat(Duration::from_millis(13_750))]);
    let ready = Action::Ready { ssrc: Ssrc(3213), server: server(), modes_offered: modes() };
    assert_eq!(story.hear(READY), [ready]);
    story.session.discovered("203.0.113.7:51234".parse().unwrap(), story.now);
    assert_eq!(
        story.actions(),
        [text(
            r#"{"op":1,"d":{"protocol":"udp","data":{"address":"203.0.113.7","port":51234,"mode":"aead_aes256_gcm_rtpsize"}}}"#
        )]
    );
    assert!(!story.session.is_established());
    let description = SessionDescription {
        mode: "aead_aes256_gcm_rtpsize".into(),
        secret_key: SecretKey([7; 32]),
        dave_protocol_version: 1,
    };
    assert_eq!(story.hear(DESCRIPTION), [Action::Established(description), text(SILENT)]);
    assert!(story.session.is_established());
    assert_eq!(story.session.deadline(), None);
}

#[test]
fn ready_may_come_before_hello() {
    let mut story = Story::identify();
    story.actions();
    assert!(matches!(story.hear(READY)[..], [Action::Ready { .. }]));
    story.session.discovered(server(), story.now);
    story.actions();
    assert_eq!(story.hear(HELLO), [Action::Beat(Duration::from_millis(13_750))]);
    assert!(matches!(story.hear(DESCRIPTION)[..], [Action::Established(_), Action::Send(_)]));
}

#[test]
fn without_hello_an_established_session_beats_every_five_seconds() {
    let mut story = Story::identify();
    story.hear(READY);
    story.session.discovered(server(), story.now);
    story.actions();
    let actions = story.hear(DESCRIPTION);
    assert!(actions.contains(&Action::Beat(Duration::from_secs(5))), "{actions:?}");
}

#[test]
fn every_state_but_established_ends_after_ten_seconds() {
    let ten = Duration::from_secs(10);
    let mut story = Story::identify();
    story.actions();
    assert_eq!(story.session.deadline(), Some(story.now + ten));
    assert_eq!(story.after(ten - Duration::from_millis(1)), []);
    assert_eq!(story.after(Duration::from_millis(1)), timeout("Hello"));
    assert_eq!(story.after(ten), []);

    let mut story = Story::identify();
    story.hear(HELLO);
    assert_eq!(story.after(ten), timeout("Ready"));

    let mut story = Story::identify();
    story.hear(READY);
    assert_eq!(story.after(ten), timeout("the answer to our IP discovery"));

    let mut story = Story::identify();
    story.hear(READY);
    story.session.discovered(server(), story.now);
    story.actions();
    assert_eq!(story.after(ten), timeout("Session Description"));

    let mut story = Story::resume(None);
    story.hear(HELLO);
    assert_eq!(story.after(ten), timeout("Resumed"));

    let mut story = Story::established();
    assert_eq!(story.after(Duration::from_secs(86_400)), []);
}

#[test]
fn a_message_out_of_order_ends_the_session_and_says_what_was_awaited() {
    let broken = |awaited, came| vec![Action::Fail(SessionError::OutOfOrder { awaited, came })];
    let mut story = Story::identify();
    story.actions();
    assert_eq!(story.hear(DESCRIPTION), broken("Hello", "Session Description"));
    assert_eq!(story.hear(HELLO), []);

    let mut story = Story::identify();
    story.hear(HELLO);
    assert_eq!(story.hear(RESUMED), broken("Ready", "Resumed"));

    let mut story = Story::identify();
    story.hear(READY);
    assert_eq!(story.hear(DESCRIPTION), broken("the answer to our IP discovery", "Session Description"));

    let mut story = Story::resume(None);
    story.actions();
    assert_eq!(story.hear(READY), broken("Resumed", "Ready"));

    let mut story = Story::established();
    assert_eq!(story.hear(READY), broken("nothing more of the handshake", "Ready"));
    let error = SessionError::OutOfOrder { awaited: "Ready", came: "Resumed" };
    assert_eq!(error.to_string(), "awaited Ready and got Resumed");
}

#[test]
fn what_others_do_is_told_at_any_time() {
    let mut story = Story::identify();
    story.actions();
    for _ in 0..2 {
        let users = Action::ClientsConnect(vec![UserId(901), UserId(902)]);
        assert_eq!(story.hear(r#"{"op":11,"d":{"user_ids":["901","902"]},"seq":0}"#), [users]);
        assert_eq!(story.hear(r#"{"op":18,"d":{"user_id":"901","flags":null},"seq":1}"#), []);
        assert_eq!(
            story.hear(r#"{"op":5,"d":{"user_id":"901","ssrc":3207,"speaking":1},"seq":3}"#),
            [Action::Speaking {
                user: Some(UserId(901)),
                ssrc: Ssrc(3207),
                flags: SpeakingFlags::MICROPHONE
            }]
        );
        assert_eq!(
            story.hear(r#"{"op":12,"d":{"user_id":"902","audio_ssrc":3208,"video_ssrc":0}}"#),
            [Action::Mapped { user: UserId(902), ssrc: Ssrc(3208) }]
        );
        assert_eq!(
            story.hear(r#"{"op":13,"d":{"user_id":"901"},"seq":4}"#),
            [Action::ClientDisconnect(UserId(901))]
        );
        assert_eq!(
            story.hear_binary(&[0, 5, 0x19, 1, 2]),
            [Action::Dave(DaveEvent::ExternalSender(Bytes::from_static(&[1, 2])))]
        );
        assert_eq!(story.hear(r#"{"op":3,"d":null}"#), [Action::BeatNow]);
        assert_eq!(story.hear(r#"{"op":6,"d":{"t":77}}"#), [Action::Acknowledged { nonce: 77 }]);
        story = Story::established();
    }
}

#[test]
fn a_beat_acknowledges_the_last_sequence_across_its_wrap() {
    let mut story = Story::established();
    let beat = |seq_ack| [text(&format!(r#"{{"op":3,"d":{{"t":7,"seq_ack":{seq_ack}}}}}"#))];
    assert_eq!(story.beat(7), beat(-1));
    story.hear(r#"{"op":11,"d":{"user_ids":[]},"seq":0}"#);
    assert_eq!(story.beat(7), beat(0));
    story.hear_binary(&[0xFF, 0xFF, 0x19, 1]);
    assert_eq!(story.beat(7), beat(65_535));
    story.hear(r#"{"op":13,"d":{"user_id":"901"},"seq":0}"#);
    assert_eq!(story.beat(7), beat(0));
    story.hear_binary(&[0, 1, 99]);
    assert_eq!(story.beat(7), beat(1));
    story.hear(HELLO);
    assert_eq!(story.beat(7), beat(1));
    assert_eq!(story.session.last_seq(), Some(1));
}

#[test]
fn a_numbered_message_that_cannot_be_read_is_acknowledged_all_the_same() {
    let mut story = Story::established();
    let damaged: [(&str, u16); 3] = [
        (r#"{"op":13,"d":{"user_id":"somebody"},"seq":5}"#, 5),
        (r#"{"d":{},"seq":6}"#, 6),
        (r#"{"op":24,"d":null,"seq":7}"#, 7),
    ];
    for (message, seq) in damaged {
        assert_eq!(story.hear(message), []);
        assert_eq!(story.session.last_seq(), Some(seq), "{message}");
    }
    for (frame, seq) in [(&[0, 8, 0x1D, 0][..], 8), (&[0, 9, 0x19], 9), (&[0, 10], 10)] {
        assert_eq!(story.hear_binary(frame), []);
        assert_eq!(story.session.last_seq(), Some(seq), "{frame:?}");
    }
    assert_eq!(story.session.malformed(), 6);
}

#[test]
fn a_resumed_session_takes_the_replay_text_and_binary() {
    let mut story = Story::resume(Some(65_534));
    assert_eq!(
        story.actions(),
        [text(r#"{"op":7,"d":{"server_id":"111","session_id":"5f0c","token":"hush","seq_ack":65534}}"#)]
    );
    assert_eq!(story.beat(1), [text(r#"{"op":3,"d":{"t":1,"seq_ack":65534}}"#)]);
    assert_eq!(story.hear(HELLO), [Action::Beat(Duration::from_millis(13_750))]);
    // Even what comes before Resumed counts.
    let sender = Action::Dave(DaveEvent::ExternalSender(Bytes::from_static(&[1])));
    assert_eq!(story.hear_binary(&[0xFF, 0xFF, 0x19, 1]), [sender]);
    story.session.speaking(SpeakingFlags::MICROPHONE);
    assert_eq!(story.actions(), []);
    assert_eq!(story.hear(RESUMED), [Action::Resumed, text(SPEAKING)]);
    assert!(story.session.is_established());
    let proposals = Action::Dave(DaveEvent::Proposals(Bytes::from_static(&[0, 9])));
    assert_eq!(story.hear_binary(&[0, 0, 0x1B, 0, 9]), [proposals]);
    let left = Action::ClientDisconnect(UserId(901));
    assert_eq!(story.hear(r#"{"op":13,"d":{"user_id":"901"},"seq":1}"#), [left]);
    assert_eq!(story.session.last_seq(), Some(1));
}

#[test]
fn a_resume_without_hello_beats_all_the_same() {
    let mut story = Story::resume(None);
    story.actions();
    let beat = Action::Beat(Duration::from_secs(5));
    assert_eq!(story.hear(RESUMED), [Action::Resumed, beat, text(SILENT)]);
}

#[test]
fn speaking_is_sent_when_it_changes_and_again_with_every_new_key() {
    let mut story = Story::identify();
    story.hear(READY);
    story.session.speaking(SpeakingFlags::MICROPHONE);
    story.session.discovered(server(), story.now);
    assert!(!story.actions().contains(&text(SPEAKING)));
    assert!(story.hear(DESCRIPTION).contains(&text(SPEAKING)));
    story.session.speaking(SpeakingFlags::MICROPHONE);
    assert_eq!(story.actions(), []);
    story.session.speaking(SpeakingFlags::NONE);
    assert_eq!(story.actions(), [text(SILENT)]);
    story.session.speaking(SpeakingFlags::MICROPHONE);
    assert_eq!(story.actions(), [text(SPEAKING)]);
    let again = story.hear(DESCRIPTION);
    assert!(
        matches!(again[..], [Action::Established(_), Action::Send(_)]) && again.contains(&text(SPEAKING))
    );
}

#[test]
fn dave_commands_wait_until_the_session_is_established() {
    let mut story = Story::resume(Some(4));
    story.hear(HELLO);
    story.session.command(Command::TransitionReady { transition_id: 17 });
    story.session.command(Command::KeyPackage(Bytes::from_static(&[1])));
    assert_eq!(story.actions(), []);
    let package = |byte| Action::Send(Outgoing::Binary(Bytes::copy_from_slice(&[0x1A, byte])));
    let ready = text(r#"{"op":23,"d":{"transition_id":17}}"#);
    assert_eq!(story.hear(RESUMED), [Action::Resumed, text(SILENT), ready, package(1)]);
    story.session.command(Command::KeyPackage(Bytes::from_static(&[2])));
    assert_eq!(story.actions(), [package(2)]);
}

#[test]
fn of_too_many_waiting_commands_the_oldest_are_dropped_and_counted() {
    let mut story = Story::resume(Some(4));
    story.hear(HELLO);
    for transition_id in 0..40 {
        story.session.command(Command::TransitionReady { transition_id });
    }
    let actions = story.hear(RESUMED);
    assert_eq!(story.session.dropped(), 8);
    assert_eq!(actions.len(), 2 + 32);
    assert_eq!(actions[2], text(r#"{"op":23,"d":{"transition_id":8}}"#));
    assert_eq!(actions[33], text(r#"{"op":23,"d":{"transition_id":39}}"#));
}

#[test]
fn a_malformed_frame_is_counted_and_skipped() {
    let mut story = Story::identify();
    story.actions();
    assert_eq!(story.hear("not json"), []);
    assert_eq!(story.hear(r#"{"op":2,"d":{"ssrc":1}}"#), []);
    assert_eq!(story.hear_binary(&[0, 9]), []);
    assert_eq!(story.session.malformed(), 3);
    assert_eq!(story.session.last_malformed(), Some(PayloadError::TooShort { length: 2 }));
    assert!(matches!(story.hear(READY)[..], [Action::Ready { .. }]));
}

#[test]
fn the_best_mode_offered_is_chosen() {
    let gcm = "aead_aes256_gcm_rtpsize".to_owned();
    let chacha = "aead_xchacha20_poly1305_rtpsize".to_owned();
    assert_eq!(choose_mode(&[chacha.clone(), gcm.clone()], &[]), Some(gcm.as_str()));
    assert_eq!(choose_mode(std::slice::from_ref(&chacha), &[]), Some(chacha.as_str()));
    assert_eq!(
        choose_mode(&[gcm.clone(), chacha.clone()], std::slice::from_ref(&gcm)),
        Some(chacha.as_str())
    );
    assert_eq!(choose_mode(&[gcm.clone(), chacha.clone()], &[gcm, chacha]), None);
    assert_eq!(choose_mode(&["x".to_owned()], &[]), None);
    assert_eq!(choose_mode(&[], &[]), None);
}

#[test]
fn a_retired_mode_is_chosen_only_where_the_feature_allows_it() {
    let offered = ["xsalsa20_poly1305".to_owned(), "aead_aes256_gcm".to_owned()];
    let choice = if cfg!(feature = "retired-modes") { Some("aead_aes256_gcm") } else { None };
    assert_eq!(choose_mode(&offered, &[]), choice);
}

#[test]
fn without_a_common_mode_the_session_ends_before_select_protocol() {
    let refused_modes = vec!["aead_aes256_gcm_rtpsize".to_owned()];
    let mut story = Story::begin(Start::Identify { max_dave_protocol_version: 1, refused_modes });
    story.actions();
    let offered = vec!["aead_aes256_gcm_rtpsize".to_owned()];
    let ready = READY.replace(r#","aead_xchacha20_poly1305_rtpsize""#, "");
    assert_eq!(story.hear(&ready), [Action::Fail(SessionError::NoMode { offered })]);
}

#[test]
fn a_failure_says_how_to_go_on() {
    let verdicts = [
        (SessionError::Timeout { awaited: "Hello" }, Verdict::Rejoin),
        (SessionError::OutOfOrder { awaited: "Ready", came: "Resumed" }, Verdict::Rejoin),
        (SessionError::NoMode { offered: Vec::new() }, Verdict::Stop),
    ];
    for (error, verdict) in verdicts {
        assert_eq!(error.verdict(), verdict, "{error}");
    }
}

#[test]
fn a_failed_session_says_and_takes_nothing_more() {
    let mut story = Story::established();
    story.session.text(br#"{"op":13,"d":{"user_id":"901"},"seq":4}"#, story.now);
    let told = story.hear(READY);
    assert!(matches!(told[..], [Action::ClientDisconnect(UserId(901)), Action::Fail(_)]), "{told:?}");
    story.session.speaking(SpeakingFlags::MICROPHONE);
    story.session.command(Command::TransitionReady { transition_id: 1 });
    assert_eq!(story.beat(1), []);
    assert_eq!(story.hear(HELLO), []);
    assert_eq!(story.session.deadline(), None);
}

#[test]
fn the_address_keeps_its_port() {
    assert_eq!(credentials().url(), "wss://c-ewr12.discord.media:2096/?v=8");
    let local = Credentials { endpoint: "ws://127.0.0.1:9/".into(), ..credentials() };
    assert_eq!(local.url(), "ws://127.0.0.1:9/?v=8");
}

#[test]
fn the_token_is_never_printed() {
    let mut story = Story::identify();
    assert!(!format!("{:?}", story.session).contains("hush"));
    assert!(!format!("{:?}", story.actions()).contains("hush"));
}

proptest! {
    #[test]
    fn random_frames_never_break_the_session(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..20),
    ) {
        let mut story = Story::established();
        for frame in &frames {
            story.hear_binary(frame);
            story.session.text(frame, story.now);
        }
        prop_assert!(story.session.is_established());
        prop_assert!(story.session.malformed() >= frames.len() as u64);
    }

    #[test]
    fn any_order_of_messages_ends_or_goes_on(order in proptest::collection::vec(0_usize..6, 0..12)) {
        let mut story = Story::identify();
        story.actions();
        let mut failed = false;
        for message in order {
            let actions = match message {
                0 => story.hear(HELLO),
                1 => story.hear(READY),
                2 => story.hear(DESCRIPTION),
                3 => story.hear(RESUMED),
                4 => story.beat(1),
                _ => {
                    story.session.discovered(server(), story.now);
                    story.actions()
                }
            };
            failed |= actions.iter().any(|action| matches!(action, Action::Fail(_)));
            prop_assert_eq!(story.session.deadline().is_none(), failed || story.session.is_established());
        }
    }
}
