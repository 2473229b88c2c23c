//! Streams that change on the way, and files that were joined: nothing of them is lost.

use std::time::Duration;

use actix_voice::{
    audio::{decode::AudioFile, frame::FRAME},
    source::Source,
};

use crate::{
    audio::{fixture, ogg_packets, path, play, reference, similarity},
    make::{Temporary, frames_of_mp3, heard, id3v1, id3v2},
};

/// Joins two fixtures, and plays them as a file and as a stream: both recordings are heard whole, the second directly
/// after the first.
fn both_are_heard(name: &str, parts: [(Vec<u8>, &str); 2], gap: usize, alike: f64) {
    let joined = [&parts[0].0[..], &parts[1].0[..]].concat();
    let file = Temporary::with(name, &joined);
    let source = AudioFile::open(&file.0).unwrap();
    let told = source.duration();
    let [from_file, from_stream] = [play(source), heard(name, joined)];
    let [first, second] = parts.map(|(_, recording)| reference(recording));
    for played in [&from_file, &from_stream] {
        assert_eq!(played.error, None, "{name}");
        let samples = played.samples();
        let found = similarity(&first, &samples, 0);
        assert!(found[0] > alike && found[1] > alike, "{name}, the first: {found:?}");
        let expected = (first.len() + second.len()) / 2;
        let length = samples.len() / 2;
        assert!(
            length >= expected - 960 && length <= expected + gap + 960,
            "{name}: {length}, not {expected}"
        );
        // The second starts within the gap.
        let starts = first.len() / 2 - 960..=first.len() / 2 + gap;
        let best =
            starts.map(|at| similarity(&second[..48_000], &samples[2 * at..], 0)[0]).fold(0.0, f64::max);
        assert!(best > alike, "{name}, the second: {best}");
    }
    let lasts = FRAME * from_file.frames.len() as u32;
    if let Some(told) = told {
        assert!(told <= lasts && told + 2 * FRAME > lasts, "{name} tells {told:?} and lasts {lasts:?}");
    }
}

#[test]
fn two_mp3_files_play_as_one_without_a_gap() {
    both_are_heard("twice.mp3", ["music.mp3"; 2].map(|file| (fixture(file), "music.wav")), 0, 0.99);
}

#[test]
fn mp3_files_that_were_joined_with_their_tags_play_without_them() {
    let tagged = |file: &str| [id3v2("a", "b", 3_000), fixture(file), id3v1("a", "b")].concat();
    both_are_heard("tagged.mp3", ["music.mp3"; 2].map(|file| (tagged(file), "music.wav")), 0, 0.99);
}

#[test]
fn an_mp3_stream_that_changes_rate_and_channels_plays_to_its_end() {
    let parts = [(fixture("music.mp3"), "music.wav"), (fixture("speech.mp3"), "speech.wav")];
    both_are_heard("changing.mp3", parts, 960, 0.98);
}

#[test]
fn mp3_files_without_the_tag_of_an_encoder_play_whole_and_tell_how_long_they_last() {
    let frames = frames_of_mp3("music.mp3");
    // A first second of fewer bytes makes every estimate wrong.
    let mixed = [frames_of_mp3("speech.mp3"), frames].concat();
    let file = Temporary::with("untagged.mp3", &mixed);
    let source = AudioFile::open(&file.0).unwrap();
    let told = source.duration().unwrap();
    let lasts = FRAME * play(source).frames.len() as u32;
    assert!(lasts > Duration::from_millis(12_100) && lasts < Duration::from_millis(12_300), "{lasts:?}");
    assert!(told + 3 * FRAME > lasts && told <= lasts, "{told:?} told, {lasts:?} played");
}

#[test]
fn two_flac_files_play_as_one() {
    both_are_heard("twice.flac", ["music.flac"; 2].map(|file| (fixture(file), "music.wav")), 0, 0.999_99);
    let parts = [(fixture("music.flac"), "music.wav"), (fixture("speech.flac"), "speech.wav")];
    both_are_heard("changing.flac", parts, 960, 0.999);
}

#[test]
fn flac_frames_of_another_kind_play_without_another_header() {
    let music = fixture("music.flac");
    let start = (0..music.len()).find(|&at| music[at] == 0xFF && music[at + 1] & 0xFE == 0xF8).unwrap();
    let mut speech = fixture("speech.flac");
    // Nobody knows how long it is.
    speech[21] &= 0xF0;
    speech[22..26].fill(0);
    both_are_heard(
        "frames.flac",
        [(speech, "speech.wav"), (music[start..].to_vec(), "music.wav")],
        960,
        0.999,
    );
}

#[test]
fn chained_ogg_files_tell_how_long_they_last_together() {
    let chained = [fixture("music.ogg"), fixture("speech.opus"), fixture("speech.opus")].concat();
    let file = Temporary::with("chained.ogg", &chained);
    let source = AudioFile::open(&file.0).unwrap();
    let told = source.duration().unwrap();
    assert!(told.abs_diff(Duration::from_millis(5_000 + 2 * 7_100)) < FRAME, "{told:?}");
    let played = play(source);
    assert_eq!(played.frames.len(), 250 + 2 * ogg_packets(&fixture("speech.opus")).len());
}

#[test]
fn a_long_run_up_of_opus_is_left_out_but_for_what_a_decoder_needs() {
    let packets = ogg_packets(&fixture("speech.opus"));
    let mut bytes = fixture("speech.opus");
    // 500 ms: 25 packets, of which four are passed on.
    bytes[38..40].copy_from_slice(&24_000_u16.to_le_bytes());
    seal(&mut bytes);
    let played = heard("run-up.opus", bytes);
    assert_eq!(played.frames.len(), packets.len() - 21);
    assert!(played.frames[0] == actix_voice::audio::frame::Frame::Opus(packets[21].clone()));
    assert!(AudioFile::open(path("speech.opus")).is_ok());
}

/// Writes the checksum of the first page anew (RFC 3533 section 6).
fn seal(bytes: &mut [u8]) {
    let length = 27 + 1 + usize::from(bytes[27]);
    bytes[22..26].fill(0);
    let crc = bytes[..length].iter().fold(0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 0 { 0 } else { 0x04C1_1DB7 }
        })
    });
    bytes[22..26].copy_from_slice(&crc.to_le_bytes());
}
