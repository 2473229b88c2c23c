//! Going on from elsewhere: every file sounds from there as it does when it is played up to there.

use std::time::Duration;

use actix_voice::{
    audio::{
        decode::AudioFile,
        frame::{FRAME, Frame},
    },
    source::{Source, SourceError},
};

use crate::audio::{Played, fixture, path, play, similarity};

/// Those that last a second and more, of every container and codec that is decoded here.
const FILES: [&str; 14] = [
    "demo.opus",
    "music.flac",
    "music.m4a",
    "music.mkv",
    "music.mp3",
    "music.ogg",
    "music.opus",
    "music.wav",
    "music.webm",
    "speech-60ms.opus",
    "speech.flac",
    "speech.m4a",
    "speech.mp3",
    "speech.wav",
];

fn open(file: &str) -> AudioFile {
    AudioFile::open(path(file)).unwrap()
}

/// What comes next: so many frames, decoded.
fn next(file: &mut AudioFile, frames: usize) -> Vec<f32> {
    let taken = std::iter::from_fn(|| file.next_frame().unwrap()).take(frames).collect();
    Played { frames: taken, error: None }.samples()
}

#[test]
fn every_file_goes_on_from_where_it_was_asked_to_forwards_and_backwards() {
    for name in FILES {
        let whole = play(open(name)).samples();
        let length = FRAME * u32::try_from(whole.len() / 1_920).unwrap();
        let mut file = open(name);
        for tenths in [5, 8, 1, 7, 0, 3] {
            let to = length * tenths / 10;
            let at = file.seek(to).unwrap();
            assert!(at <= to && to - at < FRAME * 2, "{name}: asked for {to:?}, goes on at {at:?}");
            let from = (at.as_secs_f64() * 48_000.0).round() as usize * 2;
            // A decoder of packets that begins amid them needs 80 ms to sound right.
            let heard = next(&mut file, 25);
            let run_up = 4 * 1_920;
            let likeness = similarity(&whole[from + run_up..from + heard.len()], &heard[run_up..], 0);
            assert!(likeness.iter().all(|like| *like > 0.99), "{name} at {at:?}: {likeness:?}");
        }
    }
}

#[test]
fn a_long_file_is_not_decoded_up_to_the_place_and_sounds_the_same() {
    for name in ["music.mp3", "music.flac"] {
        // Copies of it one behind the other make a long one.
        let copies = fixture(name).repeat(8);
        let long = std::env::temp_dir().join(format!("actix-voice-{}-{name}", std::process::id()));
        std::fs::write(&long, copies).unwrap();
        let whole = play(AudioFile::open(&long).unwrap()).samples();
        let mut file = AudioFile::open(&long).unwrap();
        let length = whole.len() as u32 / 96_000;
        for second in [length - 3, length / 2, 3, length - 5] {
            let at = file.seek(Duration::from_secs(second.into())).unwrap();
            let from = (at.as_secs_f64() * 48_000.0).round() as usize * 2;
            let heard = next(&mut file, 50);
            let likeness = similarity(&whole[from..from + heard.len()], &heard, 0);
            assert!(likeness.iter().all(|like| *like > 0.99), "{name} at {at:?}: {likeness:?}");
        }
        std::fs::remove_file(long).unwrap();
    }
}

#[test]
fn behind_the_end_is_the_end_and_after_it_one_can_go_back() {
    for name in FILES {
        let frames = play(open(name)).frames.len();
        let mut file = open(name);
        let at = file.seek(Duration::from_secs(36_000)).unwrap();
        assert!(at < Duration::from_secs(600), "{name}: {at:?}");
        assert_eq!(file.next_frame(), Ok(None), "{name}");
        assert_eq!(file.seek(Duration::ZERO), Ok(Duration::ZERO));
        assert_eq!(std::iter::from_fn(|| file.next_frame().unwrap()).count(), frames, "{name}");
    }
}

#[test]
fn of_a_stream_only_what_is_to_come_can_be_sought() {
    let bytes = fixture("demo.opus");
    let whole = play(open("demo.opus")).frames;
    let mut stream = AudioFile::from_reader("stream", std::io::Cursor::new(bytes)).unwrap();
    assert!(!stream.can_seek());
    assert_eq!(stream.seek(FRAME * 100), Ok(FRAME * 100));
    assert_eq!(stream.next_frame().unwrap().as_ref(), Some(&whole[100]));
    let back = stream.seek(FRAME * 5);
    assert!(matches!(&back, Err(SourceError::NotSeekable { name, .. }) if name == "stream"), "{back:?}");
    assert_eq!(stream.next_frame().unwrap().as_ref(), Some(&whole[101]), "it goes on where it was");
}

#[test]
fn of_the_last_frame_it_is_known_how_much_is_sound() {
    for (name, rate) in [("music.wav", 48_000_u64), ("speech.wav", 48_000)] {
        let bytes = fixture(name);
        let of = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (hertz, block) = (u64::from(of(24)), u64::from(u16::from_le_bytes([bytes[32], bytes[33]])));
        let data = bytes.windows(4).position(|four| four == b"data").unwrap();
        let samples = u64::from(of(data + 4)) / block * rate;
        let mut file = open(name);
        let mut frames = 0;
        while let Some(Frame::Pcm(_)) = file.next_frame().unwrap() {
            frames += 1;
        }
        let heard = (frames - 1) * 960 + file.last_frame() as u64;
        assert_eq!(heard, samples.div_ceil(hertz), "{name}");
    }
}
