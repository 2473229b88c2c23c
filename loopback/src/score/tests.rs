//! Scores of audio whose fate is known.

use std::time::Duration;

use super::{Score, match_score};
use crate::opus::{Decoder, encode};

/// Notes of random pitch and length with overtones, a different mix on each side, and some noise.
fn music(seed: u64, seconds: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut audio = Vec::with_capacity(seconds * 96_000);
    while audio.len() < seconds * 96_000 {
        let pitch = 110.0 * 2_f32.powf(random.f32() * 4.0);
        let (left, length) = (random.f32(), random.usize(4_800..24_000));
        for n in 0..length {
            let phase = n as f32 / 48_000.0 * pitch * std::f32::consts::TAU;
            let fade = (-3.0 * n as f32 / length as f32).exp();
            let tone = phase.sin() + 0.5 * (2.0 * phase).sin() + 0.3 * (3.01 * phase).sin();
            let tone = 0.3 * fade * tone;
            let hiss = 0.01 * (random.f32() - 0.5);
            audio.extend([left * tone + hiss, (1.0 - left) * tone - hiss]);
        }
    }
    audio.truncate(seconds * 96_000);
    audio
}

fn noise(seed: u64, seconds: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..seconds * 96_000).map(|_| 0.4 * (random.f32() - 0.5)).collect()
}

fn through_opus(audio: &[f32], bitrate: u32) -> Vec<f32> {
    let (mut decoder, mut decoded) = (Decoder::new().unwrap(), vec![]);
    for packet in encode(audio, bitrate).unwrap() {
        decoder.decode(&packet, &mut decoded).unwrap();
    }
    decoded
}

fn silence(samples: usize) -> Vec<f32> {
    vec![0.0; 2 * samples]
}

#[test]
fn the_same_audio_is_a_full_match() {
    let audio = music(1, 5);
    let score = match_score(&audio, &audio);
    assert_eq!((score.offset, score.heard_fraction, score.longest_hole), (0, 1.0, Duration::ZERO));
    assert!(score.snr_db > 100.0 && score.correlation > 0.9999 && score.gain_db.abs() < 0.01, "{score:?}");
    assert_eq!(score.to_string(), "matches the original 100.0 % (SNR 120.0 dB, correlation 1.000)");
}

#[test]
fn a_later_start_and_another_volume_are_found_out() {
    let audio = music(1, 3);
    for later in [1, 960, 12_345] {
        let heard: Vec<_> = silence(later).into_iter().chain(audio.iter().map(|value| value * 0.5)).collect();
        let score = match_score(&audio, &heard);
        assert_eq!((score.offset, score.heard_fraction), (later as i64, 1.0), "{score}");
        assert!((score.gain_db + 6.02).abs() < 0.01, "{score:?}");
    }
}

#[test]
fn a_round_trip_through_opus_is_heard_whole() {
    for (name, audio) in [("music", music(2, 4)), ("another", music(3, 4))] {
        for bitrate in [64_000, 96_000, 128_000] {
            let score = match_score(&audio, &through_opus(&audio, bitrate));
            assert!(score.heard_fraction > 0.98 && score.is_faithful(), "{name} {bitrate}: {score:?}");
            assert_eq!(score.offset, 312, "{name} {bitrate}");
        }
    }
    let hiss = noise(4, 3);
    let score = match_score(&hiss, &through_opus(&hiss, 128_000));
    assert!(score.heard_fraction > 0.98, "noise: {score:?}");
}

#[test]
fn a_hole_of_60_ms_is_found_in_its_place() {
    let audio = music(5, 6);
    for at in [48_000_usize, 100_123, 200_000] {
        let mut heard = through_opus(&audio, 128_000);
        heard[2 * at..2 * (at + 2880)].fill(0.0);
        let score = match_score(&audio, &heard);
        assert!(!score.is_faithful() && score.heard_fraction < 1.0, "{score}");
        assert!((40..=80).contains(&score.longest_hole.as_millis()), "{score}");
        let (start, _) = score.holes.iter().max_by_key(|(_, length)| *length).unwrap();
        let due = Duration::from_micros((at as u64 - 312) * 1000 / 48);
        assert!(start.abs_diff(due) <= Duration::from_millis(20), "{start:?} is not {due:?}");
    }
}

#[test]
fn a_missing_beginning_and_a_missing_end_are_missing() {
    let audio = music(6, 10);
    let score = match_score(&audio, &audio[2 * 96_000..2 * 384_000]);
    assert_eq!(score.offset, -96_000);
    assert!((score.heard_fraction - 0.6).abs() < 0.01, "{score}");
    assert_eq!(score.longest_hole, Duration::from_secs(2));
}

#[test]
fn audio_that_goes_on_shifted_after_a_hole_is_not_in_its_place() {
    let audio = music(7, 10);
    let heard = [&audio[..2 * 384_000], &silence(4_800), &audio[2 * 384_000..]].concat();
    let score = match_score(&audio, &heard);
    assert!((0.75..0.85).contains(&score.heard_fraction), "{score}");
}

#[test]
fn other_audio_does_not_match() {
    let pairs = [
        ("other music", music(8, 6), music(9, 6)),
        ("other noise", noise(8, 6), noise(9, 6)),
        ("noise for music", music(8, 6), noise(9, 6)),
    ];
    for (name, original, heard) in pairs {
        let score = match_score(&original, &heard);
        assert!(score.heard_fraction < 0.05, "{name}: {score}");
        assert!(!score.is_faithful());
    }
}

#[test]
fn silence_for_music_and_music_for_silence_do_not_match() {
    let audio = music(8, 3);
    let nothing = |score: Score| assert_eq!((score.heard_fraction, score.is_faithful()), (0.0, false));
    nothing(match_score(&audio, &silence(3 * 48_000)));
    nothing(match_score(&audio, &[]));
    nothing(match_score(&silence(3 * 48_000), &audio));
    nothing(match_score(&silence(48_000), &[]));
    assert_eq!(match_score(&silence(48_000), &silence(48_000)).heard_fraction, 1.0);
    assert_eq!(match_score(&[], &audio).heard_fraction, 1.0, "nothing to hear");
}

#[test]
fn audio_on_opposite_sides_is_aligned_too() {
    let audio: Vec<_> = music(10, 3).chunks(2).flat_map(|pair| [pair[0], -pair[0]]).collect();
    let heard = [silence(777), audio.clone()].concat();
    let score = match_score(&audio, &heard);
    assert_eq!((score.offset, score.heard_fraction), (777, 1.0));
}
