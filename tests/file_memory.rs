//! What files hold in memory is bounded, whatever they are. Alone in its process, because it counts what is allocated.
#![cfg(feature = "decode")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    io::{Cursor, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use actix_voice::{
    audio::decode::{AudioFile, DecodeOptions},
    source::{Ffmpeg, Source, SourceError},
};

/// The system's allocator, and how much of its memory is in use, now and at most.
struct Counting {
    held: AtomicUsize,
    most: AtomicUsize,
}

impl Counting {
    fn take(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(held, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes unchanged to the system's allocator, which keeps the contract; counting allocates nothing.
#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.give_back(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.give_back(layout.size());
        self.take(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { held: AtomicUsize::new(0), most: AtomicUsize::new(0) };

/// The most that was held at a time, on top of what was held before.
fn held<R>(during: impl FnOnce() -> R) -> (R, usize) {
    let before = ALLOCATOR.held.load(Ordering::Relaxed);
    ALLOCATOR.most.store(before, Ordering::Relaxed);
    let result = during();
    (result, ALLOCATOR.most.load(Ordering::Relaxed) - before)
}

fn without_ffmpeg() -> DecodeOptions {
    DecodeOptions::with_ffmpeg(Ffmpeg::Off)
}

fn play(file: Result<AudioFile, SourceError>) -> Result<usize, SourceError> {
    let mut file = file?;
    let mut frames = 0;
    while file.next_frame()?.is_some() {
        frames += 1;
    }
    Ok(frames)
}

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension != "md")).collect()
}

/// Bytes that go on for ever; nobody holds them.
struct Endless {
    start: Cursor<Vec<u8>>,
    rest: u8,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.start.read(buffer)? {
            0 => {
                buffer.fill(self.rest);
                Ok(buffer.len())
            }
            read => Ok(read),
        }
    }
}

fn endless(start: Vec<u8>, rest: u8) -> Endless {
    Endless { start: Cursor::new(start), rest }
}

#[test]
fn what_a_file_holds_is_what_is_documented_however_long_it_is() {
    let mut names = fixtures();
    names.sort();
    assert!(names.len() > 10);
    for path in names {
        let (played, most) = held(|| play(AudioFile::open_with(&path, &without_ffmpeg())));
        assert!(played.is_ok_and(|frames| frames > 0), "{}", path.display());
        assert!(most < 3 * MIB, "{}: {most} bytes", path.display());
    }

    // An MP4 whose index never comes: a box of everything that follows.
    let movie = [&b"\0\0\0\x14ftypM4A \0\0\0\0M4A \0\0\0\x01mdat"[..], &u64::MAX.to_be_bytes()].concat();
    let (refused, most) =
        held(|| play(AudioFile::from_reader_with("movie", endless(movie, 0), &without_ffmpeg())));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("more than 64 MiB"), "{refused}");
    assert!(most < 66 * MIB, "{most} bytes");

    // A picture of four gigabytes in the tags of an MP3, and an Ogg comment without an end.
    let tagged = [&b"ID3\x04\0\0\x0F\x7F\x7F\x7FAPIC"[..], &u32::MAX.to_be_bytes(), &[0; 6]].concat();
    let noise = |start| {
        play(AudioFile::from_reader_with("noise", endless(start, 0).take(300 << 20), &without_ffmpeg()))
    };
    let (refused, most) = held(|| noise(tagged));
    assert!(refused.is_err());
    assert!(most < 6 * MIB, "{most} bytes");
}

const MIB: usize = 1 << 20;
