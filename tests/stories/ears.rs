//! How the stories listen: packets, pitches and what was said about speaking.

use std::ops::Range;

use actix_voice::audio::frame::SILENCE;
use actix_voice_loopback::{Event, Hearing, Side, recorder::Holes};
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    audio_support::{fixture, ogg_packets},
    stage::Stage,
};

/// The packets of an Ogg Opus file of `tests/audio`, read without the crate.
pub fn packets_of(file: &str) -> Vec<Bytes> {
    ogg_packets(&fixture(file))
}

/// What was heard, packet by packet.
pub fn packets_heard(heard: &Hearing) -> Vec<Bytes> {
    heard.audio.iter().map(|packet| packet.opus.clone()).collect()
}

/// These packets, and the five frames of silence that follow speech.
pub fn and_silence(packets: &[Bytes]) -> Vec<Bytes> {
    let silence = std::iter::repeat_n(Bytes::from_static(&SILENCE), 5);
    packets.iter().cloned().chain(silence).collect()
}

/// How loud a pitch is on the left, within these milliseconds from the first packet on; 1.0 is full scale.
///
/// The Goertzel algorithm; the stretch should hold whole periods.
pub fn loudness(heard: &Hearing, hz: u32, milliseconds: Range<usize>) -> f64 {
    let samples = heard.decode(Holes::Silent).expect("libopus gives a decoder");
    let stretch = &samples[milliseconds.start * 96..milliseconds.end * 96];
    let turn = f64::from(hz) / 48_000.0 * std::f64::consts::TAU;
    let (mut re, mut im, mut n) = (0.0, 0.0, 0.0);
    for pair in stretch.chunks_exact(2) {
        re += f64::from(pair[0]) * (turn * n).cos();
        im += f64::from(pair[0]) * (turn * n).sin();
        n += 1.0;
    }
    2.0 * re.hypot(im) / n
}

/// What the bot said about speaking, with the SSRC it named, and when the voice gateway read it.
pub fn said_about_speaking(stage: &Stage) -> Vec<(Instant, u64, u64)> {
    let entries = stage.discord.log().into_iter();
    let entries = entries.filter(|entry| entry.side == Side::Voice && entry.user == Some(stage.bot.user_id));
    entries
        .filter_map(|entry| match entry.event {
            Event::Received { op: 5, d } => Some((entry.at, d["speaking"].as_u64()?, d["ssrc"].as_u64()?)),
            _ => None,
        })
        .collect()
}

/// The flags of what the bot said about speaking.
pub fn speaking_flags(stage: &Stage) -> Vec<u64> {
    said_about_speaking(stage).into_iter().map(|(_, flags, _)| flags).collect()
}
