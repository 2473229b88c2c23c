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

/// The guild becomes unavailable, and is back after a minute in which nothing is expected.
fn outage(story: &mut Story, own: Option<&VoiceState>) -> Vec<Action> {
    story.voice.guild_unavailable(story.now);
    story.now += 60 * SECOND;
    assert_eq!(story.actions(), [], "no silence is an answer");
    story.voice.guild_available(own, story.now);
    story.actions()
}

#[test]
fn after_an_outage_the_bot_is_where_it_was_or_joins_again() {
    let (here, elsewhere) = (state(Some(LOUNGE)), state(Some(CELLAR)));
    let mut story = Story::joined();
    assert_eq!(outage(&mut story, Some(&here)), [], "voice played on");
    assert_eq!(outage(&mut story, Some(&elsewhere)), [Action::Moved(CELLAR)]);
    let mut story = Story::joined();
    assert_eq!(outage(&mut story, None), [op4(LOUNGE)], "it was taken out, and not by a moderator");
    story.is_in(LOUNGE);
    assert_eq!(story.told("t2"), [credentials(LOUNGE, "t2")]);
}

#[test]
fn what_was_asked_during_an_outage_is_asked_again_after_it() {
    assert_eq!(outage(&mut Story::joining(), None), [op4(LOUNGE)]);
    let mut story = Story::joined();
    story.rejoin();
    assert_eq!(outage(&mut story, Some(&state(Some(LOUNGE)))), [op4(None)], "it is still to leave");
    assert_eq!(story.is_out(), [op4(LOUNGE)]);
    let mut story = Story::joined();
    story.leave();
    assert_eq!(outage(&mut story, None), []);
    assert!(story.voice.is_idle());
}

#[test]
fn what_was_asked_before_an_outage_may_be_answered_after_it_and_a_leave_among_it_is_no_kick() {
    let mut story = Story::joined();
    assert_eq!(story.join(CELLAR), [op4(CELLAR)]);
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.wait().1, [op4(CELLAR)], "the leave was not answered");
    story.voice.guild_unavailable(story.now);
    story.voice.guild_available(None, story.now);
    assert_eq!(story.actions(), [op4(CELLAR)]);
    for told in [story.is_in(CELLAR), story.is_out(), story.is_in(CELLAR), story.is_in(CELLAR)] {
        assert!(!told.contains(&Action::Kicked), "{told:?}");
    }
    assert_eq!(story.told("t2"), [credentials(CELLAR, "t2")]);
}

#[test]
fn an_outage_that_does_not_end_ends_the_call_after_ten_minutes() {
    for mut story in [Story::joining(), Story::joined()] {
        story.voice.guild_unavailable(story.now);
        assert_eq!(story.wait(), (600 * SECOND, vec![Action::GuildLost]));
        assert!(story.voice.is_idle());
        story.voice.guild_available(None, story.now);
        assert_eq!(story.actions(), []);
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
