//! What may be asked for, and how it is written.

use super::support::filters;
use crate::audio::filter::{EqualizerBand, FilterError, Filters, LowPass, Timescale};

#[test]
fn a_line_and_json_say_the_same() {
    let line = "volume=0.8, lowpass=20,timescale.speed=1.2,Equalizer.3=0.25,equalizer.14=-0.1,rotation.rotationhz=0.2,karaoke";
    let json = r#" {"volume": 0.8, "lowPass": {"smoothing": 20.0}, "timescale": {"speed": 1.2}, "karaoke": {},
        "rotation": {"rotationHz": 0.2}, "equalizer": [{"band": 3, "gain": 0.25}, {"band": 14, "gain": -0.1}]}"#;
    let read = filters(line);
    assert_eq!(read, filters(json));
    assert_eq!(read.volume, Some(0.8));
    assert_eq!(read.low_pass, Some(LowPass { smoothing: 20.0 }));
    assert_eq!(read.timescale, Some(Timescale { speed: 1.2, pitch: 1.0, rate: 1.0 }));
    assert_eq!(read.equalizer[1], EqualizerBand { band: 14, gain: -0.1 });
    let written = serde_json::to_string(&read).expect("numbers and names");
    assert_eq!(filters(&written), read, "{written}");
    assert_eq!(filters(""), Filters::default());
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    for (text, words) in [
        ("volume=6", "volume.volume is 6, and can be 0 to 5"),
        ("equalizer.3=1.5", "equalizer.gain is 1.5, and can be -0.25 to 1"),
        ("equalizer.15=0.1", "the bands are 0 to 14"),
        ("vibrato.frequency=15", "vibrato.frequency is 15, and can be 0.01 to 14"),
        ("timescale.speed=0", "timescale.speed"),
        ("timescale.speed=5,timescale.rate=5", "timescale.speed × rate is 25, and can be 0.1 to 10"),
        ("tremolo.depth=2", "tremolo.depth"),
        ("echo=2", "there are volume, equalizer, karaoke"),
        ("karaoke.loud=2", "karaoke has level, monoLevel, filterBand, filterWidth"),
        ("volume=loud", "loud is no number"),
        ("volume=nan", "nan is no number"),
        ("volume", "volume=0.8 is"),
        (r#"{"echo": 1}"#, "unknown field `echo`"),
        (r#"{"timescale": {"sped": 1}}"#, "unknown field `sped`"),
        (r#"{"equalizer": [{"band": 15, "gain": 0}]}"#, "equalizer.15 is none of the 15 bands"),
    ] {
        let error = text.parse::<Filters>().expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let mut wrong = filters("volume=1");
    wrong.volume = Some(f32::NAN);
    assert!(matches!(wrong.check(), Err(FilterError::OutOfRange { filter: "volume", .. })));
}

#[test]
fn noise_suppression_is_refused_where_it_is_not_built_in() {
    let asked = "noisesuppression".parse::<Filters>();
    if cfg!(feature = "denoise") {
        assert!(asked.expect("built in").noise_suppression);
    } else {
        assert_eq!(asked, Err(FilterError::NoDenoise));
    }
}

/// A hum of noise under tones that come and go as a voice does.
#[cfg(feature = "denoise")]
#[test]
fn noise_is_taken_out_of_silence() {
    use super::support::{filtered, noise};
    let out = filtered("noisesuppression", &noise(0.02, 150));
    let power =
        |sound: &[[f32; 2]]| sound.iter().map(|pair| pair[0].powi(2)).sum::<f32>() / sound.len() as f32;
    let ratio = power(&noise(0.02, 150)[96_000..]) / power(&out[96_000..]);
    assert!(ratio > 8.0, "only {ratio} times as little");
}
