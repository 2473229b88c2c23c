//! Speed and pitch: how long it lasts, how high it is, and whether it is whole.

use super::support::*;
use crate::audio::{filter::FilterChain, frame::FRAME_SAMPLES};

/// How long it lasts with the silence at the end left out, in samples.
fn length(sound: &Sound) -> usize {
    sound.iter().rposition(|pair| pair[0].abs() > 0.01).map_or(0, |last| last + 1)
}

#[test]
fn the_pitch_and_the_length_are_what_was_asked_for() {
    for (speed, pitch, rate) in [
        (1.25, 1.0, 1.0),
        (0.8, 1.0, 1.0),
        (2.0, 1.0, 1.0),
        (0.5, 1.0, 1.0),
        (1.0, 1.2, 1.0),
        (1.0, 0.7, 1.0),
        (1.0, 2.0, 1.0),
        (1.0, 1.0, 1.3),
        (1.0, 1.0, 0.6),
        (1.2, 1.1, 1.15),
        (4.0, 1.0, 1.0),
    ] {
        let text = format!("timescale.speed={speed},timescale.pitch={pitch},timescale.rate={rate}");
        for hertz in [100.0, 440.0, 1_700.0] {
            let (frames, mut chain) = (250, FilterChain::new());
            chain.set(&filters(&text));
            assert!((chain.rate() / (speed * rate) - 1.0).abs() < 1e-6);
            let out = play(&mut chain, &tone(hertz, 0.5, frames));
            let lasts = length(&out) as f64 / (frames * FRAME_SAMPLES) as f64;
            assert!((lasts * speed * rate - 1.0).abs() < 0.01, "{text}: {lasts} times as long");
            let samples = channel(&out, 0);
            let middle = &samples[4_800..length(&out) - 4_800];
            let wanted = hertz * pitch * rate;
            let (got, loud) = (frequency(middle), rms(middle) * 2.0_f64.sqrt());
            assert!((got / wanted - 1.0).abs() < 0.01, "{text}: {got} Hz, not {wanted}");
            assert!((db(loud / 0.5)).abs() < 0.5, "{text}, {wanted} Hz: {} dB", db(loud / 0.5));
            let click = click(middle, got);
            assert!(click < 0.01, "{text}, {wanted} Hz: a click of {click}");
        }
    }
}

/// Syllables: noise that comes and goes five times a second.
#[test]
fn the_rhythm_of_what_is_no_tone_follows_the_speed() {
    let mut sound = noise(0.4, 200);
    for (nth, pair) in sound.iter_mut().enumerate() {
        if nth % 9_600 > 4_800 {
            *pair = [0.0; 2];
        }
    }
    let out = filtered("timescale.speed=1.25", &sound);
    let loud: Vec<bool> =
        out.chunks_exact(48).map(|part| part.iter().any(|pair| pair[0].abs() > 0.1)).collect();
    let starts: Vec<usize> =
        (60..loud.len()).filter(|nth| loud[*nth] && !loud[nth - 40..*nth].contains(&true)).collect();
    assert!(starts.len() >= 18, "{starts:?}");
    for (nth, start) in starts.iter().enumerate() {
        let wanted = 160.0 * (nth + 1) as f64;
        assert!((*start as f64 - wanted).abs() < 25.0, "syllable {nth} begins at {start} ms, not {wanted}");
    }
}

#[test]
fn what_would_be_too_high_to_be_heard_does_not_come_back_low() {
    let out = channel(&filtered("timescale.pitch=2", &tone(16_000.0, 0.5, 60)), 0);
    let heard = out[9_600..40_000].iter().fold(0.0, |most: f64, sample| sample.abs().max(most));
    assert!(heard < 0.01, "{heard}");
}

#[test]
fn the_whole_is_heard_from_its_first_sample_to_its_last() {
    let mut sound = vec![[0.0; 2]; 50 * FRAME_SAMPLES];
    let end = sound.len();
    sound[..2_400].copy_from_slice(&tone(500.0, 0.5, 50)[..2_400]);
    sound[end - 2_400..].copy_from_slice(&tone(800.0, 0.5, 50)[..2_400]);
    for text in ["timescale.speed=1.1", "timescale.speed=0.9", "timescale.rate=1.2"] {
        let out = channel(&filtered(text, &sound), 0);
        assert!(out[..480].iter().any(|sample| sample.abs() > 0.4), "{text}: the beginning is missing");
        let last = out.iter().rposition(|sample| sample.abs() > 0.3).expect("the end is missing");
        let wanted = end as f64
            / FilterChain::rate(&{
                let mut chain = FilterChain::new();
                chain.set(&filters(text));
                chain
            });
        assert!((last as f64 - wanted).abs() < 1_000.0, "{text}: {last}, not {wanted}");
    }
}
