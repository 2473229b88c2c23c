//! What goes wrong on the way: revocations, invalid commits and welcomes, deafness, a lost connection.

use std::time::Duration;

use crate::gateway::payload::{Command, DaveEvent};
use crate::id::UserId;
use crate::transport::dave::tests::service::Service;
use crate::transport::dave::tests::support::{
    Bot, announce, append, assert_everyone_hears_everyone, assert_rejoins, call_of, execute, hears, join,
    ready, revoke, start,
};
use crate::transport::dave::{DaveError, Notice};

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

/// A welcome that was damaged on its way.
fn damaged_welcome(service: &Service, inviting: &mut Bot, newcomer: &mut Bot) -> DaveEvent {
    inviting.meet(&[newcomer.user]);
    let proposals = [service.add(&newcomer.key_package())];
    inviting.tell(append(&proposals));
    let (_, welcome) = inviting.commit();
    inviting.tell(revoke(&proposals));
    let mut damaged = welcome.to_vec();
    damaged[40] ^= 0xff;
    DaveEvent::Welcome { transition_id: 3, welcome: damaged.into() }
}

#[test]
fn a_fifth_invalid_welcome_in_a_row_ends_the_session_and_an_epoch_forgives() {
    let (mut service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    for _ in 0..4 {
        let welcome = damaged_welcome(&service, &mut call[0], &mut third);
        third.tell(welcome);
        assert_rejoins(&mut third, 3);
    }
    join(&mut service, &mut call, &mut third, 0);
    assert!(hears(&mut third, &mut call[1]));

    let mut fourth = Bot::described(4, &service, start());
    for _ in 0..4 {
        let welcome = damaged_welcome(&service, &mut call[0], &mut fourth);
        fourth.tell(welcome);
        assert_rejoins(&mut fourth, 3);
    }
    let fifth = damaged_welcome(&service, &mut call[0], &mut fourth);
    fourth.sent();
    fourth.tell(fifth);
    assert_eq!(fourth.sent(), []);
    assert!(matches!(fourth.failures[..], [DaveError::Invalid { times: 5, .. }]), "{:?}", fourth.failures);
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
fn too_many_failed_frames_lead_to_a_new_application_unless_a_transition_explains_them() {
    let (mut service, mut call) = call_of(3);
    let bot = &mut call[2];
    bot.group.failed_frames(bot.now);
    bot.drain();
    assert_rejoins(bot, 1);
    assert_eq!(bot.notices, [Notice::DecryptionFailing]);

    // Now we are no member: that explains them as well.
    let mut deaf = call.remove(2);
    deaf.now += Duration::from_secs(30);
    deaf.group.failed_frames(deaf.now);
    deaf.drain();
    assert_eq!(deaf.notices, [Notice::DecryptionFailing, Notice::DecryptionFailingForNow]);
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
fn an_op_31_that_was_lost_goes_out_again_with_another_key_package() {
    let (service, mut call) = call_of(2);
    let mut third = Bot::described(3, &service, start());
    let proposals = append(&[service.add(&third.key_package())]);
    let bot = &mut call[1];
    bot.meet(&[third.user]);
    bot.tell(proposals.clone());
    let (commit, _) = bot.commit();
    let mut damaged = commit.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    bot.tell(DaveEvent::AnnounceCommit { transition_id: 6, commit: damaged.into() });
    assert_rejoins(bot, 6);
    let lost = bot.key_package();
    bot.group.resumed(bot.now);
    // The server believes that the bot is still a member.
    bot.tell(proposals);
    bot.sent();
    bot.now += Duration::from_secs(5);
    bot.drain();
    assert_rejoins(bot, 6);
    assert_ne!(bot.key_package(), lost);
}
