//! Rules of the delivery service: what it takes from clients and what it does not.

use tokio::time::Instant;

use super::bus::{CHANNEL, Call, ready};
use crate::dave::{
    ClientMessage, CommitFate, DaveSettings, DeliveryError, DeliveryService, Participant, ServerMessage, op,
};

fn key_package(user: u64) -> Vec<u8> {
    let [ClientMessage::Binary { payload, .. }] = &Participant::new(user, CHANNEL).described(1)[..] else {
        panic!("op 26")
    };
    payload.clone()
}

fn service() -> DeliveryService {
    let mut service = DeliveryService::new(CHANNEL, DaveSettings::default());
    service.join(1, 1, Instant::now());
    service
}

#[test]
fn a_key_package_looks_as_discord_wants_it() {
    let bytes = key_package(0x1122_3344_5566_7788);
    assert_eq!(bytes[..6], [0, 1, 0, 2, 0x40, 0x41]);
    let leaf = &bytes[4 + 67 + 2 * 67..];
    assert_eq!(leaf[..11], [0, 1, 8, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    assert_eq!(leaf[11..22], [2, 0, 1, 2, 0, 2, 0, 0, 2, 0, 1]);
    assert_eq!(leaf[22..40], [&[1][..], &[0; 8], &[0xff; 8], &[0]].concat());
}

#[test]
fn key_packages_are_taken_bare_and_wrapped() {
    assert_eq!(service().key_package(1, &key_package(1)), Ok(()));
    let wrapped = [&[0, 1, 0, 5][..], &key_package(1)].concat();
    assert_eq!(service().key_package(1, &wrapped), Ok(()));
}

#[test]
fn a_key_package_is_for_one_use() {
    let mut service = service();
    let package = key_package(1);
    service.key_package(1, &package).unwrap();
    assert_eq!(service.key_package(1, &package), Err(DeliveryError::ReusedKeyPackage));
}

#[test]
fn key_packages_that_break_a_rule_are_refused() {
    let good = key_package(1);
    assert!(matches!(service().key_package(1, &key_package(2)), Err(DeliveryError::InvalidKeyPackage(_))));
    assert_eq!(service().key_package(8, &good), Err(DeliveryError::NotAMember(8)));
    let lifetime = 4 + 3 * 67 + 23;
    let mut short_lived = good.clone();
    short_lived[lifetime + 8] = 0;
    assert!(matches!(service().key_package(1, &short_lived), Err(DeliveryError::InvalidKeyPackage(_))));
    // Any other change breaks a signature or the shape.
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(service().key_package(1, &changed).is_err(), "byte {at}");
    }
    for length in 0..good.len() {
        let error = service().key_package(1, &good[..length]).unwrap_err();
        assert_eq!(error.close_code(), Some(4020), "{length} bytes: {error}");
    }
    let trailing = [&good[..], &[0]].concat();
    assert!(matches!(service().key_package(1, &trailing), Err(DeliveryError::Malformed(_))));
}

/// Two members with key packages, and the op 28 of the first.
fn race() -> (DeliveryService, [Participant; 2], Vec<u8>) {
    let now = Instant::now();
    let mut service = DeliveryService::new(CHANNEL, DaveSettings::default());
    let mut pair = [1, 2].map(|user| Participant::new(user, CHANNEL));
    for participant in &mut pair {
        participant.clients_connect(&[1, 2]);
        service.join(participant.user(), 1, now);
        let [ClientMessage::Binary { payload, .. }] = &participant.described(1)[..] else { panic!("op 26") };
        service.key_package(participant.user(), payload).unwrap();
    }
    let mut commit = None;
    for (user, message) in service.poll(now) {
        let answers = pair[user as usize - 1].receive(&message, now);
        commit = commit.or(answers.into_iter().find_map(|answer| match answer {
            ClientMessage::Binary { op: op::COMMIT_WELCOME, payload } if user == 1 => Some(payload),
            _ => None,
        }));
    }
    (service, pair, commit.expect("a commit of the first member"))
}

#[test]
fn a_valid_commit_is_announced_to_its_sender_and_its_welcome_split_off() {
    let (mut service, _, commit) = race();
    assert_eq!(commit[..21], [&[0, 1, 0, 1, 8][..], &CHANNEL.to_be_bytes(), &[0; 8]].concat());
    assert_eq!(service.commit_welcome(1, &commit), Ok(CommitFate::Announced));
    let sent = service.poll(Instant::now());
    let [
        (1, ServerMessage::Binary { op: 29, payload: announced }),
        (2, ServerMessage::Binary { op: 30, payload: welcome }),
    ] = &sent[..]
    else {
        panic!("{sent:?}")
    };
    assert_eq!(announced[..2], [0, 0]);
    assert_eq!(announced[2..], commit[..announced.len() - 2]);
    assert_eq!(welcome[2..], commit[announced.len() - 2..]);
    assert_eq!(service.commit_welcome(1, &commit), Err(DeliveryError::OutdatedCommit));
}

#[test]
fn commits_that_break_a_rule_are_refused() {
    let (mut service, _, commit) = race();
    let change = |at: usize, to: u8| {
        let mut changed = commit.clone();
        changed[at] = to;
        changed
    };
    let mut refused = |payload: &[u8]| service.commit_welcome(1, payload).unwrap_err();
    assert!(matches!(refused(&change(12, 0)), DeliveryError::InvalidCommit(_)), "another group");
    assert_eq!(refused(&change(20, 1)), DeliveryError::OutdatedCommit, "another epoch");
    assert!(matches!(refused(&change(25, 1)), DeliveryError::InvalidCommit(_)), "another leaf");
    assert!(matches!(refused(&change(32, 0)), DeliveryError::InvalidCommit(_)), "another reference");
    assert!(matches!(refused(&change(29, 1)), DeliveryError::Malformed(_)), "a proposal by value");
    let without_welcome = &commit[..commit.len() - welcome_length(&commit)];
    assert!(matches!(refused(without_welcome), DeliveryError::InvalidCommit(_)));
    assert!(matches!(refused(&[&commit[..], &[0]].concat()), DeliveryError::Malformed(_)));
    assert!(matches!(refused(&commit[..commit.len() - 1]), DeliveryError::Malformed(_)));
    let mut other_welcome = commit.clone();
    other_welcome[without_welcome.len() + 6] ^= 1;
    assert!(matches!(refused(&other_welcome), DeliveryError::InvalidCommit(_)), "welcomes somebody else");
    assert!(service.commit_welcome(2, &commit).is_err(), "it is not of user 2");
    assert_eq!(service.commit_welcome(7, &commit), Err(DeliveryError::NotAMember(7)));
    assert_eq!(service.commit_welcome(1, &commit), Ok(CommitFate::Announced));
}

/// The welcome starts with the suite, after a commit of known shape without path.
fn welcome_length(payload: &[u8]) -> usize {
    let references = 1 + usize::from(payload[28]);
    let signature = 28 + references + 1;
    let length = usize::from(u16::from_be_bytes([payload[signature] & 0x3f, payload[signature + 1]]));
    payload.len() - (signature + 2 + length + 33 + 33)
}

#[test]
fn readiness_counts_once_and_only_for_transitions_there_are() {
    let mut call = Call::with_members(1, DaveSettings::default(), &[1, 2]);
    call.never_ready.insert(2);
    call.join(3);
    call.run();
    assert!(call.objections.is_empty());
    call.say(1, ready(1));
    call.run();
    assert_eq!(call.objections, [DeliveryError::RepeatedReady(1)]);
    call.say(1, ready(0));
    call.say(1, ready(400));
    call.run();
    assert_eq!(
        call.objections[1..],
        [DeliveryError::UnknownTransition(0), DeliveryError::UnknownTransition(400)]
    );
    // Late, after the timeout, is no offence.
    call.settle();
    assert_eq!(call.service.transition_ready(2, 1), Ok(()));
}

#[test]
fn audio_must_be_encrypted_as_soon_as_there_are_two() {
    let settings = DaveSettings { first_transition_id_zero: false, ..Default::default() };
    let mut call = Call::with_members(2, settings, &[1]);
    assert!(!call.service.is_encrypted(1), "nobody hears it");
    call.never_ready.insert(2);
    call.join(2);
    assert!(call.service.is_encrypted(1) && call.service.is_encrypted(2), "before there is a group");
    call.settle();
    assert!(call.service.is_encrypted(1) && call.service.is_encrypted(2));
    assert!(!call.service.is_encrypted(3));
}

#[test]
fn who_recovers_or_waits_after_a_reset_may_not_speak_plainly_meanwhile() {
    let mut call = Call::with_members(3, DaveSettings::default(), &[1, 2]);
    call.service.invalid_commit_welcome(2, 0).unwrap();
    assert!(call.service.is_encrypted(2), "in recovery");
    call.settle();
    call.leave(2);
    call.settle();
    assert!(!call.service.is_encrypted(1), "alone");
    call.join(3);
    assert!(call.service.is_encrypted(1), "reset, and no group yet");
}

#[test]
fn a_downgrade_lets_everybody_speak_plainly_once_it_is_executed() {
    let settings = DaveSettings { required: false, ..Default::default() };
    let mut call = Call::with_members(4, settings, &[1, 2]);
    call.service.join(3, 0, call.now);
    call.poll();
    assert!(call.service.is_encrypted(1) && !call.service.is_encrypted(3));
    call.settle();
    assert!(!call.service.is_encrypted(1) && !call.service.is_encrypted(2));
    call.service.leave(3);
    call.poll();
    assert!(!call.service.is_encrypted(1), "an upgrade only counts once it is executed");
    call.settle();
    assert!(call.service.is_encrypted(1) && call.service.is_encrypted(2));
}
