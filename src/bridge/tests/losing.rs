//! The main gateway, the guild, the call or the machine itself is lost.

use super::*;

#[test]
fn a_main_gateway_that_is_back_is_asked_again_for_what_it_may_not_have_heard() {
    let resumed = |story: &mut Story| {
        story.now += 60 * SECOND;
        story.voice.main_gateway_restored(story.now);
        story.actions()
    };
    let mut story = Story::joining();
    assert_eq!(resumed(&mut story), [op4(LOUNGE)]);
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::Failed(JoinFailure::NoAnswer)]));

    let mut story = Story::joined();
    assert_eq!(resumed(&mut story), [], "all was answered");
    story.rejoin();
    assert_eq!(resumed(&mut story), [op4(None)]);
    assert_eq!(story.is_out(), [op4(LOUNGE)]);

    let mut story = Story::joined();
    assert_eq!(story.join(CELLAR), [op4(CELLAR)]);
    assert_eq!(resumed(&mut story), [op4(CELLAR)]);
}

#[test]
fn a_guild_that_is_gone_is_forgotten_and_can_be_joined_again() {
    for mut story in [Story::joining(), Story::joined()] {
        story.voice.guild_deleted();
        assert_eq!(story.actions(), []);
        assert!(story.voice.is_idle());
        assert_eq!(story.main_session_replaced(), [], "there is nowhere to be");
        assert_eq!(story.join(LOUNGE), [op4(LOUNGE)]);
    }
}

#[test]
fn another_call_gets_credentials_of_its_own() {
    let taken_over = |story: &mut Story| {
        story.voice.take_over(LOUNGE, story.now);
        story.actions()
    };
    assert_eq!(taken_over(&mut Story::begin()), [op4(LOUNGE)]);
    for mut story in [Story::joining(), Story::joined()] {
        assert_eq!(taken_over(&mut story), [op4(None)], "those of the call before are spent");
        assert_eq!(story.is_out(), [op4(LOUNGE)]);
        story.is_in(LOUNGE);
        assert_eq!(story.told("t2"), [credentials(LOUNGE, "t2")]);
    }
}

#[test]
fn a_bot_that_is_in_voice_already_is_adopted() {
    let mut story = Story::begin();
    let Action::Credentials(known) = credentials(LOUNGE, "t1") else { panic!() };
    story.voice.adopt(&known);
    assert_eq!(story.actions(), []);
    assert_eq!(story.join(LOUNGE), [], "it is there");
    assert_eq!(story.is_in(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.told("t2"), [credentials(STAGE, "t2")]);
    assert_eq!(story.rejoin(), [op4(None)]);
}

#[test]
fn a_new_main_gateway_session_joins_again() {
    let mut story = Story::joined();
    assert_eq!(story.main_session_replaced(), [op4(LOUNGE)]);
    story.is_in(LOUNGE);
    assert_eq!(story.told("t2"), [credentials(LOUNGE, "t2")]);

    story.rejoin();
    assert_eq!(story.main_session_replaced(), [op4(LOUNGE)], "nothing is left to say goodbye to");
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::Failed(JoinFailure::NoAnswer)]));
}
