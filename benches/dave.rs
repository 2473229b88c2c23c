//! What comings and goings in an encrypted call cost: one commit with 2, 25 and 100 members, off the packet path.
//!
//! `cargo bench --bench dave` prints medians. An Add is what a join costs, a Remove what a leave costs. What a frame costs
//! is measured in `benches/micro`.

#[path = "../src/transport/dave/tests/service.rs"]
mod service;

use std::time::{Duration, Instant};

use actix_voice::gateway::payload::{Command, DaveEvent};
use actix_voice::id::{ChannelId, UserId};
use actix_voice::transport::dave::{Action, Frames, Group, IdentityKey};
use bytes::Bytes;

use service::{Service, split};

const CHANNEL: ChannelId = ChannelId(7);
const ROUNDS: u64 = 15;

fn main() {
    for members in [2, 25, 100] {
        commit_costs(members);
    }
}

/// Adds and removes a member over and over, timed at the committer, at another member and at the newcomer.
fn commit_costs(members: u64) {
    let mut service = Service::new(CHANNEL.0);
    let mut call = Call::of(&mut service, members);
    let mut times: [Vec<Duration>; 7] = Default::default();
    for round in 0..ROUNDS {
        let mut newcomer = Member::new(1_000 + round, &service);
        let leaf = members as u32;
        let add = append(&[service.add(&newcomer.key_package())]);
        call.first.group.clients_connect(&[newcomer.user]);
        call.second.group.clients_connect(&[newcomer.user]);
        newcomer.group.clients_connect(&(1..=members).map(UserId).collect::<Vec<_>>());
        let (commit, welcome) = call.propose(&add, &mut times[0]);
        let announced = DaveEvent::AnnounceCommit { transition_id: 0, commit };
        times[1].push(call.first.tell(announced.clone()));
        times[2].push(call.second.tell(announced));
        times[3].push(newcomer.tell(DaveEvent::Welcome { transition_id: 0, welcome }));
        service.epoch += 1;

        let (commit, _) = call.propose(&append(&[service.remove(leaf)]), &mut times[4]);
        let announced = DaveEvent::AnnounceCommit { transition_id: 0, commit };
        times[5].push(call.first.tell(announced.clone()));
        times[6].push(call.second.tell(announced));
        service.epoch += 1;
    }
    println!("with {members} members");
    let what = [
        "Add: commit (op 27 to 28)",
        "Add: own commit (op 29)",
        "Add: another's commit (op 29)",
        "Add: welcome (op 30)",
    ];
    let remove =
        ["Remove: commit (op 27 to 28)", "Remove: own commit (op 29)", "Remove: another's commit (op 29)"];
    for (what, times) in what.iter().chain(&remove).zip(&mut times) {
        println!("  {what:<32}{:>9.2?}", median(times));
    }
}

/// Two members that are timed; the others are in the group in name only.
struct Call {
    first: Member,
    second: Member,
}

impl Call {
    fn of(service: &mut Service, members: u64) -> Self {
        let mut call = Self { first: Member::new(1, service), second: Member::new(2, service) };
        let everyone: Vec<_> = (1..=members).map(UserId).collect();
        call.first.group.clients_connect(&everyone);
        call.second.group.clients_connect(&everyone);
        let mut proposals = vec![service.add(&call.second.key_package())];
        proposals.extend((3..=members).map(|user| service.add(&Member::new(user, service).key_package())));
        call.first.tell(append(&proposals));
        let (commit, welcome) = call.first.commit();
        call.first.tell(DaveEvent::AnnounceCommit { transition_id: 0, commit });
        call.second.tell(DaveEvent::Welcome { transition_id: 0, welcome });
        service.epoch = 1;
        assert_eq!(call.second.group.members().len() as u64, members);
        call
    }

    fn propose(&mut self, proposals: &DaveEvent, times: &mut Vec<Duration>) -> (Bytes, Bytes) {
        times.push(self.first.tell(proposals.clone()));
        self.second.tell(proposals.clone());
        self.first.commit()
    }
}

struct Member {
    user: UserId,
    group: Group,
    frames: Frames,
    sent: Vec<Command>,
}

impl Member {
    fn new(user: u64, service: &Service) -> Self {
        let group = Group::new(UserId(user), CHANNEL, IdentityKey::generate());
        let mut member = Self { user: UserId(user), group, frames: Frames::new(), sent: Vec::new() };
        member.group.described(1);
        member.tell(DaveEvent::ExternalSender(service.external_sender()));
        member
    }

    /// Tells the group something and carries out its orders; gives the time both took.
    fn tell(&mut self, event: DaveEvent) -> Duration {
        let before = now();
        self.group.event(event, before);
        while let Some(action) = self.group.poll(before) {
            match action {
                Action::Send(command) => self.sent.push(command),
                Action::Install(change) => self.frames.install(change, before),
                Action::Notice(notice) => panic!("{notice}"),
                _ => {}
            }
        }
        now() - before
    }

    fn key_package(&mut self) -> Bytes {
        match self.sent.pop() {
            Some(Command::KeyPackage(package)) => package,
            _ => panic!("no key package was sent"),
        }
    }

    fn commit(&mut self) -> (Bytes, Bytes) {
        match self.sent.pop() {
            Some(Command::CommitWelcome(payload)) => split(&payload),
            _ => panic!("no commit was sent"),
        }
    }
}

/// The payload of op 27.
fn append(proposals: &[Vec<u8>]) -> DaveEvent {
    let list = proposals.concat();
    let prefix = match list.len() {
        0..=63 => vec![list.len() as u8],
        64..=16_383 => (list.len() as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (list.len() as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    };
    DaveEvent::Proposals([vec![0], prefix, list].concat().into())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}
