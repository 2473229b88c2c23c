//! Messages that are foreign, stale, repeated or forged.

use crate::gateway::payload::{Command, DaveEvent};
use crate::id::UserId;
use crate::transport::dave::Notice;
use crate::transport::dave::tests::service::Service;
use crate::transport::dave::tests::support::{
    Bot, CHANNEL, announce, append, assert_everyone_hears_everyone, call_of, hears, prepare, start,
};

#[test]
fn foreign_and_stale_messages_are_counted_and_change_nothing() {
    let (service, mut call) = call_of(3);
    let mut elsewhere = Service::new(99);
    elsewhere.epoch = service.epoch;
    let mut earlier = Service::new(CHANNEL.0);
    earlier.epoch = service.epoch - 1;
    let mut other = Bot::described(4, &service, start());
    let package = other.key_package();

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
fn an_external_sender_that_comes_again_loses_no_proposal() {
    let service = Service::new(CHANNEL.0);
    let (mut first, mut second) =
        (Bot::described(1, &service, start()), Bot::described(2, &service, start()));
    second.meet(&[UserId(1)]);
    first.meet(&[UserId(2)]);
    first.tell(append(&[service.add(&second.key_package())]));
    let (commit, welcome) = first.commit();
    first.tell(DaveEvent::ExternalSender(service.external_sender()));
    first.tell(DaveEvent::AnnounceCommit { transition_id: 0, commit });
    second.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    assert!(hears(&mut first, &mut second));
}
