//! Calls of several bots, with the server's part played by hand.

use std::num::NonZeroU16;
use std::time::Duration;

use davey::{DaveSession, MediaType, ProposalsOperationType};

use super::service::{Service, split};
use super::testing::{Bot, CHANNEL, announce, append, call_of, execute, hears, join, revoke, start};
use super::{
    Action, DaveError, E2eeState, Group, IdentityKey, KeyChange, Notice, OpenError, Sealed, SenderKey,
};
use crate::gateway::payload::{Command, DaveEvent};
use crate::id::{ChannelId, UserId};

fn prepare(transition_id: u16, protocol_version: u16) -> DaveEvent {
    DaveEvent::PrepareTransition { transition_id, protocol_version }
}

fn ready(transition_id: u16) -> Command {
    Command::TransitionReady { transition_id }
}

const NEW_GROUP: DaveEvent = DaveEvent::PrepareEpoch { protocol_version: 1, epoch: 1 };

fn assert_rejoins(bot: &mut Bot, transition_id: u16) {
    let sent = bot.sent();
    let [Command::InvalidCommitWelcome { transition_id: flagged }, Command::KeyPackage(_)] = &sent[..] else {
        panic!("no op 31 and op 26 but {sent:?}");
    };
    assert_eq!(*flagged, transition_id);
    bot.sent = sent;
}

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

fn assert_everyone_hears_everyone(call: &mut [Bot]) {
    for speaker in 0..call.len() {
        let frame = call[speaker].say(b"hear, hear");
        let user = call[speaker].user;
        for (at, listener) in call.iter_mut().enumerate().filter(|(at, _)| *at != speaker) {
            assert_eq!(
                listener.hear(user, &frame).as_deref(),
                Ok(&b"hear, hear"[..]),
                "member {at} hears {user}"
            );
        }
    }
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
fn a_late_op_22_does_not_jump_to_the_key_of_a_newer_epoch() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    join(&mut service, &mut call, &mut third, 5);
    call.push(third);
    // The next epoch is announced to the first only, so the others have no key of it.
    let mut fourth = Bot::described(4, &service, start());
    fourth.meet(&[UserId(1), UserId(2), UserId(3)]);
    call[0].meet(&[fourth.user]);
    call[0].tell(append(&[service.add(&fourth.key_package())]));
    announce(&mut service, &mut call[..1], 6);

    execute(&mut call, 5);
    let [first, second, third] = &mut call[..] else { unreachable!() };
    assert!(hears(second, first) && hears(third, first));
    assert_eq!(first.group.state().epoch, 2);
}

#[test]
fn of_several_open_transitions_the_newest_executed_counts() {
    let (mut service, mut call) = call_of(2);
    for (user, transition) in [(3, 5), (4, 6), (5, 7)] {
        let mut newcomer = Bot::described(user, &service, start());
        join(&mut service, &mut call, &mut newcomer, transition);
        call.push(newcomer);
    }
    execute(&mut call, 6);
    assert_eq!(call[0].group.state().epoch, 3);
    let [first, second, _, fourth, fifth] = &mut call[..] else { unreachable!() };
    assert!(hears(second, first) && hears(fourth, first) && !hears(fifth, first));
    execute(&mut call[..1], 5);
    assert_eq!(call[0].notices, [Notice::UnknownTransition(5)], "there is no way back");
    assert_eq!(call[0].group.state().epoch, 3);
    execute(&mut call, 7);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn superseded_keys_are_good_for_ten_seconds_after_op_22_however_late_that_is() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    join(&mut service, &mut call, &mut third, 3);
    let stragglers = [call[0].say(b"old"), call[0].say(b"old"), call[0].say(b"old")];
    let listener = &mut call[1];
    listener.now += Duration::from_secs(60);
    assert!(listener.hear(UserId(1), &stragglers[0]).is_ok());
    listener.tell(DaveEvent::ExecuteTransition { transition_id: 3 });
    listener.now += Duration::from_millis(9_999);
    assert!(listener.hear(UserId(1), &stragglers[1]).is_ok());
    listener.now += Duration::from_millis(1);
    assert_eq!(listener.hear(UserId(1), &stragglers[2]), Err(OpenError::Forged));
}

#[test]
fn a_revoked_proposal_is_out_of_the_next_commit() {
    let (mut service, mut call) = call_of(2);
    let (mut third, mut fourth) =
        (Bot::described(3, &service, start()), Bot::described(4, &service, start()));
    let proposals = [service.add(&third.key_package()), service.add(&fourth.key_package())];
    for bot in &mut call {
        bot.meet(&[third.user, fourth.user]);
        bot.tell(append(&proposals));
        bot.commit();
        bot.tell(revoke(&proposals[..1]));
    }
    let welcome = announce(&mut service, &mut call, 8);
    third.tell(DaveEvent::Welcome { transition_id: 8, welcome: welcome.clone() });
    assert_rejoins(&mut third, 8);
    fourth.tell(DaveEvent::Welcome { transition_id: 8, welcome });
    assert_eq!(fourth.sent(), [ready(8)]);
    assert_eq!(call[1].group.members(), [UserId(1), UserId(2), UserId(4)]);
}

#[test]
fn when_every_proposal_is_revoked_there_is_nothing_to_commit() {
    let (service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    let proposals = [service.add(&third.key_package())];
    let bot = &mut call[0];
    bot.meet(&[third.user]);
    bot.tell(append(&proposals));
    let (commit, _) = bot.commit();
    bot.tell(revoke(&proposals));
    bot.tell(revoke(&proposals));
    assert_eq!(bot.sent(), []);
    assert_eq!(bot.notices, [Notice::UnknownProposal]);
    bot.tell(DaveEvent::AnnounceCommit { transition_id: 2, commit });
    assert_rejoins(bot, 2);
}

#[test]
fn an_invalid_commit_is_flagged_and_the_member_comes_back_by_welcome() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    let proposals = [service.add(&third.key_package())];
    for bot in &mut call {
        bot.meet(&[third.user]);
        bot.tell(append(&proposals));
    }
    let (commit, welcome) = call[0].commit();
    let mut damaged = commit.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    call[1].sent();
    call[0].tell(DaveEvent::AnnounceCommit { transition_id: 6, commit });
    call[1].tell(DaveEvent::AnnounceCommit { transition_id: 6, commit: damaged.into() });
    third.meet(&[UserId(1), UserId(2)]);
    third.tell(DaveEvent::Welcome { transition_id: 6, welcome });
    service.epoch += 1;
    assert_rejoins(&mut call[1], 6);
    assert!(matches!(call[1].notices[..], [Notice::Invalid { transition_id: 6, .. }]));
    execute(&mut call, 6);
    third.tell(DaveEvent::ExecuteTransition { transition_id: 6 });
    assert_eq!(call[1].notices.last(), Some(&Notice::UnknownTransition(6)));
    assert!(hears(&mut third, &mut call[0]));
    assert_eq!(call[1].group.counts().recoveries, 1);

    // Remove and Add in one commit.
    let mut lost = call.remove(1);
    call.push(third);
    let proposals = [service.remove(1), service.add(&lost.key_package())];
    for bot in &mut call {
        bot.tell(append(&proposals));
    }
    let welcome = announce(&mut service, &mut call, 7);
    lost.tell(DaveEvent::Welcome { transition_id: 7, welcome });
    call.push(lost);
    execute(&mut call, 7);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn an_invalid_welcome_is_flagged_and_followed_by_a_new_key_package() {
    let (mut service, mut call) = call_of(2);
    for damage in [0, 40, 400] {
        let mut third = Bot::described(3, &service, start());
        let package = third.key_package();
        let bot = &mut call[0];
        bot.meet(&[third.user]);
        let proposals = [service.add(&package)];
        bot.tell(append(&proposals));
        let (_, welcome) = bot.commit();
        bot.tell(revoke(&proposals));
        let mut damaged = welcome.to_vec();
        damaged[damage] ^= 0xff;
        third.tell(DaveEvent::Welcome { transition_id: 3, welcome: damaged.into() });
        assert_rejoins(&mut third, 3);
        assert_ne!(third.key_package(), package);
    }
    // The damaged ones have broken nothing: another newcomer is welcomed.
    let mut third = Bot::described(3, &service, start());
    join(&mut service, &mut call, &mut third, 0);
    assert!(hears(&mut third, &mut call[1]));
}

#[test]
fn a_lone_member_starts_a_new_group_and_the_next_one_gets_in() {
    let (_, mut call) = call_of(2);
    let mut lone = call.remove(0);
    lone.group.client_disconnect(UserId(2));
    lone.tell(NEW_GROUP);
    let package = lone.key_package();
    assert_ne!(lone.say(b"x"), b"", "the old key is kept until a transition is executed");
    lone.tell(prepare(0, 1));
    assert_eq!(lone.sent(), []);
    assert_eq!(lone.say(b"x"), b"");
    assert_eq!(lone.states, [E2eeState { version: 1, epoch: 0, privacy_code: None }]);

    let mut service = Service::new(CHANNEL.0);
    lone.tell(DaveEvent::ExternalSender(service.external_sender()));
    lone.sent.push(Command::KeyPackage(package));
    let mut newcomer = Bot::described(7, &service, start());
    let mut call = vec![lone];
    join(&mut service, &mut call, &mut newcomer, 0);
    call.push(newcomer);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn a_lone_member_told_version_0_still_sends_nothing_plain_to_the_next_one() {
    let (mut service, mut call) = call_of(2);
    let mut lone = call.remove(0);
    lone.group.client_disconnect(UserId(2));
    lone.tell(NEW_GROUP);
    lone.tell(prepare(0, 0));
    assert_eq!(lone.say(b"x"), b"");
    service.epoch = 0;
    let mut newcomer = Bot::described(7, &service, start());
    let mut call = vec![lone];
    join(&mut service, &mut call, &mut newcomer, 3);
    assert_eq!(call[0].say(b"x"), b"");
    call.push(newcomer);
    execute(&mut call, 3);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn a_downgrade_opens_the_call_when_executed_and_an_upgrade_closes_it() {
    let (mut service, mut call) = call_of(2);
    for bot in &mut call {
        bot.tell(prepare(11, 0));
        assert_eq!(bot.sent(), [ready(11)]);
    }
    let [first, second] = &mut call[..] else { unreachable!() };
    assert!(hears(second, first), "encrypted until op 22");
    assert_eq!(
        second.hear(UserId(1), b"plain opus").as_deref(),
        Ok(&b"plain opus"[..]),
        "others may be ahead"
    );
    let straggler = first.say(b"old");
    execute(&mut call, 11);
    assert_eq!(call[0].say(b"plain"), b"plain");
    assert_eq!(call[0].states, [E2eeState::default()]);
    assert!(call[1].hear(UserId(1), &straggler).is_ok());

    service.epoch = 0;
    for bot in &mut call {
        bot.tell(NEW_GROUP);
        assert_eq!(bot.say(b"plain"), b"plain", "until the new group stands");
    }
    let mut second = call.remove(1);
    join(&mut service, &mut call, &mut second, 12);
    call.push(second);
    assert_eq!(call[0].say(b"plain"), b"plain");
    execute(&mut call, 12);
    assert_everyone_hears_everyone(&mut call);
    assert!(call[0].hear(UserId(2), b"plain straggler").is_ok());
    call[0].now += Duration::from_secs(10);
    assert_eq!(call[0].hear(UserId(2), b"plain attack"), Err(OpenError::NotEncrypted));
    assert_eq!(call[0].group.state().version, 1);
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
fn an_unknown_version_is_reported_as_what_it_is() {
    let mut bot = Bot::new(1, start());
    bot.group.described(2);
    bot.drain();
    assert_eq!(bot.failures, [DaveError::UnsupportedVersion(2)]);
    assert_eq!(bot.say(b"opus"), b"");
}

#[test]
fn foreign_and_stale_messages_are_counted_and_change_nothing() {
    let (service, mut call) = call_of(3);
    let mut elsewhere = Service::new(99);
    elsewhere.epoch = service.epoch;
    let mut earlier = Service::new(CHANNEL.0);
    earlier.epoch = service.epoch - 1;
    let mut other = Bot::described(4, &service, start());
    let package = other.key_package();
    let stranger = Group::new(UserId(5), CHANNEL, IdentityKey::generate());
    drop(stranger);

    let bot = &mut call[0];
    bot.meet(&[other.user]);
    bot.tell(append(&[elsewhere.add(&package)]));
    bot.tell(append(&[earlier.add(&package)]));
    bot.tell(append(&[service.remove(0)]));
    bot.tell(append(&[service.remove(9)]));
    bot.tell(DaveEvent::ExternalSender(elsewhere.external_sender()));
    bot.tell(DaveEvent::Welcome { transition_id: 4, welcome: vec![0, 2, 0, 0].into() });
    bot.tell(DaveEvent::ExecuteTransition { transition_id: 4 });
    bot.tell(prepare(4, 2));
    let expected = [
        Notice::Foreign(27),
        Notice::Stale(27),
        Notice::Needless,
        Notice::Needless,
        Notice::WrongMoment(25),
        Notice::WrongMoment(30),
        Notice::UnknownTransition(4),
        Notice::UnknownVersion(2),
    ];
    assert_eq!(bot.notices, expected);
    assert_eq!(bot.group.counts().ignored, 8);
    assert_eq!(bot.sent(), [], "neither commit nor op 31");
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn a_commit_that_comes_twice_is_stale_and_no_reason_to_leave() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    third.meet(&[UserId(1), UserId(2)]);
    let proposals = [service.add(&third.key_package())];
    for bot in &mut call {
        bot.meet(&[third.user]);
        bot.tell(append(&proposals));
    }
    let (commit, _) = call[0].commit();
    call[0].sent.push(Command::CommitWelcome(commit.clone()));
    announce(&mut service, &mut call, 5);
    call[1].sent();
    call[1].tell(DaveEvent::AnnounceCommit { transition_id: 5, commit });
    assert_eq!(call[1].notices, [Notice::Stale(29)]);
    assert_eq!(call[1].sent(), []);
}

#[test]
fn a_proposal_by_a_forger_is_refused() {
    let (service, mut call) = call_of(2);
    let mut forger = Service::new(CHANNEL.0);
    forger.epoch = service.epoch;
    let mut ghost = Bot::described(66, &service, start());
    call[0].meet(&[ghost.user]);
    call[0].tell(append(&[forger.add(&ghost.key_package())]));
    assert!(matches!(call[0].notices[..], [Notice::Refused(_)]));
    assert_eq!(call[0].sent(), []);
}

#[test]
fn a_user_is_added_only_once_op_11_has_announced_him() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    third.meet(&[UserId(1), UserId(2)]);
    let proposals = [service.add(&third.key_package())];
    for bot in &mut call {
        bot.tell(append(&proposals));
        assert_eq!(bot.sent(), []);
        assert_eq!(bot.notices, [Notice::Unannounced(UserId(3))]);
        bot.meet(&[UserId(3)]);
    }
    let welcome = announce(&mut service, &mut call, 0);
    third.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    call.push(third);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn proposals_that_would_spoil_the_queue_stay_out_of_it() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    third.meet(&[UserId(1), UserId(2)]);
    let mut again = Bot::described(1, &service, start());
    let good = service.add(&third.key_package());
    let proposals = [service.add(&again.key_package()), good.clone(), good, service.remove(7)];
    call[0].meet(&[third.user]);
    call[0].tell(append(&proposals));
    assert_eq!(call[0].notices, [Notice::Needless, Notice::Needless, Notice::Needless]);
    let welcome = announce(&mut service, &mut call[..1], 0);
    third.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    assert!(hears(&mut third, &mut call[0]));
}

#[test]
fn too_many_failed_frames_lead_to_a_new_application_unless_a_transition_explains_them() {
    let (mut service, mut call) = call_of(3);
    let bot = &mut call[2];
    bot.group.failed_frames(bot.now);
    bot.drain();
    assert_rejoins(bot, 1);
    assert_eq!(bot.notices, [Notice::Deaf]);

    // Now we are no member: that explains them as well.
    let mut deaf = call.remove(2);
    deaf.now += Duration::from_secs(30);
    deaf.group.failed_frames(deaf.now);
    deaf.drain();
    assert_eq!(deaf.notices, [Notice::Deaf, Notice::DeafForNow]);
    let proposals = [service.remove(2), service.add(&deaf.key_package())];
    for bot in &mut call {
        bot.tell(append(&proposals));
    }
    let welcome = announce(&mut service, &mut call, 4);
    deaf.tell(DaveEvent::Welcome { transition_id: 4, welcome });
    deaf.sent();
    deaf.group.failed_frames(deaf.now);
    deaf.drain();
    assert_eq!(deaf.sent(), [], "transition 4 is open");
    deaf.tell(DaveEvent::ExecuteTransition { transition_id: 4 });
    deaf.group.failed_frames(deaf.now);
    deaf.drain();
    assert_rejoins(&mut deaf, 4);
    deaf.sent();
    deaf.group.failed_frames(deaf.now);
    deaf.drain();
    assert_eq!(deaf.sent(), [], "not again within ten seconds");
}

#[test]
fn a_resume_in_the_middle_of_a_transition_goes_on_where_it_was() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    join(&mut service, &mut call, &mut third, 5);
    call.push(third);
    for bot in &mut call {
        bot.sent();
        bot.group.resumed(bot.now);
        bot.now += Duration::from_secs(60);
        bot.drain();
        assert_eq!(bot.sent(), [], "everything was answered");
    }
    execute(&mut call, 5);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn what_a_lost_connection_swallowed_is_sent_again() {
    let (service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    third.meet(&[UserId(1)]);
    let package = third.key_package();
    let proposals = [service.add(&package)];
    let bot = &mut call[0];
    bot.meet(&[third.user]);
    bot.tell(append(&proposals));
    let commit = bot.sent();
    for (bot, lost) in [(bot, commit), (&mut third, vec![Command::KeyPackage(package)])] {
        bot.group.resumed(bot.now);
        bot.drain();
        assert_eq!(bot.sent(), []);
        assert_eq!(bot.group.deadline(), Some(bot.now + Duration::from_secs(5)));
        bot.now += Duration::from_secs(5);
        bot.drain();
        assert_eq!(bot.sent(), lost);
        assert_eq!(bot.notices, [Notice::SentAgain]);
        assert_eq!(bot.group.deadline(), None);
    }
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

#[test]
fn the_sender_key_of_an_epoch_is_given_out_once() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    join(&mut service, &mut call, &mut third, 5);
    let bot = &mut call[0];
    bot.tell(prepare(6, 1));
    let mut keys = 0;
    for event in [5, 6].map(|transition_id| DaveEvent::ExecuteTransition { transition_id }) {
        bot.group.event(event, bot.now);
        while let Some(action) = bot.group.poll(bot.now) {
            keys +=
                usize::from(matches!(action, Action::Install(KeyChange::Sender(SenderKey::Epoch { .. }))));
        }
    }
    assert_eq!(keys, 1);
}

#[test]
fn both_sides_work_out_the_same_verification_code_and_an_identity_key_keeps_it() {
    let (mut service, mut call) = call_of(2);
    let code =
        |bot: &Bot, user| bot.group.fingerprints(UserId(user)).map(super::Fingerprints::verification_code);
    let ours = code(&call[0], 2).unwrap();
    assert_eq!(ours.len(), 45);
    assert_eq!(code(&call[1], 1).unwrap(), ours);
    assert_eq!(code(&call[0], 1), None);
    assert_eq!(code(&call[0], 3), None);

    let identity = IdentityKey::generate();
    let kept = IdentityKey::from_bytes(&identity.to_bytes()).unwrap();
    let mut codes = Vec::new();
    for (user, identity, transition) in [(3, identity, 2), (3, kept, 3)] {
        let mut third = Bot::new(user, start());
        third.group = Group::new(UserId(user), CHANNEL, identity);
        third.tell(DaveEvent::ExternalSender(service.external_sender()));
        third.group.described(1);
        third.drain();
        join(&mut service, &mut call, &mut third, transition);
        codes.push(code(&third, 1).unwrap());
        let removal = [service.remove(2)];
        for bot in &mut call {
            bot.tell(append(&removal));
        }
        announce(&mut service, &mut call, transition + 10);
    }
    assert_eq!(codes[0], codes[1]);
    assert_ne!(codes[0], ours);
}

/// davey on its own as the other member: our frames and its frames are understood both ways.
#[test]
fn frames_are_understood_by_davey_and_its_frames_by_us() {
    let mut service = Service::new(CHANNEL.0);
    let mut ours = Bot::described(1, &service, start());
    let mut theirs = DaveSession::new(NonZeroU16::MIN, 2, CHANNEL.0, None).unwrap();
    theirs.set_external_sender(&service.external_sender()).unwrap();
    let package = theirs.create_key_package().unwrap();
    ours.meet(&[UserId(2)]);
    ours.tell(append(&[service.add(&package)]));
    let (commit, welcome) = ours.commit();
    ours.tell(DaveEvent::AnnounceCommit { transition_id: 0, commit });
    theirs.process_welcome(&welcome, Some(&[1, 2])).unwrap();
    theirs.prepare_transition(0, 1).unwrap();
    service.epoch = 1;
    assert_eq!(ours.group.state().privacy_code.as_deref(), theirs.voice_privacy_code());

    for length in [0, 1, 3, 15, 16, 17, 160, 1275] {
        let opus: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let mut frame = Vec::new();
        assert_eq!(ours.frames.sealer.seal(&opus, &mut frame), Sealed::Encrypted);
        assert_eq!(theirs.decrypt(1, MediaType::AUDIO, &frame).unwrap(), opus, "{length} bytes from us");
        let frame = theirs.encrypt_opus(&opus).unwrap().into_owned();
        assert_eq!(ours.hear(UserId(2), &frame).unwrap(), opus, "{length} bytes to us");
    }
    let silence = ours.say(&[0xf8, 0xff, 0xfe]);
    assert_eq!(theirs.decrypt(1, MediaType::AUDIO, &silence).unwrap(), [0xf8, 0xff, 0xfe]);
    let silence = theirs.encrypt_opus(&[0xf8, 0xff, 0xfe]).unwrap().into_owned();
    assert_eq!(ours.hear(UserId(2), &silence).unwrap(), [0xf8, 0xff, 0xfe]);

    // A third member, by davey's commit.
    let mut third = Bot::described(3, &service, start());
    let list = service.add(&third.key_package());
    ours.meet(&[UserId(3)]);
    third.meet(&[UserId(1), UserId(2)]);
    ours.tell(append(std::slice::from_ref(&list)));
    let mut payload = Vec::new();
    super::wire::push_vector(&list, &mut payload);
    let answer =
        theirs.process_proposals(ProposalsOperationType::APPEND, &payload, Some(&[3])).unwrap().unwrap();
    let (_, own) = split(&[&answer.commit[..], &answer.welcome.unwrap()].concat().into());
    ours.tell(DaveEvent::AnnounceCommit { transition_id: 0, commit: answer.commit.into() });
    third.tell(DaveEvent::Welcome { transition_id: 0, welcome: own });
    assert!(hears(&mut third, &mut ours));
}

#[test]
fn a_group_and_its_key_changes_can_be_sent_to_other_threads() {
    fn sendable<T: Send + 'static>() {}
    sendable::<Group>();
    sendable::<KeyChange>();
    sendable::<super::Frames>();
    sendable::<super::Fingerprints>();
}
