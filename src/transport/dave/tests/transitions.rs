//! Transitions: late, overlapping, to a new group, down to version 0 and up again.

use std::time::Duration;

use crate::gateway::payload::{Command, DaveEvent};
use crate::id::UserId;
use crate::transport::dave::tests::service::Service;
use crate::transport::dave::tests::support::{
    Bot, CHANNEL, NEW_GROUP, announce, append, assert_everyone_hears_everyone, call_of, execute, hears, join,
    prepare, ready, start,
};
use crate::transport::dave::{
    Action, DaveError, E2eeState, KeyChange, Notice, OpenError, PlainSpeech, SenderKey,
};

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
fn a_downgrade_silences_a_bot_that_may_not_speak_plainly() {
    let (_, mut call) = call_of(2);
    let bot = &mut call[0];
    bot.group.plain_speech = PlainSpeech::Refused;
    bot.tell(prepare(11, 0));
    assert_ne!(bot.say(b"before"), b"", "encrypted until op 22");
    bot.tell(DaveEvent::ExecuteTransition { transition_id: 11 });
    assert_eq!((bot.say(b"after"), &bot.failures[..]), (vec![], &[DaveError::NotEncrypted][..]));
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
fn a_downgrade_executed_after_a_newer_epoch_was_announced_does_not_lose_the_group() {
    let (mut service, mut call) = call_of(2);
    for bot in &mut call {
        bot.tell(prepare(4, 0));
        bot.sent();
    }
    let mut third = Bot::described(3, &service, start());
    join(&mut service, &mut call, &mut third, 5);
    execute(&mut call, 4);
    assert_eq!(call[0].say(b"plain"), b"plain");
    call.push(third);
    execute(&mut call, 5);
    for bot in &mut call {
        bot.now += Duration::from_secs(11);
    }
    assert_everyone_hears_everyone(&mut call);
    let mut fourth = Bot::described(4, &service, start());
    join(&mut service, &mut call, &mut fourth, 6);
    call.push(fourth);
    execute(&mut call, 6);
    assert_everyone_hears_everyone(&mut call);
}
