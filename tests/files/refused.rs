//! What is refused, and in which words.

use std::io::Cursor;

use actix_voice::{audio::decode::AudioFile, source::SourceError};

use crate::{
    audio::{fixture, path},
    make::{frames_of_mp3, open as stream_of},
};

#[test]
fn what_cannot_be_played_is_named_with_its_cause() {
    let folder = std::env::temp_dir();
    let empty = folder.join(format!("actix-voice-empty-{}.mp3", std::process::id()));
    std::fs::write(&empty, []).unwrap();
    let opened = |path: &std::path::Path| AudioFile::open(path).err().unwrap();

    let missing = opened(&path("no-such-file.flac"));
    assert!(matches!(&missing, SourceError::NotFound { name } if name.ends_with("no-such-file.flac")));
    let directory = opened(&path(""));
    assert!(matches!(&directory, SourceError::Unreadable { cause, .. } if cause.contains("directory")));
    let empty_error = opened(&empty).to_string();
    assert!(empty_error.contains("actix-voice-empty") && empty_error.contains("is empty"), "{empty_error}");
    std::fs::remove_file(empty).unwrap();
    let text = opened(&path("README.md"));
    assert!(
        matches!(&text, SourceError::Unsupported { cause, .. } if cause == "it is text, and holds no sound"),
        "{text}"
    );

    let stream = |bytes: Vec<u8>| stream_of("stdin", bytes).err().unwrap().to_string();
    assert_eq!(stream(vec![]), "stdin: cannot be played: it is empty");
    let unknown = stream(vec![0; 5000]);
    assert!(unknown.starts_with("stdin: cannot be played: it is no audio"), "{unknown}");
    let cut = stream(b"OggS".to_vec());
    assert!(cut.starts_with("stdin: damaged at its start: it ends early"), "{cut}");
}

#[test]
fn a_codec_that_is_not_known_is_named_as_such() {
    let mut bytes = fixture("speech.m4a");
    let at = bytes.windows(4).position(|window| window == b"mp4a").unwrap();
    bytes[at..at + 4].copy_from_slice(b"ac-4");
    let error = stream_of("film.mp4", bytes).err().unwrap();
    assert!(matches!(error, SourceError::Unsupported { .. }), "{error}");
    assert!(error.to_string().starts_with("film.mp4: cannot be played: "), "{error}");
}

#[test]
fn formats_that_are_not_decoded_here_are_named_and_so_is_what_plays_them() {
    let foreign: [(&str, &[u8], &str); 8] = [
        ("a.wv", b"wvpk\x32\0\0\0", "WavPack"),
        ("a.ape", b"MAC \x96\x0F", "Monkey's Audio"),
        ("a.wma", b"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9", "Windows Media (WMA, WMV)"),
        ("a.amr", b"#!AMR\n", "AMR"),
        ("a.tta", b"TTA1\x01\0", "True Audio"),
        ("a.dts", b"\x7F\xFE\x80\x01", "DTS"),
        ("a.avi", b"RIFF\0\0\0\0AVI LIST", "AVI"),
        ("a.flv", b"FLV\x01\x05", "Flash video"),
    ];
    // Frames of MP3 may stand in anything.
    let frames = frames_of_mp3("music.mp3");
    for (name, start, what) in foreign {
        let error = stream_of(name, [start, &frames].concat()).err().unwrap().to_string();
        let expected = format!(
            "{name}: cannot be played: it is {what}, which is not decoded here; ffmpeg would play it, and is switched off"
        );
        assert_eq!(error, expected);
    }
    let page =
        [&b"OggS\0\x02\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\x01\x50Speex   1.2"[..], &[0; 80]].concat();
    let error = stream_of("a.spx", page).err().unwrap().to_string();
    assert!(error.contains("it is Speex, which is not decoded here"), "{error}");
}

#[test]
fn what_does_not_sound_is_refused_as_what_it_is_and_never_given_to_ffmpeg() {
    let soundless: [(&str, &[u8], &str); 6] = [
        ("a.mp3", b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR", "it is a picture, and holds no sound"),
        ("b.mp3", b"<!DOCTYPE html><html>", "it is a web page, and holds no sound"),
        ("c.mp3", b"PK\x03\x04\x14\0", "it is a ZIP archive, and holds no sound"),
        ("d.mid", b"MThd\0\0\0\x06\0\x01", "it is a MIDI file, and holds no sound"),
        ("e.m3u", b"#EXTM3U\n#EXTINF:1,x\nhttp://radio/\n", "it is a playlist: play what it names"),
        ("f.txt", b"all work and no play", "it is text, and holds no sound"),
    ];
    for (name, bytes, cause) in soundless {
        let error = AudioFile::from_reader(name, Cursor::new(bytes)).err().unwrap();
        assert_eq!(error.to_string(), format!("{name}: cannot be played: {cause}"));
    }
}

#[test]
fn noise_is_not_taken_for_music() {
    // A multiplicative generator: no header leads to a second one.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(2_000_000)
    .collect();
    let error = stream_of("noise.mp3", noise).err().unwrap().to_string();
    assert!(error.starts_with("noise.mp3: cannot be played: it is no audio that is known here"), "{error}");
}
