//! What comes too early, too late, from nobody, and under the wrong key.

use std::time::{Duration, Instant};

use super::*;
use crate::transport::dave::{BaseSecret, FrameSealer, Frames, KeyChange, SenderKey};

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

const USER: UserId = UserId(7);
const SOURCE: Ssrc = Ssrc(70);

/// A receiver, and what its senders encrypt with.
struct Call {
    reception: Reception,
    frames: Frames,
    sealers: [FrameSealer; 3],
    start: Instant,
}

fn secret(epoch: u8) -> BaseSecret {
    BaseSecret::new([epoch; 16])
}

impl Call {
    fn new() -> Self {
        let sealers = [1, 2, 3].map(|epoch| {
            let mut sealer = FrameSealer::new();
            sealer.switch(&SenderKey::Epoch { epoch: epoch.into(), secret: secret(epoch) });
            sealer
        });
        Self { reception: Reception::default(), frames: Frames::new(), sealers, start: start() }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    /// A packet comes, encrypted by the key of this epoch.
    fn voice(&mut self, epoch: usize, sequence: u16, milliseconds: u64) {
        let mut payload = Vec::new();
        self.sealers[epoch - 1].seal(&opus(sequence), &mut payload);
        self.take(sequence, &payload, milliseconds);
    }

    fn take(&mut self, sequence: u16, payload: &[u8], milliseconds: u64) {
        let now = self.at(milliseconds);
        let voice = SealedVoice { ssrc: SOURCE, sequence, timestamp: u32::from(sequence) * 960, payload };
        self.reception.voice(voice, &mut self.frames.openers, now);
    }

    fn assign(&mut self, milliseconds: u64) {
        let now = self.at(milliseconds);
        self.reception.assign(SOURCE, USER, &mut self.frames.openers, now);
    }

    fn key(&mut self, epoch: u8, milliseconds: u64) {
        let now = self.at(milliseconds);
        let secrets = vec![(USER, secret(epoch))];
        self.frames.install(KeyChange::Receivers { epoch: epoch.into(), secrets }, now);
        self.reception.retry(&mut self.frames.openers, now);
    }

    fn expire(&mut self, milliseconds: u64) {
        let now = self.at(milliseconds);
        self.reception.expire(&mut self.frames.openers, now);
    }

    /// Which packets are ready, and when they came.
    fn ready(&mut self) -> Vec<(u16, u64)> {
        let start = self.start;
        let told = |packet: VoicePacket| {
            assert_eq!((packet.user, packet.ssrc), (USER, SOURCE));
            assert_eq!(packet.packet.opus, opus(packet.packet.sequence));
            (packet.packet.sequence, (packet.packet.arrived - start).as_millis() as u64)
        };
        self.reception.ready().drain(..).map(told).collect()
    }

    /// Opened, unopened, unmapped, held.
    fn counts(&self) -> [u64; 4] {
        let ReceptionCounts { opened, unopened, unmapped, held } = self.reception.counts();
        [opened, unopened, unmapped, held]
    }
}

fn opus(sequence: u16) -> Vec<u8> {
    [&[0xf8, 1, 2][..], &sequence.to_be_bytes()].concat()
}

#[test]
fn what_came_before_its_user_and_its_key_were_known_is_heard_in_order_as_of_when_it_came() {
    let mut call = Call::new();
    call.voice(1, 0, 0);
    call.voice(1, 1, 20);
    call.assign(30);
    call.voice(1, 2, 40);
    assert_eq!(call.ready(), []);
    call.key(1, 50);
    call.voice(1, 3, 60);
    assert_eq!(call.ready(), [(0, 0), (1, 20), (2, 40), (3, 60)]);
    assert_eq!(call.counts(), [4, 0, 0, 3]);
}

#[test]
fn what_came_before_the_keys_of_its_epoch_is_heard_too() {
    let mut call = Call::new();
    call.assign(0);
    call.key(1, 0);
    call.voice(1, 0, 0);
    call.voice(2, 1, 20);
    call.voice(1, 2, 40);
    assert_eq!(call.ready(), [(0, 0), (2, 40)]);
    call.key(2, 50);
    assert_eq!(call.ready(), [(1, 20)]);
    assert_eq!(call.counts(), [3, 0, 0, 1]);
}

#[test]
fn after_two_seconds_it_is_dropped_and_counted_as_what_it_lacks() {
    let mut call = Call::new();
    call.voice(1, 0, 0);
    assert_eq!(call.reception.deadline(), Some(call.at(2_000)));
    call.expire(1_999);
    assert_eq!(call.counts(), [0, 0, 1, 0]);
    call.assign(1_999);
    call.voice(1, 1, 1_999);
    assert_eq!(call.counts(), [0, 2, 0, 0], "it lacks a key now");
    call.expire(2_000);
    call.key(1, 2_001);
    assert_eq!((call.ready(), call.counts()), (vec![(1, 1_999)], [1, 1, 0, 1]));
    assert_eq!(call.reception.deadline(), None);
}

#[test]
fn who_has_no_key_is_taken_for_a_broken_group_only_when_none_came_in_time() {
    let mut call = Call::new();
    call.assign(0);
    (0..37).for_each(|nth| call.voice(1, nth, u64::from(nth)));
    assert_eq!(call.frames.openers.take_failing(), None);
    call.expire(3_000);
    assert_eq!(call.frames.openers.take_failing(), Some(USER));
}

#[test]
fn frames_under_a_wrong_key_count_once_however_often_they_are_tried() {
    let mut call = Call::new();
    call.assign(0);
    call.key(1, 0);
    (0..36).for_each(|nth| call.voice(3, nth, u64::from(nth)));
    call.key(1, 40);
    call.key(2, 50);
    assert_eq!(call.frames.openers.take_failing(), None);
    call.voice(3, 36, 60);
    assert_eq!(call.frames.openers.take_failing(), None, "new keys begin a new count");
    assert_eq!(call.counts(), [0, 37, 0, 0]);
}

#[test]
fn what_is_not_encrypted_or_was_seen_is_dropped_at_once() {
    let mut call = Call::new();
    call.assign(0);
    call.key(1, 0);
    call.take(0, &opus(0), 0);
    let mut payload = Vec::new();
    call.sealers[0].seal(&opus(1), &mut payload);
    call.take(1, &payload, 20);
    call.take(2, &payload, 40);
    assert_eq!((call.ready(), call.counts()), (vec![(1, 20)], [1, 2, 0, 0]));
    assert_eq!(call.reception.deadline(), None, "nothing is held");
}

#[test]
fn who_has_left_is_nobody() {
    let mut call = Call::new();
    call.assign(0);
    call.key(1, 0);
    call.reception.left(USER);
    call.voice(1, 0, 10);
    assert_eq!((call.ready(), call.counts()), (vec![], [0, 0, 1, 0]));
}

#[test]
fn a_thousand_packets_share_the_memory_of_a_few_allocations() {
    let mut call = Call::new();
    call.assign(0);
    call.key(1, 0);
    let mut places = std::collections::BTreeSet::new();
    for nth in 0..1_000 {
        call.voice(1, nth, u64::from(nth));
        let packet = call.reception.ready().pop().unwrap().packet.opus;
        places.insert(packet.as_ptr() as usize / ARENA);
    }
    assert!(places.len() <= 3, "{} places", places.len());
}
