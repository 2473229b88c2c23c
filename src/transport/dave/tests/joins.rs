//! Joining and leaving: alone, as the second, as one of many, in the middle of speech.

use crate::gateway::payload::{Command, DaveEvent};
use crate::id::{ChannelId, UserId};
use crate::transport::dave::tests::service::Service;
use crate::transport::dave::tests::support::{
    Bot, CHANNEL, NEW_GROUP, announce, append, assert_everyone_hears_everyone, call_of, execute, hears, join,
    prepare, ready, start,
};
use crate::transport::dave::{DaveError, E2eeState, Group, IdentityKey, Notice, OpenError};

#[test]
fn a_lone_member_offers_a_key_package_and_sends_nothing_else() {
    let service = Service::new(CHANNEL.0);
    let mut bot = Bot::described(1, &service, start());
    let first = bot.key_package();
    assert_eq!(first[..6], [0, 1, 0, 2, 0x40, 0x41], "op 26 is a bare key package");
    assert_eq!(bot.say(b"hello"), b"");

    bot.tell(NEW_GROUP);
    let second = bot.key_package();
    assert_ne!(first, second);
    bot.tell(prepare(0, 1));
    assert_eq!(bot.sent(), [], "transition 0 is not answered");
    assert_eq!(bot.say(b"hello"), b"");
    assert_eq!(bot.states, [E2eeState { version: 1, epoch: 0, privacy_code: None }]);
}

#[test]
fn a_session_description_that_comes_again_changes_nothing_alone_or_in_a_group() {
    let mut alone = Bot::described(1, &Service::new(CHANNEL.0), start());
    alone.key_package();
    let (_, mut call) = call_of(2);
    call.iter_mut().for_each(Bot::drain);
    for bot in call.iter_mut().chain([&mut alone]) {
        let (state, states) = (bot.group.state().clone(), bot.states.len());
        bot.group.described(1);
        bot.drain();
        assert_eq!((bot.sent(), bot.group.state(), bot.states.len()), (vec![], &state, states));
    }
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn an_external_sender_that_comes_before_the_session_description_is_kept() {
    let mut service = Service::new(CHANNEL.0);
    let mut first = Bot::new(1, start());
    first.tell(DaveEvent::ExternalSender(service.external_sender()));
    first.meet(&[UserId(2)]);
    first.group.described(1);
    first.drain();
    let mut second = Bot::described(2, &service, start());
    let mut call = vec![first];
    join(&mut service, &mut call, &mut second, 0);
    assert!(hears(&mut second, &mut call[0]));
}

#[test]
fn the_second_member_makes_the_first_group_and_both_hear_each_other() {
    let (_, mut call) = call_of(2);
    let [first, second] = &mut call[..] else { unreachable!() };
    assert!(hears(first, second) && hears(second, first));
    assert_eq!(first.group.state(), second.group.state());
    let state = first.group.state();
    assert_eq!((state.version, state.epoch), (1, 1));
    assert!(
        state
            .privacy_code
            .as_ref()
            .is_some_and(|code| code.len() == 30 && code.bytes().all(|c| c.is_ascii_digit()))
    );
    assert_eq!(first.group.members().len(), 2);
}

#[test]
fn a_transition_0_is_executed_at_once_and_not_answered() {
    let mut service = Service::new(CHANNEL.0);
    let mut call = vec![Bot::described(1, &service, start())];
    let mut second = Bot::described(2, &service, start());
    join(&mut service, &mut call, &mut second, 0);
    assert_eq!(call[0].sent(), []);
    assert_eq!(second.sent(), []);
    assert!(second.group.can_send() && hears(&mut call[0], &mut second));
}

#[test]
fn a_second_description_of_the_same_session_keeps_the_group_and_its_keys() {
    let mut service = Service::new(CHANNEL.0);
    let mut call = vec![Bot::described(1, &service, start())];
    let mut second = Bot::described(2, &service, start());
    join(&mut service, &mut call, &mut second, 0);
    let members = call[0].group.members();
    call[0].group.described(1);
    assert_eq!(call[0].sent(), [], "no new key package");
    assert_eq!(call[0].group.members(), members);
    assert!(hears(&mut second, &mut call[0]) && hears(&mut call[0], &mut second));
}

#[test]
fn any_other_transition_is_answered_and_the_sender_waits_for_op_22() {
    let mut service = Service::new(CHANNEL.0);
    let mut call = vec![Bot::described(1, &service, start())];
    let mut second = Bot::described(2, &service, start());
    join(&mut service, &mut call, &mut second, 17);
    call.push(second);
    for bot in &mut call {
        assert_eq!(bot.sent(), [ready(17)]);
        assert_eq!(bot.say(b"too early"), b"");
    }
    // One executes before the other: its frames are understood already.
    execute(&mut call[..1], 17);
    let [first, second] = &mut call[..] else { unreachable!() };
    assert!(hears(second, first));
    assert!(!second.group.can_send());
    execute(&mut call[1..], 17);
    let [first, second] = &mut call[..] else { unreachable!() };
    assert!(hears(first, second));
    assert_eq!(first.states.last().unwrap().privacy_code, second.states.last().unwrap().privacy_code);
}

#[test]
fn the_loser_of_the_first_race_is_welcomed_and_ignores_the_winners_commit() {
    let service = Service::new(CHANNEL.0);
    let (mut first, mut second) =
        (Bot::described(1, &service, start()), Bot::described(2, &service, start()));
    first.meet(&[second.user]);
    second.meet(&[first.user]);
    let packages = [first.key_package(), second.key_package()];
    first.tell(append(&[service.add(&packages[1])]));
    second.tell(append(&[service.add(&packages[0])]));
    let (_lost, _) = first.commit();
    let (commit, welcome) = second.commit();

    first.tell(DaveEvent::AnnounceCommit { transition_id: 0, commit: commit.clone() });
    assert_eq!(first.notices, [Notice::WrongMoment(29)]);
    first.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    second.tell(DaveEvent::AnnounceCommit { transition_id: 0, commit });
    assert!(hears(&mut first, &mut second) && hears(&mut second, &mut first));
    assert_eq!((first.sent(), second.sent()), (vec![], vec![]), "nobody complains with op 31");
}

#[test]
fn a_later_race_is_lost_by_applying_the_winners_commit() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    third.meet(&[UserId(1), UserId(2)]);
    let proposals = [service.add(&third.key_package())];
    for bot in &mut call {
        bot.meet(&[third.user]);
        bot.tell(append(&proposals));
    }
    call.reverse();
    let welcome = announce(&mut service, &mut call, 4);
    third.tell(DaveEvent::Welcome { transition_id: 4, welcome });
    call.push(third);
    for bot in &mut call {
        assert_eq!(bot.sent(), [ready(4)]);
    }
    execute(&mut call, 4);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn someone_joins_in_the_middle_of_speech_and_nobody_misses_a_frame() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    join(&mut service, &mut call, &mut third, 9);
    let [first, second] = &mut call[..] else { unreachable!() };
    assert!(hears(second, first), "between op 29 and op 22 the old key is used");
    let old = first.say(b"old");
    assert_eq!(
        third.hear(first.user, &old),
        Err(OpenError::Forged),
        "the newcomer cannot hear what was before"
    );

    first.tell(DaveEvent::ExecuteTransition { transition_id: 9 });
    assert!(
        hears(second, first) && hears(&mut third, first),
        "the new key is known to all before it is used"
    );
    assert!(hears(first, second), "who executes late is still heard");
    second.tell(DaveEvent::ExecuteTransition { transition_id: 9 });
    third.tell(DaveEvent::ExecuteTransition { transition_id: 9 });
    call.push(third);
    assert_everyone_hears_everyone(&mut call);
    let late = old;
    assert_eq!(call[1].hear(UserId(1), &late).as_deref(), Ok(&b"old"[..]), "a straggler of the old epoch");
}

#[test]
fn someone_leaves_and_understands_nothing_from_then_on() {
    let (mut service, mut call) = call_of(3);
    let mut gone = call.remove(1);
    let removal = [service.remove(1)];
    for bot in &mut call {
        bot.group.client_disconnect(gone.user);
        bot.drain();
        bot.tell(append(&removal));
    }
    let welcome = announce(&mut service, &mut call, 5);
    assert!(welcome.is_empty());
    execute(&mut call, 5);
    assert_everyone_hears_everyone(&mut call);
    let frame = call[0].say(b"now that he is gone");
    assert_eq!(gone.hear(UserId(1), &frame), Err(OpenError::Forged));
    let frame = gone.say(b"still here");
    assert_eq!(call[0].hear(gone.user, &frame), Err(OpenError::NoKey));
    assert_eq!(call[0].group.members(), [UserId(1), UserId(3)]);
}

#[test]
fn a_call_at_version_0_is_plain_from_the_start() {
    let mut bot = Bot::new(1, start());
    bot.group.described(0);
    bot.drain();
    assert_eq!(bot.sent(), []);
    assert_eq!(bot.say(b"opus"), b"opus");
    assert!(bot.hear(UserId(9), b"stage talk").is_ok());
    assert!(bot.group.can_send());
}

#[test]
fn a_member_of_the_group_whom_nobody_has_announced_is_told_of() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    third.meet(&[UserId(1)]);
    let proposals = [service.add(&third.key_package())];
    for member in &mut call {
        member.meet(&[UserId(3)]);
        member.tell(append(&proposals));
    }
    let welcome = announce(&mut service, &mut call, 0);
    third.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    assert_eq!((&third.unannounced[..], &call[0].unannounced[..]), (&[UserId(2)][..], &[][..]));
}

/// A bot that may not speak plainly, in a call at version 0.
fn bot_in_a_plain_call() -> Bot {
    let mut bot = Bot::new(1, start());
    bot.group = Group::new(UserId(1), CHANNEL, IdentityKey::generate());
    bot.group.described(0);
    bot.drain();
    bot
}

#[test]
fn a_bot_that_may_not_speak_plainly_says_nothing_in_a_plain_call_and_ends_it_once_others_are_there() {
    let mut bot = bot_in_a_plain_call();
    assert_eq!((bot.say(b"opus"), bot.failures.len()), (vec![], 0), "alone, it waits");
    bot.meet(&[UserId(1)]);
    assert_eq!(bot.failures, []);
    bot.meet(&[UserId(1), UserId(2)]);
    assert_eq!((bot.say(b"opus"), &bot.failures[..]), (vec![], &[DaveError::NotEncrypted][..]));
}

#[test]
fn others_that_were_there_first_make_no_difference() {
    let mut bot = Bot::new(1, start());
    bot.group = Group::new(UserId(1), CHANNEL, IdentityKey::generate());
    bot.meet(&[UserId(2)]);
    assert_eq!(bot.failures, []);
    bot.group.described(0);
    bot.drain();
    assert_eq!((bot.say(b"opus"), &bot.failures[..]), (vec![], &[DaveError::NotEncrypted][..]));
}

#[test]
fn a_lone_bot_whose_plain_call_is_upgraded_before_others_come_goes_on() {
    let mut bot = bot_in_a_plain_call();
    bot.tell(DaveEvent::PrepareEpoch { protocol_version: 1, epoch: 1 });
    bot.meet(&[UserId(2)]);
    assert_eq!((bot.say(b"opus"), &bot.failures[..]), (vec![], &[][..]));
}

#[test]
fn after_a_move_there_is_a_new_group_and_a_new_sealer() {
    let (_, call) = call_of(2);
    let mut moved = Bot::new(1, start());
    moved.group = Group::new(UserId(1), ChannelId(2), IdentityKey::generate());
    moved.group.described(1);
    moved.drain();
    assert!(matches!(moved.sent()[..], [Command::KeyPackage(_)]));
    assert_eq!(moved.say(b"opus"), b"");
    assert_eq!(moved.group.members(), []);
    drop(call);
}
