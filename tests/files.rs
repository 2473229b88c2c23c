//! Files of every kind: what plays, that it sounds right, and what is said of the damaged ones.
#![cfg(feature = "decode")]

#[path = "stories/support/audio.rs"]
mod audio;

use std::{
    io::{self, Cursor, Read},
    time::Duration,
};

use actix_voice::{
    audio::{
        decode::AudioFile,
        frame::{FRAME, Frame},
    },
    source::{self, Source, SourceError},
};

use crate::audio::{Played, fixture, ogg_packets, path, play, reference, similarity, wav};

/// Every fixture, which recording it holds, how late its first sample comes (in samples at 48 kHz) and how alike
/// the recording it must sound: the correlation of the waveforms.
///
/// Lossless formats must be equal but for rounding. Of the lossy ones ffmpeg's own decoders reach 0.9985 (MP3),
/// 0.9995 (Vorbis), 0.9995 (AAC) and 0.9988 (Opus) on the music and 0.98 (Opus) on the speech, whose waveform
/// Opus does not try to keep; the thresholds leave room for other versions of the decoders, and none for wrong sound.
/// Untouched Opus starts with the encoder's 312 samples of run-up. MP4 keeps the length of AAC's run-up (1024
/// samples at the file's rate) in an edit list, which symphonia does not read.
const FIXTURES: [(&str, &str, usize, f64); 15] = [
    ("music.wav", "music.wav", 0, 0.999_999),
    ("music.flac", "music.wav", 0, 0.999_999),
    ("music.mp3", "music.wav", 0, 0.99),
    ("music.ogg", "music.wav", 0, 0.99),
    ("music.mkv", "music.wav", 0, 0.99),
    ("music.m4a", "music.wav", 1115, 0.99),
    ("music.opus", "music.wav", 312, 0.98),
    ("music.webm", "music.wav", 312, 0.98),
    ("speech.wav", "speech.wav", 0, 0.999_999),
    ("speech.flac", "speech.wav", 0, 0.999_999),
    ("speech.mp3", "speech.wav", 0, 0.98),
    ("speech.m4a", "speech.wav", 2229, 0.98),
    ("speech.opus", "speech.wav", 312, 0.94),
    ("speech.mp4", "speech.wav", 312, 0.94),
    ("speech-60ms.opus", "speech.wav", 0, 0.94),
];

#[test]
fn every_format_sounds_like_the_recording() {
    for (file, recording, late, alike) in FIXTURES {
        let played = play(source::open(path(file)).unwrap());
        assert_eq!(played.error, None, "{file}");
        let found = similarity(&reference(recording), &played.samples(), late);
        assert!(found[0] > alike && found[1] > alike, "{file}: {found:?}");
    }
}

#[test]
fn every_threshold_tells_wrong_sound_from_right() {
    let [music, speech] = ["music.wav", "speech.wav"].map(reference);
    for (file, recording, _, alike) in FIXTURES {
        let (right, other) = if recording == "music.wav" { (&music, &speech) } else { (&speech, &music) };
        let found = similarity(right, right, 0);
        assert!(found[0] > alike && found[1] > alike, "{file}: {found:?}");

        let scaled = |by: f32| right.iter().map(|sample| sample * by).collect::<Vec<_>>();
        let mut wrong = vec![
            ("another recording", other.clone(), 0),
            ("half as loud", scaled(0.5), 0),
            ("upside down", scaled(-1.0), 0),
            ("half a millisecond early", right.clone(), 24),
            (
                "a third of it silent",
                [&right[..right.len() * 2 / 3], &vec![0.0; right.len() / 3][..]].concat(),
                0,
            ),
        ];
        // The speech is mono, so its sides are the same.
        if recording == "music.wav" {
            let swapped = right.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
            wrong.push(("sides swapped", swapped, 0));
        }
        if alike > 0.99 {
            wrong.push(("a tenth of a dB louder", scaled(1.0116), 0));
        }
        for (what, sound, late) in wrong {
            let found = similarity(right, &sound, late);
            assert!(found[0] < alike && found[1] < alike, "{file}, {what}: {found:?}");
        }
    }
}

#[test]
fn every_format_plays_from_a_stream_as_it_does_from_a_file() {
    for (file, ..) in FIXTURES {
        let stream = AudioFile::from_reader(file, Dribble(Cursor::new(fixture(file)), 0));
        if file == "music.m4a" {
            let error = stream.err().unwrap().to_string();
            assert!(error.contains("music.m4a"), "its index comes last, so it needs a file: {error}");
            continue;
        }
        let played = play(stream.unwrap());
        assert_eq!(played.error, None, "{file}");
        let from_file = play(AudioFile::open(path(file)).unwrap());
        assert!(played.frames == from_file.frames, "{file}: {played:?}, from a file {from_file:?}");
    }
}

#[test]
fn durations_are_told_and_kept() {
    for (file, recording, late, _) in FIXTURES {
        let expected =
            if recording == "music.wav" { Duration::from_secs(5) } else { Duration::from_millis(7100) };
        let source = AudioFile::open(path(file)).unwrap();
        let told = source.duration().unwrap_or_else(|| panic!("{file} tells no duration"));
        // An encoder's run-up, and the packet that AAC ends in (46 ms at 22.05 kHz), come on top.
        let run_up = Duration::from_secs(late as u64) / 48_000;
        let slack = if file.ends_with("m4a") { Duration::from_millis(47) } else { Duration::ZERO };
        let right = |lasts: Duration| lasts + FRAME > expected && lasts <= expected + run_up + slack + FRAME;
        assert!(right(told), "{file} tells {told:?}");
        let lasts = FRAME * play(source).frames.len() as u32;
        assert!(right(lasts), "{file} lasts {lasts:?}");
    }
}

#[test]
fn opus_packets_of_20_ms_pass_untouched() {
    for file in ["music.opus", "speech.opus", "demo.opus"] {
        let packets: Vec<Frame> = ogg_packets(&fixture(file)).into_iter().map(Frame::Opus).collect();
        assert!(packets.len() > 200);
        assert!(play(AudioFile::open(path(file)).unwrap()).frames == packets, "{file}");
    }
    for file in ["music.webm", "speech.mp4", "live.webm"] {
        let (bytes, mut at) = (fixture(file), 0);
        let frames = play(AudioFile::open(path(file)).unwrap()).frames;
        assert!(frames.len() >= 250, "{file}");
        for frame in frames {
            let Frame::Opus(packet) = frame else { panic!("{file}: decoded") };
            let found = bytes[at..].windows(packet.len()).position(|window| window == packet);
            at += found.unwrap_or_else(|| panic!("{file}: no such packet after {at}")) + packet.len();
        }
    }
}

#[test]
fn the_demo_is_twelve_seconds_of_untouched_opus() {
    let Played { frames, error } =
        play(source::from_reader("demo", Cursor::new(fixture("demo.opus"))).unwrap());
    assert_eq!(error, None);
    assert!(frames.len() > 600 && frames.iter().all(|frame| matches!(frame, Frame::Opus(_))));
}

#[test]
fn opus_packets_of_60_ms_are_cut_into_frames() {
    let played = play(AudioFile::open(path("speech-60ms.opus")).unwrap());
    assert!(played.frames.iter().all(|frame| matches!(frame, Frame::Pcm(_))));
    assert_eq!(played.frames.len(), 355, "7.1 s, the run-up left out");
}

#[test]
fn a_stream_that_changes_its_packets_goes_on_smoothly() {
    // Two chained streams: 20 ms, then 60 ms.
    let chained = [fixture("speech.opus"), fixture("speech-60ms.opus")].concat();
    let played = play(AudioFile::from_reader("chained.opus", Cursor::new(chained)).unwrap());
    assert_eq!(played.error, None);
    let opus = played.frames.iter().take_while(|frame| matches!(frame, Frame::Opus(_))).count();
    assert_eq!(opus, ogg_packets(&fixture("speech.opus")).len());
    assert_eq!(played.frames.len() - opus, 355);
}

#[test]
fn chained_streams_of_different_kinds_all_play() {
    let chained = [fixture("music.ogg"), fixture("speech.opus"), fixture("music.ogg")].concat();
    let played = play(AudioFile::from_reader("radio.ogg", Cursor::new(chained)).unwrap());
    assert_eq!(played.error, None);
    let kinds: Vec<bool> = played.frames.iter().map(|frame| matches!(frame, Frame::Opus(_))).collect();
    assert_eq!(kinds[..250], [false; 250]);
    assert!(kinds[250..600].iter().all(|&opus| opus));
    assert_eq!(kinds[kinds.len() - 250..], [false; 250]);
}

#[test]
fn wav_files_of_every_width_and_layout_play() {
    let surround: Vec<f32> = (0..9600).flat_map(|_| [0.5, -0.5, 0.0, 1.0, 0.0, 0.0]).collect();
    for bits in [8, 16, 24, 32] {
        let played =
            play(AudioFile::from_reader("x.wav", Cursor::new(wav(48_000, 6, bits, &surround))).unwrap());
        assert_eq!((played.frames.len(), played.error.clone()), (10, None), "{bits} bits");
        let samples = played.samples();
        assert!((samples[0] - 0.207).abs() < 0.01 && (samples[1] + 0.207).abs() < 0.01, "{bits} bits");
    }
}

#[test]
fn a_wav_stream_of_unknown_length_ends_where_it_ends() {
    for length in [u32::MAX, 0x7FFF_F000] {
        let mut bytes = wav(48_000, 1, 16, &[0.25; 48_000]);
        bytes[4..8].copy_from_slice(&length.saturating_add(36).to_le_bytes());
        bytes[40..44].copy_from_slice(&length.to_le_bytes());
        let source = AudioFile::from_reader("pipe.wav", Cursor::new(bytes)).unwrap();
        assert_eq!(source.duration(), None);
        let played = play(source);
        assert_eq!((played.frames.len(), played.error), (50, None), "length {length:#x}");
    }
}

#[test]
fn a_live_webm_stream_that_tells_no_duration_ends_where_it_ends() {
    let source = AudioFile::from_reader("live", Cursor::new(fixture("live.webm"))).unwrap();
    assert_eq!(source.duration(), None);
    let played = play(source);
    assert_eq!(played.error, None);
    assert!((355..=357).contains(&played.frames.len()), "{played:?}");
    assert!(play(AudioFile::open(path("live.webm")).unwrap()).frames == played.frames);
}

#[test]
fn a_header_that_makes_the_demuxer_panic_is_an_error() {
    let mut bytes = wav(48_000, 2, 32, &[0.0; 96]);
    bytes[22..24].copy_from_slice(&u16::MAX.to_le_bytes());
    let error = AudioFile::from_reader("odd.wav", Cursor::new(bytes)).err().unwrap();
    assert!(error.to_string().starts_with("odd.wav: "), "{error}");
}

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
    assert!(matches!(&text, SourceError::Unsupported { cause, .. } if cause.contains("no audio")), "{text}");

    let stream =
        |bytes: Vec<u8>| AudioFile::from_reader("stdin", Cursor::new(bytes)).err().unwrap().to_string();
    assert_eq!(stream(vec![]), "stdin: cannot be played: it is empty");
    assert!(stream(vec![0; 5000]).starts_with("stdin: cannot be played: it is no audio"));
    assert!(stream(b"OggS".to_vec()).starts_with("stdin: damaged after 0.00ns: it ends early"));
}

#[test]
fn a_codec_that_is_not_known_is_named_as_such() {
    let mut bytes = fixture("speech.m4a");
    let at = bytes.windows(4).position(|window| window == b"mp4a").unwrap();
    bytes[at..at + 4].copy_from_slice(b"ac-4");
    let error = AudioFile::from_reader("film.mp4", Cursor::new(bytes)).err().unwrap();
    assert!(matches!(error, SourceError::Unsupported { .. }), "{error}");
    assert!(error.to_string().starts_with("film.mp4: cannot be played: "), "{error}");
}

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
            let source = AudioFile::from_reader(file, Cursor::new(bytes[..cut].to_vec()));
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
        let error = match AudioFile::open(&target) {
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
            match AudioFile::from_reader(file, Cursor::new(bytes[..cut].to_vec())) {
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
                AudioFile::open(folder.join(file))
            } else {
                AudioFile::from_reader(file, Cursor::new(flipped))
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
            match AudioFile::from_reader("noise", Cursor::new(bytes)) {
                Err(error) => assert!(error.to_string().starts_with("noise: "), "{error}"),
                Ok(source) => drop(play(source)),
            }
        }
    }
}

/// A reader that gives a few bytes at a time, and is interrupted now and then.
struct Dribble(Cursor<Vec<u8>>, usize);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = buffer.len().min(1 + self.1 * 37 % 1400);
        self.0.read(&mut buffer[..length])
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
