//! Filters that change while they play.

use super::support::*;
use crate::audio::{
    filter::{FilterChain, Filters},
    frame::{FRAME_SAMPLES, Pcm},
};

#[test]
fn neutral_filters_pass_every_sample_as_it_is() {
    let mut sound = noise(1.0, 3);
    sound[10][0] = 40.0;
    let mut chain = FilterChain::new();
    assert!(chain.is_neutral() && chain.rate() == 1.0);
    assert_eq!(play(&mut chain, &sound), sound);
    for text in
        ["volume=1", "equalizer.3=0", "timescale", "lowpass=1", "distortion", "channelmix", "tremolo.depth=0"]
    {
        assert!(filters(text).is_neutral(), "{text}");
        assert_eq!(filtered(text, &sound[..960])[959], sound[959], "{text}");
    }
}

#[test]
fn a_change_is_heard_within_20_ms_and_without_a_click() {
    for text in [
        "volume=0.2",
        "equalizer.7=1",
        "equalizer.8=-0.25",
        "karaoke.level=0.6",
        "tremolo.depth=0.9",
        "vibrato.depth=0.2",
        "rotation=0.3",
        "distortion.sinScale=2",
        "channelmix.leftToLeft=0.3",
        "lowpass=60",
        "loudness.measured=-10",
        "timescale.speed=1.3",
        "timescale.speed=0.7",
    ] {
        let (wanted, sound) = (filters(text), tone(630.0, 0.3, 80));
        let mut chain = FilterChain::new();
        let out = play_with(&mut chain, &sound, |chain, nth| match nth {
            20 => chain.set(&wanted),
            40 => chain.set(&Filters::default()),
            _ => {}
        });
        assert!(chain.is_neutral(), "{text} is not over");
        // Above 5 kHz there is nothing but clicks: a second difference finds them.
        let samples = channel(&out, 0);
        let steady = click(&filtered_middle(text, &sound), 630.0);
        let worst = click(&samples, 630.0);
        assert!(worst < steady + 0.003, "{text}: a click of {worst}, where {steady} is its own");
        if !text.starts_with("timescale") {
            assert_eq!(out.len(), sound.len(), "{text}");
            assert_eq!(out[..20 * 960], sound[..20 * 960], "{text}");
            assert_eq!(out[41 * 960..], sound[41 * 960..], "{text}: not as it is afterwards");
            let changed = (20 * 960..21 * 960).any(|nth| (out[nth][0] - sound[nth][0]).abs() > 0.003);
            assert!(changed, "{text} is not heard");
        }
    }
}

/// What a filter makes of a sound once it has settled.
fn filtered_middle(text: &str, sound: &Sound) -> Vec<f64> {
    let out = channel(&filtered(text, sound), 0);
    out[20 * 960..out.len() - 5 * 960].to_vec()
}

#[test]
fn changes_that_follow_one_another_at_once_are_one() {
    let mut chain = FilterChain::new();
    let out = play_with(&mut chain, &tone(400.0, 0.3, 20), |chain, nth| {
        if nth == 10 {
            chain.set(&filters("volume=0"));
            chain.set(&filters("volume=5"));
            chain.set(&filters("volume=0.5"));
        }
    });
    assert!(click(&channel(&out, 0), 400.0) < 0.001);
    assert!((amplitude(&channel(&out, 0)[12 * 960..], 400.0) - 0.15).abs() < 0.001);
}

#[test]
fn a_timescale_that_is_taken_away_plays_out_what_is_inside_and_leaves_nothing() {
    for text in ["timescale.speed=1.3", "timescale.pitch=1.5", "timescale.rate=0.77"] {
        let (mut taken, mut chain, mut out) = (0, FilterChain::new(), Pcm::default());
        let sound = tone(300.0, 0.4, 200);
        let mut source = frames(&sound);
        let mut next = |into: &mut Pcm| {
            taken += 1;
            source.next().map(|pcm| *into = pcm).is_some()
        };
        let (mut heard, mut media) = (0, 0.0);
        for nth in 0..60 {
            match nth {
                10 => chain.set(&filters(text)),
                30 => chain.set(&Filters::default()),
                _ => {}
            }
            media += chain.rate();
            assert!(chain.pull(&mut out, &mut next));
            heard += 1;
            if nth > 40 {
                assert!(chain.is_neutral(), "{text}: {nth}");
            }
        }
        assert_eq!(heard, 60);
        // At most the 20 ms in which the end of what was inside fades into what follows.
        assert!((f64::from(taken) - media).abs() < 1.7, "{text}: took {taken} frames for {media}");
    }
}

#[test]
fn clearing_forgets_what_is_inside_and_keeps_the_filters() {
    let mut chain = FilterChain::new();
    chain.set(&filters("timescale.speed=1.5,equalizer.2=1,volume=0.5"));
    play(&mut chain, &noise(1.0, 20)[..10 * FRAME_SAMPLES]);
    let mut out = Pcm::default();
    let mut pulls = 0;
    chain.clear();
    chain.pull(&mut out, |frame| {
        frame.fill(0.0);
        pulls += 1;
        true
    });
    assert_eq!(out.peak(), 0.0, "what was before is heard");
    assert!(pulls > 1 && (chain.rate() - 1.5).abs() < 1e-6);
}

#[test]
fn a_pull_never_takes_more_than_it_says_it_wants() {
    for text in [
        "volume=0.5",
        "timescale.speed=1.3",
        "timescale.speed=10",
        "timescale.speed=0.1",
        "timescale.pitch=0.1",
        "timescale.pitch=10",
        "timescale.rate=3.3",
        "timescale.speed=0.1,timescale.pitch=10",
        "timescale.speed=10,timescale.pitch=0.1",
    ] {
        let (mut chain, mut out, mut all, mut said) =
            (FilterChain::with(&filters(text)), Pcm::default(), 0, 0);
        for nth in 0..400 {
            let (wants, mut took) = (chain.wants(), 0);
            assert!(chain.pull(&mut out, |frame| {
                frame.fill(((nth * 7 + took) as f32).sin() * 0.3);
                took += 1;
                true
            }));
            assert!(took <= wants, "{text}: {took} and not {wants} at {nth}");
            assert!(wants as f64 <= 10.0 * chain.rate().max(1.0) + 24.0, "{text}: wants {wants}");
            (all, said) = (all + took, said + wants);
        }
        assert!(said > 0 && all > 0, "{text}");
    }
}
