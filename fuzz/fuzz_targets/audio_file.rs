//! AudioFile over any bytes, from the test files on:
//! `cargo +nightly fuzz run audio_file fuzz/corpus/audio_file tests/audio -- -max_len=100000 -rss_limit_mb=512`.
//!
//! Bytes in, frames out: no panic, no endless loop, and no more memory than libFuzzer is told to allow. ffmpeg is not asked.

#![no_main]

use std::io::Cursor;

use actix_voice::{
    audio::{
        decode::{AudioFile, DecodeOptions},
        frame::Frame,
    },
    source::{Ffmpeg, Source},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let options = DecodeOptions::with_ffmpeg(Ffmpeg::Off);
    let bytes = Cursor::new(input.to_vec());
    let Ok(mut source) = AudioFile::from_reader_with("fuzz", bytes, &options) else { return };
    let most = 50 * (input.len() + 5_000);
    for frames in 0.. {
        assert!(frames < most, "it does not end");
        match source.next_frame() {
            Ok(Some(Frame::Pcm(pcm))) => assert!(pcm.peak() <= 1.0),
            Ok(Some(Frame::Opus(packet))) => assert!(!packet.is_empty()),
            Ok(None) | Err(_) => break,
        }
    }
    assert_eq!(source.next_frame(), Ok(None), "what has ended stays ended");
});
