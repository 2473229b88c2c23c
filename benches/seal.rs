//! What it costs to seal and to open one voice packet of 160 bytes, in nanoseconds, for each transport mode.
//!
//! `cargo bench --bench seal`, or with `--all-features` for the retired modes too. The figure is the best of
//! a number of rounds, which is the one least disturbed by what else the machine does.

#![expect(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use actix_voice::id::{SecretKey, Ssrc};
use actix_voice::transport::cipher::Mode;
use actix_voice::transport::{Link, MAX_DATAGRAM, Received, RtpStart};

const ROUNDS: u32 = 50;
const PACKETS: u32 = 10_000;
const FRAME: [u8; 160] = [0x5a; 160];

fn main() {
    println!("{:<32} {:>8} {:>8}   ns per packet of {} bytes", "mode", "seal", "open", FRAME.len());
    for &mode in Mode::ALL {
        let seal = best(|| seal_round(&mut link(mode)));
        let open = best(|| open_round(&mut link(mode)));
        println!("{:<32} {:>8.0} {:>8.0}", mode.name(), per_packet(seal), per_packet(open));
    }
}

fn link(mode: Mode) -> Link {
    let mut link = Link::new(Ssrc(1), RtpStart::default(), Instant::now());
    link.described(mode.name(), &SecretKey([7; 32]), Instant::now()).expect("a mode of this build");
    link
}

fn seal_round(link: &mut Link) -> Duration {
    let mut out = Vec::with_capacity(MAX_DATAGRAM);
    let begin = Instant::now();
    for _ in 0..PACKETS {
        link.seal(960, &mut out, written(black_box(&FRAME))).expect("fresh nonces");
        link.voice_sent(out.len());
        black_box(&out);
    }
    begin.elapsed()
}

/// Includes copying the packet into the buffer that a socket would have filled.
fn open_round(link: &mut Link) -> Duration {
    let packets: Vec<Vec<u8>> = (0..PACKETS).map(|_| sealed(link)).collect();
    let mut buffer = packets[0].clone();
    let begin = Instant::now();
    for packet in &packets {
        buffer.copy_from_slice(packet);
        let received = link.datagram(black_box(&mut buffer), begin);
        assert!(matches!(black_box(received), Received::Voice { .. }));
    }
    begin.elapsed()
}

fn sealed(link: &mut Link) -> Vec<u8> {
    let mut packet = Vec::new();
    link.seal(960, &mut packet, written(&FRAME)).expect("fresh nonces");
    link.voice_sent(packet.len());
    packet
}

fn best(mut round: impl FnMut() -> Duration) -> Duration {
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

fn per_packet(round: Duration) -> f64 {
    round.as_secs_f64() * 1e9 / f64::from(PACKETS)
}

/// Writes this frame.
fn written(frame: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> bool + use<'_> {
    |out| {
        out.extend_from_slice(frame);
        true
    }
}
