//! Stories of members who come: alone, in pairs, in a race, in a crowd.

use std::time::Duration;

use super::bus::{CHANNEL, Call, Way::Down, Way::Up};
use crate::dave::{
    DaveSettings, Execution, Pacing, Packing, Participant, ParticipantSettings, ServerMessage, WhileAlone,
    Winner,
};

fn nonzero() -> DaveSettings {
    DaveSettings { first_transition_id_zero: false, ..DaveSettings::default() }
}

#[test]
fn alone_a_member_sends_one_key_package_and_holds_its_frames() {
    let mut call = Call::with_members(1, DaveSettings::default(), &[7]);
    assert_eq!(call.count(7, 26), 1);
    assert_eq!(call.count(7, 25), 1);
    assert_eq!(call.log.len(), 2);
    assert_eq!(call.encrypt(7, b"frame"), None);
    assert_eq!(call.code(7), None);
}

#[test]
fn alone_a_member_may_be_set_to_send_in_clear() {
    let settings = ParticipantSettings { while_alone: WhileAlone::Plain, ..Default::default() };
    let mut call = Call::new(1, DaveSettings::default());
    call.join_as(7, 1, Box::new(Participant::with_settings(7, CHANNEL, settings)));
    call.settle();
    assert_eq!(call.encrypt(7, b"frame"), Some(b"frame".to_vec()));
    call.join(8);
    call.settle();
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn two_members_share_a_group_after_the_exchange_discord_describes() {
    let mut call = Call::with_members(3, DaveSettings::default(), &[1, 2]);
    call.assert_secure(&mut Participant::new(9, CHANNEL));
    assert_eq!(call.service.epoch(), 1);
    assert!(call.objections.is_empty(), "{:?}", call.objections);
    let winner = if call.count(1, 29) == 1 { 1 } else { 2 };
    let answered: Vec<_> = call.ops(winner).into_iter().filter(|(_, op)| *op != 26 && *op != 25).collect();
    assert_eq!(answered, [(Down, 27), (Up, 28), (Down, 29)]);
    assert_eq!(call.count(3 - winner, 30), 1);
    // Transition 0 is executed at once: nobody says ready, nobody says go.
    assert!(call.log.iter().all(|(_, _, op)| *op != 22 && *op != 23));
}

#[test]
fn with_another_first_id_both_say_ready_before_either_may_send() {
    let mut call =
        Call::new(4, DaveSettings { execution: Execution::After(Duration::from_secs(1)), ..nonzero() });
    call.join(1);
    call.join(2);
    call.run();
    assert_eq!((call.count(1, 23), call.count(2, 23)), (1, 1));
    assert_eq!(call.encrypt(1, b"frame"), None, "switched before op 22");
    call.settle();
    assert_eq!((call.count(1, 22), call.count(2, 22)), (1, 1));
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn a_third_member_is_welcomed_into_the_next_epoch() {
    let mut call = Call::with_members(5, DaveSettings::default(), &[1, 2]);
    let before = call.code(1);
    call.join(3);
    call.settle();
    assert_ne!(call.code(1), before);
    assert_eq!(call.service.epoch(), 2);
    assert_eq!((call.count(3, 30), call.count(3, 29), call.count(3, 27)), (1, 0, 0));
    assert_eq!([1, 2, 3].map(|user| (call.count(user, 23), call.count(user, 22))), [(1, 1); 3]);
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn pending_members_ignore_proposals_of_a_group_they_are_not_in() {
    let settings = DaveSettings {
        pending_get_proposals: true,
        batch_window: Duration::from_millis(50),
        ..DaveSettings::default()
    };
    let mut call = Call::with_members(6, settings, &[1, 2]);
    call.join(3);
    call.join(4);
    call.settle();
    assert!(call.count(3, 27) + call.count(4, 27) > 0);
    assert_eq!((call.count(3, 28), call.count(4, 28)), (0, 0));
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn whoever_is_to_win_the_race_wins_it_and_all_agree() {
    for winner in [Winner::Last, Winner::User(1), Winner::User(2), Winner::User(3)] {
        for seed in 0..4 {
            let mut call = Call::new(seed, DaveSettings { winner, ..DaveSettings::default() });
            [1, 2, 3].into_iter().for_each(|user| call.join(user));
            call.settle();
            call.assert_secure(&mut Participant::new(9, CHANNEL));
            let first = call.log.iter().find(|(_, way, op)| (*way, *op) == (Down, 29)).unwrap().0;
            if let Winner::User(user) = winner {
                assert_eq!(first, user, "seed {seed}");
            }
        }
    }
}

#[test]
fn losers_of_the_first_race_ignore_the_commit_if_they_get_it() {
    for seed in 0..4 {
        let settings = DaveSettings { losers_get_commit: true, ..DaveSettings::default() };
        let mut call = Call::with_members(seed, settings, &[1, 2]);
        assert_eq!(call.count(1, 29) + call.count(2, 29), 2);
        assert_eq!(call.count(1, 31) + call.count(2, 31), 0);
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
}

#[test]
fn proposals_collected_for_a_while_make_one_commit() {
    let settings = DaveSettings { batch_window: Duration::from_millis(100), ..DaveSettings::default() };
    let mut call = Call::with_members(8, settings, &[1, 2]);
    [3, 4, 5].into_iter().for_each(|user| call.join(user));
    call.settle();
    assert_eq!(call.service.epoch(), 2);
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn proposals_sent_one_by_one_end_in_the_same_group() {
    let settings = DaveSettings {
        batch_window: Duration::from_millis(100),
        packing: Packing::OneEach,
        ..DaveSettings::default()
    };
    let mut call = Call::with_members(9, settings, &[1, 2]);
    [3, 4].into_iter().for_each(|user| call.join(user));
    call.settle();
    assert_eq!(call.count(1, 27) + call.count(2, 27), 1 + 1 + 2 * 2);
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn transitions_may_overlap_when_set_so() {
    let settings = DaveSettings { pacing: Pacing::Overlapping, ..DaveSettings::default() };
    for seed in 0..4 {
        let mut call = Call::with_members(seed, settings.clone(), &[1, 2, 3]);
        call.never_ready.extend([1, 2, 3]);
        call.join(4);
        call.run();
        call.join(5);
        call.run();
        assert_eq!(call.service.epoch(), 4, "the second commit waited for the first transition");
        call.settle();
        assert_eq!(call.count(1, 22), 3);
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
}

#[test]
fn transitions_come_one_at_a_time_by_default() {
    let mut call = Call::with_members(10, DaveSettings::default(), &[1, 2, 3]);
    call.never_ready.insert(1);
    call.join(4);
    call.run();
    call.join(5);
    call.run();
    assert_eq!(call.service.epoch(), 3);
    assert!(call.service.in_transition());
    call.pass(Duration::from_millis(1_999));
    assert_eq!(call.service.epoch(), 3);
    call.pass(Duration::from_millis(1));
    assert_eq!(call.service.epoch(), 4);
    call.settle();
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}

#[test]
fn a_crowd_of_twenty_five_that_comes_at_once_ends_up_in_one_group() {
    let settings = DaveSettings { batch_window: Duration::from_millis(20), ..DaveSettings::default() };
    let mut call = Call::new(11, settings);
    (1..=25).for_each(|user| call.join(user));
    call.settle();
    call.assert_secure(&mut Participant::new(99, CHANNEL));
    assert!(call.objections.is_empty(), "{:?}", call.objections);
}

#[test]
fn twenty_five_members_who_come_one_after_the_other_all_follow_every_epoch() {
    let mut call = Call::new(12, DaveSettings::default());
    for user in 1..=25 {
        call.join(user);
        call.settle();
    }
    assert_eq!(call.service.epoch(), 24);
    call.assert_secure(&mut Participant::new(99, CHANNEL));
    for user in [25, 1, 13, 7] {
        let mut gone = call.leave(user);
        call.settle();
        call.assert_secure(gone.as_mut());
    }
    assert!(call.objections.is_empty(), "{:?}", call.objections);
}

#[test]
fn who_hears_every_message_of_the_gateway_still_hears_no_voice() {
    let mut call = Call::with_members(13, DaveSettings::default(), &[1, 2, 3]);
    call.leave(2);
    call.join(4);
    call.settle();
    let mut eavesdropper = call.eavesdropper();
    assert!(call.sent.len() > 10);
    call.assert_secure(&mut eavesdropper);
}

#[test]
fn the_first_member_may_be_told_to_prepare_an_epoch() {
    let settings = DaveSettings { op24_on_empty_join: true, ..DaveSettings::default() };
    let mut call = Call::with_members(14, settings, &[1]);
    let down: Vec<_> = call.ops(1).into_iter().filter(|(way, _)| *way == Down).map(|(_, op)| op).collect();
    assert_eq!(down, [25, 24, 21]);
    let epoch = call.sent.iter().find(|message| matches!(message, ServerMessage::Json { op: 24, .. }));
    let d = serde_json::json!({ "protocol_version": 1, "epoch": 1 });
    assert_eq!(epoch, Some(&ServerMessage::Json { op: 24, d }));
    assert_eq!(call.count(1, 23), 0);
    call.join(2);
    call.settle();
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}
