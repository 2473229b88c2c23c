//! Stories of frames and codes in a real group.

use std::time::Duration;

use super::bus::{CHANNEL, Call};
use crate::dave::{ClientMessage, DaveSettings, OpenError, Participant, ParticipantSettings, Silence, op};
use crate::opus::SILENCE;

fn pair(settings: ParticipantSettings) -> Call {
    let mut call = Call::new(1, DaveSettings::default());
    for user in [1, 2] {
        call.join_as(user, 1, Box::new(Participant::with_settings(user, CHANNEL, settings.clone())));
    }
    call.settle();
    call
}

#[test]
fn silence_may_be_sealed_or_clear_and_is_heard_either_way() {
    for (silence, is_clear) in [(Silence::Encrypted, false), (Silence::Clear, true)] {
        let mut call = pair(ParticipantSettings { silence, ..Default::default() });
        let sent = call.encrypt(1, &SILENCE).unwrap();
        assert_eq!(sent == SILENCE, is_clear);
        assert_eq!(call.decrypt(2, 1, &sent).unwrap(), SILENCE);
    }
}

#[test]
fn plain_audio_in_an_encrypted_call_is_refused() {
    let mut call = pair(ParticipantSettings::default());
    assert_eq!(call.decrypt(2, 1, b"an Opus frame"), Err(OpenError::NotEncrypted));
}

#[test]
fn a_frame_is_heard_once_and_only_from_the_one_who_sent_it() {
    let mut call = Call::with_members(2, DaveSettings::default(), &[1, 2, 3]);
    let sealed = call.encrypt(1, b"it is me").unwrap();
    assert_eq!(call.decrypt(2, 3, &sealed), Err(OpenError::Forged));
    assert_eq!(call.decrypt(2, 4, &sealed), Err(OpenError::NoKey));
    assert_eq!(call.decrypt(2, 1, &sealed).unwrap(), b"it is me");
    assert_eq!(call.decrypt(2, 1, &sealed), Err(OpenError::Repeated));
}

#[test]
fn keys_of_an_epoch_open_frames_for_ten_seconds_after_the_next_is_installed() {
    let mut call = Call::with_members(3, DaveSettings::default(), &[1, 2, 3]);
    let [early, late] = [b"early", b"late!"].map(|plain| call.encrypt(1, plain).unwrap());
    call.leave(3);
    call.settle();
    call.pass(Duration::from_secs(9));
    assert_eq!(call.decrypt(2, 1, &early).unwrap(), b"early");
    call.pass(Duration::from_secs(1));
    assert!(call.decrypt(2, 1, &late).is_err());
}

#[test]
fn too_many_failures_in_a_row_make_a_member_start_over() {
    let mut one = Participant::with_settings(
        1,
        CHANNEL,
        ParticipantSettings { recovery_after: Some(36), ..Default::default() },
    );
    one.described(1);
    let now = tokio::time::Instant::now();
    for failure in 1..=36 {
        assert!(one.decrypt(2, b"not sealed", now).is_err());
        assert!(one.outgoing().is_empty(), "after {failure}");
    }
    assert!(one.decrypt(2, b"not sealed", now).is_err());
    let said: Vec<u8> = one.outgoing().iter().map(super::bus::client_op).collect();
    assert_eq!(said, [op::INVALID_COMMIT_WELCOME, op::KEY_PACKAGE]);
}

#[test]
fn two_members_see_the_same_verification_code_and_others_another() {
    let mut participants = [1, 2, 3].map(|user| Participant::new(user, CHANNEL));
    let now = tokio::time::Instant::now();
    let mut service = crate::dave::DeliveryService::new(CHANNEL, DaveSettings::default());
    for participant in &mut participants {
        participant.clients_connect(&[1, 2, 3]);
        service.join(participant.user(), 1, now);
        let package = participant.described(1);
        let [ClientMessage::Binary { payload, .. }] = &package[..] else { panic!("op 26") };
        service.key_package(participant.user(), payload).unwrap();
    }
    let mut messages = service.poll(now);
    while !messages.is_empty() {
        for (user, message) in std::mem::take(&mut messages) {
            for answer in participants[user as usize - 1].receive(&message, now) {
                if let ClientMessage::Binary { op: op::COMMIT_WELCOME, payload } = answer {
                    // Two of three lose the race.
                    let _ = service.commit_welcome(user, &payload);
                }
            }
        }
        messages = service.poll(now);
    }
    let [one, two, three] = &participants;
    let code = one.verification_code(2).unwrap();
    assert_eq!(code.len(), 45);
    assert_eq!(two.verification_code(1), Some(code.clone()));
    assert_ne!(three.verification_code(1), Some(code));
    assert_eq!(one.verification_code(9), None);
    assert_eq!(one.privacy_code().unwrap().len(), 30);
    assert_eq!(one.members().len(), 3);
}
