//! Which frames that do not open are counted, and for whom.

use super::super::MAX_FAILING;
use super::{Ear, KeyChange, OpenError, SPEAKER, frame, receivers, secret};
use crate::id::UserId;

const OTHER: UserId = UserId(8);
const THIRD: UserId = UserId(9);
const STRANGER: UserId = UserId(10);

#[test]
fn thirty_seven_failures_in_a_row_are_too_many() {
    let mut ear = Ear::new();
    let strange = frame(9, 1);
    for _ in 0..36 {
        assert!(ear.hear(&strange).is_err());
    }
    assert_eq!(ear.take_failing(), None);
    assert!(ear.hear(&frame(1, 1)).is_ok());
    for _ in 0..36 {
        assert!(ear.hear(&strange).is_err());
        assert!(ear.hear(b"plain").is_err(), "counts neither way");
    }
    assert_eq!(ear.take_failing(), None);
    assert!(ear.hear(&strange).is_err());
    assert_eq!(ear.take_failing(), Some(SPEAKER));
    assert_eq!(ear.take_failing(), None, "said once");
}

#[test]
fn frames_of_a_user_without_a_key_are_failures() {
    let mut ear = Ear::new();
    for _ in 0..37 {
        assert_eq!(ear.take_failing(), None);
        assert_eq!(ear.hear_from(STRANGER, &frame(1, 1)), Err(OpenError::NoKey));
    }
    assert_eq!(ear.take_failing(), Some(STRANGER));
}

#[test]
fn a_good_frame_heard_again_and_again_is_no_failure() {
    let mut ear = Ear::new();
    assert!(ear.hear(&frame(1, 1)).is_ok());
    for _ in 0..37 {
        assert_eq!(ear.hear(&frame(1, 1)), Err(OpenError::Replayed));
    }
    assert_eq!(ear.take_failing(), None);
}

#[test]
fn a_replay_of_an_older_epoch_is_no_failure_either() {
    let mut ear = Ear::new();
    assert!(ear.hear(&frame(1, 1)).is_ok());
    ear.install(receivers(2, 2));
    for _ in 0..37 {
        assert_eq!(ear.hear(&frame(1, 1)), Err(OpenError::Replayed));
    }
    assert_eq!(ear.take_failing(), None);
}

#[test]
fn a_replay_does_not_make_good_what_failed() {
    let mut ear = Ear::new();
    assert!(ear.hear(&frame(1, 1)).is_ok());
    for _ in 0..37 {
        assert_eq!(ear.take_failing(), None);
        assert_eq!(ear.hear(&frame(9, 2)), Err(OpenError::Forged));
        assert_eq!(ear.hear(&frame(1, 1)), Err(OpenError::Replayed));
    }
    assert_eq!(ear.take_failing(), Some(SPEAKER));
}

#[test]
fn a_forgery_with_a_nonce_that_was_used_is_a_failure_and_no_replay() {
    let mut ear = Ear::new();
    assert!(ear.hear(&frame(1, 1)).is_ok());
    for _ in 0..37 {
        assert_eq!(ear.hear(&frame(9, 1)), Err(OpenError::Forged));
    }
    assert_eq!(ear.take_failing(), Some(SPEAKER));
}

#[test]
fn the_failures_of_two_users_do_not_add_up() {
    let mut ear = Ear::new();
    ear.install(everyone());
    for nonce in 1..=20 {
        assert!(ear.hear_from(SPEAKER, &frame(9, nonce)).is_err());
        assert!(ear.hear_from(OTHER, &frame(9, nonce)).is_err());
        assert_eq!(ear.take_failing(), None);
    }
}

#[test]
fn a_good_frame_of_another_resets_no_count() {
    let mut ear = Ear::new();
    ear.install(everyone());
    for nonce in 1..=37 {
        assert_eq!(ear.take_failing(), None);
        assert!(ear.hear_from(SPEAKER, &frame(9, nonce)).is_err());
        assert!(ear.hear_from(THIRD, &frame(4, nonce)).is_ok());
    }
    assert_eq!(ear.take_failing(), Some(SPEAKER));
}

#[test]
fn a_good_frame_resets_the_count_of_its_own_user_only() {
    let mut ear = Ear::new();
    ear.install(everyone());
    for nonce in 1..=36 {
        assert!(ear.hear_from(SPEAKER, &frame(9, nonce)).is_err());
        assert!(ear.hear_from(OTHER, &frame(9, nonce)).is_err());
    }
    assert!(ear.hear_from(SPEAKER, &frame(2, 100)).is_ok());
    assert!(ear.hear_from(SPEAKER, &frame(9, 37)).is_err());
    assert_eq!(ear.take_failing(), None);
    assert!(ear.hear_from(OTHER, &frame(9, 37)).is_err());
    assert_eq!(ear.take_failing(), Some(OTHER));
}

#[test]
fn twenty_failures_each_of_two_among_good_frames_of_a_third_are_borne() {
    let mut ear = Ear::new();
    ear.install(everyone());
    for nonce in 1..=20 {
        assert!(ear.hear_from(SPEAKER, &frame(9, nonce)).is_err());
        assert!(ear.hear_from(OTHER, &frame(9, nonce)).is_err());
        assert!(ear.hear_from(THIRD, &frame(4, nonce)).is_ok());
        assert_eq!(ear.take_failing(), None);
    }
}

#[test]
fn who_has_left_leaves_no_failures_behind() {
    let mut ear = Ear::new();
    for _ in 0..37 {
        assert!(ear.hear(&frame(9, 1)).is_err());
    }
    ear.install(KeyChange::Forget(SPEAKER));
    assert_eq!(ear.take_failing(), None);
}

#[test]
fn a_new_epoch_starts_every_count_over() {
    let mut ear = Ear::new();
    for _ in 0..37 {
        assert!(ear.hear(&frame(9, 1)).is_err());
    }
    ear.install(everyone());
    assert_eq!(ear.take_failing(), None);
}

#[test]
fn the_users_whose_failures_are_counted_are_bounded() {
    let mut ear = Ear::new();
    for _ in 0..36 {
        assert!(ear.hear(&frame(9, 1)).is_err());
    }
    for user in 1_000..1_000 + 2 * MAX_FAILING as u64 {
        assert!(ear.hear_from(UserId(user), &frame(9, 1)).is_err());
    }
    assert_eq!(ear.frames.openers.failures.0.len(), MAX_FAILING);
    assert!(ear.hear(&frame(9, 1)).is_err());
    assert_eq!(ear.take_failing(), Some(SPEAKER), "the one with the most failures is kept");
}

/// An epoch of three users: the speaker has the key 2, the other 3, and the third 4.
fn everyone() -> KeyChange {
    let secrets = vec![(SPEAKER, secret(2)), (OTHER, secret(3)), (THIRD, secret(4))];
    KeyChange::Receivers { epoch: 2, secrets }
}
