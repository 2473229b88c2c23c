//! The bus: a call whose messages are delivered in an order drawn from a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::json;
use tokio::time::{Duration, Instant};

use crate::dave::{
    ClientMessage, DaveSettings, DeliveryError, DeliveryService, OpenError, Participant, ServerMessage, op,
};

/// What a member of a call must be able to do.
pub(super) trait Peer {
    fn described(&mut self, version: u16) -> Vec<ClientMessage>;
    fn clients_connect(&mut self, users: &[u64]);
    fn client_disconnect(&mut self, user: u64);
    fn receive(&mut self, message: &ServerMessage, now: Instant) -> Vec<ClientMessage>;
    fn encrypt(&mut self, frame: &[u8]) -> Option<Vec<u8>>;
    fn decrypt(&mut self, user: u64, frame: &[u8], now: Instant) -> Result<Vec<u8>, OpenError>;
    fn privacy_code(&self) -> Option<String>;
}

impl Peer for Participant {
    fn described(&mut self, version: u16) -> Vec<ClientMessage> {
        self.described(version)
    }
    fn clients_connect(&mut self, users: &[u64]) {
        self.clients_connect(users);
    }
    fn client_disconnect(&mut self, user: u64) {
        self.client_disconnect(user);
    }
    fn receive(&mut self, message: &ServerMessage, now: Instant) -> Vec<ClientMessage> {
        self.receive(message, now)
    }
    fn encrypt(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.encrypt(frame)
    }
    fn decrypt(&mut self, user: u64, frame: &[u8], now: Instant) -> Result<Vec<u8>, OpenError> {
        self.decrypt(user, frame, now)
    }
    fn privacy_code(&self) -> Option<String> {
        self.privacy_code()
    }
}

/// On the way to a member.
enum Down {
    Described(u16),
    Connect(Vec<u64>),
    Disconnect(u64),
    Dave(ServerMessage),
}

/// A call under test.
pub(super) struct Call {
    pub(super) service: DeliveryService,
    pub(super) members: BTreeMap<u64, Box<dyn Peer>>,
    pub(super) now: Instant,
    /// Everything the service has sent and been sent: user, direction, opcode.
    pub(super) log: Vec<(u64, Way, u8)>,
    /// Every message the service has sent, for those who listen in.
    pub(super) sent: Vec<ServerMessage>,
    /// What the service held against its clients.
    pub(super) objections: Vec<DeliveryError>,
    /// Members whose op 23 gets lost.
    pub(super) never_ready: BTreeSet<u64>,
    down: BTreeMap<u64, VecDeque<Down>>,
    up: BTreeMap<u64, VecDeque<ClientMessage>>,
    rng: fastrand::Rng,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    Down,
    Up,
}

pub(super) const CHANNEL: u64 = 0x0123_4567_89ab_cdef;

impl Call {
    pub(super) fn new(seed: u64, settings: DaveSettings) -> Self {
        Self {
            service: DeliveryService::new(CHANNEL, settings),
            members: BTreeMap::new(),
            now: Instant::now(),
            log: Vec::new(),
            sent: Vec::new(),
            objections: Vec::new(),
            never_ready: BTreeSet::new(),
            down: BTreeMap::new(),
            up: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// A call with these members, all settled.
    pub(super) fn with_members(seed: u64, settings: DaveSettings, users: &[u64]) -> Self {
        let mut call = Self::new(seed, settings);
        for user in users {
            call.join(*user);
            call.settle();
        }
        call
    }

    pub(super) fn join(&mut self, user: u64) {
        self.join_as(user, 1, Box::new(Participant::new(user, CHANNEL)));
    }

    pub(super) fn join_as(&mut self, user: u64, max_version: u16, peer: Box<dyn Peer>) {
        assert!(self.service.admits(max_version), "user {user} would be closed with 4017");
        self.forget(user);
        let others: Vec<u64> = self.members.keys().copied().collect();
        for other in &others {
            self.send(*other, Down::Connect(vec![user]));
        }
        self.members.insert(user, peer);
        self.service.join(user, max_version, self.now);
        self.send(user, Down::Connect(others));
        self.send(user, Down::Described(self.service.version()));
        self.poll();
    }

    /// The member as it was when it left, keys and all.
    pub(super) fn leave(&mut self, user: u64) -> Box<dyn Peer> {
        let gone = self.forget(user).expect("only members leave");
        for other in self.members.keys().copied().collect::<Vec<_>>() {
            self.send(other, Down::Disconnect(user));
        }
        self.service.leave(user);
        self.poll();
        gone
    }

    /// Delivers everything that is on the way, and what comes of it, without letting time pass.
    pub(super) fn run(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 50_000, "the call never comes to rest");
        }
    }

    /// Like [`run`](Self::run), and lets time pass until nothing is due.
    pub(super) fn settle(&mut self) {
        self.run();
        while let Some(deadline) = self.service.deadline() {
            self.now = self.now.max(deadline);
            self.poll();
            self.run();
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.poll();
        self.run();
    }

    /// One message, of whichever connection the seed says.
    pub(super) fn step(&mut self) -> bool {
        let downward =
            self.down.iter().filter(|(_, queue)| !queue.is_empty()).map(|(user, _)| (*user, Way::Down));
        let upward = self.up.iter().filter(|(_, queue)| !queue.is_empty()).map(|(user, _)| (*user, Way::Up));
        let ready: Vec<_> = downward.chain(upward).collect();
        let Some((user, way)) = self.rng.choice(ready) else { return false };
        match way {
            Way::Down => self.deliver_down(user),
            Way::Up => self.deliver_up(user),
        }
        true
    }

    /// Delivers what is on the way to and from one member only.
    pub(super) fn serve(&mut self, user: u64) {
        while self.down.get(&user).is_some_and(|queue| !queue.is_empty()) {
            self.deliver_down(user);
        }
        while self.up.get(&user).is_some_and(|queue| !queue.is_empty()) {
            self.deliver_up(user);
        }
    }

    pub(super) fn poll(&mut self) {
        for (user, message) in self.service.poll(self.now) {
            self.log.push((user, Way::Down, message_op(&message)));
            self.sent.push(message.clone());
            self.send(user, Down::Dave(message));
        }
    }

    /// A client says something of its own.
    pub(super) fn say(&mut self, user: u64, message: ClientMessage) {
        self.up.entry(user).or_default().push_back(message);
    }

    /// Opcodes between the service and one member, in the order the service saw them.
    pub(super) fn ops(&self, user: u64) -> Vec<(Way, u8)> {
        self.log.iter().filter(|(one, ..)| *one == user).map(|(_, way, op)| (*way, *op)).collect()
    }

    pub(super) fn count(&self, user: u64, op: u8) -> usize {
        self.log.iter().filter(|(one, _, code)| *one == user && *code == op).count()
    }

    /// Everybody sees the same code and opens what everybody else seals; `outsider` opens nothing.
    pub(super) fn assert_secure(&mut self, outsider: &mut dyn Peer) {
        let users: Vec<u64> = self.members.keys().copied().collect();
        let codes: BTreeSet<_> = self.members.values().map(|member| member.privacy_code()).collect();
        assert_eq!(codes.len(), 1, "not all in the same epoch: {codes:?}");
        assert!(codes.first().unwrap().is_some(), "nobody is in a group");
        for speaker in &users {
            let plain = format!("twenty milliseconds of user {speaker}").into_bytes();
            let sealed = self.encrypt(*speaker, &plain).expect("a member of a group can seal");
            assert!(!sealed.windows(8).any(|window| plain.starts_with(window)), "sent in clear");
            for ear in users.iter().filter(|ear| *ear != speaker) {
                let heard = self.members.get_mut(ear).unwrap().decrypt(*speaker, &sealed, self.now);
                assert_eq!(heard.as_deref(), Ok(plain.as_slice()), "{speaker} to {ear}");
            }
            assert!(outsider.decrypt(*speaker, &sealed, self.now).is_err(), "an outsider hears {speaker}");
        }
    }

    pub(super) fn encrypt(&mut self, user: u64, plain: &[u8]) -> Option<Vec<u8>> {
        self.members.get_mut(&user).unwrap().encrypt(plain)
    }

    pub(super) fn decrypt(&mut self, ear: u64, speaker: u64, frame: &[u8]) -> Result<Vec<u8>, OpenError> {
        let now = self.now;
        self.members.get_mut(&ear).unwrap().decrypt(speaker, frame, now)
    }

    pub(super) fn code(&self, user: u64) -> Option<String> {
        self.members[&user].privacy_code()
    }

    /// One who hears all messages of the voice gateway and has no place in the call.
    pub(super) fn eavesdropper(&self) -> Participant {
        let mut eavesdropper = Participant::new(666, CHANNEL);
        eavesdropper.clients_connect(&self.members.keys().copied().collect::<Vec<_>>());
        eavesdropper.described(1);
        for message in &self.sent {
            eavesdropper.receive(message, self.now);
        }
        eavesdropper
    }

    fn forget(&mut self, user: u64) -> Option<Box<dyn Peer>> {
        self.down.remove(&user);
        self.up.remove(&user);
        self.members.remove(&user)
    }

    fn send(&mut self, user: u64, down: Down) {
        if self.members.contains_key(&user) {
            self.down.entry(user).or_default().push_back(down);
        }
    }

    fn deliver_down(&mut self, user: u64) {
        let Some(down) = self.down.get_mut(&user).and_then(VecDeque::pop_front) else { return };
        let Some(member) = self.members.get_mut(&user) else { return };
        let answers = match down {
            Down::Described(version) => member.described(version),
            Down::Connect(users) => {
                member.clients_connect(&users);
                Vec::new()
            }
            Down::Disconnect(gone) => {
                member.client_disconnect(gone);
                Vec::new()
            }
            Down::Dave(message) => member.receive(&message, self.now),
        };
        self.up.entry(user).or_default().extend(answers);
    }

    fn deliver_up(&mut self, user: u64) {
        let Some(message) = self.up.get_mut(&user).and_then(VecDeque::pop_front) else { return };
        let result = match &message {
            ClientMessage::Json { op: op::TRANSITION_READY, .. } if self.never_ready.contains(&user) => {
                return;
            }
            ClientMessage::Json { op: op::TRANSITION_READY, d } => {
                self.service.transition_ready(user, transition_id(d))
            }
            ClientMessage::Json { op: op::INVALID_COMMIT_WELCOME, d } => {
                self.service.invalid_commit_welcome(user, transition_id(d))
            }
            ClientMessage::Binary { op: op::KEY_PACKAGE, payload } => self.service.key_package(user, payload),
            ClientMessage::Binary { op: op::COMMIT_WELCOME, payload } => {
                self.service.commit_welcome(user, payload).map(|_| ())
            }
            other => panic!("no client sends {other:?}"),
        };
        self.log.push((user, Way::Up, client_op(&message)));
        self.objections.extend(result.err().filter(DeliveryError::is_violation));
        self.poll();
    }
}

pub(super) fn ready(transition_id: u16) -> ClientMessage {
    ClientMessage::Json { op: op::TRANSITION_READY, d: json!({ "transition_id": transition_id }) }
}

fn transition_id(d: &serde_json::Value) -> u16 {
    d["transition_id"].as_u64().and_then(|id| u16::try_from(id).ok()).expect("a transition id")
}

pub(super) fn message_op(message: &ServerMessage) -> u8 {
    match message {
        ServerMessage::Json { op, .. } | ServerMessage::Binary { op, .. } => *op,
    }
}

pub(super) fn client_op(message: &ClientMessage) -> u8 {
    match message {
        ClientMessage::Json { op, .. } | ClientMessage::Binary { op, .. } => *op,
    }
}
