//! WAVE files whose headers are odd or wrong.

use actix_voice::{audio::decode::AudioFile, source::Source};

use crate::{
    audio::{fixture, path, play, similarity, wav},
    make::{Temporary, heard, open, sine},
};

#[test]
fn wrong_sizes_in_the_header_lose_nothing() {
    let plain = fixture("music.wav");
    let whole = play(AudioFile::open(path("music.wav")).unwrap());
    let right = plain.len() as u32 - 8;
    for size in [0, 3, 36, right - 8, right - 12, u32::MAX] {
        let mut bytes = plain.clone();
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        let played = heard("sized.wav", bytes);
        assert!(played.error.is_none() && played.frames == whole.frames, "RIFF size {size}: {played:?}");
    }
    for size in [0, u32::MAX, 0x7FFF_F000] {
        let mut bytes = plain.clone();
        bytes[40..44].copy_from_slice(&size.to_le_bytes());
        let file = Temporary::with("sized.wav", &bytes);
        let source = AudioFile::open(&file.0).unwrap();
        assert_eq!(source.duration().map(|told| told.as_millis()), Some(5_000), "data size {size}");
        let played = play(source);
        assert!(played.error.is_none() && played.frames == whole.frames, "data size {size}: {played:?}");
    }
}

#[test]
fn rf64_is_read_by_its_long_sizes() {
    let plain = fixture("music.wav");
    let mut bytes = plain.clone();
    let data = plain.len() as u64 - 44;
    bytes[..8].copy_from_slice(b"RF64\xFF\xFF\xFF\xFF");
    bytes[40..44].fill(0xFF);
    let mut sizes = b"ds64\x1C\0\0\0".to_vec();
    sizes.extend([data + 72, data, data / 4].iter().flat_map(|size| size.to_le_bytes()));
    sizes.extend([0; 4]);
    bytes.splice(12..12, sizes);
    // What follows the sound is not heard.
    bytes.extend(b"LIST\x04\0\0\0INFO");
    let played = heard("long.wav", bytes);
    assert!(played.frames == play(AudioFile::open(path("music.wav")).unwrap()).frames, "{played:?}");
    assert_eq!(played.error, None);
}

#[test]
fn samples_of_24_bits_in_four_bytes_are_the_upper_ones() {
    let samples = sine(48_000, 440.0, 48_000);
    let mut bytes = wav(48_000, 2, 32, &samples);
    bytes[34..36].copy_from_slice(&24_u16.to_le_bytes());
    let played = heard("roomy.wav", bytes).samples();
    let found = similarity(&samples, &played, 0);
    assert!(found[0] > 0.9999 && found[1] > 0.9999, "{found:?}");
}

#[test]
fn a_block_size_that_makes_no_sense_is_not_believed() {
    let samples = sine(48_000, 440.0, 48_000);
    for block in [0, 1, 5, 77] {
        let mut bytes = wav(48_000, 2, 16, &samples);
        bytes[32..34].copy_from_slice(&u16::to_le_bytes(block));
        let found = similarity(&samples, &heard("odd.wav", bytes).samples(), 0);
        assert!(found[0] > 0.9999 && found[1] > 0.9999, "block size {block}: {found:?}");
    }
}

/// A WAVE file of floating-point samples.
fn floating(samples: &[f32]) -> Vec<u8> {
    let mut bytes = wav(48_000, 2, 32, samples);
    bytes[20] = 3;
    bytes.truncate(44);
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

#[test]
fn samples_far_beyond_full_scale_are_limited() {
    let samples: Vec<f32> = sine(48_000, 440.0, 48_000).iter().map(|sample| sample * 480.0).collect();
    let mut odd = samples.clone();
    odd[10_000] = f32::NAN;
    odd[20_000] = f32::INFINITY;
    odd[30_001] = -1e30;
    for samples in [samples, odd] {
        let played = heard("loud.wav", floating(&samples));
        assert_eq!((played.frames.len(), &played.error), (50, &None));
        let loudest = played.samples().iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
        assert!((0.5..=1.0).contains(&loudest), "{loudest}");
    }
    let soft: Vec<f32> = sine(48_000, 440.0, 48_000).iter().map(|sample| sample * 1.9).collect();
    assert!(heard("full.wav", floating(&soft)).samples() == soft, "what fits is left alone");
}

#[test]
fn a_file_without_sound_is_refused_and_not_played_as_nothing() {
    let error = open("silent.wav", wav(48_000, 2, 16, &[])).err().unwrap().to_string();
    assert!(error.starts_with("silent.wav: cannot be played: there is no sound in it"), "{error}");
}
