//! Each filter against its formula.

use std::f64::consts::{PI, TAU};

use super::support::*;
use crate::audio::{filter::BANDS, frame::Pcm};

/// What a filter makes of a sine, in dB, once it has settled.
fn measured(text: &str, hertz: f64) -> f64 {
    let out = filtered(text, &tone(hertz, 0.1, 40));
    db(amplitude(&channel(&out, 0)[14_400..], hertz) / 0.1)
}

/// A band of the equaliser, by the bilinear transform: exact at its centre, and half the power at both edges.
fn band_response(centre: f64, gain: f64, hertz: f64) -> f64 {
    let third = 2.0_f64.powf(1.0 / 3.0);
    let edge = (PI * centre * (third - 1.0 / third) / 48_000.0).tan();
    let (pole, cosine) = ((1.0 - edge) / (1.0 + edge), (TAU * centre / 48_000.0).cos());
    let angle = TAU * hertz / 48_000.0;
    // (1 − p) / 2 × (1 − z⁻²) / (1 − (1 + p) cos z⁻¹ + p z⁻²), with z⁻¹ = e^(−i angle)
    let z = |power: f64| ((power * angle).cos(), -(power * angle).sin());
    let top = ((1.0 - z(2.0).0) * (1.0 - pole) / 2.0, -z(2.0).1 * (1.0 - pole) / 2.0);
    let bottom = (
        1.0 - (1.0 + pole) * cosine * z(1.0).0 + pole * z(2.0).0,
        -(1.0 + pole) * cosine * z(1.0).1 + pole * z(2.0).1,
    );
    let square = bottom.0 * bottom.0 + bottom.1 * bottom.1;
    let real = (top.0 * bottom.0 + top.1 * bottom.1) / square;
    let imaginary = (top.1 * bottom.0 - top.0 * bottom.1) / square;
    db((1.0 + 4.0 * gain * real).hypot(4.0 * gain * imaginary))
}

#[test]
fn each_band_of_the_equaliser_is_as_loud_as_its_formula_says_at_every_frequency() {
    for (nth, centre) in BANDS.iter().enumerate() {
        let centre = f64::from(*centre);
        for gain in [-0.2, 0.25, 1.0] {
            for factor in [0.25, 0.5, 0.8, 1.0, 1.26, 2.0, 4.0] {
                let hertz = (centre * factor).clamp(20.0, 20_000.0);
                let (got, wanted) =
                    (measured(&format!("equalizer.{nth}={gain}"), hertz), band_response(centre, gain, hertz));
                assert!(
                    (got - wanted).abs() < 0.2,
                    "band {nth} × {gain} at {hertz} Hz: {got} dB, not {wanted}"
                );
            }
        }
        assert!((measured(&format!("equalizer.{nth}=0.25"), centre) - 6.02).abs() < 0.1, "band {nth}");
        assert!(measured(&format!("equalizer.{nth}=-0.25"), centre) < -40.0, "band {nth} is not mute");
    }
}

#[test]
fn bands_add_up() {
    let both = filtered("equalizer.5=0.3,equalizer.6=-0.2", &noise(0.1, 5));
    let (one, other) =
        (filtered("equalizer.5=0.3", &noise(0.1, 5)), filtered("equalizer.6=-0.2", &noise(0.1, 5)));
    for (nth, plain) in noise(0.1, 5).iter().enumerate().skip(960) {
        assert!((both[nth][0] - (one[nth][0] + other[nth][0] - plain[0])).abs() < 1e-5);
    }
}

#[test]
fn the_low_pass_is_as_its_formula_says() {
    for smoothing in [2.0, 20.0, 200.0] {
        for hertz in [20.0, 100.0, 380.0, 1_000.0, 5_000.0, 15_000.0] {
            let (part, angle) = (1.0 / smoothing, TAU * hertz / 48_000.0);
            let bottom: f64 = 1.0 - 2.0 * (1.0 - part) * f64::cos(angle) + (1.0 - part) * (1.0 - part);
            let (got, wanted) = (measured(&format!("lowpass={smoothing}"), hertz), db(part / bottom.sqrt()));
            assert!((got - wanted).abs() < 0.1, "{smoothing} at {hertz} Hz: {got} dB, not {wanted}");
        }
    }
}

#[test]
fn volume_and_channel_mix_are_exact() {
    let sound = noise(0.5, 3);
    for (text, [ll, lr, rl, rr]) in [
        ("volume=0.3", [0.3, 0.0, 0.0, 0.3]),
        ("volume=5", [5.0, 0.0, 0.0, 5.0]),
        (
            "channelmix.leftToLeft=0,channelmix.leftToRight=1,channelmix.rightToLeft=1,channelmix.rightToRight=0",
            [0.0, 1.0, 1.0, 0.0],
        ),
        ("channelMix.lefttoright=0.25", [1.0, 0.25, 0.0, 1.0]),
        ("channelMix.rightToLeft=0.5", [1.0, 0.0, 0.5, 1.0]),
    ] {
        let out = filtered(text, &sound);
        assert_eq!(out.len(), sound.len());
        for (out, [left, right]) in out.iter().zip(&sound).skip(960) {
            let wanted: [f32; 2] = [left * ll + right * rl, left * lr + right * rr];
            assert!((out[0] - wanted[0]).abs() < 1e-6 && (out[1] - wanted[1]).abs() < 1e-6, "{text}");
        }
    }
}

#[test]
fn the_distortion_is_its_formula() {
    let text = "distortion.sinOffset=0.1,distortion.sinScale=2,distortion.cosOffset=0.3,distortion.cosScale=3,\
                distortion.tanOffset=0.2,distortion.tanScale=0.9,distortion.offset=-0.05,distortion.scale=1.5";
    let (sound, mut cut) = (noise(1.0, 3), 0);
    for (out, sample) in filtered(text, &sound).iter().zip(&sound).skip(960) {
        for (out, x) in out.iter().zip(sample).map(|(out, x)| (f64::from(*out), f64::from(*x))) {
            let bent =
                -0.05 + 1.5 * (0.1 + (2.0 * x).sin()) * (0.3 + (3.0 * x).cos()) * (0.2 + (0.9 * x).tan());
            cut += usize::from(bent.abs() > 1.0);
            assert!((out - bent.clamp(-1.0, 1.0)).abs() < 1e-5, "{x} became {out}");
        }
    }
    assert!(cut > 0, "nothing had to be cut off");
}

#[test]
fn karaoke_takes_the_middle_away_and_keeps_the_sides_and_a_band_of_bass() {
    let middle = |hertz| {
        let out = filtered("karaoke", &tone(hertz, 0.2, 40));
        db(amplitude(&channel(&out, 0)[14_400..], hertz) / 0.2)
    };
    assert!(middle(2_000.0) < -30.0 && middle(8_000.0) < -40.0, "a voice is heard");
    assert!(middle(220.0).abs() < 1.0, "the bass is gone: {} dB", middle(220.0));
    let side: Sound = tone(1_000.0, 0.2, 20).iter().map(|[left, _]| [*left, -left]).collect();
    let out = filtered("karaoke.level=0.5", &side);
    assert!((amplitude(&channel(&out, 0)[960..], 1_000.0) / 0.2 - 1.5).abs() < 0.01);
    let bass = filtered("karaoke.monoLevel=0", &tone(220.0, 0.2, 40));
    assert!(amplitude(&channel(&bass, 0)[14_400..], 220.0) < 0.001);
    let half = filtered("karaoke.level=0.5,karaoke.monoLevel=0", &tone(1_000.0, 0.2, 40));
    assert!((amplitude(&channel(&half, 1)[960..], 1_000.0) / 0.2 - 0.5).abs() < 0.01);
}

/// The loudest sample of each 5 ms.
fn envelope(sound: &Sound, side: usize) -> Vec<f64> {
    channel(sound, side)
        .chunks_exact(240)
        .map(|part| part.iter().fold(0.0, |most, s| s.abs().max(most)))
        .collect()
}

#[test]
fn a_tremolo_trembles_as_deep_and_as_often_as_it_says() {
    for (hertz, depth) in [(2.0, 0.5), (5.0, 1.0), (8.0, 0.2)] {
        let text = format!("tremolo.frequency={hertz},tremolo.depth={depth}");
        let curve = envelope(&filtered(&text, &tone(2_000.0, 0.5, 100)), 0);
        let settled = &curve[8..];
        let (least, most) =
            (settled.iter().copied().fold(9.0, f64::min), settled.iter().copied().fold(0.0, f64::max));
        assert!(
            (most - 0.5).abs() < 0.01 && (least - 0.5 * (1.0 - depth)).abs() < 0.02,
            "{text}: {least} to {most}"
        );
        let middle = (least + most) / 2.0;
        let rises = settled.windows(2).filter(|pair| pair[0] < middle && pair[1] >= middle).count() as f64;
        assert!(
            (rises / (settled.len() as f64 / 200.0) - hertz).abs() < 0.6,
            "{text}: {rises} in two seconds"
        );
    }
}

#[test]
fn a_rotation_goes_from_one_side_to_the_other_and_back() {
    let out = filtered("rotation=0.5", &tone(2_000.0, 0.5, 200));
    let (left, right) = (envelope(&out, 0), envelope(&out, 1));
    for (nth, (left, right)) in left.iter().zip(&right).enumerate().skip(8) {
        let sine = (TAU * 0.5 * (nth as f64 + 0.5) / 200.0).sin();
        assert!((left - 0.25 * (1.0 + sine)).abs() < 0.01, "left at {nth}: {left}");
        assert!((right - 0.25 * (1.0 - sine)).abs() < 0.01, "right at {nth}: {right}");
    }
    let other_way = filtered("rotation=-0.5", &tone(2_000.0, 0.5, 50));
    assert!(envelope(&other_way, 0)[100] < 0.01, "the other way it begins on the right");
}

#[test]
fn a_vibrato_bends_the_pitch_as_far_and_as_often_as_it_says() {
    for (hertz, depth) in [(2.0, 0.5), (6.0, 1.0), (14.0, 0.3)] {
        let text = format!("vibrato.frequency={hertz},vibrato.depth={depth}");
        let out = channel(&filtered(&text, &tone(3_000.0, 0.5, 100)), 0);
        let pitches: Vec<f64> = out[960..].chunks_exact(480).map(frequency).collect();
        let most = pitches.iter().copied().fold(0.0, f64::max) / 3_000.0 - 1.0;
        let least = 1.0 - pitches.iter().copied().fold(9e9, f64::min) / 3_000.0;
        // The delay goes up and down by half of depth × 2 ms.
        let wanted = TAU * hertz * depth * 0.001;
        assert!(
            (most / wanted - 1.0).abs() < 0.1 && (least / wanted - 1.0).abs() < 0.1,
            "{text}: {most}, {least}"
        );
        let rises = pitches.windows(2).filter(|pair| pair[0] < 3_000.0 && pair[1] >= 3_000.0).count() as f64;
        assert!((rises / 2.0 - hertz).abs() < 0.8, "{text}: {rises} in two seconds");
        let loudness = db(rms(&out[960..]) * 2.0_f64.sqrt() / 0.5);
        assert!(loudness.abs() < 0.1, "{text}: {loudness} dB");
    }
}

#[test]
fn whatever_comes_and_whatever_is_asked_for_what_leaves_is_a_number() {
    let all = "volume=5,equalizer.0=1,equalizer.3=1,equalizer.14=1,karaoke,timescale.speed=0.3,timescale.pitch=3,tremolo,\
               vibrato.depth=1,rotation=3,lowpass=1.5,loudness=0,channelmix.lefttoright=1";
    let distorted = format!("{all},distortion.tanScale=100,distortion.scale=100");
    let mut beyond = filters(&distorted);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1e30];
    for (nth, odd) in odd.into_iter().enumerate() {
        let mut sound = noise(1.0, 30);
        sound[5_000][0] = odd;
        sound[9_000..9_100].fill([odd; 2]);
        for text in [all, &distorted] {
            let out = filtered(text, &sound);
            assert!(out.len() > 30 * 960, "{text}: it ends early");
            assert!(out.as_flattened().iter().all(|sample| sample.abs() <= 16.0), "{odd}: {text}");
            let end = &out[out.len() - 9_600..];
            assert!(
                end.as_flattened().iter().any(|sample| sample.abs() > 1e-4),
                "{odd} mutes all that follows"
            );
        }
        beyond.volume = Some(odd);
        if let Some(timescale) = &mut beyond.timescale {
            [timescale.speed, timescale.pitch, timescale.rate] = [odd, odd.abs(), [odd, 1.0][nth % 2]];
        }
        if let Some(distortion) = &mut beyond.distortion {
            (distortion.offset, distortion.cos_scale) = (odd, odd);
        }
        if let Some(karaoke) = &mut beyond.karaoke {
            (karaoke.filter_band, karaoke.filter_width) = (odd, odd);
        }
        assert!(beyond.check().is_err(), "{odd}");
        let mut chain = super::super::FilterChain::new();
        chain.set(&beyond);
        let out = play(&mut chain, &noise(1.0, 30));
        assert!(out.as_flattened().iter().all(|sample| sample.abs() <= 16.0), "{odd} as a setting");
    }
    let mut silence = Pcm::default();
    assert!(!super::super::FilterChain::new().pull(&mut silence, |_| false));
}
