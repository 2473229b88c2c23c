//! Stories of op 4 that has to wait, and of what is no answer to it.

use super::*;

/// A guild whose op 4 are not let out.
fn busy() -> GuildVoice {
    GuildVoice::new(GUILD, BOT, JOIN_TIMEOUT)
}

fn poll(voice: &mut GuildVoice, now: Instant) -> Vec<Action> {
    std::iter::from_fn(|| voice.poll(now)).collect()
}

#[test]
fn no_answer_is_awaited_before_op_4_has_left() {
    let (mut voice, begin) = (busy(), start());
    voice.join(LOUNGE, begin);
    assert_eq!(poll(&mut voice, begin), [op4(LOUNGE)]);
    let hour = Duration::from_secs(3600);
    assert_eq!(voice.deadline(), None);
    assert_eq!(poll(&mut voice, begin + hour), []);
    voice.op_4_sent(begin + hour);
    assert_eq!(voice.deadline(), Some(begin + hour + JOIN_TIMEOUT));
    assert_eq!(poll(&mut voice, begin + hour + JOIN_TIMEOUT), [Action::Failed(JoinFailure::NoAnswer)]);
}

#[test]
fn a_second_report_that_op_4_has_left_prolongs_nothing() {
    let mut story = Story::joining();
    let deadline = story.voice.deadline();
    story.voice.op_4_sent(story.now + Duration::from_secs(5));
    assert_eq!(story.voice.deadline(), deadline);
}

#[test]
fn a_move_and_a_leave_wait_for_their_op_4_too() {
    let mut story = Story::joined();
    story.voice.join(STAGE, story.now);
    assert_eq!(poll(&mut story.voice, story.now), [op4(STAGE)]);
    assert_eq!(story.voice.deadline(), None);
    story.voice.op_4_sent(story.now);
    assert_eq!(story.voice.deadline(), Some(story.now + JOIN_TIMEOUT));

    story.voice.leave(story.now);
    assert_eq!(poll(&mut story.voice, story.now), [op4(None)]);
    assert_eq!(story.voice.deadline(), None);
    story.voice.op_4_sent(story.now);
    assert_eq!(story.wait(), (JOIN_TIMEOUT, vec![]));
    assert!(story.voice.is_idle());
}

#[test]
fn a_join_that_has_not_left_is_taken_back_and_one_that_has_is_followed_by_a_leave() {
    let (mut voice, now) = (busy(), start());
    voice.join(LOUNGE, now);
    poll(&mut voice, now);
    voice.leave(now);
    assert_eq!(poll(&mut voice, now), [Action::CancelVoiceUpdate]);
    assert!(voice.is_idle());

    assert_eq!(Story::joining().leave(), [op4(None)]);

    // Discord knows of the first join, though not of the second.
    let mut story = Story::joining();
    story.voice.join(STAGE, story.now);
    poll(&mut story.voice, story.now);
    story.voice.leave(story.now);
    assert_eq!(poll(&mut story.voice, story.now), [op4(None)]);
}

#[test]
fn a_rejoin_asks_no_second_time_for_what_is_still_to_be_asked() {
    let (mut voice, now) = (busy(), start());
    voice.join(LOUNGE, now);
    poll(&mut voice, now);
    voice.rejoin(now);
    assert_eq!(poll(&mut voice, now), []);
}

#[test]
fn answers_that_come_before_op_4_has_left_are_taken() {
    let (mut voice, now) = (busy(), start());
    voice.join(LOUNGE, now);
    poll(&mut voice, now);
    voice.voice_state(&state(Some(LOUNGE)), now);
    voice.voice_server(&server("t1", Some(ENDPOINT)), now);
    assert_eq!(poll(&mut voice, now), [credentials(LOUNGE, "t1")]);
}

#[test]
fn the_same_server_once_more_is_nothing_new_and_another_token_is() {
    let mut story = Story::joined();
    assert_eq!(story.told("t1"), []);
    assert_eq!(story.voice.deadline(), None);
    assert_eq!(story.told("t2"), []);
    assert_eq!(story.wait().1, [credentials(LOUNGE, "t2")]);
}

#[test]
fn a_bot_that_is_moved_before_it_is_connected_is_redirected() {
    let mut story = Story::joining();
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.is_in(STAGE), [Action::Redirected(STAGE)]);
    assert_eq!(story.told("t1"), [credentials(STAGE, "t1")]);
}

#[test]
fn another_session_takes_over_only_a_bot_that_is_in_voice() {
    let other = |channel| VoiceState { session_id: SessionId("s2".into()), ..state(channel) };
    let mut story = Story::joined();
    story.voice.main_session(Some(SessionId("s1".into())));
    assert_eq!(story.hear(&other(None)), [], "somebody else's goodbye");
    assert_eq!(story.hear(&other(Some(STAGE))), [Action::TakenOver]);
    assert!(story.voice.is_idle());

    let mut story = Story::joining();
    story.voice.main_session(Some(SessionId("s1".into())));
    assert_eq!(story.hear(&other(Some(LOUNGE))), [], "the join takes the bot back from there");
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);
}

#[test]
fn how_the_bot_appears_is_told_at_once_where_it_is_and_otherwise_with_the_join() {
    let op4 = |channel, deaf| {
        Action::UpdateVoiceState(UpdateVoiceState {
            guild: GUILD,
            channel,
            self_mute: false,
            self_deaf: deaf,
        })
    };
    let hearing = SelfFlags { mute: false, deaf: false };
    let mut story = Story::begin();
    story.voice.appear(hearing);
    assert_eq!(story.join(LOUNGE), [op4(Some(LOUNGE), false)]);

    let mut story = Story::joined();
    story.voice.appear(hearing);
    assert_eq!(story.actions(), [op4(Some(LOUNGE), false)]);
    story.voice.appear(hearing);
    assert_eq!(story.actions(), []);
    assert_eq!(story.is_in(LOUNGE), [], "the voice session is not touched");
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn a_kick_takes_back_a_move_that_has_not_left() {
    let mut story = Story::joined();
    story.voice.join(STAGE, story.now);
    poll(&mut story.voice, story.now);
    assert_eq!(story.is_out(), [Action::CancelVoiceUpdate, Action::Kicked]);

    let mut story = Story::joined();
    story.voice.main_session(Some(SessionId("s1".into())));
    story.voice.join(STAGE, story.now);
    poll(&mut story.voice, story.now);
    let other = VoiceState { session_id: SessionId("s2".into()), ..state(Some(CELLAR)) };
    assert_eq!(story.hear(&other), [Action::CancelVoiceUpdate, Action::TakenOver]);
}

#[test]
fn a_late_answer_to_a_leave_is_no_kick_while_the_join_after_it_is_unanswered() {
    let mut story = Story::joining();
    story.now += 3 * SECOND;
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.wait(), (SECOND, vec![op4(LOUNGE)]));
    // The answers to all three come, seconds late and in order.
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);
    assert_eq!(story.is_out(), [], "it has left before it joined again");
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.told("t2"), []);
    assert_eq!(story.wait().1, [credentials(LOUNGE, "t2")]);
    assert_eq!(story.is_out(), [Action::Kicked], "all was answered");
}

#[test]
fn an_answer_that_comes_twice_is_none_to_the_join_after_it() {
    let mut story = Story::joining();
    story.now += 3 * SECOND;
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.wait(), (SECOND, vec![op4(LOUNGE)]));
    story.now += 8 * SECOND;
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.is_in(LOUNGE), [], "the first answer, which is late, once more");
    assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);
    assert_eq!(story.is_out(), [], "it has left before it joined again");
    assert_eq!(story.is_out(), [], "as it was told already");
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.is_out(), [Action::Kicked], "all was answered");
}

#[test]
fn a_leave_that_is_never_answered_hides_no_kick_for_long() {
    let mut story = Story::joined();
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.wait(), (SECOND, vec![op4(LOUNGE)]));
    story.now += 9 * SECOND;
    story.is_in(STAGE);
    story.now += 3 * SECOND;
    assert_eq!(story.is_out(), [Action::Kicked]);
}

/// A bot in the lounge, as Discord has told so long after it was asked.
fn joined_after(latency: Duration) -> Story {
    let mut story = Story::joining();
    story.now += latency;
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);
    story
}

#[test]
fn where_answers_are_slow_a_kick_and_a_move_are_heard_before_the_bot_joins_again() {
    let mut story = joined_after(2 * SECOND);
    assert_eq!(story.rejoin(), []);
    story.now += 2 * SECOND;
    assert_eq!(story.is_out(), [Action::Kicked]);

    let mut story = joined_after(2 * SECOND);
    assert_eq!(story.rejoin(), []);
    assert_eq!(story.is_in(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.told("t2"), [credentials(STAGE, "t2")], "these are fresh");
    assert_eq!(story.voice.deadline(), None);

    let mut story = joined_after(2 * SECOND);
    assert_eq!(story.rejoin(), []);
    assert_eq!(story.told("t2"), []);
    assert_eq!(story.wait().1, [credentials(LOUNGE, "t2")], "another server is of use again");
    assert_eq!(story.voice.deadline(), None);

    let mut story = joined_after(2 * SECOND);
    assert_eq!(story.rejoin(), []);
    assert_eq!(story.rejoin(), []);
    assert_eq!(story.wait(), (5 * SECOND / 2, vec![op4(None)]), "it was neither");
    assert_eq!(story.wait(), (3 * SECOND, vec![op4(LOUNGE)]), "a leave takes as long as a join");
}

#[test]
fn where_answers_are_quick_a_bot_joins_again_at_once() {
    let mut story = joined_after(SECOND / 3);
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.wait(), (SECOND, vec![op4(LOUNGE)]));
}

#[test]
fn the_time_that_the_main_gateway_was_away_is_not_how_long_it_takes_to_answer() {
    let mut story = Story::joining();
    story.now += 9 * SECOND;
    story.voice.main_gateway_restored(story.now);
    assert_eq!(story.actions(), [op4(LOUNGE)]);
    story.is_in(LOUNGE);
    story.told("t1");
    assert_eq!(story.rejoin(), [op4(None)]);

    let mut story = Story::joined();
    story.join(STAGE);
    assert_eq!(story.wait().1, [Action::NotMoved(JoinFailure::NoAnswer)]);
    story.now += 3600 * SECOND;
    story.is_in(STAGE);
    story.told("t2");
    assert_eq!(story.rejoin(), [op4(None)], "what comes an hour later is no answer");
}
