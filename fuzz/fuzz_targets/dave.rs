//! The DAVE machine under any order of facts with any bytes: `cargo fuzz run dave`.
//!
//! The input is a list of facts: one byte says which, one byte a small number, and messages take a length byte (times
//! four) and as many bytes. Some of them begin with what a genuine message of this call would begin with, so that the
//! fuzzer gets past the first checks.

#![no_main]

use std::time::{Duration, Instant};

use actix_voice::gateway::payload::DaveEvent;
use actix_voice::id::{ChannelId, UserId};
use actix_voice::transport::dave::{Action, Frames, Group, IdentityKey, Sealed};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut call = Call::new();
    let mut input = Input(input);
    while let (Some(kind), Some(number)) = (input.byte(), input.byte()) {
        call.happen(kind, number, &mut input);
        call.drain();
    }
});

struct Call {
    group: Group,
    frames: Frames,
    now: Instant,
}

impl Call {
    fn new() -> Self {
        let group = Group::new(UserId(1), ChannelId(7), IdentityKey::generate());
        Self { group, frames: Frames::new(), now: Instant::now() }
    }

    fn happen(&mut self, kind: u8, number: u8, input: &mut Input<'_>) {
        let small = u16::from(number & 3);
        let event = match kind % 16 {
            0 => return self.group.described(small),
            1 => return self.group.clients_connect(&[UserId(number.into())]),
            2 => return self.group.client_disconnect(UserId(number.into())),
            3 => return self.group.failed_frames(self.now),
            4 => return self.group.resumed(self.now),
            5 => return self.now += Duration::from_secs(number.into()),
            6 => return self.speak(),
            7 => return self.hear(&input.bytes()),
            8 => DaveEvent::PrepareTransition {
                transition_id: small,
                protocol_version: u16::from(number >> 6),
            },
            9 => DaveEvent::ExecuteTransition { transition_id: small },
            10 => DaveEvent::PrepareEpoch { protocol_version: small, epoch: u64::from(number >> 6) },
            11 => DaveEvent::ExternalSender(input.bytes()),
            12 => DaveEvent::Proposals(input.bytes()),
            13 => DaveEvent::Proposals(proposal(&input.bytes())),
            14 => DaveEvent::AnnounceCommit { transition_id: small, commit: commit(&input.bytes()) },
            _ => DaveEvent::Welcome { transition_id: small, welcome: input.bytes() },
        };
        self.group.event(event, self.now);
    }

    fn drain(&mut self) {
        while let Some(action) = self.group.poll(self.now) {
            if let Action::Install(change) = action {
                self.frames.install(change, self.now);
            }
        }
    }

    fn speak(&mut self) {
        let mut frame = Vec::new();
        if self.frames.sealer.seal(b"PLAIN", &mut frame) == Sealed::Plain {
            assert_eq!(self.group.state().version, 0, "plain audio has left");
        }
    }

    fn hear(&mut self, frame: &[u8]) {
        let mut opus = Vec::new();
        let _ = self.frames.openers.open(UserId(2), frame, &mut opus, self.now);
    }
}

/// Op 27 with one message of our group at epoch 0 by the external sender.
fn proposal(rest: &[u8]) -> Bytes {
    let message = [HEAD, &[2, 0, 0, 0, 0, 0, 2], rest].concat();
    let length = (message.len() as u16 | 0x4000).to_be_bytes();
    [&[0], &length[..], &message].concat().into()
}

/// Op 29 of our group at epoch 0 by the member at leaf 0.
fn commit(rest: &[u8]) -> Bytes {
    [HEAD, &[1, 0, 0, 0, 0, 0, 3], rest].concat().into()
}

/// MLS 1.0, public message, group 7, epoch 0.
const HEAD: &[u8] = &[0, 1, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn bytes(&mut self) -> Bytes {
        let length = self.byte().map_or(0, |length| usize::from(length) * 4).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Bytes::copy_from_slice(bytes)
    }
}
