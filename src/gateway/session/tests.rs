//! Stories of one websocket against a scripted voice gateway.

mod handshake;
mod hostile;
mod resuming;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::gateway::payload::{DaveEvent, Outgoing};
use crate::id::{ChannelId, GuildId, SessionId, Token, UserId};
use crate::transport::cipher::Mode;

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
        channel_kind: ChannelKind::Voice,
        user: UserId(900),
        session_id: SessionId("5f0c".into()),
        token: Token("hush".into()),
        endpoint: "c-ewr12.discord.media:2096".into(),
    }
}

/// The encryption modes of this build, best first.
fn our_modes() -> Vec<String> {
    Mode::ALL.iter().map(|mode| mode.name().to_owned()).collect()
}

/// A session and the moment it lives in.
struct Story {
    session: Session,
    now: Instant,
}

impl Story {
    fn identify() -> Self {
        Self::begin(Start::Identify { max_dave_protocol_version: 1, modes: our_modes() })
    }

    fn resume(seq_ack: Option<u16>) -> Self {
        Self::begin(Start::Resume { seq_ack, ssrc: Ssrc(3213), mode: "aead_aes256_gcm_rtpsize".into() })
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

fn timeout(awaited: &'static str) -> Vec<Action> {
    vec![Action::Fail(SessionError::Timeout { awaited })]
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
            [Action::SsrcAssigned { user: UserId(902), ssrc: Ssrc(3208) }]
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
fn only_host_and_port_of_the_endpoint_are_taken() {
    let url = |endpoint: &str, scheme| at(endpoint).url(scheme, Endpoints::Any);
    let whole = Ok("wss://c-ewr12.discord.media:2096/?v=8".to_owned());
    for endpoint in [
        "c-ewr12.discord.media:2096",
        "c-ewr12.discord.media:2096/",
        "ws://c-ewr12.discord.media:2096",
        "wss://c-ewr12.discord.media:2096/path?v=4#x",
    ] {
        assert_eq!(url(endpoint, Scheme::Tls), whole, "{endpoint}: the server does not choose the scheme");
    }
    assert_eq!(url("[::1]:9", Scheme::Plain), Ok("ws://[::1]:9/?v=8".to_owned()));
    for endpoint in ["", "ws://", "user@evil.example:443", "a b:1", "host\r\nX: y"] {
        let bad = url(endpoint, Scheme::Tls).unwrap_err();
        assert!(bad.to_string().contains("no host and port"), "{bad}");
    }
}

fn at(endpoint: &str) -> Credentials {
    Credentials { endpoint: endpoint.into(), ..credentials() }
}

#[test]
fn where_only_discords_servers_are_allowed_no_other_gets_the_token() {
    let url = |endpoint: &str| at(endpoint).url(Scheme::Tls, Endpoints::Discord);
    for endpoint in ["c-ewr12.discord.media:2096", "EU-west1.Discord.Media", "x.discord.gg:443"] {
        assert!(url(endpoint).is_ok(), "{endpoint}");
    }
    for endpoint in ["evil.example:443", "discord.media.evil.example", "xdiscord.media:443", "127.0.0.1:1"] {
        assert_eq!(url(endpoint), Err(BadEndpoint::NotDiscords(endpoint.into())));
    }
}

#[test]
fn the_token_is_never_printed() {
    let mut story = Story::identify();
    assert!(!format!("{:?}", story.session).contains("hush"));
    assert!(!format!("{:?}", story.actions()).contains("hush"));
}
