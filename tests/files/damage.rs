//! What is said of damaged files, and that what was good of them is heard.

use std::{
    io::{self, Cursor, Read},
    time::Duration,
};

use actix_voice::{
    audio::decode::AudioFile,
    source::{Source, SourceError},
};

use crate::{
    audio::{fixture, path, play},
    basics::FIXTURES,
    make::{open, without_ffmpeg},
};

#[test]
fn a_reader_that_fails_ends_the_source_after_what_was_good() {
    let half = fixture("music.flac").len() as u64 / 2;
    let reader = Cursor::new(fixture("music.flac")).take(half).chain(Broken);
    let played = play(AudioFile::from_reader("http", reader).unwrap());
    assert!(played.frames.len() > 100, "{played:?}");
    let error = played.error.unwrap();
    assert!(matches!(&error, SourceError::Damaged { name, .. } if name == "http"));
    assert!(error.to_string().contains("connection reset by peer"), "{error}");

    let error = AudioFile::from_reader("http", Broken).err().unwrap();
    assert!(matches!(error, SourceError::Unreadable { .. }), "{error}");
}

#[test]
fn after_its_end_or_error_a_source_stays_ended() {
    let mut half = fixture("music.wav");
    half.truncate(half.len() / 2);
    let mut source = AudioFile::from_reader("half.wav", Cursor::new(half)).unwrap();
    while let Ok(Some(_)) = source.next_frame() {}
    for _ in 0..3 {
        assert_eq!(source.next_frame(), Ok(None));
    }
}

#[test]
fn truncated_files_play_what_is_there_and_say_so() {
    for (file, ..) in FIXTURES {
        let (bytes, whole) = (fixture(file), play(AudioFile::open(path(file)).unwrap()));
        for part in 1..6 {
            let cut = bytes.len() * part / 6;
            let source = open(file, bytes[..cut].to_vec());
            let source = match source {
                Ok(source) => source,
                Err(error) => {
                    // Where the index comes last there is none; an Ogg page needs to be whole.
                    let ogg = file.ends_with("ogg") || file.ends_with("opus");
                    assert!(file == "music.m4a" || (ogg && part == 1), "{error}");
                    assert!(error.to_string().starts_with(file), "{error}");
                    continue;
                }
            };
            let played = play(source);
            let error = played.error.as_ref().unwrap_or_else(|| panic!("{file} cut at {cut}: no error"));
            assert!(matches!(error, SourceError::Damaged { name, .. } if name == file), "{error}");
            assert!(error.to_string().contains("ends early"), "{file}: {error}");
            // Ogg pages hold a second; lossless music is longer where it is loud.
            let expected = (whole.frames.len() * part / 6).saturating_sub(60);
            assert!(played.frames.len() >= expected, "{file} cut at {cut}: {played:?} of {whole:?}");
            played.assert_starts_like(&whole, played.frames.len(), file);
        }
    }
}

#[test]
fn truncated_files_on_disc_play_what_is_there_and_say_so() {
    let folder = std::env::temp_dir().join(format!("actix-voice-truncated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (file, ..) in FIXTURES {
        let (bytes, whole) = (fixture(file), play(AudioFile::open(path(file)).unwrap()));
        let target = folder.join(file);
        std::fs::write(&target, &bytes[..bytes.len() * 5 / 8]).unwrap();
        let error = match AudioFile::open_with(&target, &without_ffmpeg()) {
            Err(error) => {
                // Its index is in the part that is missing.
                assert_eq!(file, "music.m4a", "{error}");
                error
            }
            Ok(source) => {
                let played = play(source);
                assert!(played.frames.len() > whole.frames.len() / 3, "{file}: {played:?}");
                played.assert_starts_like(&whole, played.frames.len(), file);
                played.error.unwrap_or_else(|| panic!("{file}: no error"))
            }
        };
        assert!(error.to_string().contains(file), "{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn headers_cut_anywhere_never_panic_and_name_the_file() {
    for (file, ..) in FIXTURES {
        let bytes = fixture(file);
        for cut in (1..200).step_by(7).chain((200..6000).step_by(401)) {
            let cut = cut.min(bytes.len());
            match open(file, bytes[..cut].to_vec()) {
                Err(error) => assert!(error.to_string().starts_with(file), "{error}"),
                Ok(source) => drop(play(source)),
            }
        }
    }
}

#[test]
fn flipped_bytes_never_panic_and_spare_what_came_before() {
    let mut random = Random(0x5EED);
    let folder = std::env::temp_dir().join(format!("actix-voice-flipped-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (file, ..) in FIXTURES {
        let (bytes, whole) = (fixture(file), play(AudioFile::open(path(file)).unwrap()));
        for _ in 0..6 {
            let mut flipped = bytes.clone();
            let at = random.below(bytes.len() * 9 / 10);
            for near in 0..1 + random.below(3) {
                flipped[at + near] ^= 1 << random.below(8);
            }
            // What has its index last is played from a file.
            let opened = if file == "music.m4a" {
                std::fs::write(folder.join(file), &flipped).unwrap();
                AudioFile::open_with(folder.join(file), &without_ffmpeg())
            } else {
                open(file, flipped)
            };
            let played = match opened {
                Err(error) => {
                    assert!(at < head(file, &bytes), "{at} of {}: {error}", bytes.len());
                    assert!(error.to_string().contains(file), "{error}");
                    continue;
                }
                Ok(source) => play(source),
            };
            if let Some(error) = &played.error {
                assert!(error.to_string().contains(file), "{error}");
            }
            let good = (whole.frames.len() * at / bytes.len()).saturating_sub(75);
            assert!(played.frames.len() >= good, "{file} flipped at {at}: {played:?}");
            played.assert_starts_like(&whole, good, file);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Where damage may keep a file from being opened at all: in its headers and, since an Ogg page is whole or nothing, in
/// the first page of sound, which is a second of these five or seven.
fn head(file: &str, bytes: &[u8]) -> usize {
    if file.ends_with("ogg") || file.ends_with("opus") { bytes.len() / 3 } else { 5_000 }
}

#[test]
fn a_damaged_ogg_page_is_left_out_and_reported_at_the_end() {
    let mut bytes = fixture("speech.opus");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    let played = play(AudioFile::from_reader("speech.opus", Cursor::new(bytes)).unwrap());
    let whole = play(AudioFile::open(path("speech.opus")).unwrap());
    assert!(played.frames.len() >= whole.frames.len() - 55, "a page of a second is missing: {played:?}");
    assert_eq!(played.frames.last(), whole.frames.last(), "it went on after the damage");
    let error = played.error.unwrap();
    let SourceError::Damaged { at, .. } = error else { panic!("{error}") };
    assert!(at > Duration::from_secs(2) && at < Duration::from_secs(5), "{at:?}");
}

#[test]
fn noise_never_panics() {
    let mut random = Random(0xA0D10);
    let starts: [&[u8]; 7] = [
        b"",
        b"RIFF\0\0\0\0WAVE",
        b"fLaC\0\0\0\x22",
        b"OggS\0\x02",
        b"\x1A\x45\xDF\xA3",
        b"ID3\x04\0\0",
        b"\0\0\0\x18ftypM4A ",
    ];
    for start in starts {
        for length in [10, 100, 3000, 70_000] {
            let noise = (0..length).map(|_| random.below(256) as u8);
            let bytes: Vec<u8> = start.iter().copied().chain(noise).collect();
            match open("noise", bytes) {
                Err(error) => assert!(error.to_string().starts_with("noise: "), "{error}"),
                Ok(source) => drop(play(source)),
            }
        }
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer"))
    }
}

/// Numbers that are the same on every run (a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}
