//! Stories of members who go, come back, change their mind, or are left behind.

use super::bus::{CHANNEL, Call};
use crate::dave::{ClientMessage, DaveSettings, OpenError, Participant, ServerMessage, op};

#[test]
fn who_has_left_hears_nothing_of_the_epochs_that_follow() {
    let mut call = Call::with_members(1, DaveSettings::default(), &[1, 2, 3]);
    let mut gone = call.leave(3);
    call.settle();
    assert_eq!(call.service.epoch(), 3);
    assert_eq!(call.service.established(), [1, 2]);
    call.assert_secure(gone.as_mut());
}

#[test]
fn who_joins_hears_nothing_of_the_epochs_before() {
    let mut call = Call::with_members(2, DaveSettings::default(), &[1, 2]);
    let early = call.encrypt(1, b"before the third came").unwrap();
    call.join(3);
    call.settle();
    assert_eq!(call.decrypt(3, 1, &early), Err(OpenError::Forged));
    assert_eq!(call.decrypt(2, 1, &early).unwrap(), b"before the third came");
}

#[test]
fn the_creator_may_leave_and_its_place_is_taken_again() {
    let mut call = Call::with_members(3, DaveSettings::default(), &[1, 2, 3, 4]);
    for (leaves, comes) in [(1, 5), (2, 6), (3, 1), (4, 2)] {
        call.leave(leaves);
        call.join(comes);
        call.settle();
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
    assert!(call.objections.is_empty(), "{:?}", call.objections);
}

#[test]
fn a_pending_member_that_vanishes_is_taken_back_by_reference() {
    let mut call = Call::with_members(4, DaveSettings::default(), &[1]);
    call.join(2);
    while call.count(2, op::KEY_PACKAGE) == 0 {
        assert!(call.step());
    }
    call.leave(2);
    call.settle();
    let ops: Vec<&ServerMessage> =
        call.sent.iter().filter(|message| matches!(message, ServerMessage::Binary { op: 27, .. })).collect();
    // Add to each of the two, then the revoke of one reference to the first.
    assert_eq!(ops.len(), 3);
    let ServerMessage::Binary { payload, .. } = ops[2] else { unreachable!() };
    assert_eq!((payload[0], payload[1], payload[2], payload.len()), (1, 0x21, 0x20, 2 + 33));
    call.join(3);
    call.settle();
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn the_last_member_starts_over_and_the_call_can_fill_again() {
    for (seed, version) in [(5, 1), (6, 0), (7, 1), (8, 0)] {
        let settings = DaveSettings { sole_member_op21_version: version, ..DaveSettings::default() };
        let mut call = Call::with_members(seed, settings, &[1, 2]);
        let mut gone = call.leave(2);
        call.settle();
        assert_eq!(call.service.epoch(), 0);
        assert_eq!((call.count(1, 24), call.count(1, 21)), (1, 1));
        assert_eq!(call.count(1, 26), 2, "no new key package");
        assert_eq!(call.count(1, 23), 0, "transition 0 is not confirmed");
        assert_eq!(call.encrypt(1, b"alone"), (version == 0).then(|| b"alone".to_vec()));
        call.join(3);
        call.settle();
        assert_eq!(call.service.epoch(), 1);
        call.assert_secure(gone.as_mut());
    }
}

#[test]
fn an_empty_call_is_forgotten_and_begins_anew() {
    let mut call = Call::with_members(9, DaveSettings::default(), &[1, 2]);
    call.leave(1);
    call.leave(2);
    call.settle();
    assert_eq!(call.service.epoch(), 0);
    assert_eq!(call.service.deadline(), None);
    call.join(1);
    call.join(2);
    call.settle();
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn a_user_with_a_new_session_takes_the_place_of_the_old_one() {
    for seed in 10..14 {
        let mut call = Call::with_members(seed, DaveSettings::default(), &[1, 2, 3]);
        let stale = call.leave(2);
        drop(stale);
        call.join(2);
        call.settle();
        call.join(3);
        call.settle();
        assert_eq!(call.service.established(), [1, 2, 3]);
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
}

#[test]
fn a_newer_key_package_replaces_the_proposal_of_the_older() {
    let mut call = Call::with_members(15, DaveSettings::default(), &[1, 2]);
    let mut newcomer = Participant::new(3, CHANNEL);
    let [ClientMessage::Binary { payload: older, .. }] = &newcomer.described(1)[..] else { panic!("op 26") };
    call.join_as(3, 1, Box::new(newcomer));
    call.service.key_package(3, older).unwrap();
    call.poll();
    call.serve(3);
    assert_eq!(call.count(3, op::KEY_PACKAGE), 1);
    call.settle();
    let revokes = call
        .sent
        .iter()
        .filter(|message| matches!(message, ServerMessage::Binary { op: 27, payload } if payload[0] == 1));
    assert_eq!(revokes.count(), 2, "one to each established member");
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn the_keys_of_the_last_epoch_serve_until_op_22_comes() {
    let mut call = Call::with_members(16, DaveSettings::default(), &[1, 2, 3]);
    call.never_ready.insert(1);
    call.join(4);
    call.run();
    // All but one are ready; everybody still seals with the old key, and all members of old can open it.
    let sealed = call.encrypt(2, b"on the way").unwrap();
    assert_eq!(call.decrypt(1, 2, &sealed).unwrap(), b"on the way");
    assert_eq!(call.decrypt(4, 2, &sealed), Err(OpenError::Forged));
    call.settle();
    let sealed = call.encrypt(2, b"arrived").unwrap();
    assert_eq!(call.decrypt(4, 2, &sealed).unwrap(), b"arrived");
}
