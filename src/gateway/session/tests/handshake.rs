//! Stories of the handshake: its order, its deadlines, its modes.

use super::*;
use crate::gateway::close::Verdict;
use crate::id::SecretKey;

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
    let ready = Action::Ready { ssrc: Ssrc(3213), server: server(), mode: "aead_aes256_gcm_rtpsize".into() };
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
fn the_best_mode_offered_is_chosen() {
    let gcm = "aead_aes256_gcm_rtpsize".to_owned();
    let chacha = "aead_xchacha20_poly1305_rtpsize".to_owned();
    let ours = [gcm.clone(), chacha.clone()];
    assert_eq!(our_modes()[..2], ours);
    assert_eq!(choose_mode(&[chacha.clone(), gcm.clone()], &ours), Some(gcm.as_str()));
    assert_eq!(choose_mode(std::slice::from_ref(&chacha), &ours), Some(chacha.as_str()));
    assert_eq!(choose_mode(&ours, std::slice::from_ref(&chacha)), Some(chacha.as_str()));
    assert_eq!(choose_mode(&ours, &[]), None);
    assert_eq!(choose_mode(&["x".to_owned()], &ours), None);
    assert_eq!(choose_mode(&[], &ours), None);
}

#[test]
fn a_retired_mode_is_chosen_only_where_the_feature_allows_it() {
    let offered = ["xsalsa20_poly1305".to_owned(), "aead_aes256_gcm".to_owned()];
    let choice = if cfg!(feature = "retired-modes") { Some("aead_aes256_gcm") } else { None };
    assert_eq!(choose_mode(&offered, &our_modes()).map(str::to_owned), choice.map(str::to_owned));
}

#[test]
fn without_a_common_mode_the_session_ends_before_select_protocol() {
    let modes = vec!["aead_xchacha20_poly1305_rtpsize".to_owned()];
    let mut story = Story::begin(Start::Identify { max_dave_protocol_version: 1, modes });
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

const MEDIA_SERVER: &str =
    r#"{"op":33,"d":{"primary":{"ip":"104.29.158.40","port":19313,"modes":["aead_aes256_gcm_rtpsize"]}}}"#;
const NO_MEDIA_SERVER: &str = r#"{"op":33,"d":{"primary":null}}"#;

#[test]
fn a_ready_without_an_endpoint_waits_for_one_and_not_for_ever() {
    let mut story = Story::identify();
    story.hear(HELLO);
    assert_eq!(story.hear(r#"{"op":2,"d":{"ssrc":3213,"ip":null,"port":null}}"#), []);
    assert_eq!(story.hear(NO_MEDIA_SERVER), []);
    let server = "104.29.158.40:19313".parse().unwrap();
    let ready = Action::Ready { ssrc: Ssrc(3213), server, mode: "aead_aes256_gcm_rtpsize".into() };
    assert_eq!(story.hear(MEDIA_SERVER), [ready]);
    story.session.discovered("203.0.113.7:51234".parse().unwrap(), story.now);
    assert_eq!(story.actions().len(), 1, "Select Protocol");
    assert!(matches!(story.hear(DESCRIPTION)[..], [Action::Established(_), Action::Send(_)]));

    let mut story = Story::identify();
    story.hear(HELLO);
    story.hear(r#"{"op":2,"d":{"ssrc":3213}}"#);
    assert_eq!(story.after(Duration::from_secs(10)), timeout("the address of a media server"));
}

#[test]
fn a_new_address_in_an_established_session_is_told_with_the_same_mode_also_after_a_resume() {
    let mut resumed = Story::resume(Some(3));
    resumed.hear(RESUMED);
    for mut story in [Story::established(), resumed] {
        story.session.discovered("198.51.100.9:2000".parse().unwrap(), story.now);
        let select = text(
            r#"{"op":1,"d":{"protocol":"udp","data":{"address":"198.51.100.9","port":2000,"mode":"aead_aes256_gcm_rtpsize"}}}"#,
        );
        assert_eq!(story.actions(), [select]);
        assert!(matches!(story.hear(DESCRIPTION)[..], [Action::Established(_), Action::Send(_)]));
        assert_eq!(story.session.deadline(), None);
    }
}

#[test]
fn an_established_session_moves_to_the_media_server_that_op_33_names() {
    let mut story = Story::established();
    assert_eq!(story.hear(NO_MEDIA_SERVER), [Action::MediaServer(None)]);
    let server = "104.29.158.40:19313".parse().unwrap();
    assert_eq!(story.hear(MEDIA_SERVER), [Action::MediaServer(Some(server))]);
    let lacks = MEDIA_SERVER.replace("aead_aes256_gcm", "aead_rot13");
    assert_eq!(story.hear(&lacks), [Action::Fail(SessionError::ModeWithdrawn)]);
    assert_eq!(SessionError::ModeWithdrawn.verdict(), Verdict::Rejoin);
}
