//! Comparing what was heard with what was played: packets, frames of silence and the loudness of tones.

use std::ops::Range;

use actix_voice::audio::frame::SILENCE;
use actix_voice_loopback::{Hearing, recorder::Holes};
use bytes::Bytes;

use crate::support::audio::{fixture, ogg_packets};

/// The packets of an Ogg Opus file of `tests/audio`, read without the crate.
pub fn packets_of(file: &str) -> Vec<Bytes> {
    ogg_packets(&fixture(file))
}

/// What was heard, packet by packet.
pub fn packets_heard(heard: &Hearing) -> Vec<Bytes> {
    heard.audio.iter().map(|packet| packet.opus.clone()).collect()
}

/// These packets, and the frames of silence that follow speech.
pub fn with_silence(packets: &[Bytes]) -> Vec<Bytes> {
    let silence = std::iter::repeat_n(Bytes::from_static(&SILENCE), SILENCE_FRAMES);
    packets.iter().cloned().chain(silence).collect()
}

/// How loud a pitch is on the left, within these milliseconds from the first packet on; 1.0 is full scale.
///
/// The Goertzel algorithm; the section should hold whole periods.
pub fn loudness(heard: &Hearing, hz: u32, milliseconds: Range<usize>) -> f64 {
    let samples = heard.decode(Holes::Silent).expect("libopus gives a decoder");
    let section = &samples[milliseconds.start * 96..milliseconds.end * 96];
    let turn = f64::from(hz) / 48_000.0 * std::f64::consts::TAU;
    let (mut re, mut im, mut n) = (0.0, 0.0, 0.0);
    for pair in section.chunks_exact(2) {
        re += f64::from(pair[0]) * (turn * n).cos();
        im += f64::from(pair[0]) * (turn * n).sin();
        n += 1.0;
    }
    2.0 * re.hypot(im) / n
}

/// The longest time between two packets, in whole frames: 1 where nothing was missing.
///
/// While websockets are opened, paused time jumps to the timer that is due next before a datagram is read: packets are then heard
/// some milliseconds later than they were sent.
pub fn longest_gap_in_frames(heard: &Hearing) -> u128 {
    heard.longest_gap.as_millis() / 20
}

/// How many packets of a file were not heard.
///
/// # Panics
///
/// When something else was heard, or something twice, or in another order.
pub fn missed<'a>(file: &str, heard: impl IntoIterator<Item = &'a Hearing>) -> usize {
    let original = packets_of(file);
    let (mut next, mut found) = (0, 0);
    let packets = heard.into_iter().flat_map(|hearing| &hearing.audio);
    for packet in packets.filter(|packet| packet.opus[..] != SILENCE) {
        let ahead = original[next..].iter().position(|opus| *opus == packet.opus);
        let ahead = ahead.unwrap_or_else(|| panic!("what was heard after packet {next} is not of {file}"));
        next += ahead + 1;
        found += 1;
    }
    original.len() - found
}

/// How many frames of silence follow speech.
///
/// <https://discord.com/developers/docs/topics/voice-connections#voice-data-interpolation>
pub const SILENCE_FRAMES: usize = 5;
