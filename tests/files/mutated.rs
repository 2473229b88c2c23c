//! Bytes that were changed or cut off do no harm: whatever comes of them comes soon, and is an error or sound.

use std::io::Cursor;

use actix_voice::{
    audio::{
        decode::AudioFile,
        frame::{FRAME, Frame},
    },
    source::Source,
};

use crate::{
    audio::fixture,
    basics::FIXTURES,
    make::{ape, id3v2, without_ffmpeg},
};

/// Plays bytes as a stream and as far as it goes; what plays may not last longer than such bytes could.
fn survives(name: &str, bytes: Vec<u8>) {
    // The densest that is known here is FLAC of silence: some ten bytes for 4,096 samples at 1 kHz.
    let most = 50 * (bytes.len() + 5_000);
    let mut source = match AudioFile::from_reader_with(name, Cursor::new(bytes), &without_ffmpeg()) {
        Ok(source) => source,
        Err(error) => {
            assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
            return;
        }
    };
    for frames in 0.. {
        assert!(frames < most, "{name} does not end after {:?}", FRAME * frames as u32);
        match source.next_frame() {
            Ok(Some(Frame::Pcm(pcm))) => assert!(pcm.peak() <= 1.0, "{name}: {pcm:?}"),
            Ok(Some(Frame::Opus(_))) => {}
            Ok(None) => return,
            Err(error) => {
                assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
                return;
            }
        }
    }
}

/// Short files of every kind.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds: Vec<_> = FIXTURES.iter().map(|(file, ..)| (*file, fixture(file))).collect();
    for (_, bytes) in &mut seeds {
        // Where it does not cost the index, a second is as good as five.
        let index_last = bytes.windows(4).take(64).any(|four| four == b"mdat");
        if !index_last {
            bytes.truncate(24_000);
        }
    }
    seeds.push((
        "tags.mp3",
        [id3v2("a", "b", 2_000), fixture("music.mp3")[..6_000].to_vec(), ape("a", 500)].concat(),
    ));
    seeds.push(("chain.ogg", [&fixture("speech.opus")[..], &fixture("speech-60ms.opus")[..20_000]].concat()));
    seeds
}

#[test]
fn every_kind_cut_at_every_kilobyte_ends() {
    for (name, bytes) in seeds() {
        for cut in (1..bytes.len()).step_by(1_024) {
            survives(name, bytes[..cut].to_vec());
        }
    }
}

/// `MUTATIONS=10000 MUTATIONS_FROM=7` tries more of them, and others.
#[test]
fn every_kind_with_changed_bytes_ends() {
    let set = |name: &str, usual: u64| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    let (rounds, seed) = (set("MUTATIONS", 60), set("MUTATIONS_FROM", 0x5EED));
    let mut random = Random(seed);
    for (name, bytes) in seeds() {
        for _ in 0..rounds {
            let mut changed = bytes.clone();
            // Headers are where a change does most.
            let within = if random.below(2) == 0 { changed.len() } else { changed.len().min(600) };
            for _ in 0..1 + random.below(8) {
                let at = random.below(within);
                match random.below(4) {
                    0 => changed[at] = 0xFF,
                    1 => changed[at] = 0,
                    2 => changed[at] ^= 1 << random.below(8),
                    _ => changed[at] = random.below(256) as u8,
                }
            }
            survives(name, changed);
        }
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
