//! Stories of calls that say goodbye, are void, or are over.

use super::*;

#[test]
fn leaving_falls_silent_first() {
    let mut story = Story::live();
    assert_eq!(story.leave(), [Action::StopTracks]);
    assert_eq!(story.leave(), [], "once is enough");
    story.now += 100 * MILLI;
    story.call.speech_ended();
    assert_eq!(story.actions(), gives_up(EndReason::Left));
}

#[test]
fn leaving_does_not_wait_for_silence_for_ever() {
    let mut story = Story::live();
    story.leave();
    assert_eq!(story.wait(), (500 * MILLI, gives_up(EndReason::Left)));
    story.call.speech_ended();
    assert_eq!(story.actions(), []);
}

#[test]
fn silence_that_nobody_asked_for_is_no_goodbye() {
    let mut story = Story::live();
    story.call.speech_ended();
    assert_eq!(story.actions(), []);
    assert!(story.call.is_live());
}

#[test]
fn leaving_works_everywhere() {
    for (name, mut story) in Story::everywhere() {
        if story.call.is_live() {
            assert_eq!(story.leave(), [Action::StopTracks], "{name}");
            // The way to resume goes on; the end comes half a second later at the latest.
            let until = story.now + 500 * MILLI;
            let mut actions = Vec::new();
            while !story.call.is_ended() {
                actions = story.wait().1;
            }
            assert_eq!(actions, gives_up(EndReason::Left), "{name}");
            assert!(story.now <= until, "{name}");
        } else {
            assert_eq!(story.leave(), gives_up(EndReason::Left), "{name}: there is nothing to hush");
        }
        assert_eq!(story.call.deadline(), None, "{name}");
    }
}

#[test]
fn a_call_that_says_goodbye_mends_nothing() {
    let breaks: [fn(&mut Story) -> Vec<Action>; 7] = [
        |story| story.gateway_lost(closed(4015)),
        |story| story.gateway_lost(closed(4014)),
        |story| story.transport_lost(),
        |story| story.speaker_lost(),
        |story| story.endpoint_lost(),
        |story| story.credentials(),
        |story| {
            story.call.main_session_replaced(story.now);
            story.actions()
        },
    ];
    for fact in breaks {
        let mut story = Story::live();
        story.leave();
        assert_eq!(fact(&mut story), []);
        assert_eq!(story.wait().1, gives_up(EndReason::Left));
    }
}

#[test]
fn a_call_without_a_path_has_no_speech_to_end() {
    let mut story = Story::live();
    story.gateway_lost(lost());
    for _ in 0..3 {
        story.speaker_lost();
    }
    let last = Cause::Transport("no answer".into());
    assert_eq!(story.transport_lost(), gives_up(EndReason::GaveUp { failures: 5, last }));
}

#[test]
fn a_kick_during_the_goodbye_ends_it() {
    let mut story = Story::live();
    story.leave();
    assert_eq!(story.kicked(), ends(EndReason::Kicked));
    story.call.speech_ended();
    assert_eq!(story.actions(), []);
    assert_eq!(story.call.deadline(), None);
}

#[test]
fn a_lost_endpoint_disconnects_and_waits_without_retrying() {
    for (name, mut story) in Story::everywhere() {
        let actions = story.endpoint_lost();
        assert_eq!(actions, [Action::Close, reconnecting(Cause::EndpointLost)], "{name}");
        assert_eq!(story.call.deadline(), Some(story.now + credentials_timeout()), "{name}");
        story.lives_on();
    }
}

#[test]
fn a_new_main_gateway_session_waits_for_what_the_bridge_brings() {
    for (name, mut story) in Story::everywhere() {
        story.call.main_session_replaced(story.now);
        let actions = story.actions();
        if name == "joining" {
            assert_eq!(actions, [], "the bridge asks again, and the first join is still the first");
            let reason = EndReason::NotJoined(JoinFailure::NoAnswer);
            assert_eq!(story.join_failed(JoinFailure::NoAnswer), gives_up(reason));
        } else {
            assert_eq!(actions, [Action::Close, reconnecting(Cause::MainSessionReplaced)], "{name}");
            story.lives_on();
        }
    }
}

#[test]
fn what_fails_because_the_path_to_discord_is_broken_is_no_failure_of_the_call() {
    let away: [fn(&mut Story); 2] =
        [|story| story.call.main_gateway_lost(story.now), |story| story.call.guild_unavailable(story.now)];
    for away in away {
        let mut story = Story::live();
        away(&mut story);
        for _ in 0..20 {
            let cause = lost();
            assert_eq!(story.gateway_lost(cause.clone()).first(), Some(&resuming(cause)));
            story.resumed();
        }
        assert_eq!(story.call.failures.count(), 0);
    }
}

#[test]
fn what_failed_just_before_the_main_gateway_was_found_dead_is_forgiven() {
    let mut story = Story::live();
    story.gateway_lost(Cause::Zombie);
    story.now += Duration::from_secs(6);
    story.call.main_gateway_lost(story.now);
    assert_eq!(story.call.failures.count(), 0);
    story.call.main_gateway_restored(story.now);
    story.resumed();
    story.gateway_lost(lost());
    story.now += Duration::from_secs(31);
    story.call.main_gateway_lost(story.now);
    assert_eq!(story.call.failures.count(), 1, "that has nothing to do with it");
}

#[test]
fn credentials_are_awaited_for_as_long_as_an_outage_lasts_but_not_by_a_first_join() {
    let mut story = Story::live();
    story.call.guild_unavailable(story.now);
    story.call.endpoint_lost(story.now);
    story.actions();
    assert_eq!(story.call.deadline(), None);
    story.call.guild_available(story.now);
    assert!(story.call.deadline().is_some());

    let mut story = Story::begin();
    story.call.guild_unavailable(story.now);
    let reason = EndReason::NotJoined(JoinFailure::GuildUnavailable);
    assert_eq!(story.wait(), (credentials_timeout(), gives_up(reason)));
}

#[test]
fn fresh_credentials_replace_whatever_was_there() {
    for (name, mut story) in Story::everywhere() {
        let was_live = story.call.is_live();
        let actions = story.credentials();
        assert_eq!(actions.first() == Some(&reconnecting(Cause::ServerChanged)), was_live, "{name}");
        assert_eq!(actions.last(), Some(&Action::Identify(credentials(story.token))), "{name}");
        assert!(!story.call.is_live());
        assert_eq!(story.call.deadline(), None, "{name}: no earlier plan is carried out");
        assert_eq!(story.established(), [Action::Report(ConnectionStatus::Connected)]);
    }
}

#[test]
fn the_guild_going_away_ends_the_call_everywhere() {
    for (name, mut story) in Story::everywhere() {
        story.call.guild_deleted();
        assert_eq!(story.actions(), ends(EndReason::GuildDeleted), "{name}");
    }
}

#[test]
fn an_encoder_that_cannot_be_made_ends_the_call_once() {
    let mut story = Story::begin();
    story.call.cannot_speak("complexity 11".into());
    assert_eq!(story.actions(), gives_up(EndReason::NoEncoder("complexity 11".into())));
    story.call.cannot_speak("complexity 11".into());
    assert_eq!(story.actions(), []);
}

#[test]
fn every_end_says_what_happened_and_what_to_do() {
    let remedies = [
        (EndReason::Left, "as asked"),
        (EndReason::Stopped, "manager was stopped"),
        (EndReason::Kicked, "join again only if someone asks"),
        (EndReason::GuildDeleted, "join again when it is back"),
        (EndReason::NoEncoder("complexity 11".into()), "correct them in Config: complexity 11"),
        (EndReason::GaveUp { failures: 5, last: lost() }, "try again later; the last: the connection"),
        (EndReason::Refused(CloseCode(4017)), "build actix-voice with the feature `dave`"),
        (EndReason::Refused(CloseCode(4021)), "wait before joining again"),
        (EndReason::Refused(CloseCode(4012)), "update actix-voice"),
        (EndReason::Refused(CloseCode(4001)), "please report it"),
        (EndReason::NotJoined(JoinFailure::NoAnswer), "CONNECT may be missing"),
        (EndReason::NotJoined(JoinFailure::NoState), "intent GUILD_VOICE_STATES"),
        (EndReason::NotJoined(JoinFailure::NoServer), "does the bot forward it"),
        (EndReason::NotJoined(JoinFailure::NoEndpoint), "try again later"),
    ];
    for (reason, remedy) in remedies {
        assert!(reason.to_string().contains(remedy), "{reason:?} reads: {reason}");
    }
}
