//! The receiver rules, one by one, on ratchets made by hand.

use std::time::{Duration, Instant};

use super::{FrameOpeners, FrameSealer, Frames, KEPT_EPOCHS, OpenError, Opened, SILENCE};
use crate::id::UserId;
use crate::transport::dave::action::{KeyChange, Passthrough, SenderKey};
use crate::transport::dave::frame::Sealed;
use crate::transport::dave::keys::{BaseSecret, Ratchet};
use crate::transport::dave::tests::support::{hex, start};

mod failures;

const SPEAKER: UserId = UserId(7);

fn secret(byte: u8) -> BaseSecret {
    BaseSecret::new([byte; 16])
}

fn receivers(epoch: u64, byte: u8) -> KeyChange {
    KeyChange::Receivers { epoch, secrets: vec![(SPEAKER, secret(byte))] }
}

fn sender(epoch: u64, byte: u8) -> SenderKey {
    SenderKey::Epoch { epoch, secret: secret(byte) }
}

/// A frame of the given key and nonce.
fn frame(byte: u8, nonce: u64) -> Vec<u8> {
    let mut sealer = FrameSealer::new();
    sealer.switch(&sender(1, byte));
    sealer.skip_to(nonce - 1);
    let mut out = Vec::new();
    assert_eq!(sealer.seal(b"opus", &mut out), Sealed::Encrypted);
    out
}

struct Ear {
    frames: Frames,
    now: Instant,
}

impl Ear {
    fn new() -> Self {
        let mut ear = Self { frames: Frames::new(), now: start() };
        ear.install(receivers(1, 1));
        ear
    }

    fn install(&mut self, change: KeyChange) {
        self.frames.install(change, self.now);
    }

    fn hear(&mut self, frame: &[u8]) -> Result<Opened, OpenError> {
        self.hear_from(SPEAKER, frame)
    }

    fn hear_from(&mut self, user: UserId, frame: &[u8]) -> Result<Opened, OpenError> {
        let mut out = Vec::new();
        let opened = self.frames.openers.open(user, frame, &mut out, self.now);
        assert_eq!(out.is_empty(), opened.is_err(), "a refused frame leaves nothing behind");
        opened
    }

    fn take_failing(&mut self) -> Option<UserId> {
        self.frames.openers.take_failing()
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn the_frames_of_the_vectors_are_opened() {
    let secret = BaseSecret::new(hex("cedd61b1b8a1ca69046554282cf70b7b").try_into().unwrap());
    let mut openers = FrameOpeners::default();
    openers.receive(1, &[(SPEAKER, secret)], start());
    let day = start() + Duration::from_secs(48 * 3600);
    for frame in [
        "d027a8ef4a86f715a2fcba04c1c774b21968010cfafa",
        "3a202b8ff27cbdb1cae8130667d1932e63f5ac020dfafa",
        "37dd4f884f9154ce4bf1c785ddc246b11ebd808080080ffafa",
    ] {
        let mut out = Vec::new();
        assert_eq!(openers.open(SPEAKER, &hex(frame), &mut out, day), Ok(Opened::Decrypted));
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}

#[test]
fn a_frame_is_taken_once_in_any_order() {
    let mut ear = Ear::new();
    for nonce in [5, 3, 4, 1, 9] {
        assert_eq!(ear.hear(&frame(1, nonce)), Ok(Opened::Decrypted), "nonce {nonce}");
        assert_eq!(ear.hear(&frame(1, nonce)), Err(OpenError::Replayed), "nonce {nonce}");
    }
    assert_eq!(ear.hear(&frame(1, 2)), Ok(Opened::Decrypted));
}

#[test]
fn a_frame_more_than_a_thousand_behind_is_too_old_to_tell() {
    let mut ear = Ear::new();
    assert!(ear.hear(&frame(1, 5000)).is_ok());
    assert_eq!(ear.hear(&frame(1, 3999)), Err(OpenError::Replayed));
    assert!(ear.hear(&frame(1, 4000)).is_ok());
    assert!(ear.hear(&frame(1, 5500)).is_ok());
    assert_eq!(ear.hear(&frame(1, 4498)), Err(OpenError::Replayed), "499 newer gaps pushed it out");
    assert!(ear.hear(&frame(1, 4499)).is_ok());
}

#[test]
fn a_forged_frame_uses_up_no_nonce() {
    let mut ear = Ear::new();
    let good = frame(1, 4);
    for at in [0, 4, 11] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(ear.hear(&bad), Err(OpenError::Forged), "byte {at}");
    }
    assert!(ear.hear(&good).is_ok());
}

#[test]
fn generations_come_no_faster_than_frames_can_be_sent() {
    let mut ear = Ear::new();
    let next = frame(1, 1 << 24);
    ear.later(Duration::from_secs(98_689));
    assert_eq!(ear.hear(&next), Err(OpenError::OutOfReach), "after 2^24 / 170 seconds at the earliest");
    ear.later(Duration::from_secs(1));
    assert!(ear.hear(&next).is_ok());
}

#[test]
fn an_old_generation_is_good_for_ten_seconds_after_a_newer_one_is_heard() {
    let mut ear = Ear::new();
    ear.later(Duration::from_secs(100_000));
    assert!(ear.hear(&frame(1, (1 << 24) - 3)).is_ok());
    assert!(ear.hear(&frame(1, 1 << 24)).is_ok());
    ear.later(Duration::from_millis(9_999));
    assert!(ear.hear(&frame(1, (1 << 24) - 2)).is_ok());
    ear.later(Duration::from_millis(1));
    assert_eq!(ear.hear(&frame(1, (1 << 24) - 1)), Err(OpenError::OutOfReach));
    assert!(ear.hear(&frame(1, (1 << 24) + 1)).is_ok());
}

#[test]
fn generations_wrap_after_256_and_the_key_is_still_a_new_one() {
    let mut ear = Ear::new();
    ear.later(Duration::from_secs(300 * 98_690));
    for generation in [200_u64, 256, 300] {
        assert!(ear.hear(&frame(1, (generation << 24) + 1)).is_ok(), "generation {generation}");
        ear.later(Duration::from_secs(10));
    }
    assert_eq!(ear.hear(&frame(1, 1)), Err(OpenError::OutOfReach), "is taken for generation 512");
}

#[test]
fn the_older_epoch_is_good_for_ten_seconds_after_the_sender_changed_over() {
    let mut ear = Ear::new();
    ear.install(receivers(2, 2));
    assert!(ear.hear(&frame(1, 1)).is_ok() && ear.hear(&frame(2, 1)).is_ok());
    ear.install(KeyChange::Sender(sender(2, 9)));
    ear.later(Duration::from_millis(9_999));
    assert!(ear.hear(&frame(1, 2)).is_ok());
    ear.later(Duration::from_millis(1));
    assert_eq!(ear.hear(&frame(1, 3)), Err(OpenError::Forged));
    assert!(ear.hear(&frame(2, 2)).is_ok());
}

#[test]
fn an_epoch_not_yet_executed_outlives_a_downgrade() {
    for (before, after) in [(5, 5), (11, 11), (5, 60)] {
        let mut ear = Ear::new();
        ear.install(KeyChange::Sender(sender(1, 8)));
        ear.install(receivers(2, 2));
        ear.install(KeyChange::Sender(SenderKey::Plain));
        ear.later(Duration::from_secs(before));
        ear.install(KeyChange::Sender(sender(2, 9)));
        ear.later(Duration::from_secs(after));
        assert!(ear.hear(&frame(2, 1)).is_ok(), "{before} s before, {after} s after");
        assert!(ear.hear(&frame(1, 1)).is_err());
    }
}

#[test]
fn an_epoch_the_sender_comes_back_to_does_not_go_stale() {
    let mut ear = Ear::new();
    ear.install(KeyChange::Sender(sender(1, 8)));
    ear.install(KeyChange::Sender(SenderKey::Plain));
    ear.later(Duration::from_secs(5));
    ear.install(KeyChange::Sender(sender(1, 8)));
    ear.later(Duration::from_secs(6));
    assert!(ear.hear(&frame(1, 1)).is_ok());
}

#[test]
fn installing_an_epoch_twice_does_not_open_it_to_replays() {
    let mut ear = Ear::new();
    assert!(ear.hear(&frame(1, 1)).is_ok());
    ear.install(receivers(2, 1));
    assert_eq!(ear.hear(&frame(1, 1)), Err(OpenError::Replayed));
}

#[test]
fn epochs_that_are_never_executed_are_bounded() {
    let mut ear = Ear::new();
    for epoch in 2..=20 {
        ear.install(receivers(epoch, epoch as u8));
    }
    assert_eq!(ear.frames.openers.users[&SPEAKER].epochs.len(), KEPT_EPOCHS);
    assert!(ear.hear(&frame(20, 1)).is_ok() && ear.hear(&frame(13, 1)).is_ok());
    assert_eq!(ear.hear(&frame(12, 5)), Err(OpenError::Forged));
}

#[test]
fn who_has_left_is_not_heard_any_more() {
    let mut ear = Ear::new();
    ear.install(KeyChange::Forget(SPEAKER));
    assert_eq!(ear.hear(&frame(1, 1)), Err(OpenError::NoKey));
}

#[test]
fn unencrypted_frames_pass_only_while_they_may() {
    let mut ear = Ear::new();
    let plain = b"plain opus";
    assert_eq!(ear.hear(plain), Err(OpenError::NotEncrypted));
    ear.install(KeyChange::Passthrough(Passthrough::Close));
    assert_eq!(ear.hear(plain), Err(OpenError::NotEncrypted), "closing opens nothing");
    ear.install(KeyChange::Passthrough(Passthrough::Open));
    ear.later(Duration::from_secs(3600));
    assert_eq!(ear.hear(plain), Ok(Opened::Plain));
    assert_eq!(ear.hear(&frame(3, 1)), Err(OpenError::Forged), "an encrypted frame never passes as it is");
    ear.install(KeyChange::Passthrough(Passthrough::Close));
    ear.later(Duration::from_millis(9_999));
    assert_eq!(ear.hear(plain), Ok(Opened::Plain));
    ear.install(KeyChange::Passthrough(Passthrough::Close));
    ear.later(Duration::from_millis(1));
    assert_eq!(ear.hear(plain), Err(OpenError::NotEncrypted), "closing twice does not prolong it");
}

#[test]
fn the_silence_frame_always_passes_but_nothing_like_it() {
    let mut openers = FrameOpeners::default();
    let mut out = Vec::new();
    assert_eq!(openers.open(UserId(1), &SILENCE, &mut out, start()), Ok(Opened::Plain));
    assert_eq!(out, SILENCE);
    assert_eq!(openers.open(UserId(1), &[0xf8, 0xff, 0xfd], &mut out, start()), Err(OpenError::NotEncrypted));
    assert_eq!(openers.open(UserId(1), &[0xf8, 0xff], &mut out, start()), Err(OpenError::NotEncrypted));
}

#[test]
fn clear_ranges_are_authenticated_and_put_back_in_place() {
    let mut ratchet = Ratchet::new(&secret(1));
    let cipher = ratchet.draw();
    let (clear, mut encrypted) = (b"HDEF".to_vec(), b"abcij".to_vec());
    let tag = cipher.seal(1, &clear, &mut encrypted).unwrap();
    // H abc DEF ij, of which H and DEF are clear.
    let mut frame = [b"H", &encrypted[..3], b"DEF", &encrypted[3..], &tag].concat();
    frame.extend_from_slice(&[1, 0, 1, 4, 3, 16, 0xfa, 0xfa]);
    let mut ear = Ear::new();
    let mut bad = frame.clone();
    bad[0] ^= 1;
    assert_eq!(ear.hear(&bad), Err(OpenError::Forged));
    let mut out = Vec::new();
    assert_eq!(ear.frames.openers.open(SPEAKER, &frame, &mut out, ear.now), Ok(Opened::Decrypted));
    assert_eq!(out, b"HabcDEFij");
}
