//! Loudness, against the reference measurement.

use super::support::*;
use crate::audio::{frame::CHANNELS, loudness::measure};

/// Programme: syllables of coloured noise and tones, with pauses.
fn programme(amplitude: f32, seconds: usize) -> Sound {
    let mut sound = noise(amplitude, seconds * 50);
    for (nth, pair) in sound.iter_mut().enumerate() {
        let time = nth as f32 / 48_000.0;
        let syllable = (0.6 + 0.4 * (time * 25.0).sin()) * if time % 4.0 > 3.4 { 0.0 } else { 1.0 };
        let note = amplitude * (time * 2_000.0).sin();
        pair.iter_mut().for_each(|sample| *sample = (*sample * 0.5 + note) * syllable);
    }
    sound
}

fn loudness(sound: &[[f32; CHANNELS]]) -> f32 {
    measure(frames(sound)).expect("long enough")
}

#[test]
fn a_sine_of_997_hertz_at_full_scale_on_one_side_measures_minus_3() {
    let mut sound = tone(997.0, 1.0, 200);
    sound.iter_mut().for_each(|pair| pair[1] = 0.0);
    assert!((loudness(&sound) + 3.01).abs() < 0.1);
    assert_eq!(measure(frames(&vec![[0.0; 2]; 48_000])), None, "silence has no loudness");
    assert_eq!(measure(frames(&sound[..960])), None);
}

#[test]
fn what_was_measured_in_advance_plays_as_loud_as_asked_for() {
    for amplitude in [0.01, 0.1, 0.5] {
        let sound = programme(amplitude, 20);
        let out = filtered(&format!("loudness.measured={}", loudness(&sound)), &sound);
        assert!((loudness(&out) + 16.0).abs() < 0.2, "{amplitude}: {}", loudness(&out));
        let out = filtered(&format!("loudness=-23,loudness.measured={}", loudness(&sound)), &sound);
        assert!((loudness(&out) + 23.0).abs() < 0.2, "{amplitude}: {}", loudness(&out));
    }
}

#[test]
fn what_is_live_comes_to_be_as_loud_as_asked_for_and_does_not_pump() {
    for amplitude in [0.02, 0.1, 0.9] {
        let sound = programme(amplitude, 40);
        let out = filtered("loudness", &sound);
        let settled = loudness(&out[15 * 48_000..]);
        assert!((settled + 16.0).abs() < 1.0, "{amplitude}: {settled} LUFS");
        // The gain of the last pause and of the speech around it.
        let gain = |nth: usize| {
            let range = nth * 48_000..nth * 48_000 + 9_600;
            let power = |sound: &Sound| sound[range.clone()].iter().map(|pair| pair[0].powi(2)).sum::<f32>();
            10.0 * (power(&out) / power(&sound)).log10()
        };
        let gains: Vec<f32> = (20..40).filter(|second| second % 4 != 3).map(gain).collect();
        let spread =
            gains.iter().copied().fold(f32::MIN, f32::max) - gains.iter().copied().fold(f32::MAX, f32::min);
        assert!(spread < 1.5, "the gain goes up and down by {spread} dB: {gains:?}");
    }
}

#[test]
fn a_live_track_that_becomes_loud_is_turned_down_quickly_and_one_that_becomes_quiet_slowly_up() {
    let mut sound = programme(0.05, 20);
    sound.extend(programme(0.5, 10));
    sound.extend(programme(0.02, 30));
    let out = filtered("loudness", &sound);
    let of = |from: usize, to: usize| loudness(&out[from * 48_000..to * 48_000]);
    assert!((of(15, 20) + 16.0).abs() < 1.5, "{}", of(15, 20));
    assert!((of(27, 30) + 16.0).abs() < 2.0, "still {} after 7 s", of(27, 30));
    assert!((of(55, 60) + 16.0).abs() < 1.5, "still {} after 25 s", of(55, 60));
}
