//! A page of Ogg (RFC 3533 section 6).

use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

/// What the header of a page says.
#[derive(Clone, Copy, Debug)]
pub(in crate::audio::decode) struct Page {
    flags: u8,
    /// The place in the stream at the end of its last whole packet, in samples; all ones where none ends.
    pub(in crate::audio::decode) position: u64,
    pub(in crate::audio::decode) serial: u32,
    checksum: u32,
    /// How many bytes the header takes, and what follows it.
    pub(in crate::audio::decode) header: usize,
    pub(in crate::audio::decode) body: usize,
}

impl Page {
    pub(in crate::audio::decode) const LONGEST_HEADER: usize = 27 + 255;

    pub(in crate::audio::decode) fn parse(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(b"OggS\0") || bytes.len() < 27 {
            return None;
        }
        let segments = usize::from(bytes[26]);
        let body = bytes.get(27..27 + segments)?.iter().map(|&length| usize::from(length)).sum();
        Some(Self {
            flags: bytes[5],
            position: u64::from_le_bytes(bytes[6..14].try_into().ok()?),
            serial: u32::from_le_bytes(bytes[14..18].try_into().ok()?),
            checksum: u32::from_le_bytes(bytes[22..26].try_into().ok()?),
            header: 27 + segments,
            body,
        })
    }

    pub(in crate::audio::decode) fn length(&self) -> usize {
        self.header + self.body
    }

    /// Whether its first packet began on the page before.
    pub(in crate::audio::decode) fn is_continued(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether a stream begins with it.
    pub(in crate::audio::decode) fn is_first(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Whether its stream ends with it.
    pub(in crate::audio::decode) fn is_last(&self) -> bool {
        self.flags & 4 != 0
    }

    /// Whether these bytes are those that its checksum was made of.
    pub(in crate::audio::decode) fn is_intact(&self, bytes: &[u8]) -> bool {
        let mut sum = Crc32::new(0);
        for part in [&bytes[..22], &[0; 4], &bytes[26..self.length()]] {
            sum.process_buf_bytes(part);
        }
        sum.crc() == self.checksum
    }

    /// The packets in these bytes, and whether each ends here: all but the last do.
    pub(in crate::audio::decode) fn packets<'a>(
        &self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], bool)> {
        let (mut lengths, mut rest) = (&bytes[27..self.header], &bytes[self.header..self.length()]);
        std::iter::from_fn(move || {
            let end = lengths.iter().position(|&length| length < 255);
            let (here, later) = lengths.split_at(end.map_or(lengths.len(), |end| end + 1));
            if here.is_empty() {
                return None;
            }
            let (packet, others) = rest.split_at(here.iter().map(|&length| usize::from(length)).sum());
            (lengths, rest) = (later, others);
            Some((packet, end.is_some()))
        })
    }
}
