//! Even sound, over networks that are late: how late it is, and how often something was not there.

use std::time::{Duration, Instant};

use actix_voice::{
    audio::{frame::Pcm, opus::Decoder, stretch::Layout},
    jitter::{Counts, Decode, Packet, Player, Quality},
};
use bytes::Bytes;

use super::{
    network::{MOBILE, UNIFORM, WIFI, WIRED},
    speech::{Copies, encode, frames},
};

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

/// What became of packets that were played.
struct Outcome {
    counts: Counts,
    /// In ms.
    mean_delay: f64,
    ticks: u64,
    /// Ticks that were not as they were sent.
    flawed: u64,
    /// Ticks without sound between the first and the last.
    gaps: u64,
    samples: usize,
}

/// Plays packets that were sent 20 ms apart by a clock that runs so many millionths fast, and came so late.
fn play(
    packets: &[Bytes],
    decoder: &mut impl Decode,
    delays: &[Duration],
    phase: Duration,
    millionths: i64,
) -> Outcome {
    let (start, mut player) = (start(), Player::new(Layout { hertz: 16_000, channels: 1 }));
    let arrival = |nth: usize| {
        let sent = 20_000_000_i64 * nth as i64;
        start
            + Duration::from_nanos((sent - sent * millionths / 1_000_000) as u64)
            + delays[nth % delays.len()]
    };
    let mut order: Vec<usize> = (0..packets.len()).collect();
    order.sort_by_key(|nth| arrival(*nth));
    let mut coming = order.into_iter().peekable();
    let mut outcome =
        Outcome { counts: Counts::default(), mean_delay: 0.0, ticks: 0, flawed: 0, gaps: 0, samples: 0 };
    let (mut out, mut pausing, mut now) = (Vec::new(), 0, start + phase);
    while coming.peek().is_some() || !player.is_idle() {
        while let Some(nth) = coming.next_if(|nth| arrival(*nth) <= now) {
            let (sequence, timestamp) = (nth as u16, 960_u32.wrapping_mul(nth as u32));
            player.packet(
                Packet { sequence, timestamp, arrived: arrival(nth), opus: packets[nth].clone() },
                arrival(nth),
            );
        }
        match player.tick(now, decoder, &mut out) {
            Some(played) => {
                assert_eq!(out.len(), 320);
                outcome.ticks += 1;
                outcome.gaps += std::mem::take(&mut pausing);
                outcome.flawed += u64::from(played.quality != Quality::Decoded);
                outcome.mean_delay += played.delay.as_secs_f64() * 1_000.0;
                outcome.samples += out.len();
            }
            None => pausing += u64::from(outcome.ticks > 0),
        }
        now += Duration::from_millis(20);
    }
    outcome.mean_delay /= outcome.ticks as f64;
    outcome.counts = player.counts();
    outcome
}

fn opus() -> Decoder {
    Decoder::to(16_000, 1).unwrap()
}

/// Makes a hum of every packet, much faster than Opus can be decoded.
struct Hum;

impl Decode for Hum {
    fn decode(&mut self, _: &[u8], out: &mut Vec<f32>) {
        out.extend((0..320).map(|nth| (std::f32::consts::TAU * nth as f32 / 80.0).sin()));
    }

    fn recover(&mut self, _: &[u8], lost: u32, out: &mut Vec<f32>) {
        self.conceal(lost, out);
    }

    fn conceal(&mut self, lost: u32, out: &mut Vec<f32>) {
        out.extend(std::iter::repeat_n(0.0, lost as usize / 3));
    }
}

/// The delay, in ms, with which so many of all packets would be late if it were the same for all, relative to the fastest.
fn best_fixed(delays: &[Duration], late: f64) -> f64 {
    let mut sorted: Vec<f64> = delays.iter().map(|delay| delay.as_secs_f64() * 1_000.0).collect();
    sorted.sort_by(f64::total_cmp);
    let at = ((1.0 - late) * sorted.len() as f64) as usize;
    sorted[at.min(sorted.len() - 1)] - sorted[0]
}

fn speech(minutes: usize) -> Vec<Bytes> {
    encode(&frames("speech.wav", minutes * 8), Copies::With)
}

#[test]
fn the_delay_is_near_the_best_that_is_the_same_for_all_and_few_come_too_late() {
    let packets = speech(4);
    for path in [WIRED, WIFI, UNIFORM, MOBILE] {
        let (mut delay, mut late, mut best) = (0.0, 0.0, 0.0);
        let phases = 2;
        for phase in 0..phases {
            let delays = path.delays(packets.len(), phase);
            let outcome = play(&packets, &mut opus(), &delays, Duration::from_millis(10 * phase), 0);
            let Counts { underruns, late: too_late, .. } = outcome.counts;
            let missed = (underruns + too_late) as f64 / packets.len() as f64;
            late += missed / phases as f64;
            delay += outcome.mean_delay / phases as f64;
            best += best_fixed(&delays, missed) / phases as f64;
            assert_eq!(outcome.gaps, 0, "{}: silence in mid-speech", path.name);
        }
        println!("{}: {delay:.1} ms, {:.2} % late; best fixed {best:.0} ms", path.name, late * 100.0);
        assert!(delay <= best + 25.0, "{}: {delay} ms, {best} would do", path.name);
        if path == WIRED {
            assert!(delay <= 45.0, "{delay} ms");
        }
        if path == WIFI {
            assert!(late <= 0.005, "{late}");
        }
    }
}

#[test]
fn music_is_not_stretched() {
    let music: Vec<Pcm> = frames("music.wav", 12);
    let settings = actix_voice::audio::opus::EncoderSettings::default();
    let mut encoder = actix_voice::audio::opus::Encoder::new(&settings).unwrap();
    let packets: Vec<Bytes> = music
        .iter()
        .map(|frame| {
            let mut packet = [0; actix_voice::audio::opus::MAX_PACKET];
            let length = encoder.encode(frame, &mut packet).unwrap();
            Bytes::copy_from_slice(&packet[..length])
        })
        .collect();
    let outcome = play(&packets, &mut opus(), &WIRED.delays(packets.len(), 1), Duration::ZERO, 0);
    let (mut decoder, mut expected) = (Decoder::to(16_000, 1).unwrap(), Vec::new());
    for packet in &packets {
        decoder.decode(Some(packet), &mut expected).unwrap();
    }
    // After the last packet 120 ms are made up.
    let difference = (outcome.samples - 1_920).abs_diff(expected.len());
    assert!(difference <= 1_000, "{difference} samples more or less in a minute");
    assert!(outcome.flawed <= 6 + 2, "{} ticks", outcome.flawed);
}

#[test]
fn a_clock_that_runs_fast_or_slow_for_eight_hours_leaves_no_gap() {
    // Speech, and music, by the first byte.
    for toc in [0x48, 0xf8] {
        let packets = vec![Bytes::from(vec![toc, 1, 2, 3]); 8 * 3_600 * 50];
        let delays = WIRED.delays(5_000, 3);
        for millionths in [-200, 200] {
            let outcome = play(&packets, &mut Hum, &delays, Duration::ZERO, millionths);
            assert_eq!(outcome.gaps, 0);
            assert!(outcome.counts.underruns <= packets.len() as u64 / 1_000, "{:?}", outcome.counts);
            assert!(outcome.mean_delay < 60.0, "{} ms", outcome.mean_delay);
        }
    }
}
