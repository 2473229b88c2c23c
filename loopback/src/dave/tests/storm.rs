//! Random calls and random bytes.

use serde_json::json;

use super::bus::{CHANNEL, Call};
use crate::dave::{
    DaveSettings, DeliveryService, Execution, Fault, Pacing, Packing, Participant, ServerMessage, Winner,
};

fn settings(rng: &mut fastrand::Rng) -> DaveSettings {
    DaveSettings {
        first_transition_id_zero: rng.bool(),
        losers_get_commit: rng.bool(),
        pending_get_proposals: rng.bool(),
        op24_on_empty_join: rng.bool(),
        sole_member_op21_version: rng.u16(0..2),
        pacing: if rng.bool() { Pacing::Serial } else { Pacing::Overlapping },
        packing: if rng.bool() { Packing::Together } else { Packing::OneEach },
        winner: if rng.bool() { Winner::First } else { Winner::Last },
        execution: Execution::Prompt,
        ..DaveSettings::default()
    }
}

#[test]
fn whatever_order_people_come_and_go_in_they_end_up_in_one_group() {
    for seed in 0..25 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut call = Call::new(seed, settings(&mut rng));
        for _ in 0..12 {
            let user = rng.u64(1..7);
            if call.members.contains_key(&user) {
                call.leave(user);
            } else {
                call.join(user);
            }
            (0..rng.usize(..30)).take_while(|_| call.step()).count();
            if rng.u8(..8) == 0 {
                let to = rng.u64(1..7);
                call.service.fault(if rng.bool() {
                    Fault::CorruptCommit { to }
                } else {
                    Fault::CorruptWelcome { to }
                });
            }
        }
        for user in [1, 2] {
            if !call.members.contains_key(&user) {
                call.join(user);
            }
        }
        call.settle();
        call.assert_secure(&mut Participant::new(9, CHANNEL));
        assert!(call.objections.is_empty(), "seed {seed}: {:?}", call.objections);
    }
}

/// Real messages of a call, to be damaged.
fn corpus() -> Vec<Vec<u8>> {
    let mut call = Call::with_members(1, DaveSettings::default(), &[1, 2, 3]);
    call.leave(3);
    call.settle();
    let frame = call.encrypt(1, &[1; 40]).unwrap();
    let payloads = call.sent.iter().filter_map(|message| match message {
        ServerMessage::Binary { payload, .. } => Some(payload.clone()),
        ServerMessage::Json { .. } => None,
    });
    payloads.chain([frame]).collect()
}

fn damage(rng: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    if rng.u8(..4) == 0 {
        return (0..rng.usize(..80)).map(|_| rng.u8(..)).collect();
    }
    let mut bytes = corpus[rng.usize(..corpus.len())].clone();
    bytes.drain(..rng.usize(..3).min(bytes.len()));
    bytes.truncate(if rng.bool() { bytes.len() } else { rng.usize(..=bytes.len()) });
    for _ in 0..rng.usize(..4) {
        if let Some(at) = (!bytes.is_empty()).then(|| rng.usize(..bytes.len())) {
            bytes[at] = *[0, 0x40, 0x80, 0xc0, 0xff, bytes[at] ^ 1].get(rng.usize(..6)).unwrap();
        }
    }
    bytes
}

#[test]
fn damaged_messages_make_nobody_panic() {
    let corpus = corpus();
    let mut rng = fastrand::Rng::with_seed(2);
    let mut call = Call::with_members(2, DaveSettings::default(), &[1, 2]);
    let now = call.now;
    let mut pending = Participant::new(5, CHANNEL);
    pending.described(1);
    for round in 0..6_000 {
        let bytes = damage(&mut rng, &corpus);
        let user = rng.u64(1..4);
        let service: &mut DeliveryService = &mut call.service;
        // Nobody minds what is refused; that nothing panics is the point.
        let _ = service.key_package(user, &bytes);
        let _ = service.commit_welcome(user, &bytes);
        let _ = service.transition_ready(user, rng.u16(..));
        service.poll(now);
        let op = rng.u8(20..33);
        let d =
            json!({ "transition_id": rng.u64(..1 << 18), "protocol_version": rng.u32(..3), "epoch": "1" });
        for message in [ServerMessage::Binary { op, payload: bytes.clone() }, ServerMessage::Json { op, d }] {
            if round % 3 == 0 {
                pending.receive(&message, now);
            } else if matches!(message, ServerMessage::Binary { op: 27..=30, .. }) {
                call.members.get_mut(&1).unwrap().receive(&message, now);
            }
        }
        let _ = pending.decrypt(user, &bytes, now);
        let _ = call.decrypt(2, 1, &bytes);
    }
}

#[test]
fn a_service_that_was_sent_rubbish_still_serves() {
    let corpus = corpus();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut call = Call::with_members(3, DaveSettings::default(), &[1, 2, 3]);
    for _ in 0..500 {
        let bytes = damage(&mut rng, &corpus);
        let user = rng.u64(1..4);
        assert!(call.service.key_package(user, &bytes).is_err());
        assert!(call.service.commit_welcome(user, &bytes).is_err());
        call.poll();
    }
    call.join(4);
    call.settle();
    call.assert_secure(&mut Participant::new(9, CHANNEL));
}
