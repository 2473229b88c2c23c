//! Others: davey on its own, verification codes, other threads.

use std::num::NonZeroU16;

use davey::{DaveSession, MediaType, ProposalsOperationType};

use crate::gateway::payload::DaveEvent;
use crate::id::UserId;
use crate::transport::dave::tests::service::{Service, split};
use crate::transport::dave::tests::support::{Bot, CHANNEL, announce, append, call_of, hears, join, start};
use crate::transport::dave::{Fingerprints, Frames, Group, IdentityKey, KeyChange, Sealed, wire};

#[test]
fn both_sides_work_out_the_same_verification_code_and_an_identity_key_keeps_it() {
    let (mut service, mut call) = call_of(2);
    let code =
        |bot: &Bot, user| bot.group.fingerprints(UserId(user)).and_then(Fingerprints::verification_code);
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
    wire::push_vector(&list, &mut payload);
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
    sendable::<Frames>();
    sendable::<Fingerprints>();
}
