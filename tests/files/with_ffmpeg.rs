//! What plays through ffmpeg, and the table of docs/formats.md, which is made here.
//!
//! These tests need ffmpeg; where it is missing they say so and do nothing, and `./dev test` lists them.

use std::{
    fmt::Write,
    io::Cursor,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use actix_voice::{
    audio::decode::{AudioFile, DecodeOptions},
    source::{Ffmpeg, Source},
};

use crate::{
    audio::{path, play, reference, similarity},
    make::{Temporary, without_ffmpeg},
};

/// Whether ffmpeg is there; if not, says which test did not run.
fn is_there(test: &str) -> bool {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("NOT RUN, for want of ffmpeg: {test}");
    }
    found.is_ok()
}

/// Makes a file with ffmpeg out of the recording of music, or of what the arguments name.
fn made(name: &str, arguments: &str) -> Temporary {
    let file = Temporary::new(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-i"]).arg(path("music.wav"));
    let status = command.args(arguments.split_whitespace()).arg(&file.0).stdin(Stdio::null()).status();
    assert!(status.unwrap().success(), "ffmpeg makes {name}");
    file
}

/// Whether what is played is the music: whole, and alike enough.
fn is_the_music(source: AudioFile, what: &str, alike: f64) {
    let told = source.duration();
    let played = play(source);
    assert_eq!(played.error, None, "{what}");
    let lasts = Duration::from_millis(20) * played.frames.len() as u32;
    assert!(
        lasts > Duration::from_millis(4_950) && lasts < Duration::from_millis(5_150),
        "{what} lasts {lasts:?}"
    );
    if let Some(told) = told {
        assert!(
            told.abs_diff(lasts) < Duration::from_millis(150),
            "{what} tells {told:?} and lasts {lasts:?}"
        );
    }
    let best = likeness(&reference("music.wav"), &played.samples());
    assert!(best > alike, "{what}: {best}");
}

/// How alike what is heard is to the recording, wherever it starts: some formats have no place for the length of their
/// run-up, and some decoders leave out more than that.
fn likeness(recording: &[f32], heard: &[f32]) -> f64 {
    const SECOND: usize = 96_000;
    let part = |length: usize| &recording[SECOND..SECOND + length];
    let near = SECOND - 6_000..SECOND + 6_000;
    let alike = |at: usize, length: usize| similarity(part(length), &heard[at..], 0)[0];
    let best = near.step_by(2).max_by(|a, b| alike(*a, 9_600).total_cmp(&alike(*b, 9_600))).unwrap();
    alike(best, 3 * SECOND)
}

/// A kind of file.
struct Row {
    format: &'static str,
    name: &'static str,
    /// What ffmpeg is asked for; nothing where the name is that of a fixture.
    arguments: &'static str,
    here: Here,
    alike: f64,
}

/// Whether it plays without ffmpeg.
#[derive(Clone, Copy, PartialEq)]
enum Here {
    Plays,
    Refused,
}

const fn row(format: &'static str, name: &'static str, arguments: &'static str, here: Here) -> Row {
    Row { format, name, arguments, here, alike: 0.97 }
}

/// 5.1 out of stereo: front left and right alone sound, so that the music is as in stereo, and 7.7 dB lower.
const SURROUND: &str = "5.1";
const SIX_CHANNELS: &str = "-ar 48000 -af pan=5.1|FL=FL|FR=FR|FC=0*FL|LFE=0*FL|BL=0*FL|BR=0*FL -b:a 300k";

const ROWS: [Row; 43] = [
    row("WAV: PCM of 16 bits", "a.wav", "-c:a pcm_s16le", Here::Plays),
    row("WAV: PCM of 24 bits", "b.wav", "-c:a pcm_s24le", Here::Plays),
    row("WAV: floating point", "c.wav", "-c:a pcm_f32le", Here::Plays),
    row("WAV: A-law", "d.wav", "-c:a pcm_alaw", Here::Plays),
    row("WAV: µ-law", "e.wav", "-c:a pcm_mulaw", Here::Plays),
    row("WAV: Microsoft ADPCM", "f.wav", "-c:a adpcm_ms", Here::Plays),
    row("WAV: IMA ADPCM", "g.wav", "-c:a adpcm_ima_wav", Here::Plays),
    row("RF64", "h.wav", "-rf64 always", Here::Plays),
    row("AIFF", "a.aiff", "", Here::Plays),
    row("CAF: PCM", "a.caf", "-c:a pcm_s16be", Here::Plays),
    row("CAF: ALAC", "b.caf", "-c:a alac", Here::Plays),
    row("FLAC", "a.flac", "", Here::Plays),
    row("MP3, constant bitrate", "a.mp3", "-b:a 128k", Here::Plays),
    row("MP3, varying bitrate, without a Xing tag", "b.mp3", "-q:a 4 -write_xing 0", Here::Plays),
    row("MP2", "a.mp2", "-b:a 192k", Here::Plays),
    row("AAC in ADTS", "a.aac", "-b:a 128k", Here::Plays),
    row("MP4: AAC", "a.m4a", "-b:a 128k", Here::Plays),
    row("MP4: AAC, 96 kHz", "b.m4a", "-ar 96000 -b:a 192k", Here::Plays),
    row(
        "MP4: AAC, in fragments (DASH)",
        "c.mp4",
        "-c:a aac -movflags dash+empty_moov+default_base_moof -frag_duration 500000",
        Here::Plays,
    ),
    row("MP4: ALAC", "d.m4a", "-c:a alac", Here::Plays),
    row("MP4: FLAC", "e.mp4", "-c:a flac -strict -2", Here::Plays),
    row("MP4: Opus", "f.mp4", "-ar 48000 -c:a libopus -strict -2", Here::Plays),
    row(
        "MP4: a film, with AAC",
        "g.mp4",
        "-f lavfi -i testsrc=d=5:s=64x64 -c:v mpeg4 -c:a aac -b:a 128k",
        Here::Plays,
    ),
    row("QuickTime: PCM, big-endian", "a.mov", "-c:a pcm_s24be", Here::Plays),
    row("Ogg: Vorbis", "a.ogg", "-c:a libvorbis", Here::Plays),
    row("Ogg: Opus", "a.opus", "-ar 48000 -c:a libopus -b:a 96k", Here::Plays),
    row("Ogg: FLAC", "b.ogg", "-c:a flac", Here::Plays),
    row("WebM: Opus", "a.webm", "-ar 48000 -c:a libopus -b:a 96k", Here::Plays),
    row("Matroska: Vorbis", "a.mka", "-c:a libvorbis", Here::Plays),
    row("Matroska: MP3", "b.mka", "-c:a libmp3lame", Here::Plays),
    row("MP4: AAC, 5.1", "h.m4a", SURROUND, Here::Refused),
    row("Ogg: Opus, 5.1", "b.opus", SURROUND, Here::Refused),
    row("AC-3", "a.ac3", "-c:a ac3 -b:a 192k", Here::Refused),
    row("MP4: E-AC-3", "i.mp4", "-c:a eac3 -b:a 192k -movflags faststart", Here::Refused),
    row("Windows Media (WMA)", "a.wma", "-c:a wmav2 -b:a 128k", Here::Refused),
    row("WavPack", "a.wv", "", Here::Refused),
    row("True Audio", "a.tta", "", Here::Refused),
    row("Sun audio (AU)", "a.au", "", Here::Refused),
    row("Sony Wave64", "a.w64", "", Here::Refused),
    row("AVI", "a.avi", "-f lavfi -i testsrc=d=5:s=64x64 -c:v mpeg4 -c:a mp3 -b:a 128k", Here::Refused),
    row("Flash video", "a.flv", "-c:a mp3 -b:a 128k", Here::Refused),
    row("MPEG transport stream", "a.ts", "-c:a mp2 -b:a 192k", Here::Refused),
    row(
        "MPEG programme stream",
        "a.mpg",
        "-f lavfi -i testsrc=d=5:s=64x64:r=25 -c:v mpeg1video -c:a mp2 -b:a 192k",
        Here::Refused,
    ),
];

impl Row {
    fn make(&self) -> Temporary {
        match self.arguments {
            SURROUND if self.name.ends_with("m4a") => {
                made(self.name, &format!("{SIX_CHANNELS} -movflags faststart"))
            }
            SURROUND => made(self.name, SIX_CHANNELS),
            arguments => made(self.name, arguments),
        }
    }

    /// How it plays without and with ffmpeg, in words.
    fn tried(&self) -> [&'static str; 2] {
        let file = self.make();
        let here = match AudioFile::open_with(&file.0, &without_ffmpeg()) {
            Ok(source) => {
                self.check(source, "without ffmpeg");
                Here::Plays
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.ends_with("; ffmpeg would play it, and is switched off"),
                    "{}: {error}",
                    self.format
                );
                Here::Refused
            }
        };
        assert!(here == self.here, "{}: without ffmpeg", self.format);
        if here == Here::Refused {
            self.check(
                AudioFile::open(&file.0).unwrap_or_else(|error| panic!("{}: {error}", self.format)),
                "with ffmpeg",
            );
            // ffmpeg reads streams too.
            let bytes = Cursor::new(std::fs::read(&file.0).unwrap());
            self.check(AudioFile::from_reader(self.name, bytes).unwrap(), "as a stream, with ffmpeg");
        }
        match here {
            Here::Plays => ["plays", "plays, without it"],
            Here::Refused => ["refused", "plays"],
        }
    }

    fn check(&self, source: AudioFile, how: &str) {
        let what = format!("{}, {how}", self.format);
        // Of six channels the two in front are 7.7 dB lower than of two.
        if self.arguments == SURROUND {
            let played = play(source);
            assert_eq!(played.error, None, "{what}");
            let quieter: Vec<f32> = reference("music.wav").iter().map(|sample| sample / 2.414).collect();
            let best = likeness(&quieter, &played.samples());
            assert!(best > self.alike, "{what}: {best}");
        } else {
            is_the_music(source, &what, self.alike);
        }
    }
}

#[test]
fn the_table_of_formats_says_what_is_true() {
    if !is_there("the_table_of_formats_says_what_is_true") {
        return;
    }
    let mut table = HEAD.to_owned();
    for row in &ROWS {
        let [without, with] = row.tried();
        writeln!(table, "| {} | {without} | {with} |", row.format).unwrap();
    }
    table += FOOT;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    if std::env::var_os("UPDATE_FORMATS").is_some() {
        std::fs::write(page, table).unwrap();
    } else {
        let written = std::fs::read_to_string(page).unwrap_or_default();
        assert!(written == table, "docs/formats.md is out of date; UPDATE_FORMATS=1 makes it anew");
    }
}

const HEAD: &str = "\
# What plays

This page is made by a test, which makes each of these files out of a recording, plays it without and with ffmpeg, and compares what is
heard with the recording (`UPDATE_FORMATS=1 cargo test --all-features --test files the_table`).

ffmpeg is a programme of its own. It is found on the `PATH`, or where `DecodeOptions::ffmpeg` says; it plays what is refused without
it, and what turns out not to be decodable at its start. What ffmpeg is not sure of is refused: noise is no music.

| format | without ffmpeg | with ffmpeg |
|---|---|---|
";

const FOOT: &str = "
Recognised by their first bytes and left to ffmpeg, without a file to test them with: HE-AAC that says what it is, Monkey's Audio,
Musepack, OptimFROG, TAK, Shorten, AMR, DTS, TrueHD, Speex, DSD, AAC in ADIF, Creative Voice, RealAudio, RealMedia, Amiga 8SVX, tracker modules.
Matroska whose packets are compressed is left to it, too.

Opus of 20 ms a packet, at no gain, in any container, is passed on untouched; everything else is decoded and encoded again.

Not as ffmpeg plays it: HE-AAC that does not say what it is (as web radio in ADTS often does) is decoded here, without the upper half of its
spectrum.
";

#[test]
fn tags_and_length_reach_the_user_through_ffmpeg() {
    if !is_there("tags_and_length_reach_the_user_through_ffmpeg") {
        return;
    }
    let file = made("tagged.wma", "-metadata title=Tabla -metadata artist=Guitar -c:a wmav2");
    let source = AudioFile::open(&file.0).unwrap();
    let metadata = source.metadata();
    assert_eq!((metadata.title.as_deref(), metadata.artist.as_deref()), (Some("Tabla"), Some("Guitar")));
    assert!(
        metadata.duration.unwrap().abs_diff(Duration::from_secs(5)) < Duration::from_millis(100),
        "{metadata:?}"
    );
}

#[test]
fn what_ffmpeg_cannot_play_either_says_both() {
    if !is_there("what_ffmpeg_cannot_play_either_says_both") {
        return;
    }
    let file = Temporary::with("broken.wv", &[&b"wvpk"[..], &[7; 3_000]].concat());
    let error = AudioFile::open(&file.0).err().unwrap().to_string();
    assert!(
        error.contains("broken.wv: cannot be played: it is WavPack") && error.contains("not by ffmpeg ("),
        "{error}"
    );
    let noise: Vec<u8> =
        (0..200_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8 | 1).collect();
    let error = AudioFile::from_reader("noise", Cursor::new(noise)).err().unwrap().to_string();
    assert!(error.starts_with("noise: cannot be played: it is no audio that is known here"), "{error}");
}

#[test]
fn an_ffmpeg_that_is_not_there_is_named() {
    let nowhere = DecodeOptions::with_ffmpeg(Ffmpeg::At(PathBuf::from("/nowhere/ffmpeg")));
    let bytes = || Cursor::new(b"wvpk\x32\0\0\0".to_vec());
    let error = AudioFile::from_reader_with("a.wv", bytes(), &nowhere).err().unwrap().to_string();
    assert!(error.ends_with("ffmpeg would play it, and is not at /nowhere/ffmpeg"), "{error}");
}

/// The processes that were started with this in their arguments.
#[cfg(target_os = "linux")]
fn processes_of(argument: &str) -> Vec<PathBuf> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()).map(|entry| entry.path());
    let has = |process: &PathBuf| {
        std::fs::read_to_string(process.join("cmdline")).is_ok_and(|line| line.contains(argument))
    };
    processes.filter(has).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn ffmpeg_ends_with_the_track_and_leaves_nothing_behind() {
    if !is_there("ffmpeg_ends_with_the_track_and_leaves_nothing_behind") {
        return;
    }
    // A minute of it: more than fits into what waits between the processes.
    let file = made("long.wv", "-af aloop=loop=12:size=220500");
    let mut source = AudioFile::open(&file.0).unwrap();
    for _ in 0..10 {
        assert!(source.next_frame().unwrap().is_some());
    }
    let [process] = &processes_of("long.wv")[..] else { panic!("one process plays it") };
    assert!(process.exists(), "it waits to be read");
    drop(source);
    // A zombie would still have its place.
    assert!(!process.exists(), "{process:?} is left");

    // A stream that says nothing for ever does not keep it alive either. A link tells this process from others.
    let which = Command::new("sh").args(["-c", "command -v ffmpeg"]).output().unwrap();
    let link = Temporary::new("ffmpeg-of-a-stream");
    std::os::unix::fs::symlink(String::from_utf8(which.stdout).unwrap().trim(), &link.0).unwrap();
    let options = DecodeOptions::with_ffmpeg(Ffmpeg::At(link.0.clone()));
    let bytes = std::fs::read(&file.0).unwrap();
    let stream = std::io::Read::chain(Cursor::new(bytes[..400_000].to_vec()), Silent);
    let source = AudioFile::from_reader_with("radio.wv", stream, &options).unwrap();
    let [process] = &processes_of("ffmpeg-of-a-stream")[..] else { panic!("one process plays it") };
    drop(source);
    assert!(!process.exists(), "{process:?} is left");
}

/// A reader that never answers.
#[cfg(target_os = "linux")]
struct Silent;

#[cfg(target_os = "linux")]
impl std::io::Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        loop {
            std::thread::park();
        }
    }
}
