//! Pipes are read once, and hold what they hold.

#[cfg(unix)]
use std::{io::Write, process::Command, thread};

#[cfg(unix)]
use actix_voice::audio::decode::AudioFile;

use crate::{
    audio::{fixture, play},
    make::{Temporary, open},
};

/// Makes a pipe with a name, into which something is written.
#[cfg(unix)]
fn pipe(name: &str, bytes: Vec<u8>) -> Temporary {
    let pipe = Temporary::new(name);
    assert!(Command::new("mkfifo").arg(&pipe.0).status().unwrap().success());
    let path = pipe.0.clone();
    // Whoever reads no more than the start leaves the rest; that is no failure of the writer.
    thread::spawn(move || drop(std::fs::File::create(path).unwrap().write_all(&bytes)));
    pipe
}

#[cfg(unix)]
#[test]
fn pipes_with_names_are_opened_once_and_play_like_files() {
    for file in ["music.wav", "music.mp3", "speech.opus", "music.flac", "music.m4a", "music.mkv"] {
        let pipe = pipe(file, fixture(file));
        let played = play(AudioFile::open(&pipe.0).unwrap());
        let whole = play(AudioFile::open(crate::audio::path(file)).unwrap());
        assert!(played.error.is_none() && played.frames == whole.frames, "{file}: {played:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_that_holds_no_audio_is_refused_and_not_waited_for() {
    let pipe = pipe("text", b"no music in here".to_vec());
    let error = AudioFile::open(&pipe.0).err().unwrap().to_string();
    assert!(error.ends_with("cannot be played: it is text, and holds no sound"), "{error}");
}

#[test]
fn an_mp4_stream_whose_index_comes_last_is_held_in_memory_up_to_a_bound() {
    let whole = play(open("music.m4a", fixture("music.m4a")).unwrap());
    assert_eq!((whole.frames.len(), whole.error), (250, None));
    // The same with so much before the index that it is not held.
    let music = fixture("music.m4a");
    let padding = crate::make::boxed(b"mdat", &vec![0; 65 << 20]);
    let start = u32::from_be_bytes(music[..4].try_into().unwrap()) as usize;
    let long = [&music[..start], &padding, &music[start..]].concat();
    let error = open("long.m4a", long).err().unwrap().to_string();
    assert!(error.contains("its index comes last") && error.contains("save it as a file"), "{error}");
}
