//! Tags are read, and are not heard.

use actix_voice::{audio::decode::AudioFile, source::Source};

use crate::{
    audio::{fixture, path, play},
    make::{Temporary, ape, heard, id3v1, id3v2, open},
};

#[test]
fn mp3_with_every_kind_of_tag_sounds_as_without() {
    let plain = fixture("music.mp3");
    let whole = play(AudioFile::open(path("music.mp3")).unwrap());
    let tagged = [
        ("id3v2.mp3", [id3v2("A title", "An artist", 1_000), plain.clone()].concat()),
        ("cover.mp3", [id3v2("A title", "An artist", 10 << 20), plain.clone()].concat()),
        ("two.mp3", [id3v2("A title", "An artist", 10), id3v2("B", "B", 10), plain.clone()].concat()),
        ("id3v1.mp3", [plain.clone(), id3v1("A title", "An artist")].concat()),
        ("ape.mp3", [plain.clone(), ape("A title", 50_000)].concat()),
        ("all.mp3", [plain, ape("A title", 5_000), id3v1("B", "An artist")].concat()),
    ];
    for (name, bytes) in tagged {
        let file = Temporary::with(name, &bytes);
        let source = AudioFile::open(&file.0).unwrap();
        assert_eq!(source.duration(), AudioFile::open(path("music.mp3")).unwrap().duration(), "{name}");
        let title = source.metadata().title.as_deref();
        assert!(title == Some("A title") || (name == "all.mp3" && title == Some("B")), "{name}: {title:?}");
        if name != "ape.mp3" {
            assert_eq!(source.metadata().artist.as_deref(), Some("An artist"), "{name}");
        }
        let [from_file, from_stream] = [play(source), heard(name, bytes)];
        assert!(from_file.error.is_none() && from_file.frames == whole.frames, "{name}: {from_file:?}");
        assert!(from_stream.error.is_none() && from_stream.frames == whole.frames, "{name}: {from_stream:?}");
    }
}

#[test]
fn flac_plays_whatever_stands_before_its_frames_and_tells_what_it_says_of_itself() {
    let plain = fixture("music.flac");
    let block = |kind: u8, contents: &[u8]| {
        [&[kind, 0, (contents.len() >> 8) as u8, contents.len() as u8][..], contents].concat()
    };
    let comments: Vec<u8> =
        [&b"\x04\0\0\0test\x02\0\0\0"[..], b"\x0D\0\0\0TITLE=A title", b"\x0E\0\0\0artist=Someone"].concat();
    let nonsense =
        [block(5, &[0xAB; 500]), block(3, &[1; 17]), block(100, &[0xFF; 40]), block(4, &comments)].concat();
    let streaminfo = plain[4..42].to_vec();
    let is_last = streaminfo[0] & 0x80 != 0;
    assert!(!is_last, "the fixture has more blocks");
    let bytes = [&b"fLaC"[..], &streaminfo, &nonsense, &plain[42..]].concat();
    let source = open("odd.flac", bytes).unwrap();
    assert_eq!(source.metadata().title.as_deref(), Some("A title"));
    assert_eq!(source.metadata().artist.as_deref(), Some("Someone"));
    assert_eq!(source.metadata().duration, source.duration());
    let (played, whole) = (play(source), play(AudioFile::open(path("music.flac")).unwrap()));
    assert!(played.error.is_none() && played.frames == whole.frames, "{played:?}");
}

#[test]
fn wav_tells_what_its_list_says() {
    let mut bytes = fixture("music.wav");
    let texts = [&b"INFOINAM\x08\0\0\0A title\0"[..], b"IART\x07\0\0\0Someone\0"].concat();
    let list = [&b"LIST"[..], &(texts.len() as u32).to_le_bytes(), &texts].concat();
    bytes.splice(12..12, list);
    let source = open("listed.wav", bytes).unwrap();
    let metadata = source.metadata();
    assert_eq!((metadata.title.as_deref(), metadata.artist.as_deref()), (Some("A title"), Some("Someone")));
    assert!(play(source).frames == play(AudioFile::open(path("music.wav")).unwrap()).frames);
}
