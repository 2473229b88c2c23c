//! Facts in any order, and messages that are genuine, damaged or made of random bytes: nothing panics, also where
//! debug assertions are on, nothing leaves that should not, and no nonce is used twice.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use openmls::prelude::tls_codec::DeserializeBytes;
use openmls::prelude::{ExternalSender, MlsMessageIn, Welcome};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use super::service::Service;
use super::support::{Bot, CHANNEL, append, call_of, revoke, start};
use crate::gateway::payload::{Command, DaveEvent};
use crate::id::UserId;
use crate::transport::dave::{BaseSecret, KeyChange, wire};

/// What may happen to the bot under test.
#[derive(Clone, Debug)]
enum Fact {
    Described(u16),
    Connect(u64),
    Disconnect(u64),
    Prepare(u16, u16),
    Execute(u16),
    Epoch(u16, u64),
    ExternalSender(Damage),
    /// The server proposes to add one of the others.
    Add(usize, Damage),
    Remove(u32, Damage),
    RevokeLast,
    Proposals(Vec<u8>),
    /// The bot's own last commit wins.
    OwnCommit(u16, Damage),
    /// The peer commits to what was proposed last, and wins.
    PeerCommit(u16, Damage),
    Commit(u16, Vec<u8>),
    /// The peer adds the bot and welcomes it.
    Welcome(u16, Damage),
    RandomWelcome(u16, Vec<u8>),
    ExternalBytes(Vec<u8>),
    FailedFrames,
    Resumed,
    Later(u64),
    Hear(Vec<u8>),
}

/// What happens to a message on its way.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Set(usize, u8),
    Cut(usize),
    Trail(u8),
}

impl Damage {
    fn to(&self, message: impl Into<Vec<u8>>) -> Bytes {
        let mut message = message.into();
        match *self {
            Self::None => {}
            Self::Set(at, value) => {
                let at = at % message.len().max(1);
                message.splice(at..(at + 1).min(message.len()), [value]);
            }
            Self::Cut(length) => message.truncate(length % (message.len() + 1)),
            Self::Trail(value) => message.push(value),
        }
        message.into()
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::None),
        3 => (0..700usize, any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        1 => (0..700usize).prop_map(Damage::Cut),
        1 => any::<u8>().prop_map(Damage::Trail),
    ]
}

fn fact() -> impl Strategy<Value = Fact> {
    let id = || 0..4u16;
    let bytes = || vec(any::<u8>(), 0..80);
    prop_oneof![
        1 => (0..3u16).prop_map(Fact::Described),
        3 => (1..7u64).prop_map(Fact::Connect),
        1 => (1..7u64).prop_map(Fact::Disconnect),
        2 => (id(), 0..3u16).prop_map(|(id, version)| Fact::Prepare(id, version)),
        4 => id().prop_map(Fact::Execute),
        1 => (0..3u16, 0..3u64).prop_map(|(version, epoch)| Fact::Epoch(version, epoch)),
        1 => damage().prop_map(Fact::ExternalSender),
        4 => (0..3usize, damage()).prop_map(|(other, damage)| Fact::Add(other, damage)),
        2 => (0..4u32, damage()).prop_map(|(leaf, damage)| Fact::Remove(leaf, damage)),
        1 => Just(Fact::RevokeLast),
        1 => bytes().prop_map(Fact::Proposals),
        3 => (id(), damage()).prop_map(|(id, damage)| Fact::OwnCommit(id, damage)),
        3 => (id(), damage()).prop_map(|(id, damage)| Fact::PeerCommit(id, damage)),
        1 => (id(), bytes()).prop_map(|(id, bytes)| Fact::Commit(id, bytes)),
        4 => (id(), damage()).prop_map(|(id, damage)| Fact::Welcome(id, damage)),
        1 => (id(), bytes()).prop_map(|(id, bytes)| Fact::RandomWelcome(id, bytes)),
        1 => bytes().prop_map(Fact::ExternalBytes),
        1 => Just(Fact::FailedFrames),
        1 => Just(Fact::Resumed),
        1 => (0..15u64).prop_map(Fact::Later),
        2 => bytes().prop_map(Fact::Hear),
    ]
}

/// The bot under test, a peer that follows the rules, and a server that proposes.
struct World {
    service: Service,
    bot: Bot,
    peer: Bot,
    others: Vec<Bytes>,
    proposal: Vec<u8>,
    key_package: Option<Bytes>,
    own_commit: Option<Bytes>,
    frames: HashSet<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let service = Service::new(CHANNEL.0);
        let mut peer = Bot::described(2, &service, start());
        peer.meet(&[1, 3, 4, 5].map(UserId));
        let others = [3, 4, 5].map(|user| Bot::described(user, &service, start()).key_package()).to_vec();
        Self {
            bot: Bot::new(1, start()),
            peer,
            others,
            proposal: Vec::new(),
            key_package: None,
            own_commit: None,
            frames: HashSet::new(),
            service,
        }
    }

    fn happen(&mut self, fact: Fact) {
        let now = self.bot.now;
        match fact {
            Fact::Described(version) => self.bot.group.described(version),
            Fact::Connect(user) => self.bot.meet(&[UserId(user)]),
            Fact::Disconnect(user) => self.bot.group.client_disconnect(UserId(user)),
            Fact::Prepare(transition_id, protocol_version) => {
                self.bot.tell(DaveEvent::PrepareTransition { transition_id, protocol_version });
            }
            Fact::Execute(transition_id) => self.bot.tell(DaveEvent::ExecuteTransition { transition_id }),
            Fact::Epoch(protocol_version, epoch) => {
                self.bot.tell(DaveEvent::PrepareEpoch { protocol_version, epoch });
            }
            Fact::ExternalSender(damage) => {
                self.bot.tell(DaveEvent::ExternalSender(damage.to(self.service.external_sender())));
            }
            Fact::ExternalBytes(bytes) => self.bot.tell(DaveEvent::ExternalSender(bytes.into())),
            Fact::Add(other, damage) => self.propose(self.service.add(&self.others[other]), &damage),
            Fact::Remove(leaf, damage) => self.propose(self.service.remove(leaf), &damage),
            Fact::RevokeLast => {
                self.bot.tell(revoke(std::slice::from_ref(&self.proposal)));
                self.peer.tell(revoke(std::slice::from_ref(&self.proposal)));
            }
            Fact::Proposals(bytes) => self.bot.tell(DaveEvent::Proposals(bytes.into())),
            Fact::OwnCommit(transition_id, damage) => self.own_commit(transition_id, &damage),
            Fact::PeerCommit(transition_id, damage) => self.peer_commit(transition_id, &damage),
            Fact::Commit(transition_id, bytes) => {
                self.bot.tell(DaveEvent::AnnounceCommit { transition_id, commit: bytes.into() });
            }
            Fact::Welcome(transition_id, damage) => self.welcome(transition_id, &damage),
            Fact::RandomWelcome(transition_id, bytes) => {
                self.bot.tell(DaveEvent::Welcome { transition_id, welcome: bytes.into() });
            }
            Fact::FailedFrames => self.bot.group.failed_frames(now),
            Fact::Resumed => self.bot.group.resumed(now),
            Fact::Later(seconds) => self.bot.now += Duration::from_secs(seconds),
            Fact::Hear(bytes) => drop(self.bot.hear(UserId(2), &bytes)),
        }
        self.bot.drain();
        self.note_what_was_sent();
        self.say();
    }

    fn propose(&mut self, proposal: Vec<u8>, damage: &Damage) {
        let mut payload = vec![0];
        wire::push_vector(&damage.to(proposal.clone()), &mut payload);
        self.bot.tell(DaveEvent::Proposals(payload.into()));
        self.peer.tell(append(std::slice::from_ref(&proposal)));
        self.proposal = proposal;
    }

    fn own_commit(&mut self, transition_id: u16, damage: &Damage) {
        let Some(payload) = self.own_commit.take() else { return };
        let (commit, _) = super::service::split(&payload);
        self.bot.tell(DaveEvent::AnnounceCommit { transition_id, commit: damage.to(commit.clone()) });
        self.peer.tell(DaveEvent::AnnounceCommit { transition_id, commit });
        self.service.epoch = self.peer_epoch();
    }

    fn peer_commit(&mut self, transition_id: u16, damage: &Damage) {
        if !self.peer.sent.iter().any(|sent| matches!(sent, Command::CommitWelcome(_))) {
            return;
        }
        let (commit, _) = self.peer.commit();
        self.bot.tell(DaveEvent::AnnounceCommit { transition_id, commit: damage.to(commit.clone()) });
        self.peer.tell(DaveEvent::AnnounceCommit { transition_id, commit });
        self.service.epoch = self.peer_epoch();
    }

    fn welcome(&mut self, transition_id: u16, damage: &Damage) {
        let Some(package) = &self.key_package else { return };
        self.peer.tell(append(&[self.service.add(package)]));
        if !self.peer.sent.iter().any(|sent| matches!(sent, Command::CommitWelcome(_))) {
            return;
        }
        let (commit, welcome) = self.peer.commit();
        self.peer.tell(DaveEvent::AnnounceCommit { transition_id, commit });
        self.service.epoch = self.peer_epoch();
        self.bot.tell(DaveEvent::Welcome { transition_id, welcome: damage.to(welcome) });
    }

    /// The server counts by the peer, which is always a member of what it believes in.
    fn peer_epoch(&mut self) -> u64 {
        self.peer.group.state().epoch.max(self.service.epoch)
    }

    /// What leaves is encrypted under a fresh nonce, or withheld; plain only at version 0.
    fn say(&mut self) {
        let opus = b"PLAIN";
        let frame = self.bot.say(opus);
        if frame == opus {
            assert_eq!(self.bot.group.state().version, 0, "plain audio has left");
        } else if !frame.is_empty() {
            assert!(!frame.windows(opus.len()).any(|part| part == opus));
            assert!(self.frames.insert(frame), "the same frame twice: a nonce was used again");
        }
        assert_eq!(self.bot.group.can_send(), !self.bot.say(opus).is_empty());
    }

    fn note_what_was_sent(&mut self) {
        for command in self.bot.sent() {
            match command {
                Command::KeyPackage(package) => self.key_package = Some(package),
                Command::CommitWelcome(payload) => self.own_commit = Some(payload),
                Command::TransitionReady { transition_id } => assert_ne!(transition_id, 0),
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn facts_in_any_order_never_panic_and_never_let_plain_audio_out(
        member in any::<bool>(),
        facts in vec(fact(), 1..40),
    ) {
        let mut world = World::new();
        world.happen(Fact::Described(1));
        world.happen(Fact::ExternalSender(Damage::None));
        world.happen(Fact::Connect(2));
        if member {
            world.happen(Fact::Welcome(0, Damage::None));
            assert!(world.bot.group.can_send());
        }
        for fact in facts {
            world.happen(fact);
        }
    }

    #[test]
    fn facts_in_any_order_never_panic_from_the_very_start(facts in vec(fact(), 1..12)) {
        let mut world = World::new();
        for fact in facts {
            world.happen(fact);
        }
    }

    #[test]
    fn random_frames_are_refused(frame in vec(any::<u8>(), 0..60), ranges in vec(0..30u8, 0..6), size in 11..40u8) {
        let frame = [&frame[..], &ranges, &[size, 0xfa, 0xfa]].concat();
        let mut bot = Bot::new(1, start());
        assert!(bot.hear(UserId(2), &frame).is_err());
        let secrets = vec![(UserId(2), BaseSecret::new([1; 16]))];
        bot.frames.install(KeyChange::Receivers { epoch: 1, secrets }, bot.now);
        assert!(bot.hear(UserId(2), &frame).is_err());
    }
}

/// Every byte of every kind of genuine message, set to every value: what passes the check of its shape, the MLS library
/// decodes without tripping over its debug assertions.
#[test]
fn what_has_the_right_shape_can_be_decoded_however_a_byte_is_damaged() {
    let (mut service, mut call) = call_of(3);
    let newcomer = Bot::described(9, &service, start()).key_package();
    let (add, remove) = (service.add(&newcomer), service.remove(1));
    call[0].meet(&[UserId(9)]);
    call[0].tell(append(std::slice::from_ref(&add)));
    let (adding, welcome) = call[0].commit();
    call[0].tell(append(std::slice::from_ref(&remove)));
    let (removing, _) = call[0].commit();
    service.epoch += 1;

    let message = |bytes: &[u8]| drop(MlsMessageIn::tls_deserialize_bytes(bytes));
    let proposal = |bytes: &[u8]| {
        let mut payload = vec![0];
        wire::push_vector(bytes, &mut payload);
        let fits = wire::proposals(&payload).is_ok();
        if fits {
            message(bytes);
        }
        fits
    };
    let commit = |bytes: &[u8]| wire::commit(bytes).is_ok_and(|_| (message(bytes), true).1);
    every_damage(&add, proposal);
    every_damage(&remove, proposal);
    every_damage(&adding, commit);
    every_damage(&removing, commit);
    every_damage(&welcome, |bytes| {
        wire::welcome(bytes).is_ok_and(|()| (drop(Welcome::tls_deserialize_bytes(bytes)), true).1)
    });
    every_damage(&service.external_sender(), |bytes| {
        wire::external_sender(bytes)
            .is_ok_and(|()| (drop(ExternalSender::tls_deserialize_bytes(bytes)), true).1)
    });
}

fn every_damage(message: &[u8], fits: impl Fn(&[u8]) -> bool) {
    assert!(fits(message), "a genuine message is refused");
    let mut damaged = message.to_vec();
    for at in 0..message.len() {
        for value in 0..=255 {
            damaged[at] = value;
            fits(&damaged);
        }
        damaged[at] = message[at];
        assert!(at == 0 || !fits(&message[..at]), "cut at {at}");
    }
}
