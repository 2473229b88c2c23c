//! Stories of tracks and calls with filters; what is heard is decoded and listened to.

use super::{
    control::{Deck, File, loudness, roughest},
    mixing::assert_close,
    *,
};
use crate::audio::filter::Filters;

fn filters(text: &str) -> Filters {
    text.parse().unwrap()
}

/// How often it passes through zero upwards in a second.
fn pitch(heard: &[f32]) -> f32 {
    let passages = heard.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    passages as f32 * 48_000.0 / heard.len() as f32
}

#[test]
fn filters_come_and_go_within_20_ms_and_without_a_click_and_packets_pass_before_and_after() {
    for text in [
        "volume=0.25",
        "channelmix.leftToLeft=0.25",
        "equalizer.6=-0.1875,equalizer.5=-0.06,equalizer.7=-0.06",
    ] {
        let mut deck = Deck::new();
        deck.play(MUSIC, File::opus(400.0, 0.4, 400));
        deck.pass(SECOND);
        let as_it_is = roughest(&deck.heard()[4_800..]);
        let passed = deck.passed();
        assert!(passed > 45, "{text}: {passed} packets passed");
        deck.ask(MUSIC, TrackCommand::Filters(filters(text)));
        deck.pass(SECOND);
        assert!(deck.passed() <= passed + 1, "{text}: packets pass without their filter");
        deck.ask(MUSIC, TrackCommand::Filters(Filters::default()));
        deck.pass(SECOND);
        let heard = deck.heard();
        assert!(deck.passed() > passed + 35, "{text}: no packets pass afterwards");
        for frame in [40, 49, 104, 110, 140] {
            assert_close(loudness(&heard, frame), 0.4);
        }
        assert!(loudness(&heard, 75) < 0.13, "{text}: {}", loudness(&heard, 75));
        assert!((loudness(&heard, 53) - loudness(&heard, 75)).abs() < 0.05, "{text}: heard late");
        assert!(
            roughest(&heard[4_800..]) < 1.5 * as_it_is,
            "{text}: {} and {as_it_is}",
            roughest(&heard[4_800..])
        );
    }
}

#[test]
fn a_track_that_plays_faster_ends_sooner_at_its_own_pitch_and_its_position_is_its_own_time() {
    for (text, seconds, hertz) in [
        ("timescale.speed=1.25", 8.0, 500.0),
        ("timescale.speed=0.8", 12.5, 500.0),
        ("timescale.rate=2", 5.0, 1_000.0),
        ("timescale.pitch=1.5", 10.0, 750.0),
        ("timescale.speed=8", 1.25, 500.0),
    ] {
        for file in [File::opus(500.0, 0.3, 500), File::pcm(500.0, 0.3, 500, FRAME_SAMPLES)] {
            let mut deck = Deck::new();
            deck.load(MUSIC, file, |settings| settings.filters = filters(text));
            deck.pass(SECOND);
            let rate = 10.0 / seconds;
            let position = deck.state(MUSIC).position.as_secs_f64();
            assert!((position - rate).abs() < 0.15 * rate, "{text}: at {position} s after a second");
            deck.pass(SECOND * 20);
            let heard = deck.heard();
            let sound = heard.iter().rposition(|sample| sample.abs() > 0.1).unwrap() as f64 / 48_000.0;
            assert!((sound / seconds - 1.0).abs() < 0.03, "{text}: {sound} s, not {seconds}");
            let middle = &heard[9_600..48_000];
            assert!((pitch(middle) / hertz - 1.0).abs() < 0.02, "{text}: {} Hz", pitch(middle));
            assert!((12..40).all(|frame| (loudness(&heard, frame) - 0.3).abs() < 0.03), "{text}: holes");
            assert_eq!(
                deck.told(),
                [Action::Started(MUSIC), Action::Ended(MUSIC, TrackEnd::Finished)],
                "{text}"
            );
        }
    }
}

#[test]
fn a_seek_forgets_what_the_timescale_holds() {
    let mut deck = Deck::new();
    deck.load(MUSIC, File::pcm(500.0, 0.3, 500, FRAME_SAMPLES), |settings| {
        settings.filters = filters("timescale.speed=1.5");
    });
    deck.pass(SECOND);
    deck.ask(MUSIC, TrackCommand::Seek(SECOND * 7));
    deck.pass(SECOND);
    let position = deck.state(MUSIC).position.as_secs_f64();
    assert!((position - 8.5).abs() < 0.15, "{position}");
    deck.pass(SECOND * 3);
    assert_eq!(deck.told().last(), Some(&Action::Ended(MUSIC, TrackEnd::Finished)));
}

#[test]
fn not_a_sample_is_between_a_track_with_filters_and_the_next() {
    let mut lengths = Vec::new();
    for text in ["", "volume=0.999", "lowpass=1.01,volume=0.99"] {
        let mut deck = Deck::new();
        let with = |settings: &mut TrackSettings| settings.filters = filters(text);
        deck.load(MUSIC, File::pcm(0.0, 0.0, 1, 1), |_| ());
        deck.pass(SECOND);
        deck.load(MUSIC, File::pcm(500.0, 0.3, 50, 500), with);
        deck.load(SPEECH, File::pcm(500.0, 0.3, 50, FRAME_SAMPLES), |settings| {
            with(settings);
            settings.start = Start::After { track: MUSIC, crossfade: Duration::ZERO };
        });
        deck.pass(SECOND * 3);
        let heard = deck.heard();
        let first = heard.iter().position(|sample| sample.abs() > 0.05).unwrap();
        let last = heard.iter().rposition(|sample| sample.abs() > 0.05).unwrap();
        lengths.push(last - first);
        let quiet = (first + 960..last - 960)
            .step_by(48)
            .filter(|at| heard[*at..at + 48].iter().all(|s| s.abs() < 0.1));
        assert_eq!(quiet.count(), 0, "{text}: a gap");
    }
    assert!(lengths.iter().all(|length| length.abs_diff(lengths[0]) < 5), "{lengths:?}");
}

#[test]
fn the_filters_of_a_call_are_heard_on_all_of_its_tracks_but_for_the_timescale() {
    let mut deck = Deck::new();
    deck.play(MUSIC, File::opus(400.0, 0.4, 400));
    deck.pass(SECOND);
    deck.filter_call(&filters("volume=0.25,timescale.speed=2"));
    deck.pass(SECOND);
    deck.play(SPEECH, File::pcm(1_000.0, 0.4, 50, FRAME_SAMPLES));
    deck.pass(SECOND);
    deck.filter_call(&Filters::default());
    let passed = deck.passed();
    deck.pass(SECOND);
    let heard = deck.heard();
    for (frame, wanted) in [(45, 0.4), (75, 0.1), (98, 0.1), (125, 0.1 * 2.0_f32.sqrt()), (160, 0.4)] {
        assert_close(loudness(&heard, frame), wanted);
    }
    assert!(deck.passed() > passed + 35);
    assert_eq!(deck.state(MUSIC).position, FRAME * 201);
}
