//! The same calls with members that run `davey`, an implementation not ours.

use std::{collections::BTreeSet, num::NonZeroU16, time::Duration};

use davey::{DaveSession, MediaType, ProposalsOperationType};
use serde_json::json;
use tokio::time::Instant;

use super::bus::{CHANNEL, Call, Peer};
use crate::dave::{ClientMessage, DaveSettings, Fault, OpenError, Participant, ServerMessage, op};

/// A client of davey that follows its documentation.
struct Davey {
    user: u64,
    session: DaveSession,
    recognised: BTreeSet<u64>,
}

const VERSION: NonZeroU16 = NonZeroU16::MIN;

impl Davey {
    fn boxed(user: u64) -> Box<dyn Peer> {
        let session = DaveSession::new(VERSION, user, CHANNEL, None).unwrap();
        Box::new(Self { user, session, recognised: BTreeSet::from([user]) })
    }

    fn key_package(&mut self) -> ClientMessage {
        let payload = self.session.create_key_package().unwrap();
        ClientMessage::Binary { op: op::KEY_PACKAGE, payload }
    }

    fn start_anew(&mut self) -> Vec<ClientMessage> {
        self.session.reinit(VERSION, self.user, CHANNEL, None).unwrap();
        vec![self.key_package()]
    }

    fn ready(id: u16) -> Vec<ClientMessage> {
        if id == 0 {
            return Vec::new();
        }
        vec![ClientMessage::Json { op: op::TRANSITION_READY, d: json!({ "transition_id": id }) }]
    }

    fn followed(&mut self, id: u16, followed: bool) -> Vec<ClientMessage> {
        if followed {
            self.session.prepare_transition(id, 1).unwrap();
            return Self::ready(id);
        }
        let d = json!({ "transition_id": id });
        let mut messages = vec![ClientMessage::Json { op: op::INVALID_COMMIT_WELCOME, d }];
        messages.extend(self.start_anew());
        messages
    }

    fn json(&mut self, op: u8, d: &serde_json::Value) -> Vec<ClientMessage> {
        let number = |field: &str| d[field].as_u64().unwrap() as u16;
        match op {
            op::PREPARE_TRANSITION => {
                let (id, version) = (number("transition_id"), number("protocol_version"));
                self.session.prepare_transition(id, version).unwrap();
                Self::ready(id)
            }
            op::EXECUTE_TRANSITION => {
                self.session.execute_transition(number("transition_id")).unwrap();
                Vec::new()
            }
            op::PREPARE_EPOCH => self.start_anew(),
            other => panic!("op {other} is no DAVE message"),
        }
    }

    fn proposals(&mut self, payload: &[u8]) -> Vec<ClientMessage> {
        let kind =
            if payload[0] == 0 { ProposalsOperationType::APPEND } else { ProposalsOperationType::REVOKE };
        let users: Vec<u64> = self.recognised.iter().copied().collect();
        match self.session.process_proposals(kind, &payload[1..], Some(&users)) {
            Ok(Some(committed)) => {
                let payload = [committed.commit, committed.welcome.unwrap_or_default()].concat();
                vec![ClientMessage::Binary { op: op::COMMIT_WELCOME, payload }]
            }
            // davey calls a proposal for a group we are not in yet an error; it is to be ignored.
            Ok(None) | Err(_) => Vec::new(),
        }
    }
}

impl Peer for Davey {
    fn described(&mut self, version: u16) -> Vec<ClientMessage> {
        if version == 0 { Vec::new() } else { vec![self.key_package()] }
    }
    fn clients_connect(&mut self, users: &[u64]) {
        self.recognised.extend(users);
    }
    fn client_disconnect(&mut self, user: u64) {
        self.recognised.remove(&user);
    }
    fn receive(&mut self, message: &ServerMessage, _now: Instant) -> Vec<ClientMessage> {
        let (op, payload) = match message {
            ServerMessage::Json { op, d } => return self.json(*op, d),
            ServerMessage::Binary { op, payload } => (*op, payload),
        };
        let id = u16::from_be_bytes([payload[0], payload[1]]);
        match op {
            op::EXTERNAL_SENDER => {
                self.session.set_external_sender(payload).unwrap();
                Vec::new()
            }
            op::PROPOSALS => self.proposals(payload),
            op::ANNOUNCE_COMMIT => match self.session.process_commit(&payload[2..]) {
                Ok(false) => Vec::new(),
                Ok(true) => self.followed(id, true),
                Err(_) => self.followed(id, false),
            },
            op::WELCOME => {
                let welcomed = self.session.process_welcome(&payload[2..], None).is_ok();
                self.followed(id, welcomed)
            }
            other => panic!("op {other} is no DAVE message"),
        }
    }
    fn encrypt(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.session.encrypt_opus(frame).ok().map(std::borrow::Cow::into_owned)
    }
    fn decrypt(&mut self, user: u64, frame: &[u8], _now: Instant) -> Result<Vec<u8>, OpenError> {
        self.session.decrypt(user, MediaType::AUDIO, frame).map_err(|_| OpenError::Forged)
    }
    fn privacy_code(&self) -> Option<String> {
        self.session.voice_privacy_code().map(str::to_owned)
    }
}

#[test]
fn davey_and_two_of_ours_share_a_group_whoever_wins() {
    for seed in 0..8 {
        let mut call = Call::new(seed, DaveSettings::default());
        call.join_as(2, 1, Davey::boxed(2));
        call.join(1);
        call.join(3);
        call.settle();
        call.assert_secure(&mut Participant::new(9, CHANNEL));
        assert!(call.objections.is_empty(), "seed {seed}: {:?}", call.objections);
    }
}

#[test]
fn davey_follows_joins_leaves_and_resets() {
    for seed in 0..4_u64 {
        let settings =
            DaveSettings { first_transition_id_zero: seed.is_multiple_of(2), ..DaveSettings::default() };
        let mut call = Call::with_members(seed, settings, &[1]);
        for user in [2, 4] {
            call.join_as(user, 1, Davey::boxed(user));
            call.settle();
            call.assert_secure(&mut Participant::new(9, CHANNEL));
        }
        let mut gone = call.leave(1);
        call.settle();
        call.assert_secure(gone.as_mut());
        call.leave(2);
        call.settle();
        assert_eq!((call.count(4, 24), call.count(4, 21)), (1, 1));
        call.join(5);
        call.settle();
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
}

#[test]
fn davey_recovers_from_a_bad_commit_and_a_bad_welcome() {
    for seed in 0..4 {
        let mut call = Call::with_members(seed, DaveSettings::default(), &[1, 2]);
        call.service.fault(Fault::CorruptWelcome { to: 3 });
        call.join_as(3, 1, Davey::boxed(3));
        call.settle();
        assert_eq!(call.count(3, 31), 1);
        call.assert_secure(&mut Participant::new(9, CHANNEL));
        call.service.fault(Fault::CorruptCommit { to: 3 });
        call.leave(2);
        call.settle();
        assert_eq!(call.count(3, 31), 2);
        call.assert_secure(&mut Participant::new(9, CHANNEL));
    }
}

#[test]
fn davey_survives_a_crowd_that_comes_and_goes() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut call = Call::new(seed, DaveSettings::default());
        for _ in 0..10 {
            let user = rng.u64(1..7);
            if call.members.contains_key(&user) {
                call.leave(user);
            } else if user.is_multiple_of(2) {
                call.join_as(user, 1, Davey::boxed(user));
            } else {
                call.join(user);
            }
            (0..rng.usize(..20)).take_while(|_| call.step()).count();
        }
        for user in [7, 8] {
            call.join_as(user, 1, Davey::boxed(user));
        }
        call.settle();
        call.pass(Duration::from_secs(11));
        call.assert_secure(&mut Participant::new(9, CHANNEL));
        assert!(call.objections.is_empty(), "seed {seed}: {:?}", call.objections);
    }
}
