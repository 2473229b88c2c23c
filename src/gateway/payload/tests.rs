//! Every message against the samples of Discord's shape, and against every damage.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::{GuildId, SecretKey, SessionId, Ssrc, Token, UserId};

const READY: &str = r#"{"op":2,"d":{"ssrc":3213,"ip":"104.29.158.39","port":19312,"modes":["aead_aes256_gcm_rtpsize","aead_xchacha20_poly1305_rtpsize"],"experiments":[],"streams":[]}}"#;
const DESCRIPTION: &str = r#"{"op":4,"d":{"mode":"aead_aes256_gcm_rtpsize","secret_key":[12,255,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29],"dave_protocol_version":1,"audio_codec":"opus","video_codec":"H264","media_session_id":"89f1"}}"#;

fn key() -> SecretKey {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&[12, 255]);
    for (byte, value) in key[2..].iter_mut().zip(0..) {
        *byte = value;
    }
    SecretKey(key)
}

/// The text messages from the server, and what each says.
fn texts() -> Vec<(&'static str, Event, Option<u16>)> {
    let dave = Event::Dave;
    vec![
        (r#"{"op":8,"d":{"v":8,"heartbeat_interval":13750.0}}"#, hello(13_750), None),
        (READY, Event::Ready(ready()), None),
        (r#"{"op":6,"d":{"t":1764000000000}}"#, Event::HeartbeatAck { nonce: 1_764_000_000_000 }, None),
        (r#"{"op":11,"d":{"user_ids":["901"]},"seq":0}"#, Event::ClientsConnect(vec![UserId(901)]), Some(0)),
        (r#"{"op":18,"d":{"user_id":"901","flags":3},"seq":1}"#, Event::Ignored(18), Some(1)),
        (r#"{"op":20,"d":{"user_id":"901","platform":0},"seq":2}"#, Event::Ignored(20), Some(2)),
        (r#"{"op":5,"d":{"user_id":"901","ssrc":3207,"speaking":0},"seq":3}"#, speaking(0), Some(3)),
        (DESCRIPTION, description(1), None),
        (
            r#"{"op":22,"d":{"transition_id":17},"seq":13}"#,
            dave(DaveEvent::ExecuteTransition { transition_id: 17 }),
            Some(13),
        ),
        (
            r#"{"op":21,"d":{"transition_id":18,"protocol_version":0},"seq":14}"#,
            dave(DaveEvent::PrepareTransition { transition_id: 18, protocol_version: 0 }),
            Some(14),
        ),
        (
            r#"{"op":24,"d":{"protocol_version":1,"epoch":1},"seq":15}"#,
            dave(DaveEvent::PrepareEpoch { protocol_version: 1, epoch: 1 }),
            Some(15),
        ),
        (r#"{"op":13,"d":{"user_id":"901"},"seq":16}"#, Event::ClientDisconnect(UserId(901)), Some(16)),
        (r#"{"op":9,"d":null}"#, Event::Resumed, None),
        (r#"{"op":3,"d":null}"#, Event::HeartbeatRequest, None),
    ]
}

/// The binary messages from the server, and what each says.
fn binaries() -> Vec<(Vec<u8>, Event, u16)> {
    let sender = [&[0x40, 0x41][..], &[4; 65], &[0, 1, 1, 0]].concat();
    let references = [&[1, 0x21, 0x20][..], &[7; 32]].concat();
    let bytes = Bytes::copy_from_slice;
    vec![
        ([&[0, 4, 0x19][..], &sender].concat(), Event::Dave(DaveEvent::ExternalSender(bytes(&sender))), 4),
        (
            vec![0, 5, 0x1B, 0, 0x41, 0xEF, 9],
            Event::Dave(DaveEvent::Proposals(bytes(&[0, 0x41, 0xEF, 9]))),
            5,
        ),
        (
            vec![0, 6, 0x1D, 0, 0, 0, 1, 0, 1],
            Event::Dave(DaveEvent::AnnounceCommit { transition_id: 0, commit: bytes(&[0, 1, 0, 1]) }),
            6,
        ),
        (
            vec![0, 0x0B, 0x1E, 0, 0x11, 0, 2],
            Event::Dave(DaveEvent::Welcome { transition_id: 17, welcome: bytes(&[0, 2]) }),
            11,
        ),
        (
            [&[0, 0x0C, 0x1B][..], &references].concat(),
            Event::Dave(DaveEvent::Proposals(bytes(&references))),
            12,
        ),
    ]
}

fn hello(milliseconds: u64) -> Event {
    Event::Hello(Hello { interval: Duration::from_millis(milliseconds) })
}

fn ready() -> Ready {
    Ready {
        ssrc: Ssrc(3213),
        server: Some(MediaServer {
            address: "104.29.158.39:19312".parse().unwrap(),
            modes: vec!["aead_aes256_gcm_rtpsize".into(), "aead_xchacha20_poly1305_rtpsize".into()],
        }),
    }
}

fn speaking(bits: u8) -> Event {
    Event::Speaking { user: Some(UserId(901)), ssrc: Ssrc(3207), flags: SpeakingFlags::from_bits(bits) }
}

fn description(dave_protocol_version: u16) -> Event {
    let mode = "aead_aes256_gcm_rtpsize".into();
    Event::SessionDescription(SessionDescription { mode, secret_key: key(), dave_protocol_version })
}

fn read(text: &str) -> Event {
    decode_text(text.as_bytes()).1.unwrap()
}

fn refusal(text: &str) -> PayloadError {
    decode_text(text.as_bytes()).1.unwrap_err()
}

#[test]
fn every_text_message_is_read_with_its_sequence_number() {
    for (text, event, seq) in texts() {
        assert_eq!(decode_text(text.as_bytes()), (seq, Ok(event)), "{text}");
    }
}

#[test]
fn a_media_server_is_read_or_none() {
    let primary = r#"{"ip":"104.29.158.39","port":19312,"modes":["aead_aes256_gcm_rtpsize","aead_xchacha20_poly1305_rtpsize"]}"#;
    assert_eq!(
        read(&format!(r#"{{"op":33,"d":{{"primary":{primary}}}}}"#)),
        Event::MediaServer(ready().server)
    );
    assert_eq!(read(r#"{"op":33,"d":{"primary":null}}"#), Event::MediaServer(None));
    assert_eq!(read(r#"{"op":33,"d":{}}"#), Event::Ignored(33));
    let half = refusal(r#"{"op":33,"d":{"primary":{"ip":"1.2.3.4"}}}"#);
    assert_eq!(half, PayloadError::Missing { op: 33, field: "primary" });
    let wrong = PayloadError::Invalid { op: 33, field: "port" };
    assert_eq!(refusal(r#"{"op":33,"d":{"primary":{"ip":"1.2.3.4","port":0,"modes":[]}}}"#), wrong);
}

#[test]
fn every_binary_message_is_read_with_its_sequence_number() {
    for (frame, event, seq) in binaries() {
        assert_eq!(decode_binary(&frame), (Some(seq), Ok(event)), "{frame:x?}");
    }
}

#[test]
fn every_text_command_is_written_byte_for_byte() {
    let identify = Identify {
        guild: GuildId(111),
        user: UserId(900),
        session_id: SessionId("5f0c".into()),
        token: Token("a1b2".into()),
        max_dave_protocol_version: 1,
    };
    let resume = Resume {
        guild: GuildId(111),
        session_id: SessionId("5f0c".into()),
        token: Token("a1b2".into()),
        seq_ack: Some(16),
    };
    let select = SelectProtocol {
        address: "203.0.113.7:51234".parse().unwrap(),
        mode: "aead_aes256_gcm_rtpsize".into(),
    };
    let ssrc = Ssrc(3213);
    let samples = [
        (
            Command::Identify(identify),
            r#"{"op":0,"d":{"server_id":"111","user_id":"900","session_id":"5f0c","token":"a1b2","max_dave_protocol_version":1}}"#,
        ),
        (
            Command::SelectProtocol(select),
            r#"{"op":1,"d":{"protocol":"udp","data":{"address":"203.0.113.7","port":51234,"mode":"aead_aes256_gcm_rtpsize"}}}"#,
        ),
        (
            Command::Heartbeat { nonce: 1_764_000_000_000, seq_ack: -1 },
            r#"{"op":3,"d":{"t":1764000000000,"seq_ack":-1}}"#,
        ),
        (
            Command::Speaking(SpeakingFlags::NONE, ssrc),
            r#"{"op":5,"d":{"speaking":0,"delay":0,"ssrc":3213}}"#,
        ),
        (
            Command::Speaking(SpeakingFlags::MICROPHONE | SpeakingFlags::PRIORITY, ssrc),
            r#"{"op":5,"d":{"speaking":5,"delay":0,"ssrc":3213}}"#,
        ),
        (
            Command::Resume(resume.clone()),
            r#"{"op":7,"d":{"server_id":"111","session_id":"5f0c","token":"a1b2","seq_ack":16}}"#,
        ),
        (
            Command::Resume(Resume { seq_ack: None, ..resume }),
            r#"{"op":7,"d":{"server_id":"111","session_id":"5f0c","token":"a1b2"}}"#,
        ),
        (Command::TransitionReady { transition_id: 17 }, r#"{"op":23,"d":{"transition_id":17}}"#),
        (Command::InvalidCommitWelcome { transition_id: 17 }, r#"{"op":31,"d":{"transition_id":17}}"#),
    ];
    for (command, text) in samples {
        assert_eq!(command.encode(), Outgoing::Text(text.into()));
    }
}

#[test]
fn a_binary_command_is_its_opcode_and_its_payload() {
    let package = Command::KeyPackage(Bytes::from_static(&[0, 1, 0, 2, 0x40, 0x41]));
    assert_eq!(package.encode(), Outgoing::Binary(Bytes::from_static(&[0x1A, 0, 1, 0, 2, 0x40, 0x41])));
    let commit = Command::CommitWelcome(Bytes::from_static(&[0, 1, 0, 1]));
    assert_eq!(commit.encode(), Outgoing::Binary(Bytes::from_static(&[0x1C, 0, 1, 0, 1])));
}

#[test]
fn an_ipv6_address_is_selected_as_text() {
    let select = SelectProtocol { address: "[2001:db8::1]:50000".parse().unwrap(), mode: "m".into() };
    assert_eq!(
        Command::SelectProtocol(select).encode(),
        Outgoing::Text(
            r#"{"op":1,"d":{"protocol":"udp","data":{"address":"2001:db8::1","port":50000,"mode":"m"}}}"#
                .into()
        )
    );
}

#[test]
fn numbers_are_read_however_they_are_written() {
    assert_eq!(read(r#"{"op":8,"d":{"heartbeat_interval":41250}}"#), hello(41_250));
    let fraction = read(r#"{"op":8,"d":{"heartbeat_interval":13750.5}}"#);
    assert_eq!(fraction, Event::Hello(Hello { interval: Duration::from_micros(13_750_500) }));
    let epoch = |epoch| Event::Dave(DaveEvent::PrepareEpoch { protocol_version: 1, epoch });
    assert_eq!(read(r#"{"op":24,"d":{"protocol_version":1,"epoch":"1"}}"#), epoch(1));
    assert_eq!(read(r#"{"op":24,"d":{"transition_id":3,"protocol_version":1,"epoch":2}}"#), epoch(2));
    let largest = r#"{"op":24,"d":{"protocol_version":1,"epoch":"18446744073709551615"}}"#;
    assert_eq!(read(largest), epoch(u64::MAX));
    assert_eq!(read(r#"{"op":6,"d":1764000000000}"#), Event::HeartbeatAck { nonce: 1_764_000_000_000 });
    assert_eq!(read(r#"{"op":13,"d":{"user_id":901}}"#), Event::ClientDisconnect(UserId(901)));
}

#[test]
fn what_discord_leaves_out_or_makes_null_has_a_meaning() {
    let versionless = DESCRIPTION.replace(r#""dave_protocol_version":1,"#, "");
    assert_eq!(read(&versionless), description(0));
    assert_eq!(read(&DESCRIPTION.replace(r#"version":1"#, r#"version":null"#)), description(0));
    let anonymous = Event::Speaking { user: None, ssrc: Ssrc(5), flags: SpeakingFlags::MICROPHONE };
    assert_eq!(read(r#"{"op":5,"d":{"speaking":1,"ssrc":5,"user_id":null,"delay":0}}"#), anonymous);
    let video = |audio_ssrc| Event::Video { user: UserId(901), audio_ssrc };
    assert_eq!(
        read(r#"{"op":12,"d":{"user_id":"901","audio_ssrc":7,"video_ssrc":8}}"#),
        video(Some(Ssrc(7)))
    );
    assert_eq!(read(r#"{"op":12,"d":{"user_id":"901","audio_ssrc":0}}"#), video(None));
    assert_eq!(read(r#"{"op":12,"d":{"user_id":"901","audio_ssrc":null}}"#), video(None));
    assert_eq!(decode_text(br#"{"op":9,"seq":null}"#), (None, Ok(Event::Resumed)));
    assert_eq!(read(r#"{"op":3}"#), Event::HeartbeatRequest);
}

#[test]
fn one_odd_user_hides_no_other() {
    let mixed = r#"{"op":11,"d":{"user_ids":["901",null,"x",{},902,-1]}}"#;
    assert_eq!(read(mixed), Event::ClientsConnect(vec![UserId(901), UserId(902)]));
    let invalid = PayloadError::Invalid { op: 11, field: "user_ids" };
    assert_eq!(refusal(r#"{"op":11,"d":{"user_ids":"901"}}"#), invalid);
}

#[test]
fn extra_fields_change_nothing() {
    let stuffed = READY.replace(r#""ssrc""#, r#""heartbeat_interval":1,"x":{"y":[null]},"ssrc""#);
    assert_eq!(read(&stuffed), Event::Ready(ready()));
}

#[test]
fn unknown_opcodes_are_ignored_but_their_sequence_counts() {
    assert_eq!(decode_text(br#"{"op":77,"d":[1],"seq":9}"#), (Some(9), Ok(Event::Ignored(77))));
    assert_eq!(decode_text(br#"{"op":70000,"seq":9}"#), (Some(9), Ok(Event::Ignored(255))));
    assert_eq!(decode_text(br#"{"op":29,"d":{}}"#), (None, Ok(Event::Ignored(29))));
    assert_eq!(decode_binary(&[0xFF, 0xFF, 99]), (Some(65535), Ok(Event::Ignored(99))));
}

#[test]
fn a_json_sequence_counts_modulo_two_to_the_sixteenth() {
    assert_eq!(decode_text(br#"{"op":18,"seq":65535}"#), (Some(65535), Ok(Event::Ignored(18))));
    assert_eq!(decode_text(br#"{"op":18,"seq":65536}"#), (Some(0), Ok(Event::Ignored(18))));
    assert_eq!(decode_text(br#"{"op":18,"seq":-1}"#), (None, Ok(Event::Ignored(18))));
}

#[test]
fn an_error_names_the_opcode_and_what_is_wrong() {
    use PayloadError::{Invalid, Missing, NoOpcode, NotJson, TooShort, Truncated};
    assert_eq!(refusal("hello"), NotJson);
    assert_eq!(refusal("[]"), NoOpcode);
    assert_eq!(refusal(r#"{"op":"x"}"#), NoOpcode);
    let unnamed = Event::Ready(Ready { server: None, ..ready() });
    for nothing in ["", r#","ip":null,"port":null,"modes":null"#, r#","ip":"104.29.158.39","port":19312"#] {
        assert_eq!(read(&format!(r#"{{"op":2,"d":{{"ssrc":3213{nothing}}}}}"#)), unnamed, "{nothing}");
    }
    assert_eq!(refusal(r#"{"op":2}"#), Missing { op: 2, field: "d" });
    assert_eq!(refusal(r#"{"op":2,"d":[]}"#), Invalid { op: 2, field: "d" });
    assert_eq!(refusal(r#"{"op":8,"d":{"heartbeat_interval":0}}"#), interval());
    assert_eq!(refusal(r#"{"op":8,"d":{"heartbeat_interval":-5}}"#), interval());
    assert_eq!(refusal(r#"{"op":8,"d":{"heartbeat_interval":1e300}}"#), interval());
    assert_eq!(refusal(&READY.replace("104.29", "x")), Invalid { op: 2, field: "ip" });
    assert_eq!(refusal(&READY.replace("19312", "0")), Invalid { op: 2, field: "port" });
    assert_eq!(refusal(&READY.replace("19312", "65536")), Invalid { op: 2, field: "port" });
    assert_eq!(refusal(&READY.replace("3213", "null")), Missing { op: 2, field: "ssrc" });
    assert_eq!(refusal(&DESCRIPTION.replace("255", "256")), Invalid { op: 4, field: "secret_key" });
    assert_eq!(refusal(&DESCRIPTION.replace("255,", "")), Invalid { op: 4, field: "secret_key" });
    assert_eq!(
        refusal(r#"{"op":22,"d":{"transition_id":65536}}"#),
        Invalid { op: 22, field: "transition_id" }
    );
    assert_eq!(decode_binary(&[0]), (None, Err(TooShort { length: 1 })));
    assert_eq!(decode_binary(&[0, 1]), (Some(1), Err(TooShort { length: 2 })));
    assert_eq!(decode_binary(&[0, 1, 27]), (Some(1), Err(Truncated { op: 27, field: "operation" })));
    assert_eq!(decode_binary(&[0, 1, 27, 2, 0]), (Some(1), Err(Invalid { op: 27, field: "operation" })));
    assert_eq!(decode_binary(&[0, 1, 29, 0]), (Some(1), Err(Truncated { op: 29, field: "transition id" })));
    assert_eq!(decode_binary(&[0, 1, 30, 0, 1]), (Some(1), Err(Truncated { op: 30, field: "welcome" })));
    assert_eq!(interval().to_string(), "op 8 has a `heartbeat_interval` that cannot be read");
}

fn interval() -> PayloadError {
    PayloadError::Invalid { op: 8, field: "heartbeat_interval" }
}

#[test]
fn no_error_and_no_debug_output_gives_a_secret_away() {
    let broken = DESCRIPTION.replace("[12,255", r#"["hush",255"#);
    assert!(!format!("{0:?} {0}", refusal(&broken)).contains("hush"));
    assert!(!format!("{:?}", read(DESCRIPTION)).contains("255"));
    let resume = Resume {
        guild: GuildId(1),
        session_id: SessionId("hush".into()),
        token: Token("hush".into()),
        seq_ack: None,
    };
    let command = Command::Resume(resume);
    assert!(!format!("{command:?}").contains("hush"));
    assert_eq!(format!("{:?}", command.encode()), "Text(op 7, 65 bytes)");
    assert_eq!(format!("{:?}", Command::KeyPackage(Bytes::new()).encode()), "Binary(op 26, 1 bytes)");
}

#[test]
fn no_prefix_of_a_text_message_is_taken_for_a_message() {
    for (text, ..) in texts() {
        for length in 0..text.len() {
            assert_eq!(
                decode_text(&text.as_bytes()[..length]),
                (None, Err(PayloadError::NotJson)),
                "{text} {length}"
            );
        }
    }
}

#[test]
fn a_prefix_of_a_binary_message_is_an_error_until_its_payload_begins() {
    for (frame, ..) in binaries() {
        let fixed = match frame[2] {
            0x19 => 3,
            0x1B => 4,
            _ => 5,
        };
        for length in 0..frame.len() {
            let understood = decode_binary(&frame[..length]).1.is_ok();
            assert_eq!(understood, length > fixed, "{frame:x?} {length}");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_text(&bytes);
        let (seq, message) = decode_binary(&bytes);
        prop_assert_eq!(seq, bytes.first_chunk().map(|seq| u16::from_be_bytes(*seq)));
        if bytes.len() < 3 {
            prop_assert_eq!(message, Err(PayloadError::TooShort { length: bytes.len() }));
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        which in 0_usize..14, at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut text = texts()[which].0.as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = decode_text(&text);
    }

    #[test]
    fn any_value_in_any_field_is_read_or_refused(op in 0_u16..300, value in json(), seq in json()) {
        let fields = ["ssrc", "ip", "port", "modes", "mode", "secret_key", "user_id", "user_ids", "t", "epoch",
            "transition_id", "protocol_version", "heartbeat_interval", "audio_ssrc", "speaking"];
        let d: Vec<String> = fields.iter().map(|field| format!(r#""{field}":{value}"#)).collect();
        let text = format!(r#"{{"op":{op},"d":{{{}}},"seq":{seq}}}"#, d.join(","));
        match decode_text(text.as_bytes()).1 {
            Ok(_) => {}
            Err(PayloadError::Invalid { op: named, .. } | PayloadError::Missing { op: named, .. }) => {
                prop_assert_eq!(u16::from(named), op);
            }
            Err(other) => prop_assert!(false, "{} for {}", other, text),
        }
    }
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just(r#"["1",null,{}]"#.to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| format!("\"{number}\"")),
        (-1e300..1e300).prop_map(|number: f64| format!("{number:e}")),
    ]
}
