//! What plays from every format, and that it sounds right.

use std::{
    io::{self, Cursor, Read},
    time::Duration,
};

use actix_voice::{
    audio::{
        decode::AudioFile,
        frame::{FRAME, Frame},
    },
    source::{self, Source},
};

use crate::audio::{Played, fixture, ogg_packets, path, play, reference, similarity, wav};

/// Every fixture, which recording it holds, how late its first sample comes (in samples at 48 kHz) and how alike
/// the recording it must sound: the correlation of the waveforms.
///
/// Lossless formats must be equal but for rounding. Of the lossy ones ffmpeg's own decoders reach 0.9985 (MP3),
/// 0.9995 (Vorbis), 0.9995 (AAC) and 0.9988 (Opus) on the music and 0.98 (Opus) on the speech, whose waveform
/// Opus does not try to keep; the thresholds leave room for other versions of the decoders, and none for wrong sound.
/// Untouched Opus starts with the encoder's 312 samples of run-up.
pub const FIXTURES: [(&str, &str, usize, f64); 15] = [
    ("music.wav", "music.wav", 0, 0.999_999),
    ("music.flac", "music.wav", 0, 0.999_999),
    ("music.mp3", "music.wav", 0, 0.99),
    ("music.ogg", "music.wav", 0, 0.99),
    ("music.mkv", "music.wav", 0, 0.99),
    ("music.m4a", "music.wav", 0, 0.99),
    ("music.opus", "music.wav", 312, 0.98),
    ("music.webm", "music.wav", 312, 0.98),
    ("speech.wav", "speech.wav", 0, 0.999_999),
    ("speech.flac", "speech.wav", 0, 0.999_999),
    ("speech.mp3", "speech.wav", 0, 0.98),
    ("speech.m4a", "speech.wav", 0, 0.98),
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
        // Opus comes with its encoder's run-up.
        let run_up = Duration::from_secs(late as u64) / 48_000;
        let right = |lasts: Duration| lasts + FRAME > expected && lasts <= expected + run_up + FRAME;
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
