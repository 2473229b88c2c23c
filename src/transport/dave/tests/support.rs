//! What the tests of this folder share.

use std::time::Instant;

use bytes::Bytes;

use super::service::{Service, split};
use crate::gateway::payload::{Command, DaveEvent};
use crate::id::{ChannelId, UserId};
use crate::transport::dave::{
    Action, DaveError, E2eeState, Frames, Group, IdentityKey, Notice, OpenError, PlainSpeech, wire,
};

/// Reads hexadecimal digits; spaces are skipped.
pub(in crate::transport::dave) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The moment the tests begin.
#[expect(clippy::disallowed_methods, reason = "tests count from an arbitrary moment")]
pub(in crate::transport::dave) fn start() -> Instant {
    Instant::now()
}

/// The payload of op 27 that appends these proposals.
pub(in crate::transport::dave) fn append(proposals: &[Vec<u8>]) -> DaveEvent {
    let mut payload = vec![0];
    wire::push_vector(&proposals.concat(), &mut payload);
    DaveEvent::Proposals(payload.into())
}

/// The payload of op 27 that revokes these proposals.
pub(in crate::transport::dave) fn revoke(proposals: &[Vec<u8>]) -> DaveEvent {
    let mut references = Vec::new();
    for proposal in proposals {
        wire::push_vector(&wire::proposal_ref(proposal), &mut references);
    }
    let mut payload = vec![1];
    wire::push_vector(&references, &mut payload);
    DaveEvent::Proposals(payload.into())
}

/// A bot as its actors would build it: the group, and the packet path that its key changes go to.
pub(in crate::transport::dave) struct Bot {
    pub(in crate::transport::dave) user: UserId,
    pub(in crate::transport::dave) group: Group,
    pub(in crate::transport::dave) frames: Frames,
    pub(in crate::transport::dave) sent: Vec<Command>,
    pub(in crate::transport::dave) states: Vec<E2eeState>,
    pub(in crate::transport::dave) notices: Vec<Notice>,
    pub(in crate::transport::dave) unannounced: Vec<UserId>,
    pub(in crate::transport::dave) failures: Vec<DaveError>,
    pub(in crate::transport::dave) now: Instant,
}

impl Bot {
    pub(in crate::transport::dave) fn new(user: u64, now: Instant) -> Self {
        Self {
            user: UserId(user),
            group: Group::new(UserId(user), CHANNEL, IdentityKey::generate())
                .plain_speech(PlainSpeech::Allowed),
            frames: Frames::new(),
            sent: Vec::new(),
            states: Vec::new(),
            notices: Vec::new(),
            unannounced: Vec::new(),
            failures: Vec::new(),
            now,
        }
    }

    /// A bot that has its session description and the external sender.
    pub(in crate::transport::dave) fn described(user: u64, service: &Service, now: Instant) -> Self {
        let mut bot = Self::new(user, now);
        bot.group.described(1);
        bot.tell(DaveEvent::ExternalSender(service.external_sender()));
        bot
    }

    pub(in crate::transport::dave) fn tell(&mut self, event: DaveEvent) {
        self.group.event(event, self.now);
        self.drain();
    }

    pub(in crate::transport::dave) fn meet(&mut self, users: &[UserId]) {
        self.group.clients_connect(users);
        self.drain();
    }

    pub(in crate::transport::dave) fn drain(&mut self) {
        while let Some(action) = self.group.poll(self.now) {
            match action {
                Action::Send(command) => self.sent.push(command),
                Action::Install(change) => self.frames.install(change, self.now),
                Action::State(state) => self.states.push(state),
                Action::UnannouncedMember(user) => self.unannounced.push(user),
                Action::Notice(notice) => self.notices.push(notice),
                Action::Fail(error) => self.failures.push(error),
            }
        }
    }

    pub(in crate::transport::dave) fn sent(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.sent)
    }

    /// The key package sent last; everything sent is forgotten.
    pub(in crate::transport::dave) fn key_package(&mut self) -> Bytes {
        let packages = self.sent().into_iter().filter_map(|command| match command {
            Command::KeyPackage(package) => Some(package),
            _ => None,
        });
        packages.last().expect("a key package was sent")
    }

    /// The commit and welcome sent last; everything sent is forgotten.
    pub(in crate::transport::dave) fn commit(&mut self) -> (Bytes, Bytes) {
        let commits = self.sent().into_iter().filter_map(|command| match command {
            Command::CommitWelcome(payload) => Some(split(&payload)),
            _ => None,
        });
        commits.last().expect("a commit was sent")
    }

    /// Seals a frame, which is what would leave the machine.
    pub(in crate::transport::dave) fn say(&mut self, opus: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.frames.sealer.seal(opus, &mut out);
        out
    }

    pub(in crate::transport::dave) fn hear(
        &mut self,
        from: UserId,
        frame: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let mut out = Vec::new();
        self.frames.openers.open(from, frame, &mut out, self.now)?;
        Ok(out)
    }
}

/// Whether the listener understands what the speaker says now.
pub(in crate::transport::dave) fn hears(listener: &mut Bot, speaker: &mut Bot) -> bool {
    let frame = speaker.say(b"some opus");
    assert!(!frame.windows(4).any(|bytes| bytes == b"opus"), "plain audio has left the machine");
    listener.hear(speaker.user, &frame).is_ok_and(|opus| opus == b"some opus")
}

/// Lets a newcomer apply, the first of the members commit, and everyone hear of it. Nothing is executed yet unless the
/// transition is 0.
pub(in crate::transport::dave) fn join(
    service: &mut Service,
    members: &mut [Bot],
    newcomer: &mut Bot,
    transition_id: u16,
) {
    let users: Vec<_> = members.iter().map(|member| member.user).collect();
    newcomer.meet(&users);
    let proposals = [service.add(&newcomer.key_package())];
    for member in members.iter_mut() {
        member.meet(&[newcomer.user]);
        member.tell(append(&proposals));
    }
    let welcome = announce(service, members, transition_id);
    newcomer.tell(DaveEvent::Welcome { transition_id, welcome });
}

/// Announces the first member's commit to all of them; gives the welcome.
pub(in crate::transport::dave) fn announce(
    service: &mut Service,
    members: &mut [Bot],
    transition_id: u16,
) -> Bytes {
    let (commit, welcome) = members[0].commit();
    service.epoch += 1;
    for member in members.iter_mut() {
        member.sent();
        member.tell(DaveEvent::AnnounceCommit { transition_id, commit: commit.clone() });
    }
    welcome
}

pub(in crate::transport::dave) fn execute(members: &mut [Bot], transition_id: u16) {
    for member in members.iter_mut() {
        member.tell(DaveEvent::ExecuteTransition { transition_id });
    }
}

/// A call of users 1 to `n`, all in the group, all transitions executed.
pub(in crate::transport::dave) fn call_of(n: u64) -> (Service, Vec<Bot>) {
    let now = start();
    let mut service = Service::new(CHANNEL.0);
    let mut members = vec![Bot::described(1, &service, now)];
    for user in 2..=n {
        let mut newcomer = Bot::described(user, &service, now);
        join(&mut service, &mut members, &mut newcomer, user as u16 - 2);
        members.push(newcomer);
        if user > 2 {
            execute(&mut members, user as u16 - 2);
        }
    }
    for member in &mut members {
        member.sent();
        member.states.clear();
        assert_eq!(member.notices, [], "user {} has seen something odd", member.user);
    }
    (service, members)
}

pub(in crate::transport::dave) fn prepare(transition_id: u16, protocol_version: u16) -> DaveEvent {
    DaveEvent::PrepareTransition { transition_id, protocol_version }
}

pub(in crate::transport::dave) fn ready(transition_id: u16) -> Command {
    Command::TransitionReady { transition_id }
}

pub(in crate::transport::dave) const NEW_GROUP: DaveEvent =
    DaveEvent::PrepareEpoch { protocol_version: 1, epoch: 1 };

pub(in crate::transport::dave) fn assert_rejoins(bot: &mut Bot, transition_id: u16) {
    let sent = bot.sent();
    let [Command::InvalidCommitWelcome { transition_id: flagged }, Command::KeyPackage(_)] = &sent[..] else {
        panic!("no op 31 and op 26 but {sent:?}");
    };
    assert_eq!(*flagged, transition_id);
    bot.sent = sent;
}

pub(in crate::transport::dave) fn assert_everyone_hears_everyone(call: &mut [Bot]) {
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

/// The voice channel of every test.
pub(in crate::transport::dave) const CHANNEL: ChannelId = ChannelId(0x0102_0304_0506_0708);
