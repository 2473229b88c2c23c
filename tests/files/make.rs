//! Makes the files of the tests, byte by byte.

use std::io::Cursor;

use actix_voice::{
    audio::decode::{AudioFile, DecodeOptions},
    source::{Ffmpeg, SourceError},
};

use crate::audio::{Played, fixture, play};

/// How to open a file where there is no ffmpeg.
pub fn without_ffmpeg() -> DecodeOptions {
    DecodeOptions::with_ffmpeg(Ffmpeg::Off)
}

/// Opens bytes as a stream, without ffmpeg.
pub fn open(name: &str, bytes: Vec<u8>) -> Result<AudioFile, SourceError> {
    AudioFile::from_reader_with(name, Cursor::new(bytes), &without_ffmpeg())
}

/// Plays bytes to their end, without ffmpeg.
pub fn heard(name: &str, bytes: Vec<u8>) -> Played {
    play(open(name, bytes).unwrap_or_else(|error| panic!("{error}")))
}

/// A file in the folder for temporary ones, which is removed when it is dropped.
pub struct Temporary(pub std::path::PathBuf);

impl Temporary {
    pub fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("actix-voice-{}-{name}", std::process::id())))
    }

    pub fn with(name: &str, bytes: &[u8]) -> Self {
        let file = Self::new(name);
        std::fs::write(&file.0, bytes).unwrap();
        file
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A sine on both sides, interleaved: so many samples of so many hertz, half as loud as can be.
pub fn sine(rate: u32, hertz: f32, samples: usize) -> Vec<f32> {
    let turn = std::f32::consts::TAU * hertz / rate as f32;
    (0..samples).flat_map(|at| [0.5 * (at as f32 * turn).sin(); 2]).collect()
}

/// How loud each side is: the root of the mean square.
pub fn levels(samples: &[f32]) -> [f32; 2] {
    [0, 1].map(|side| {
        let squares = samples[side..].iter().step_by(2).map(|sample| sample * sample);
        (squares.sum::<f32>() / (samples.len() as f32 / 2.0)).sqrt()
    })
}

/// The frames of an MP3 fixture, without the tag of its encoder.
pub fn frames_of_mp3(file: &str) -> Vec<u8> {
    let bytes = fixture(file);
    let is_frame = |at: usize| bytes[at] == 0xFF && bytes[at + 1] & 0xE0 == 0xE0;
    let first = (0..bytes.len()).find(|&at| is_frame(at)).unwrap();
    let tag = bytes[first..first + 60].windows(4).any(|four| four == b"Xing" || four == b"Info");
    assert!(tag, "{file} has lost its tag");
    let second = (first + 50..bytes.len()).find(|&at| bytes[at..at + 2] == bytes[first..first + 2]).unwrap();
    bytes[second..].to_vec()
}

/// An ID3v2.3 tag with a title, an artist and a picture of so many bytes, in which frames of MP3 seem to start.
pub fn id3v2(title: &str, artist: &str, picture: usize) -> Vec<u8> {
    let frame = |name: &[u8; 4], contents: &[u8]| {
        let mut frame = name.to_vec();
        frame.extend((contents.len() as u32).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(contents);
        frame
    };
    let text = |text: &str| [&[0], text.as_bytes()].concat();
    let noise = [0xFF, 0xFB, 0x90, 0x44].into_iter().chain((0..413).map(|at| (at * 7 % 256) as u8));
    let picture: Vec<u8> =
        b"\0image/jpeg\0\x03\0".iter().copied().chain(noise.cycle().take(picture)).collect();
    let frames =
        [frame(b"APIC", &picture), frame(b"TIT2", &text(title)), frame(b"TPE1", &text(artist))].concat();
    let size = frames.len() as u32;
    let mut tag = b"ID3\x03\0\0".to_vec();
    tag.extend([21, 14, 7, 0].map(|shift| (size >> shift & 0x7F) as u8));
    tag.extend(frames);
    tag
}

/// An ID3v1 tag.
pub fn id3v1(title: &str, artist: &str) -> Vec<u8> {
    let mut tag = vec![0; 128];
    tag[..3].copy_from_slice(b"TAG");
    tag[3..3 + title.len()].copy_from_slice(title.as_bytes());
    tag[33..33 + artist.len()].copy_from_slice(artist.as_bytes());
    tag
}

/// An APE tag of version 2, with header and footer.
pub fn ape(title: &str, cover: usize) -> Vec<u8> {
    let item = |key: &str, flags: u32, value: &[u8]| {
        let mut item = (value.len() as u32).to_le_bytes().to_vec();
        item.extend(flags.to_le_bytes());
        item.extend(key.as_bytes());
        item.push(0);
        item.extend(value);
        item
    };
    let noise: Vec<u8> = [0xFF, 0xFB, 0x90, 0x44].into_iter().cycle().take(cover).collect();
    let items = [item("Title", 0, title.as_bytes()), item("Cover Art (Front)", 2, &noise)].concat();
    let end = |flags: u32| {
        let mut end = b"APETAGEX".to_vec();
        end.extend(2_000_u32.to_le_bytes());
        end.extend((items.len() as u32 + 32).to_le_bytes());
        end.extend(2_u32.to_le_bytes());
        end.extend(flags.to_le_bytes());
        end.extend([0; 8]);
        end
    };
    [end(0xA000_0000), items.clone(), end(0x8000_0000)].concat()
}

/// A box of MP4.
pub fn boxed(kind: &[u8; 4], contents: &[u8]) -> Vec<u8> {
    let mut bytes = (contents.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend(contents);
    bytes
}

/// An element of Matroska, its size in eight bytes.
pub fn element(id: u32, contents: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
    bytes.extend((contents.len() as u64 | 1 << 56).to_be_bytes());
    bytes.extend(contents);
    bytes
}
