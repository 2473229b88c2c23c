//! Opus in Ogg, in pages that another library wrote.

use ::ogg::{PacketWriteEndInfo, PacketWriter};
use actix_voice::{audio::frame::Frame, source::SourceError};
use bytes::Bytes;

use crate::{
    audio::{Played, fixture, ogg_packets},
    make::{heard, open},
};

/// A stream under construction.
struct Writing {
    writer: PacketWriter<'static, Vec<u8>>,
    serial: u32,
    position: u64,
}

impl Writing {
    fn begin(serial: u32, comment: &[u8]) -> Self {
        let head = b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0".to_vec();
        let mut writing = Self { writer: PacketWriter::new(Vec::new()), serial, position: 0 };
        writing.packet(head, 0, PacketWriteEndInfo::EndPage);
        writing.packet([b"OpusTags", comment].concat(), 0, PacketWriteEndInfo::EndPage);
        writing
    }

    fn packet(&mut self, packet: Vec<u8>, samples: u64, end: PacketWriteEndInfo) {
        self.position += samples;
        self.writer.write_packet(packet, self.serial, end, self.position).unwrap();
    }

    /// Packets of 20 ms, so many to a page; the last page tells a position that is `padding` samples earlier.
    fn sound(mut self, packets: &[Bytes], to_a_page: usize, padding: u64) -> Vec<u8> {
        for (number, packet) in packets.iter().enumerate() {
            let is_last = number + 1 == packets.len();
            let end = match number % to_a_page + 1 == to_a_page {
                _ if is_last => PacketWriteEndInfo::EndStream,
                true => PacketWriteEndInfo::EndPage,
                false => PacketWriteEndInfo::NormalPacket,
            };
            let samples = if is_last { 960 - padding.min(960) } else { 960 };
            self.position -= if is_last { padding.saturating_sub(960) } else { 0 };
            self.packet(packet.to_vec(), samples, end);
        }
        self.writer.into_inner()
    }
}

/// A comment (RFC 7845 section 5.2) with a title, and behind it a picture of so many bytes.
fn comment(title: &str, picture: usize) -> Vec<u8> {
    let picture = format!("METADATA_BLOCK_PICTURE={}", "A".repeat(picture));
    let mut comment = Vec::new();
    let mut text = |text: &str| {
        comment.extend((text.len() as u32).to_le_bytes());
        comment.extend(text.as_bytes());
    };
    text("test");
    comment.extend(2_u32.to_le_bytes());
    for line in [format!("TITLE={title}"), picture] {
        comment.extend((line.len() as u32).to_le_bytes());
        comment.extend(line.as_bytes());
    }
    comment
}

fn packets() -> Vec<Bytes> {
    ogg_packets(&fixture("speech.opus"))
}

fn untouched(played: &Played) -> Vec<Bytes> {
    let packet = |frame: &Frame| match frame {
        Frame::Opus(packet) => packet.clone(),
        Frame::Pcm(_) => panic!("decoded"),
    };
    played.frames.iter().map(packet).collect()
}

#[test]
fn packets_come_out_as_they_went_in_however_many_there_are_to_a_page() {
    for to_a_page in [1, 3, 50, 10_000] {
        let bytes = Writing::begin(7, &comment("A title", 10)).sound(&packets(), to_a_page, 0);
        let played = heard("speech.opus", bytes);
        assert!(played.error.is_none(), "{to_a_page}: {played:?}");
        assert!(untouched(&played) == packets(), "{to_a_page}: {played:?}");
    }
}

#[test]
fn a_comment_over_many_pages_tells_the_title_and_is_not_played() {
    for picture in [300, 70_000, 300_000, 10 << 20] {
        let bytes = Writing::begin(7, &comment("A title", picture)).sound(&packets(), 50, 0);
        let file = open("cover.opus", bytes.clone()).unwrap();
        assert_eq!(file.metadata().title.as_deref(), Some("A title"), "{picture}");
        assert!(untouched(&heard("cover.opus", bytes)) == packets(), "{picture}");
    }
}

#[test]
fn packets_of_padding_at_the_end_are_not_played() {
    let all = packets();
    for (padding, kept) in [(0, all.len()), (959, all.len()), (960, all.len() - 1), (2_000, all.len() - 2)] {
        let bytes = Writing::begin(7, &comment("A title", 10)).sound(&all, 50, padding);
        let played = heard("padded.opus", bytes);
        assert!(played.error.is_none() && untouched(&played) == all[..kept], "{padding}: {played:?}");
    }
}

#[test]
fn a_packet_of_which_a_page_was_lost_is_left_out_and_told() {
    // Three pages hold a packet that is longer than a page.
    let (before, after) = (packets()[..50].to_vec(), packets()[50..].to_vec());
    let mut writing = Writing::begin(7, &comment("A title", 10));
    for packet in &before {
        writing.packet(packet.to_vec(), 960, PacketWriteEndInfo::NormalPacket);
    }
    writing.packet(vec![0xFC; 150_000], 960, PacketWriteEndInfo::EndPage);
    let mut bytes = writing.sound(&after, 50, 0);
    let pages: Vec<usize> =
        (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"OggS") && bytes[at + 5] & 2 == 0).collect();
    let continued: Vec<usize> = pages.iter().copied().filter(|&at| bytes[at + 5] & 1 != 0).collect();
    assert_eq!(continued.len(), 2);
    bytes[continued[0] + 300] ^= 1;
    let played = heard("gap.opus", bytes);
    let heard = untouched(&played);
    assert!(heard.starts_with(&before[..before.len() - 1]) && heard.ends_with(&after), "{played:?}");
    assert!(heard.iter().all(|packet| packet.len() < 2_000), "half a packet was played");
    assert!(matches!(played.error, Some(SourceError::Damaged { .. })), "{played:?}");
}

#[test]
fn bytes_between_pages_are_passed_over() {
    let bytes = Writing::begin(7, &comment("A title", 10)).sound(&packets(), 50, 0);
    let pages: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"OggS")).collect();
    let mut littered = bytes[..pages[3]].to_vec();
    littered.extend(b"OgOggSOggS and what else there may be, of any length O".repeat(20));
    littered.extend(&bytes[pages[3]..]);
    let played = heard("littered.opus", littered);
    assert!(played.error.is_none() && untouched(&played) == packets(), "{played:?}");
}

#[test]
fn of_two_streams_at_a_time_one_is_played_whole() {
    let [one, other] = [1, 2].map(|serial| {
        let bytes = Writing::begin(serial, &comment("A title", 10)).sound(&packets(), 50, 0);
        let second = (1..bytes.len()).find(|&at| bytes[at..].starts_with(b"OggS")).unwrap();
        (bytes[..second].to_vec(), bytes[second..].to_vec())
    });
    let played = heard("both.ogg", [one.0, other.0, one.1, other.1].concat());
    assert!(untouched(&played) == packets(), "{played:?}");
}

#[test]
fn a_stream_without_a_last_page_ends_early_and_one_that_has_it_does_not() {
    let bytes = Writing::begin(7, &comment("A title", 10)).sound(&packets(), 50, 0);
    let last = (0..bytes.len()).rfind(|&at| bytes[at..].starts_with(b"OggS")).unwrap();
    let played = heard("cut.opus", bytes[..last].to_vec());
    let error = played.error.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(error.contains("ends early"), "{error:?}");
    assert!(packets().starts_with(&untouched(&played)) && played.frames.len() > 300, "{played:?}");
    let trailed = [bytes, b"and something of another kind".to_vec()].concat();
    assert!(heard("trailed.opus", trailed).error.is_none());
}
