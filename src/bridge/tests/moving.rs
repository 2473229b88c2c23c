//! Stories of bots that are moved, or asked to move.

use super::*;

#[test]
fn a_moderator_moves_the_bot_in_either_order_and_each_token_is_used_once() {
    let mut story = Story::joined();
    assert_eq!(story.is_in(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.told("t2"), [credentials(STAGE, "t2")]);
    assert_eq!(story.voice.deadline(), None);

    assert_eq!(story.told("t3"), []);
    assert_eq!(story.is_in(CELLAR), [Action::Moved(CELLAR), credentials(CELLAR, "t3")]);
    assert_eq!(story.voice.deadline(), None);

    story.rejoin();
    assert_eq!(story.is_out(), [op4(CELLAR)], "where the moderator put the bot, there it stays");
}

#[test]
fn a_move_whose_state_comes_too_late_for_its_server_is_joined_anew_at_once() {
    let mut story = Story::joined();
    story.told("t2");
    assert_eq!(story.wait().1, [credentials(LOUNGE, "t2")]);
    story.now += SECOND;
    let actions = story.is_in(STAGE);
    assert_eq!(actions, [Action::Moved(STAGE), Action::Failed(JoinFailure::NoServer)]);
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.is_out(), [op4(STAGE)]);
}

#[test]
fn a_move_long_after_another_server_waits_for_its_own() {
    let mut story = Story::joined();
    story.told("t2");
    story.wait();
    story.now += 3 * SECOND;
    assert_eq!(story.is_in(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.told("t3"), [credentials(STAGE, "t3")]);
}

#[test]
fn a_state_is_no_half_of_a_move_any_more_two_seconds_after_its_server() {
    for (after, too_late) in [(2 * SECOND - Duration::from_nanos(1), true), (2 * SECOND, false)] {
        let mut story = Story::joined();
        story.told("t2");
        story.wait();
        story.now += after;
        let failed = story.is_in(STAGE).contains(&Action::Failed(JoinFailure::NoServer));
        assert_eq!(failed, too_late, "{after:?}");
    }
}

#[test]
fn a_move_without_a_voice_server_fails_and_is_joined_anew() {
    let mut story = Story::joined();
    story.is_in(STAGE);
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::Failed(JoinFailure::NoServer)]));
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.is_out(), [op4(STAGE)]);
}

#[test]
fn a_move_while_the_endpoint_is_lost_waits_for_it() {
    let mut story = Story::joined();
    story.told_null();
    story.now += 5 * SECOND;
    assert_eq!(story.is_in(STAGE), [Action::Moved(STAGE)]);
    story.now += 50 * SECOND;
    assert_eq!(story.told("t2"), [credentials(STAGE, "t2")]);
}

#[test]
fn muting_or_suppressing_the_bot_is_no_move() {
    let mut story = Story::joined();
    let actions = story.hear(&VoiceState { mute: true, suppress: true, ..state(Some(LOUNGE)) });
    assert_eq!(actions, [Action::Suppression(Some(Suppression::Suppressed))]);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn the_user_moves_the_bot_in_either_order() {
    let mut story = Story::joined();
    assert_eq!(story.join(STAGE), [op4(STAGE)]);
    assert_eq!(story.is_in(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.told("t2"), [credentials(STAGE, "t2")]);
    assert_eq!(story.voice.deadline(), None);

    assert_eq!(story.join(CELLAR), [op4(CELLAR)]);
    assert_eq!(story.told("t3"), []);
    assert_eq!(story.is_in(CELLAR), [Action::Moved(CELLAR), credentials(CELLAR, "t3")]);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn a_move_that_is_refused_in_silence_leaves_the_call_where_it_is() {
    let mut story = Story::joined();
    story.join(STAGE);
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::NotMoved(JoinFailure::NoAnswer)]));
    assert_eq!(story.voice.deadline(), None);

    story.told("t2");
    assert_eq!(story.wait().1, [credentials(LOUNGE, "t2")], "the old call lives on");
    story.rejoin();
    assert_eq!(story.is_out(), [op4(LOUNGE)], "and comes back to the old channel");
}

#[test]
fn a_failover_during_a_refused_move_keeps_the_old_channel() {
    let mut story = Story::joined();
    story.join(STAGE);
    story.told("t2");
    assert_eq!(story.wait().1, [credentials(LOUNGE, "t2")]);
    assert_eq!(story.wait().1, [Action::NotMoved(JoinFailure::NoAnswer)]);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn a_call_that_breaks_during_a_refused_move_goes_back_to_the_old_channel() {
    for replaced in [Story::main_session_replaced as fn(&mut Story) -> _, |story| {
        assert_eq!(story.rejoin(), [op4(None)]);
        story.is_out()
    }] {
        let mut story = Story::joined();
        story.join(STAGE);
        assert_eq!(replaced(&mut story), [op4(STAGE)], "the latest wish is tried first");
        let failed = vec![Action::NotMoved(JoinFailure::NoAnswer), Action::Failed(JoinFailure::NoAnswer)];
        assert_eq!(story.wait(), (10 * SECOND, failed));
        assert_eq!(story.rejoin(), [op4(None)]);
        assert_eq!(story.wait(), (SECOND, vec![op4(LOUNGE)]));
    }
}

#[test]
fn a_moderators_move_does_not_answer_the_users() {
    let mut story = Story::joined();
    story.join(STAGE);
    assert_eq!(story.is_in(CELLAR), [Action::Moved(CELLAR)]);
    assert_eq!(story.told("t2"), [credentials(CELLAR, "t2")]);
    assert_eq!(story.wait().1, [Action::NotMoved(JoinFailure::NoAnswer)]);
    story.rejoin();
    assert_eq!(story.is_out(), [op4(CELLAR)]);
}

#[test]
fn going_back_before_the_move_was_answered_is_no_failure() {
    let mut story = Story::joined();
    story.join(STAGE);
    assert_eq!(story.join(LOUNGE), [op4(LOUNGE)]);
    assert_eq!(story.wait().1, [], "Discord says nothing to a bot that is there already");
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn joining_the_same_channel_again_asks_nothing() {
    let mut story = Story::joining();
    story.now += 4 * SECOND;
    assert_eq!(story.join(LOUNGE), []);
    assert_eq!(story.wait().0, 6 * SECOND, "and does not begin to wait anew");

    let mut story = Story::joined();
    assert_eq!(story.join(LOUNGE), [], "Discord would answer without a voice server");
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn another_channel_asked_for_before_the_first_answered_wins() {
    let mut story = Story::joining();
    story.now += SECOND;
    assert_eq!(story.join(STAGE), [op4(STAGE)]);
    story.is_in(LOUNGE);
    assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);
    assert_eq!(story.is_in(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.told("t2"), [credentials(STAGE, "t2")]);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn another_channel_that_refuses_leaves_the_first() {
    let mut story = Story::joining();
    story.join(STAGE);
    story.is_in(LOUNGE);
    assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);
    assert_eq!(story.wait().1, [Action::NotMoved(JoinFailure::NoAnswer)]);
    story.rejoin();
    assert_eq!(story.is_out(), [op4(LOUNGE)]);
}

#[test]
fn a_moderator_moves_the_bot_while_it_joins() {
    let mut story = Story::joining();
    story.is_in(LOUNGE);
    story.is_in(CELLAR);
    assert_eq!(story.told("t1"), [credentials(CELLAR, "t1")]);
    assert_eq!(story.voice.deadline(), None, "the lounge is not waited for");
}
