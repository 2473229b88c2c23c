//! The queue of proposals: what is revoked, and what would spoil every commit of the epoch.

use proptest::prelude::*;

use crate::gateway::payload::DaveEvent;
use crate::id::UserId;
use crate::transport::dave::Notice;
use crate::transport::dave::tests::service::Service;
use crate::transport::dave::tests::support::{
    Bot, CHANNEL, announce, append, assert_everyone_hears_everyone, call_of, hears, revoke, start,
};

/// Bots that have applied, with the proposals to add them.
fn applicants(service: &Service, users: &[u64]) -> (Vec<Bot>, Vec<Vec<u8>>) {
    let mut bots: Vec<Bot> = users.iter().map(|user| Bot::described(*user, service, start())).collect();
    let proposals = bots.iter_mut().map(|bot| service.add(&bot.key_package())).collect();
    (bots, proposals)
}

#[test]
fn a_revoked_proposal_leaves_the_queue_though_another_of_them_was_only_held() {
    let (mut service, mut call) = call_of(2);
    let (mut bots, proposals) = applicants(&service, &[3, 4, 5]);
    let [held, queued, kept] = &proposals[..] else { unreachable!() };
    let bot = &mut call[0];
    bot.meet(&[UserId(4), UserId(5)]);
    bot.tell(append(&proposals));
    assert_eq!(bot.notices, [Notice::Unannounced(UserId(3))]);
    bot.sent();
    bot.notices.clear();
    bot.tell(revoke(&[held.clone(), queued.clone()]));
    assert_eq!(bot.notices, []);
    assert_eq!(bot.sent.len(), 1, "a commit without the revoked ones");
    bot.meet(&[UserId(3)]);
    assert_eq!(bot.sent.len(), 1, "what was revoked is not queued when its user is announced");

    call[1].meet(&[UserId(5)]);
    call[1].tell(append(std::slice::from_ref(kept)));
    let welcome = announce(&mut service, &mut call, 0);
    let mut fifth = bots.remove(2);
    fifth.meet(&[UserId(1), UserId(2)]);
    fifth.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    call.push(fifth);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn a_proposal_revoked_twice_at_once_is_revoked_once() {
    let (service, mut call) = call_of(2);
    let (_bots, proposals) = applicants(&service, &[3, 4]);
    let bot = &mut call[0];
    bot.meet(&[UserId(3), UserId(4)]);
    bot.tell(append(&proposals));
    bot.sent();
    bot.tell(revoke(&[proposals[0].clone(), proposals[0].clone()]));
    assert_eq!(bot.notices, [Notice::UnknownProposal]);
    assert_eq!(bot.sent().len(), 1);
}

#[test]
fn a_second_key_package_of_somebody_queued_spoils_nothing() {
    let (mut service, mut call) = call_of(2);
    let (mut bots, proposals) = applicants(&service, &[3]);
    let (_, others) = applicants(&service, &[3, 4]);
    for bot in &mut call {
        bot.meet(&[UserId(3), UserId(4)]);
        bot.tell(append(&proposals));
        bot.tell(append(&others[..1]));
        bot.tell(append(&others[1..]));
        assert_eq!(bot.notices.len(), 1, "{:?}", bot.notices);
    }
    let welcome = announce(&mut service, &mut call, 0);
    let mut third = bots.remove(0);
    third.meet(&[UserId(1), UserId(2), UserId(4)]);
    third.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    assert!(hears(&mut third, &mut call[0]));
    assert_eq!(call[0].group.members().len(), 4);
}

#[test]
fn a_member_is_added_again_only_with_his_removal_in_whatever_order_they_come() {
    let (mut service, mut call) = call_of(2);
    let (mut bots, proposals) = applicants(&service, &[2]);
    let (_, others) = applicants(&service, &[3]);
    let bot = &mut call[0];
    bot.meet(&[UserId(3)]);
    bot.tell(append(&proposals));
    bot.tell(append(&others));
    assert_eq!(bot.notices.len(), 1, "{:?}", bot.notices);
    assert_eq!(bot.sent().len(), 1, "the other one is added all the same");
    bot.tell(append(&[service.remove(1)]));
    assert_eq!(bot.notices.len(), 1, "{:?}", bot.notices);
    let mut second = bots.remove(0);
    let welcome = announce(&mut service, &mut call[..1], 0);
    second.meet(&[UserId(1), UserId(3)]);
    second.tell(DaveEvent::Welcome { transition_id: 0, welcome });
    assert!(hears(&mut second, &mut call[0]));
}

#[test]
fn one_bad_proposal_keeps_no_good_one_from_being_committed() {
    let (mut service, mut call) = call_of(2);
    let mut forger = Service::new(CHANNEL.0);
    forger.epoch = service.epoch;
    let (mut bots, mut proposals) = applicants(&service, &[3, 4, 5]);
    let mut ghost = Bot::described(66, &service, start());
    proposals.insert(1, forger.add(&ghost.key_package()));
    for bot in &mut call {
        bot.meet(&[UserId(3), UserId(4), UserId(5), ghost.user]);
        bot.tell(append(&proposals));
        assert!(matches!(bot.notices[..], [Notice::Refused(_)]), "{:?}", bot.notices);
        assert_eq!(bot.sent.len(), 1);
    }
    let welcome = announce(&mut service, &mut call, 0);
    for bot in &mut bots {
        bot.meet(&[UserId(1), UserId(2), UserId(3), UserId(4), UserId(5)]);
        bot.tell(DaveEvent::Welcome { transition_id: 0, welcome: welcome.clone() });
    }
    call.append(&mut bots);
    assert_everyone_hears_everyone(&mut call);
}

#[test]
fn somebody_held_twice_is_queued_once_announced() {
    let (service, mut call) = call_of(2);
    let (_bots, proposals) = applicants(&service, &[3]);
    let (_others, again) = applicants(&service, &[3]);
    let bot = &mut call[0];
    bot.tell(append(&proposals));
    bot.tell(append(&again));
    bot.notices.clear();
    bot.meet(&[UserId(3)]);
    assert_eq!((bot.sent().len(), bot.notices.len()), (1, 1), "{:?}", bot.notices);
}

#[derive(Clone, Debug)]
enum Fact {
    Append(Vec<usize>),
    Revoke(Vec<usize>),
    Meet(u64),
}

/// Numbers of proposals to append; to revoke only those that add, as a removal that is taken back may leave two of one
/// user in the queue, which is the server's fault and for the server to mend.
fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => prop::collection::vec(0_usize..11, 1..5).prop_map(Fact::Append),
        2 => prop::collection::vec(0_usize..10, 1..4).prop_map(Fact::Revoke),
        1 => (3_u64..6).prop_map(Fact::Meet),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_proposed_the_next_newcomer_gets_in(facts in prop::collection::vec(fact(), 0..8)) {
        let (mut service, mut call) = call_of(2);
        let mut forger = Service::new(CHANNEL.0);
        forger.epoch = service.epoch;
        let (_twice, mut proposals) = applicants(&service, &[2, 2, 3, 3, 4, 4, 5, 5]);
        let (_ghosts, forged) = applicants(&forger, &[3, 4]);
        proposals.extend(forged);
        proposals.push(service.remove(1));
        let chosen = |numbers: Vec<usize>| -> Vec<_> { numbers.iter().map(|at| proposals[*at].clone()).collect() };
        let bot = &mut call[0];
        for fact in facts {
            match fact {
                Fact::Append(numbers) => bot.tell(append(&chosen(numbers))),
                Fact::Revoke(numbers) => bot.tell(revoke(&chosen(numbers))),
                Fact::Meet(user) => bot.meet(&[UserId(user)]),
            }
        }
        let (mut bots, newcomer) = applicants(&service, &[9]);
        bot.meet(&[UserId(9)]);
        bot.sent();
        bot.tell(append(&newcomer));
        let welcome = announce(&mut service, &mut call[..1], 0);
        let mut ninth = bots.remove(0);
        ninth.meet(&[UserId(1), UserId(2), UserId(3), UserId(4), UserId(5)]);
        ninth.tell(DaveEvent::Welcome { transition_id: 0, welcome });
        prop_assert!(hears(&mut ninth, &mut call[0]));
        let mut members = call[0].group.members();
        members.sort_unstable_by_key(|user| user.0);
        let count = members.len();
        members.dedup();
        prop_assert_eq!(members.len(), count, "nobody is in the group twice");
    }
}
