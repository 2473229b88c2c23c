//! Stories of calls in which not everybody speaks DAVE.

use std::time::Duration;

use super::bus::{CHANNEL, Call};
use crate::dave::{DaveSettings, DeliveryService, ExternalSenderKey, OpenError, Participant, SenderKey};

fn optional() -> DaveSettings {
    DaveSettings { required: false, ..DaveSettings::default() }
}

fn without_dave(user: u64) -> Box<Participant> {
    Box::new(Participant::new(user, CHANNEL))
}

#[test]
fn where_encryption_is_required_clients_without_it_are_not_admitted() {
    let service = DeliveryService::new(CHANNEL, DaveSettings::default());
    assert!(!service.admits(0));
    assert!(service.admits(1));
    assert!(DeliveryService::new(CHANNEL, optional()).admits(0));
    assert_eq!(service.version(), 1);
}

#[test]
fn a_stage_has_no_encryption_whatever_its_clients_can() {
    let mut call = Call::with_members(1, DaveSettings { max_version: 0, ..DaveSettings::default() }, &[1, 2]);
    assert_eq!(call.service.version(), 0);
    assert!(call.log.is_empty(), "{:?}", call.log);
    let frame = call.encrypt(1, b"for everybody").unwrap();
    assert_eq!(frame, b"for everybody");
    assert_eq!(call.decrypt(2, 1, &frame).unwrap(), b"for everybody");
}

#[test]
fn a_client_without_dave_turns_encryption_off_and_its_leaving_on_again() {
    for seed in 0..4 {
        let mut call = Call::with_members(seed, optional(), &[1, 2]);
        let first = call.code(1);
        call.join_as(5, 0, without_dave(5));
        call.settle();
        assert_eq!(call.service.version(), 0);
        assert_eq!(
            [1, 2].map(|user| (call.count(user, 21), call.count(user, 23), call.count(user, 22))),
            [(1, 1, 1); 2]
        );
        assert_eq!(call.count(5, 21) + call.count(5, 25), 0);
        let frame = call.encrypt(1, b"plain").unwrap();
        assert_eq!(frame, b"plain");
        assert_eq!(call.decrypt(2, 1, &frame).unwrap(), b"plain");
        assert_eq!(call.decrypt(5, 1, &frame).unwrap(), b"plain");

        call.leave(5);
        call.settle();
        assert_eq!([1, 2].map(|user| call.count(user, 24)), [1; 2]);
        assert_ne!(call.code(1), first);
        // The group after an upgrade has an id to get ready for.
        assert_eq!([1, 2].map(|user| (call.count(user, 23), call.count(user, 22))), [(2, 2); 2]);
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
}

#[test]
fn who_joins_a_downgraded_call_learns_of_the_sender_when_it_is_upgraded() {
    let mut call = Call::new(2, optional());
    call.join_as(5, 0, without_dave(5));
    call.join(1);
    call.join(2);
    call.settle();
    assert_eq!((call.count(1, 25), call.count(2, 25)), (0, 0));
    call.leave(5);
    call.settle();
    assert_eq!((call.count(1, 25), call.count(2, 25)), (1, 1));
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn plain_frames_pass_ten_seconds_longer_and_then_no_more() {
    let mut call = Call::new(3, optional());
    call.join_as(5, 0, without_dave(5));
    call.join(1);
    call.join(2);
    call.settle();
    call.leave(5);
    call.settle();
    call.pass(Duration::from_millis(9_999));
    assert_eq!(call.decrypt(2, 1, b"plain").unwrap(), b"plain");
    call.pass(Duration::from_millis(1));
    assert_eq!(call.decrypt(2, 1, b"plain"), Err(OpenError::NotEncrypted));
}

#[test]
fn between_prepare_and_execute_frames_of_both_kinds_get_through() {
    let mut call = Call::with_members(4, optional(), &[1, 2]);
    call.never_ready.insert(1);
    call.join_as(5, 0, without_dave(5));
    call.run();
    let sealed = call.encrypt(1, b"still sealed").unwrap();
    assert_ne!(sealed, b"still sealed");
    assert_eq!(call.decrypt(2, 1, &sealed).unwrap(), b"still sealed");
    assert_eq!(call.decrypt(2, 1, b"plain already").unwrap(), b"plain already");
}

#[test]
fn a_downgrade_that_is_overtaken_by_an_upgrade_leaves_everybody_encrypted() {
    for seed in 0..6 {
        let mut call = Call::with_members(seed, optional(), &[1, 2, 3]);
        call.never_ready.insert(1);
        call.join_as(5, 0, without_dave(5));
        call.run();
        call.leave(5);
        call.settle();
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
}

#[test]
fn calls_may_share_the_key_of_the_external_sender() {
    let sender_key = SenderKey::Shared(ExternalSenderKey::generate());
    let settings = DaveSettings { sender_key, ..DaveSettings::default() };
    let [one, other] = [(); 2].map(|()| Call::with_members(5, settings.clone(), &[1]));
    assert_eq!(one.sent[0], other.sent[0]);
    let own = Call::with_members(5, DaveSettings::default(), &[1]);
    assert_ne!(one.sent[0], own.sent[0]);
}

#[test]
fn a_channel_that_turns_into_a_stage_loses_its_encryption() {
    let mut call = Call::with_members(6, DaveSettings::default(), &[1, 2]);
    call.service.settings_mut().max_version = 0;
    call.settle();
    call.pass(Duration::ZERO);
    call.settle();
    assert_eq!(call.encrypt(1, b"on stage").unwrap(), b"on stage");
    assert!(!call.service.is_encrypted(1));
}

#[test]
fn whom_op_21_tells_to_do_without_encryption_may_speak_plainly() {
    for op24_on_empty_join in [false, true] {
        for version in [0, 1] {
            let sole_member_op21_version = version;
            let settings =
                DaveSettings { op24_on_empty_join, sole_member_op21_version, ..DaveSettings::default() };
            let mut call = Call::new(7, settings);
            call.join(1);
            call.run();
            call.service.join(2, 1, call.now);
            assert_eq!(call.service.is_encrypted(1), !op24_on_empty_join || version > 0);
        }
    }
}

#[test]
fn service_and_members_may_move_between_threads() {
    fn moves<T: Send>() {}
    moves::<DeliveryService>();
    moves::<Participant>();
}
