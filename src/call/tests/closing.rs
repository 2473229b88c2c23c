//! Stories of voice gateways that close, and of what each close code leads to.

use super::*;
use crate::gateway::close::Verdict;

#[test]
fn every_close_code_of_a_live_session_leads_to_its_reaction() {
    for code in 0..=u16::MAX {
        let mut story = Story::live();
        let actions = story.gateway_lost(closed(code));
        match CloseCode(code).verdict() {
            Verdict::Resume => {
                assert_eq!(actions, [resuming(closed(code)), Action::Resume(credentials(1))], "{code}");
                assert!(story.call.is_live(), "{code}: audio goes on");
            }
            Verdict::Stop => {
                assert_eq!(actions, [Action::StopTracks], "{code}: the silence that ends speech can leave");
                story.gives_up_after_speech(EndReason::Refused(CloseCode(code)));
            }
            verdict => {
                assert_eq!(actions, [Action::Close, reconnecting(closed(code))], "{code}");
                let pause = if verdict == Verdict::AwaitMove { 10 * SECOND } else { 500 * MILLI };
                let (waited, then) = story.wait();
                assert_eq!(waited, pause, "{code}");
                if verdict == Verdict::AwaitMove {
                    assert_eq!(then, [Action::Close, reconnecting(closed(code))]);
                    assert_eq!(story.wait().1, [Action::Rejoin]);
                } else {
                    assert_eq!(then, [Action::Rejoin], "{code}");
                }
            }
        }
    }
}

#[test]
fn every_close_code_of_an_attempt_to_resume_leads_to_its_reaction() {
    for code in 0..=u16::MAX {
        let mut story = Story::live();
        story.gateway_lost(lost());
        let actions = story.gateway_lost(closed(code));
        match CloseCode(code).verdict_while_resuming() {
            Verdict::Resume => assert_eq!(actions, [resuming(closed(code))], "{code}"),
            Verdict::Stop => {
                assert_eq!(actions, [Action::StopTracks], "{code}: only the websocket is away");
                story.gives_up_after_speech(EndReason::Refused(CloseCode(code)));
            }
            _ => assert_eq!(actions, [Action::Close, reconnecting(closed(code))], "{code}"),
        }
    }
}

#[test]
fn no_session_that_was_never_established_is_resumed() {
    for cause in [closed(4015), closed(1000), closed(1006), lost(), Cause::Zombie, Cause::Panicked("Gateway")]
    {
        let mut story = Story::connecting();
        story.rejoins(cause);
        story.lives_on();
    }
}

#[test]
fn a_lost_websocket_is_resumed_at_once() {
    for cause in [closed(4015), closed(1006), lost(), Cause::Zombie, Cause::Panicked("Gateway")] {
        let mut story = Story::live();
        let actions = story.gateway_lost(cause.clone());
        assert_eq!(actions, [resuming(cause), Action::Resume(credentials(1))]);
        assert!(story.call.is_live());
        assert_eq!(story.resumed(), [Action::Report(ConnectionStatus::Resumed)]);
        assert_eq!(story.call.deadline(), None);
    }
}

#[test]
fn a_resume_that_is_lost_is_tried_twice_more_and_then_the_call_rejoins() {
    let mut story = Story::live();
    story.gateway_lost(lost());
    for pause in [SECOND, 2 * SECOND] {
        assert_eq!(story.gateway_lost(lost()), [resuming(lost())]);
        assert!(story.call.is_live(), "audio goes on");
        assert_eq!(story.wait(), (pause, vec![Action::Resume(credentials(1))]));
    }
    story.rejoins(lost());
    story.lives_on();
}

#[test]
fn a_resume_that_is_refused_rejoins_with_fresh_credentials() {
    for code in [4006, 4009, 4015, 4004] {
        let mut story = Story::live();
        story.gateway_lost(closed(1006));
        story.rejoins(closed(code));
        story.lives_on();
        story.gateway_lost(closed(1006));
        assert_eq!(story.resumed(), [Action::Report(ConnectionStatus::Resumed)]);
    }
}

#[test]
fn a_resume_that_is_not_answered_in_time_rejoins() {
    let mut story = Story::live();
    story.gateway_lost(lost());
    story.rejoins(Cause::Handshake(SessionError::Timeout { awaited: "Resumed" }));
}

#[test]
fn a_kick_ends_the_call_before_or_after_4014() {
    for code in [4014, 4022] {
        let mut story = Story::live();
        story.gateway_lost(closed(code));
        story.now += SECOND;
        assert_eq!(story.kicked(), ends(EndReason::Kicked));

        let mut story = Story::live();
        assert_eq!(story.kicked(), ends(EndReason::Kicked));
        assert_eq!(story.gateway_lost(closed(code)), []);
    }
}

#[test]
fn a_move_goes_on_in_the_other_channel_before_or_after_4014() {
    let mut story = Story::live();
    assert_eq!(story.gateway_lost(closed(4014)), [Action::Close, reconnecting(closed(4014))]);
    story.now += SECOND;
    assert_eq!(story.moved(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.credentials_for(STAGE), [Action::Identify(in_stage(2))]);
    story.established();

    let mut story = Story::live();
    assert_eq!(story.moved(STAGE), [Action::Moved(STAGE)]);
    assert_eq!(story.call.channel(), Some(STAGE));
    let actions = story.credentials_for(STAGE);
    assert_eq!(actions, [reconnecting(Cause::ServerChanged), Action::Identify(in_stage(2))]);
    // The owner no longer listens to the old websocket; were it to, the call would live all the same.
    story.gateway_lost(closed(4014));
    assert_eq!(story.wait().0, 10 * SECOND);
    assert_eq!(story.wait().1, [Action::Rejoin]);
}

#[test]
fn a_rejoin_that_leads_to_another_channel_tells_of_the_move() {
    let mut story = Story::live();
    story.gateway_lost(closed(4006));
    assert_eq!(story.wait().1, [Action::Rejoin]);
    assert_eq!(story.credentials_for(STAGE), [Action::Moved(STAGE), Action::Identify(in_stage(2))]);
}

#[test]
fn a_call_that_was_moved_before_it_could_connect_tells_where_it_connects_unless_that_was_told() {
    let mut story = Story::begin();
    story.call.redirected(STAGE);
    assert_eq!(story.actions(), [Action::Moved(STAGE)]);
    story.call.redirected(STAGE);
    assert_eq!(story.actions(), [], "once is enough");
    assert_eq!(story.credentials_for(STAGE), [Action::Identify(in_stage(1))]);

    // The user has asked for the first channel again.
    let mut story = Story::begin();
    story.call.redirected(STAGE);
    story.actions();
    let back = credentials(1);
    assert_eq!(story.credentials(), [Action::Moved(back.channel), Action::Identify(back)]);
}

fn in_stage(token: u32) -> Credentials {
    Credentials { channel: STAGE, ..credentials(token) }
}

#[test]
fn neither_move_nor_kick_rejoins_after_the_grace() {
    let mut story = Story::live();
    story.gateway_lost(closed(4014));
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::Close, reconnecting(closed(4014))]));
    assert_eq!(story.wait(), (500 * MILLI, vec![Action::Rejoin]));
    story.lives_on();
}

#[test]
fn a_refused_mode_is_not_chosen_again_and_a_second_refusal_is_final() {
    let mut story = Story::connecting();
    story.call.mode_chosen(GCM.to_owned());
    story.rejoins(closed(4016));
    assert_eq!(story.call.modes(), [XCHACHA]);
    assert_eq!(story.credentials(), [Action::Identify(credentials(2))]);
    story.call.mode_chosen(XCHACHA.to_owned());
    assert_eq!(story.gateway_lost(closed(4016)), gives_up(EndReason::Refused(CloseCode(4016))));
    assert!(story.call.modes().is_empty());
}

#[test]
fn a_server_without_a_usable_mode_ends_the_call_with_what_it_offered() {
    let mut story = Story::connecting();
    let error = SessionError::NoMode { offered: vec!["rot13".into()] };
    let reason = EndReason::Incompatible(error.clone());
    assert!(reason.to_string().contains("rot13"), "{reason}");
    assert_eq!(story.gateway_lost(Cause::Handshake(error)), gives_up(reason));
}

#[test]
fn a_code_with_one_more_chance_is_final_the_second_time() {
    for code in [4001, 4002, 4003, 4004, 4005, 4016, 4020] {
        let mut story = Story::live();
        story.rejoins(closed(code));
        story.credentials();
        assert_eq!(story.gateway_lost(closed(code)), gives_up(EndReason::Refused(CloseCode(code))));
    }
}

#[test]
fn codes_with_one_more_chance_do_not_take_turns() {
    let mut story = Story::live();
    story.rejoins(closed(4001));
    story.lives_on();
    story.rejoins(closed(4002));
    story.lives_on();
    assert_eq!(story.gateway_lost(closed(4001)), [Action::StopTracks]);
    story.gives_up_after_speech(EndReason::Refused(CloseCode(4001)));
}

#[test]
fn the_same_code_an_hour_later_has_its_chance_again() {
    let mut story = Story::live();
    for _ in 0..24 {
        story.rejoins(closed(4004));
        story.lives_on();
        story.now += 3600 * SECOND;
    }
}

#[test]
fn a_code_with_one_more_chance_is_remembered_until_the_call_is_live_again() {
    let mut story = Story::live();
    story.rejoins(closed(4004));
    story.now += 3600 * SECOND;
    story.credentials();
    assert_eq!(story.gateway_lost(closed(4004)), gives_up(EndReason::Refused(CloseCode(4004))));
}
