//! What each filter costs for 20 ms.

use std::hint::black_box;

use actix_voice::audio::{
    filter::{FilterChain, Filters},
    frame::Pcm,
};

use crate::{Step, tone};

pub(crate) fn all() -> Vec<Step> {
    let steps = FILTERS.iter().map(|(name, filters)| Step::new(format!("filter-{name}"), filter(filters)));
    steps.collect()
}

fn filter(text: &str) -> impl FnMut() + use<> {
    let filters: Filters = text.parse().expect("a filter of this build");
    let mut chain = FilterChain::with(&filters);
    let (frames, mut out, mut nth): (Vec<Pcm>, _, _) = ((0..50).map(tone).collect(), Pcm::default(), 0);
    move || {
        let next = |into: &mut Pcm| {
            nth = (nth + 1) % frames.len();
            into.copy_from_slice(&frames[nth][..]);
            true
        };
        chain.pull(black_box(&mut out), next);
    }
}

const FILTERS: [(&str, &str); 17] = [
    ("none", ""),
    ("volume", "volume=0.5"),
    ("equalizer", EQUALIZER),
    ("karaoke", "karaoke"),
    ("timescale-speed", "timescale.speed=1.2"),
    ("timescale-pitch", "timescale.pitch=1.2"),
    ("timescale-rate", "timescale.rate=1.2"),
    ("tremolo", "tremolo"),
    ("vibrato", "vibrato"),
    ("rotation", "rotation=0.2"),
    ("distortion", "distortion.sinScale=2"),
    ("channel-mix", "channelMix.leftToRight=0.5"),
    ("low-pass", "lowPass"),
    ("loudness", "loudness"),
    ("noise-suppression", "noiseSuppression"),
    ("equalizer-and-speed", "equalizer.0=0.2,equalizer.14=0.3,timescale.speed=1.2"),
    (
        "equalizer-and-speed-and-pitch",
        "equalizer.0=0.2,equalizer.14=0.3,timescale.speed=1.2,timescale.pitch=1.1",
    ),
];
const EQUALIZER: &str = "equalizer.0=0.2,equalizer.5=-0.1,equalizer.14=0.3";
