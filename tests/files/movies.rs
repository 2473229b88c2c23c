//! MP4, QuickTime and Matroska: edit lists, byte orders, and contents that are not what they seem.

use std::time::Duration;

use actix_voice::{audio::decode::AudioFile, source::Source};

use crate::{
    audio::{fixture, path, play, reference, similarity},
    make::{boxed, element, heard, open, sine},
};

/// A QuickTime file of PCM, with or without a box that says little-endian.
fn quicktime(kind: &[u8; 4], bits: u16, order: Option<u16>, data: &[u8]) -> Vec<u8> {
    let (rate, channels) = (48_000_u32, 2_u16);
    let frames = data.len() as u32 / u32::from(bits / 8 * channels);
    let zeros = |length: usize| vec![0; length];
    let mut entry = [&zeros(6)[..], &[0, 1], &[0, 1], &zeros(6)].concat();
    entry.extend([channels.to_be_bytes(), 16_u16.to_be_bytes()].concat());
    entry.extend(zeros(4));
    entry.extend((rate << 16).to_be_bytes());
    entry.extend(
        [1_u32, u32::from(bits / 8), u32::from(bits / 8 * channels), 2]
            .iter()
            .flat_map(|size| size.to_be_bytes()),
    );
    if let Some(order) = order {
        entry.extend(boxed(b"wave", &[boxed(b"frma", kind), boxed(b"enda", &order.to_be_bytes())].concat()));
    }
    let numbers =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let described = boxed(b"stsd", &[numbers(&[0, 1]), boxed(kind, &entry)].concat());
    let file_type = boxed(b"ftyp", b"qt  \0\0\0\0qt  ");
    let movie = |offset: u32| {
        let table = [
            described.clone(),
            boxed(b"stts", &numbers(&[0, 1, frames, 1])),
            boxed(b"stsc", &numbers(&[0, 1, 1, frames, 1])),
            boxed(b"stsz", &numbers(&[0, u32::from(bits / 8 * channels), frames])),
            boxed(b"stco", &numbers(&[0, 1, offset])),
        ];
        let table = boxed(b"stbl", &table.concat());
        let media = boxed(b"minf", &[boxed(b"smhd", &zeros(8)), table].concat());
        let handler = [&zeros(4)[..], b"mhlr", b"soun", &zeros(12), &[0]].concat();
        let times = numbers(&[0, 0, 0, rate, frames, 0]);
        let media = boxed(b"mdia", &[boxed(b"mdhd", &times), boxed(b"hdlr", &handler), media].concat());
        let track = [&numbers(&[1, 0, 0, 1, 0, frames])[..], &zeros(60)].concat();
        let header = [&numbers(&[0, 0, 0, rate, frames])[..], &zeros(80)].concat();
        boxed(
            b"moov",
            &[boxed(b"mvhd", &header), boxed(b"trak", &[boxed(b"tkhd", &track), media].concat())].concat(),
        )
    };
    let offset = (file_type.len() + movie(0).len() + 8) as u32;
    [file_type, movie(offset), boxed(b"mdat", data)].concat()
}

#[test]
fn pcm_of_quicktime_plays_in_either_byte_order() {
    let samples = sine(48_000, 440.0, 24_000);
    let integers: Vec<i32> =
        samples.iter().map(|sample| (f64::from(*sample) * 2_147_483_647.0) as i32).collect();
    let bytes = |big: bool, from: usize, to: usize| -> Vec<u8> {
        let sample = |integer: &i32| {
            let mut bytes = integer.to_be_bytes()[from..to].to_vec();
            if !big {
                bytes.reverse();
            }
            bytes
        };
        integers.iter().flat_map(sample).collect()
    };
    let floats: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
    let doubles: Vec<u8> = samples.iter().flat_map(|sample| f64::from(*sample).to_be_bytes()).collect();
    let files = [
        ("twos", quicktime(b"twos", 16, None, &bytes(true, 0, 2))),
        ("sowt", quicktime(b"sowt", 16, None, &bytes(false, 0, 2))),
        ("in24, big", quicktime(b"in24", 24, None, &bytes(true, 0, 3))),
        ("in24, little", quicktime(b"in24", 24, Some(1), &bytes(false, 0, 3))),
        ("in32, big", quicktime(b"in32", 32, Some(0), &bytes(true, 0, 4))),
        ("in32, little", quicktime(b"in32", 32, Some(1), &bytes(false, 0, 4))),
        ("fl32, big", quicktime(b"fl32", 32, None, &floats)),
        ("fl64, big", quicktime(b"fl64", 64, None, &doubles)),
    ];
    for (name, bytes) in files {
        let played = heard(name, bytes);
        assert_eq!((played.frames.len(), &played.error), (25, &None), "{name}");
        let found = similarity(&samples, &played.samples(), 0);
        assert!(found[0] > 0.9999 && found[1] > 0.9999, "{name}: {found:?}");
    }
}

#[test]
fn the_run_up_of_aac_is_left_out_to_the_sample() {
    for (file, recording) in [("music.m4a", "music.wav"), ("speech.m4a", "speech.wav")] {
        let source = AudioFile::open(path(file)).unwrap();
        let (told, reference) = (source.duration().unwrap(), reference(recording));
        let lasts = Duration::from_secs_f64(reference.len() as f64 / 96_000.0);
        assert!(told.abs_diff(lasts) < Duration::from_millis(2), "{file}: {told:?}, not {lasts:?}");
        let samples = play(source).samples();
        let at = |late: usize| similarity(&reference, &samples, late)[0];
        let (early, there) = (at(1), similarity(&reference, &samples, 0)[0]);
        assert!(there > early && there > 0.98, "{file}: {there} there, {early} a sample later");
        assert!(samples.len() <= reference.len() + 2 * 960, "{file} ends where it should");
    }
}

/// Puts a track before that of the sound.
fn with_track_before(track: &[u8]) -> Vec<u8> {
    let mut bytes = fixture("speech.m4a");
    let place = |bytes: &[u8], kind: &[u8]| bytes.windows(4).position(|four| four == kind).unwrap() - 4;
    let (movie, sound) = (place(&bytes, b"moov"), place(&bytes, b"trak"));
    let number = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let grown = track.len() as u32;
    bytes.splice(sound..sound, track.iter().copied());
    let size = number(&bytes, movie);
    bytes[movie..movie + 4].copy_from_slice(&(size + grown).to_be_bytes());
    // The sound has moved; its index says where to.
    let chunks = sound + track.len() + place(&bytes[sound + track.len()..], b"stco");
    for at in (0..number(&bytes, chunks + 12) as usize).map(|chunk| chunks + 16 + 4 * chunk) {
        let offset = number(&bytes, at);
        bytes[at..at + 4].copy_from_slice(&(offset + grown).to_be_bytes());
    }
    bytes
}

#[test]
fn what_holds_a_picture_too_plays_whatever_the_picture_is() {
    let handler = [&[0; 8][..], b"vide", &[0; 13]].concat();
    let picture =
        boxed(b"trak", &[boxed(b"tkhd", &[0; 4]), boxed(b"mdia", &boxed(b"hdlr", &handler))].concat());
    let played = heard("film.mp4", with_track_before(&picture));
    assert!(played.frames == play(AudioFile::open(path("speech.m4a")).unwrap()).frames, "{played:?}");
}

#[test]
fn the_first_track_that_can_be_played_is() {
    let sound = fixture("speech.m4a");
    let place = |kind: &[u8]| sound.windows(4).position(|four| four == kind).unwrap() - 4;
    let start = place(b"trak");
    let size = u32::from_be_bytes(sound[start..start + 4].try_into().unwrap()) as usize;
    let mut foreign = sound[start..start + size].to_vec();
    let codec = foreign.windows(4).position(|four| four == b"mp4a").unwrap();
    foreign[codec..codec + 4].copy_from_slice(b"ac-4");
    let number = place(b"tkhd") - start + 8 + 12;
    foreign[number..number + 4].copy_from_slice(&9_u32.to_be_bytes());
    let played = heard("two.mp4", with_track_before(&foreign));
    assert!(played.frames == play(AudioFile::open(path("speech.m4a")).unwrap()).frames, "{played:?}");
}

#[test]
fn matroska_with_compressed_packets_is_refused_in_words() {
    let head = [&b"OpusHead\x01\x02\x38\x01"[..], &48_000_u32.to_le_bytes(), &[0, 0, 0]].concat();
    let zlib = element(0x5034, &element(0x4254, &[0]));
    let encodings = element(0x6D80, &element(0x6240, &zlib));
    let file = |encodings: &[u8]| {
        let sound =
            element(0xE1, &[element(0xB5, &48_000.0_f64.to_be_bytes()), element(0x9F, &[2])].concat());
        let track = [
            element(0xD7, &[1]),
            element(0x73C5, &[1]),
            element(0x83, &[2]),
            element(0x86, b"A_OPUS"),
            element(0x63A2, &head),
            sound,
            encodings.to_vec(),
        ];
        let scale = element(0x2A_D7B1, &1_000_000_u32.to_be_bytes());
        let info = element(0x1549_A966, &[scale, element(0x4D80, b"a"), element(0x5741, b"b")].concat());
        let tracks = element(0x1654_AE6B, &element(0xAE, &track.concat()));
        let block = [&[0x81, 0, 0, 0x80][..], &[0xF8, 0xFF, 0xFE]].concat();
        let cluster = element(0x1F43_B675, &[element(0xE7, &[0]), element(0xA3, &block)].concat());
        let header = element(0x1A45_DFA3, &element(0x4282, b"matroska"));
        [header, element(0x1853_8067, &[info, tracks, cluster].concat())].concat()
    };
    assert_eq!(heard("plain.mka", file(&[])).frames.len(), 1);
    let error = open("zlib.mka", file(&encodings)).err().unwrap().to_string();
    assert!(
        error.starts_with("zlib.mka: cannot be played: its contents are compressed (zlib); ffmpeg would"),
        "{error}"
    );
}
