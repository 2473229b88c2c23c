//! The loop: every call has a slot of a millisecond, which it shares with others, and sends one packet in it every 20 ms.

use std::{net::UdpSocket, sync::mpsc::Receiver};

use actix_voice::{
    id::Ssrc,
    transport::{
        cipher::Cipher,
        dave::{FrameSealer, Sealed, SenderKey},
        rtp::{FIXED_HEADER, Header, Sequence, Timestamp},
    },
};
use rustix::{
    thread::clock_nanosleep_absolute,
    time::{ClockId, Timespec, clock_gettime},
};

use crate::sound::{Playing, Sound};

/// What happens to a call.
pub enum Change {
    /// It may be sent for from now on.
    Begin(Box<Voice>),
    /// Its frames are encrypted end to end with this key.
    Key(Ssrc, SenderKey),
}

/// What is sent for one call.
pub struct Voice {
    ssrc: Ssrc,
    socket: UdpSocket,
    cipher: Cipher,
    sealer: FrameSealer,
    sequence: Sequence,
    timestamp: Timestamp,
    playing: Playing,
}

impl Voice {
    /// The voice of a session that has just been described.
    pub fn new(ssrc: Ssrc, socket: UdpSocket, cipher: Cipher) -> Self {
        let (sequence, timestamp) = (Sequence(0), Timestamp(0));
        let (sealer, playing) = (FrameSealer::new(), Playing::default());
        Self { ssrc, socket, cipher, sealer, sequence, timestamp, playing }
    }

    fn send(&mut self, sound: &Sound, packet: &mut Vec<u8>) {
        let Some(opus) = self.playing.next(sound) else { return };
        let header = Header::voice(self.sequence, self.timestamp, self.ssrc);
        packet.clear();
        packet.extend_from_slice(&header.to_bytes());
        if self.sealer.seal(opus, packet) == Sealed::Withheld {
            return;
        }
        // A nonce is left for years, and what the kernel does not take is lost: the receiver counts it.
        if self.cipher.seal(packet, FIXED_HEADER).is_ok() {
            let _ = self.socket.send(packet);
        }
        self.sequence = self.sequence.next();
        self.timestamp = self.timestamp.after(FRAME_SAMPLES);
    }
}

/// Plays in all calls, for ever.
pub fn run(changes: &Receiver<Change>, sound: &Sound) {
    let mut slots: [Vec<Voice>; SLOTS] = Default::default();
    let mut packet = Vec::with_capacity(2048);
    let began = clock_gettime(ClockId::Monotonic);
    for turn in 0.. {
        let slot = turn % SLOTS;
        if slot != 0 && slots[slot].is_empty() {
            continue;
        }
        sleep_until(began, turn as i64 * SLOT_NANOS);
        if slot == 0 {
            changes.try_iter().for_each(|change| apply(change, &mut slots));
        }
        for voice in &mut slots[slot] {
            voice.send(sound, &mut packet);
        }
    }
}

fn apply(change: Change, slots: &mut [Vec<Voice>; SLOTS]) {
    match change {
        Change::Begin(voice) => {
            let emptiest = || (0..SLOTS).min_by_key(|&slot| slots[slot].len()).unwrap_or(0);
            let slot = slots.iter().position(|slot| slot.len() < WORTH_A_TURN).unwrap_or_else(emptiest);
            slots[slot].push(*voice);
        }
        Change::Key(ssrc, key) => {
            let voice = slots.iter_mut().flatten().find(|voice| voice.ssrc == ssrc);
            voice.into_iter().for_each(|voice| voice.sealer.switch(&key));
        }
    }
}

fn sleep_until(began: Timespec, nanos: i64) {
    let nanos = began.tv_nsec + nanos;
    let until = Timespec { tv_sec: began.tv_sec + nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
    while clock_nanosleep_absolute(ClockId::Monotonic, &until).is_err() {}
}

const SLOTS: usize = 20;
const SLOT_NANOS: i64 = 1_000_000;
/// Calls of a slot before another is used.
const WORTH_A_TURN: usize = 20;
/// Of 20 ms, for each channel.
const FRAME_SAMPLES: u32 = 960;
