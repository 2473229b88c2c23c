//! Stories of things that go wrong, and how the call recovers.

use std::time::Duration;

use super::bus::{CHANNEL, Call, Way};
use crate::dave::{DaveSettings, Execution, Fault, Participant, ServerMessage, op};

fn quiet() -> Participant {
    Participant::new(9, CHANNEL)
}

#[test]
fn a_member_that_gets_a_bad_commit_flags_it_and_is_added_again() {
    for seed in 0..6 {
        let mut call = Call::with_members(seed, DaveSettings::default(), &[1, 2, 3]);
        call.service.fault(Fault::CorruptCommit { to: 2 });
        call.join(4);
        call.settle();
        assert_eq!(call.count(2, op::INVALID_COMMIT_WELCOME), 1);
        assert_eq!(call.count(2, op::KEY_PACKAGE), 2);
        assert_eq!(call.service.established(), [1, 2, 3, 4]);
        call.assert_secure(&mut quiet());
    }
}

#[test]
fn a_joiner_that_gets_a_bad_welcome_flags_it_and_is_added_again() {
    for seed in 0..6 {
        let mut call = Call::with_members(seed, DaveSettings::default(), &[1, 2]);
        call.service.fault(Fault::CorruptWelcome { to: 3 });
        call.join(3);
        call.settle();
        assert_eq!(call.count(3, op::INVALID_COMMIT_WELCOME), 1);
        call.assert_secure(&mut quiet());
    }
}

#[test]
fn of_two_members_one_that_fails_is_removed_and_added_in_one_go() {
    for seed in 0..6 {
        let mut call = Call::new(seed, DaveSettings::default());
        for user in [1, 2] {
            call.service.fault(Fault::CorruptWelcome { to: user });
        }
        call.join(1);
        call.join(2);
        call.settle();
        assert_eq!(call.count(1, 31) + call.count(2, 31), 1);
        assert_eq!(call.service.epoch(), 2, "Remove and Add came in two commits");
        call.assert_secure(&mut quiet());
    }
}

#[test]
fn if_everybody_fails_the_group_begins_anew() {
    let mut call = Call::with_members(1, DaveSettings::default(), &[1, 2, 3]);
    for user in [1, 2, 3] {
        call.service.fault(Fault::CorruptCommit { to: user });
    }
    call.service.fault(Fault::CorruptWelcome { to: 4 });
    call.join(4);
    call.settle();
    assert_eq!(call.service.established(), [1, 2, 3, 4]);
    call.assert_secure(&mut quiet());
}

#[test]
fn proposals_nobody_should_send_are_refused_and_change_nothing() {
    let mut call = Call::with_members(2, DaveSettings::default(), &[1, 2, 3]);
    let stray_proposals = [
        Fault::UnknownUser { to: 1, stranger: 4711 },
        Fault::OwnRemove { to: 1 },
        Fault::OwnAdd { to: 1 },
        Fault::WrongEpoch { to: 1 },
    ];
    let committed = call.count(1, 28);
    for fault in stray_proposals {
        let before = call.count(1, 27);
        call.service.fault(fault);
        call.pass(Duration::ZERO);
        assert_eq!(call.count(1, 27), before + 1, "{fault:?}");
        assert_eq!(call.count(1, 28), committed, "{fault:?} was committed");
    }
    call.join(4);
    call.settle();
    assert!(call.objections.is_empty(), "{:?}", call.objections);
    call.assert_secure(&mut quiet());
}

#[test]
fn strays_can_be_revoked_for_clients_that_keep_them() {
    let mut call = Call::with_members(3, DaveSettings::default(), &[1, 2]);
    call.service.fault(Fault::OwnRemove { to: 2 });
    call.pass(Duration::ZERO);
    call.service.fault(Fault::RevokeStrays { to: 2 });
    call.pass(Duration::ZERO);
    let Some(ServerMessage::Binary { op: 27, payload }) = call.sent.last() else { panic!("no revoke") };
    assert_eq!((payload[0], payload.len()), (1, 2 + 33));
}

#[test]
fn proposals_that_come_twice_count_once() {
    let mut call = Call::with_members(4, DaveSettings::default(), &[1, 2]);
    call.service.fault(Fault::RepeatProposals { to: 1 });
    call.join(3);
    call.settle();
    assert_eq!(call.log.iter().filter(|(user, way, op)| (*user, *way, *op) == (1, Way::Down, 27)).count(), 3);
    call.assert_secure(&mut quiet());
}

#[test]
fn a_member_that_trusts_another_sender_gets_in_after_flagging() {
    for seed in 0..4 {
        let mut call = Call::with_members(seed, DaveSettings::default(), &[1, 2]);
        call.service.fault(Fault::WrongExternalSender { to: 3 });
        call.join(3);
        call.settle();
        assert_eq!(call.count(3, 25), 2);
        assert_eq!(call.count(3, 31), 1);
        call.assert_secure(&mut quiet());
    }
}

#[test]
fn without_op_22_senders_stay_with_the_key_they_have() {
    let settings = DaveSettings { execution: Execution::Never, ..DaveSettings::default() };
    let mut call = Call::with_members(5, settings, &[1, 2]);
    call.join(3);
    call.settle();
    assert_eq!(call.count(1, 22), 0);
    let sealed = call.encrypt(1, b"old key").unwrap();
    assert_eq!(call.decrypt(2, 1, &sealed).unwrap(), b"old key");
    assert!(call.decrypt(3, 1, &sealed).is_err());
    assert_eq!(call.encrypt(3, b"no key yet"), None);
}

#[test]
fn op_22_comes_two_seconds_late_when_somebody_never_gets_ready() {
    let mut call = Call::with_members(6, DaveSettings::default(), &[1, 2]);
    call.never_ready.insert(2);
    call.join(3);
    call.run();
    let due = call.service.deadline().expect("a transition is open");
    assert_eq!(due - call.now, Duration::from_secs(2));
    call.pass(Duration::from_millis(1_999));
    assert_eq!(call.count(1, 22), 0);
    call.pass(Duration::from_millis(1));
    assert_eq!([1, 2, 3].map(|user| call.count(user, 22)), [1; 3]);
    call.assert_secure(&mut quiet());
}

#[test]
fn op_22_can_be_delayed() {
    let settings =
        DaveSettings { execution: Execution::After(Duration::from_secs(5)), ..DaveSettings::default() };
    let mut call = Call::with_members(7, settings, &[1, 2]);
    call.join(3);
    call.run();
    call.pass(Duration::from_millis(4_999));
    assert_eq!(call.count(1, 22), 0);
    call.pass(Duration::from_millis(1));
    assert_eq!(call.count(1, 22), 1);
}
