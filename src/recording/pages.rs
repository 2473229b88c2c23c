//! Pages of Ogg (RFC 3533): written one at a time, and read back from files that may be cut off anywhere.

use std::io::{self, Read};

/// Puts the packets of one stream on pages. Nothing of a page can be read before it is ended.
#[derive(Debug)]
pub(super) struct PageWriter {
    serial: u32,
    sequence: u32,
    /// The lacing values of the open page.
    segments: Vec<u8>,
    body: Vec<u8>,
    /// Where the last packet of the open page ends.
    granule: u64,
}

/// What follows a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Other pages.
    More,
    /// Nothing: it is the last of the stream.
    Nothing,
}

impl PageWriter {
    pub(super) fn new(serial: u32) -> Self {
        Self { serial, sequence: 0, segments: Vec::new(), body: Vec::new(), granule: 0 }
    }

    /// Goes on behind the pages of a stream that was cut off: with this page, after this granule position.
    pub(super) fn resumed(serial: u32, sequence: u32, granule: u64) -> Self {
        Self { sequence, granule, ..Self::new(serial) }
    }

    /// Puts a packet of less than 64 KiB, which ends at this granule position, on the open page; a page that has no room is
    /// ended before.
    pub(super) fn packet(&mut self, packet: &[u8], granule: u64, into: &mut Vec<u8>) {
        let whole = packet.len() / LACING_MAX;
        if self.segments.len() + whole + 1 > SEGMENTS_MAX {
            self.end_page(Follows::More, into);
        }
        self.segments.extend(std::iter::repeat_n(LACING_MAX as u8, whole));
        self.segments.push((packet.len() % LACING_MAX) as u8);
        self.body.extend_from_slice(packet);
        self.granule = granule;
    }

    /// Whether nothing is on the open page.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Ends the open page, if there is anything on it; a last page is written in any case.
    pub(super) fn end_page(&mut self, follows: Follows, into: &mut Vec<u8>) {
        if self.is_empty() && follows == Follows::More {
            return;
        }
        let first = if self.sequence == 0 { FIRST_PAGE } else { 0 };
        let last = if follows == Follows::Nothing { LAST_PAGE } else { 0 };
        let start = into.len();
        into.extend_from_slice(CAPTURE);
        into.extend_from_slice(&[0, first | last]);
        into.extend_from_slice(&self.granule.to_le_bytes());
        into.extend_from_slice(&self.serial.to_le_bytes());
        into.extend_from_slice(&self.sequence.to_le_bytes());
        into.extend_from_slice(&[0; 4]);
        into.push(self.segments.len() as u8);
        into.append(&mut self.segments);
        into.append(&mut self.body);
        let checksum = checksum(&into[start..]);
        into[start + CHECKSUM_AT..start + CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
        self.sequence += 1;
    }
}

/// One page as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) serial: u32,
    pub(super) sequence: u32,
    pub(super) granule: u64,
    pub(super) last: bool,
    /// The packets on it; those that go on over pages are not written here, and not read.
    pub(super) packets: Vec<Vec<u8>>,
    /// Its bytes.
    pub(super) length: usize,
}

/// Reads the next page; none at the end of the file, and where it is cut off or damaged from here on.
///
/// # Errors
/// What reading returns.
pub(super) fn read_page(input: &mut impl Read) -> io::Result<Option<Page>> {
    let mut header = [0; HEADER_LEN];
    if !fill(input, &mut header)? || !header.starts_with(CAPTURE) || header[4] != 0 {
        return Ok(None);
    }
    let mut segments = vec![0; usize::from(header[HEADER_LEN - 1])];
    if !fill(input, &mut segments)? {
        return Ok(None);
    }
    let mut body = vec![0; segments.iter().map(|&length| usize::from(length)).sum()];
    if !fill(input, &mut body)? {
        return Ok(None);
    }
    let written = u32_at(&header, CHECKSUM_AT);
    header[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
    if checksum_of([&header[..], &segments, &body]) != written {
        return Ok(None);
    }
    let granule = u64::from(u32_at(&header, 6)) | u64::from(u32_at(&header, 10)) << 32;
    Ok(Some(Page {
        serial: u32_at(&header, 14),
        sequence: u32_at(&header, 18),
        granule,
        last: header[5] & LAST_PAGE != 0,
        length: HEADER_LEN + segments.len() + body.len(),
        packets: cut(&segments, &body),
    }))
}

fn cut(segments: &[u8], mut body: &[u8]) -> Vec<Vec<u8>> {
    let (mut packets, mut length) = (Vec::new(), 0);
    for &segment in segments {
        length += usize::from(segment);
        if usize::from(segment) < LACING_MAX {
            let (packet, rest) = body.split_at(length);
            packets.push(packet.to_vec());
            (body, length) = (rest, 0);
        }
    }
    packets
}

/// Fills the buffer; says no where the file ends before.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum(page: &[u8]) -> u32 {
    checksum_of([page])
}

/// The cyclic redundancy check of RFC 3533 section 6, field 7: no reflection, and neither start nor end inverted.
fn checksum_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = parts.into_iter().flatten();
    bytes.fold(0, |sum, &byte| sum << 8 ^ CHECKSUMS[usize::from((sum >> 24) as u8 ^ byte)])
}

const CHECKSUMS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = ((byte as u32) << 24, 0);
        while bit < 8 {
            sum = sum << 1 ^ if sum & 0x8000_0000 == 0 { 0 } else { 0x04C1_1DB7 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

const CAPTURE: &[u8] = b"OggS";
/// With the number of segments, without these.
const HEADER_LEN: usize = 27;
const CHECKSUM_AT: usize = 22;
const FIRST_PAGE: u8 = 2;
const LAST_PAGE: u8 = 4;
const SEGMENTS_MAX: usize = 255;
/// A segment as long as this goes on in the next.
const LACING_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(mut bytes: &[u8]) -> Vec<Page> {
        std::iter::from_fn(|| read_page(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn packets_of_every_length_come_back_from_the_pages() {
        let packets: Vec<Vec<u8>> = (0..800).map(|length| vec![length as u8; length]).collect();
        let (mut writer, mut file) = (PageWriter::new(7), Vec::new());
        for (number, packet) in packets.iter().enumerate() {
            writer.packet(packet, number as u64, &mut file);
        }
        writer.end_page(Follows::Nothing, &mut file);
        let pages = pages(&file);
        assert_eq!(pages.iter().map(|page| page.length).sum::<usize>(), file.len());
        assert!(
            pages.iter().enumerate().all(|(number, page)| page.sequence == number as u32 && page.serial == 7)
        );
        assert_eq!(pages.iter().filter(|page| page.last).count(), 1);
        assert_eq!(pages.last().unwrap().granule, 799);
        let read: Vec<Vec<u8>> = pages.into_iter().flat_map(|page| page.packets).collect();
        assert!(read == packets);
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_is_read_up_to_there() {
        let (mut writer, mut file) = (PageWriter::new(1), Vec::new());
        for number in 0..3 {
            writer.packet(&[number; 300], u64::from(number), &mut file);
            writer.end_page(Follows::More, &mut file);
        }
        let length = file.len() / 3;
        for cut in 0..=file.len() {
            assert_eq!(pages(&file[..cut]).len(), cut / length, "cut after {cut} bytes");
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert_eq!(pages(&damaged).len(), at / length, "damaged at {at}");
        }
    }

    /// <https://reveng.sourceforge.io/crc-catalogue/>: CRC-32/MPEG-2 without its start value is the sum of Ogg.
    #[test]
    fn the_sum_is_that_of_a_published_table() {
        assert_eq!(CHECKSUMS[1..4], [0x04C1_1DB7, 0x0982_3B6E, 0x0D43_26D9]);
        assert_eq!(CHECKSUMS[255], 0xB1F7_40B4);
    }
}
