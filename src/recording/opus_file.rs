//! OpusFile: an Ogg Opus file (RFC 7845) as it grows, page by page, from packets that are not decoded.

use super::pages::{Follows, PageWriter};
use crate::audio::frame::SAMPLE_RATE;

/// The packets of one speaker on their way into a file. Positions are in samples per channel at 48 kHz.
#[derive(Debug)]
pub(super) struct OpusFile {
    pages: PageWriter,
    /// What has not been taken yet.
    bytes: Vec<u8>,
    /// Samples so far, what players skip among them.
    granule: u64,
    /// Where the open page began.
    page_began: u64,
    /// What of the first samples belongs before the beginning.
    lead: u64,
    /// The first byte of the last packet, which says how it was coded.
    coding: u8,
}

impl OpusFile {
    /// Begins a file whose first packet is due at this position, and is the next to be written.
    ///
    /// Opus knows no shorter silence than 2.5 ms; what is left of the position is hidden in what players skip, so that the
    /// first packet stands where it should to the sample.
    pub(super) fn new(serial: u32, position: u64, comments: &[(&str, String)]) -> Self {
        let silence = position.next_multiple_of(SHORTEST);
        let lead = silence - position;
        let (mut pages, mut bytes) = (PageWriter::new(serial), Vec::new());
        pages.packet(&head(LOOK_AHEAD + lead as u16), 0, &mut bytes);
        pages.end_page(Follows::More, &mut bytes);
        pages.packet(&tags(comments), 0, &mut bytes);
        pages.end_page(Follows::More, &mut bytes);
        let mut file = Self { pages, bytes, granule: 0, page_began: 0, lead, coding: SILENT };
        file.silence(silence);
        file
    }

    /// Where the next packet will stand.
    pub(super) fn position(&self) -> i64 {
        self.granule.cast_signed() - self.lead.cast_signed()
    }

    /// Writes a packet that lasts so many samples.
    pub(super) fn packet(&mut self, packet: &[u8], samples: u32) {
        self.coding = packet.first().copied().unwrap_or(self.coding);
        self.write(packet, u64::from(samples));
    }

    /// Writes that so many samples are missing, for the player to conceal: packets without a byte of sound, coded as the
    /// one before (RFC 7845 section 4.1). What is no multiple of 2.5 ms is left out.
    pub(super) fn missing(&mut self, samples: u64) {
        let mut left = samples;
        while left >= SHORTEST {
            let frame = frame_samples(self.coding);
            // Where no frame of the coding before fits, one of CELT does.
            let (coding, frame) =
                if frame <= left { (self.coding & CODING, frame) } else { celt(left, self.coding & STEREO) };
            let frames = (left / frame).min(LONGEST / frame);
            match frames {
                1 => self.write(&[coding], frame),
                _ => self.write(&[coding | MANY_FRAMES, frames as u8], frames * frame),
            }
            left -= frames * frame;
        }
    }

    /// Writes so many samples of silence. What is no multiple of 2.5 ms is left out.
    pub(super) fn silence(&mut self, samples: u64) {
        let mut left = samples;
        while left >= SHORTEST {
            let (coding, frame) = celt(left, 0);
            let frames = (left / frame).min(LONGEST / frame);
            if frames == 1 {
                self.write(&[coding, SILENCE[0], SILENCE[1]], frame);
            } else {
                let mut packet = vec![coding | MANY_FRAMES, frames as u8];
                packet.extend((0..frames).flat_map(|_| SILENCE));
                self.write(&packet, frames * frame);
            }
            left -= frames * frame;
            self.coding = coding;
        }
    }

    /// Ends the open page, so that all that was written can be read.
    pub(super) fn flush(&mut self) {
        self.pages.end_page(Follows::More, &mut self.bytes);
        self.page_began = self.granule;
    }

    /// Ends the file. Not all readers find an end on a page without a packet.
    pub(super) fn finish(&mut self) {
        if self.pages.is_empty() {
            self.silence(SHORTEST);
        }
        self.pages.end_page(Follows::Nothing, &mut self.bytes);
    }

    /// Takes the pages that have been ended.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn write(&mut self, packet: &[u8], samples: u64) {
        if self.granule + samples > self.page_began + PAGE_SAMPLES {
            self.flush();
        }
        self.granule += samples;
        self.pages.packet(packet, self.granule, &mut self.bytes);
    }
}

/// The page that gives a file an end that was cut off: 2.5 ms of silence.
pub(super) fn last_page(serial: u32, sequence: u32, granule: u64) -> Vec<u8> {
    let mut pages = PageWriter::resumed(serial, sequence, granule);
    let (mut page, (coding, samples)) = (Vec::new(), celt(SHORTEST, 0));
    pages.packet(&[coding, SILENCE[0], SILENCE[1]], granule + samples, &mut page);
    pages.end_page(Follows::Nothing, &mut page);
    page
}

/// Version 1, two channels, 48 kHz, no gain, mapping family 0.
fn head(pre_skip: u16) -> [u8; 19] {
    let mut head = *b"OpusHead\x01\x02\0\0\x80\xBB\0\0\0\0\0";
    head[10..12].copy_from_slice(&pre_skip.to_le_bytes());
    head
}

fn tags(comments: &[(&str, String)]) -> Vec<u8> {
    let vendor = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let mut tags = b"OpusTags".to_vec();
    let mut text = |text: &str| {
        tags.extend_from_slice(&(text.len() as u32).to_le_bytes());
        tags.extend_from_slice(text.as_bytes());
    };
    text(vendor);
    tags.extend_from_slice(&(comments.len() as u32).to_le_bytes());
    for (name, value) in comments {
        let comment = format!("{name}={value}");
        tags.extend_from_slice(&(comment.len() as u32).to_le_bytes());
        tags.extend_from_slice(comment.as_bytes());
    }
    tags
}

/// The longest frame of full-band CELT that fits, and its length in samples.
fn celt(samples: u64, stereo: u8) -> (u8, u64) {
    let size = match samples {
        960.. => 3,
        480.. => 2,
        240.. => 1,
        _ => 0,
    };
    ((28 + size) << 3 | stereo, SHORTEST << size)
}

/// Samples of one frame by the first byte of a packet (RFC 6716 table 2).
pub(super) fn frame_samples(coding: u8) -> u64 {
    let config = coding >> 3;
    match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        12..=15 => 480 << (config % 2),
        _ => SHORTEST << (config % 4),
    }
}

/// Full-band CELT of 20 ms, as Discord's silence is.
const SILENT: u8 = 0xF8;
/// What follows the first byte of a silent frame, of any length.
const SILENCE: [u8; 2] = [0xFF, 0xFE];
/// The bits of a first byte that say how the frames are coded.
const CODING: u8 = 0xFC;
const STEREO: u8 = 0x04;
/// So many frames of equal length follow, as the second byte says (RFC 6716 section 3.2.5).
const MANY_FRAMES: u8 = 3;
/// 2.5 ms.
const SHORTEST: u64 = 120;
/// 120 ms.
const LONGEST: u64 = 5_760;
/// What players skip, since libopus encodes so many samples late.
pub(super) const LOOK_AHEAD: u16 = 312;
/// A second: more is not recommended (RFC 7845 section 6).
const PAGE_SAMPLES: u64 = SAMPLE_RATE as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::opus::{self, Decoder};
    use crate::recording::pages::{Page, read_page};

    fn pages(file: &mut OpusFile) -> Vec<Page> {
        let bytes = file.take();
        let mut rest = &bytes[..];
        std::iter::from_fn(|| read_page(&mut rest).unwrap()).collect()
    }

    fn audio(pages: &[Page]) -> Vec<&[u8]> {
        pages[2..].iter().flat_map(|page| &page.packets).map(Vec::as_slice).collect()
    }

    fn samples(packets: &[&[u8]]) -> u64 {
        packets.iter().map(|packet| u64::from(opus::samples(packet).unwrap())).sum()
    }

    #[test]
    fn the_first_packet_stands_where_it_is_due_to_the_sample() {
        for position in [0, 1, 119, 120, 47_999, 48_000, 1_000_001] {
            let mut file = OpusFile::new(1, position, &[]);
            assert_eq!(file.position(), position.cast_signed());
            file.packet(&[0xFC, 1, 2], 960);
            file.finish();
            let pages = pages(&mut file);
            let packets = audio(&pages);
            let skip = u64::from(u16::from_le_bytes([pages[0].packets[0][10], pages[0].packets[0][11]]));
            assert_eq!(samples(&packets) - 960 - (skip - u64::from(LOOK_AHEAD)), position);
            assert_eq!(pages.last().unwrap().granule, samples(&packets));
        }
    }

    #[test]
    fn a_page_lasts_a_second_at_most_and_the_granules_say_when_it_ends() {
        let mut file = OpusFile::new(1, 10 * 48_000, &[("TITLE", "jungle".into())]);
        (0..500).for_each(|_| file.packet(&[0xFC; 200], 960));
        file.finish();
        let pages = pages(&mut file);
        assert!(pages[1].packets[0].ends_with(b"\x01\0\0\0\x0c\0\0\0TITLE=jungle"));
        let mut ended = 0;
        for page in &pages[2..] {
            let packets: Vec<_> = page.packets.iter().map(Vec::as_slice).collect();
            assert!(samples(&packets) <= PAGE_SAMPLES);
            ended += samples(&packets);
            assert_eq!(page.granule, ended);
        }
        assert_eq!(ended, 20 * 48_000);
    }

    #[test]
    fn the_last_page_has_a_packet_on_it_also_behind_a_page_that_was_ended() {
        let mut file = OpusFile::new(1, 0, &[]);
        file.packet(&[0xFC, 1, 2], 960);
        file.flush();
        file.finish();
        let pages = pages(&mut file);
        let last = pages.last().unwrap();
        assert!(last.last && last.granule == 1_080, "{last:?}");
        assert_eq!(last.packets, [[0xE0, 0xFF, 0xFE]]);
    }

    #[test]
    fn what_is_missing_is_packets_without_sound_coded_as_the_one_before() {
        for (before, missing, expected) in [
            (0xFC, 960, &[&[0xFC_u8][..]][..]),
            (0xFC, 2_880, &[&[0xFF, 3]]),
            (0x7C, 5_760 + 960, &[&[0x7F, 6], &[0x7C]]),
            (0x1B, 2_880, &[&[0x18]]),
            (0x1B, 1_080, &[&[0xF8], &[0xE0]]),
            (0xE4, 240, &[&[0xE7, 2]]),
            (0xFC, 119, &[]),
        ] {
            let mut file = OpusFile::new(1, 0, &[]);
            let packet = if before & 3 == 3 { vec![before, 1, 9] } else { vec![before, 9] };
            file.packet(&packet, opus::samples(&packet).unwrap());
            file.missing(missing);
            file.finish();
            assert_eq!(audio(&pages(&mut file))[1..], *expected, "after {before:X}, {missing} missing");
        }
    }

    #[test]
    fn silence_of_any_length_decodes_to_silence_whatever_was_heard_before() {
        let mut encoder = opus::Encoder::new(&opus::EncoderSettings::default()).unwrap();
        let mut noise = crate::audio::frame::Pcm::default();
        let mut random = 1_u32;
        for sample in noise.iter_mut() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (random >> 8) as f32 / (1 << 24) as f32 - 0.5;
        }
        let mut packet = [0; opus::MAX_PACKET];
        for length in [120, 240, 360, 480, 960, 1_080, 5_760, 6_000, 48_000] {
            let mut file = OpusFile::new(1, 0, &[]);
            for _ in 0..5 {
                let written = encoder.encode(&noise, &mut packet).unwrap();
                file.packet(&packet[..written], 960);
            }
            file.silence(960);
            file.silence(length);
            file.finish();
            let (mut decoder, mut heard) = (Decoder::new().unwrap(), Vec::new());
            for packet in audio(&pages(&mut file)) {
                decoder.decode(Some(packet), &mut heard).unwrap();
            }
            assert_eq!(heard.len() as u64, 2 * (6 * 960 + length));
            let tail = &heard[2 * 6 * 960..];
            assert!(tail.iter().all(|sample| sample.abs() < 1e-3), "after 20 ms it is silent");
        }
    }
}
