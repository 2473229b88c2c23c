//! The header of an MPEG audio frame (ISO/IEC 11172-3 section 2.4.1.3 and 13818-3), and the tag of its first.

/// What the four bytes at the start of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    version: Version,
    pub(super) layer: u8,
    pub(super) rate: u32,
    pub(super) channels: u8,
    /// The whole frame, in bytes.
    pub(super) length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
    TwoAndAHalf,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, second, third, fourth, ..] = bytes else { return None };
        if second & 0xE0 != 0xE0 || fourth & 0b11 == 0b10 {
            return None;
        }
        let version = match second >> 3 & 0b11 {
            0 => Version::TwoAndAHalf,
            2 => Version::Two,
            3 => Version::One,
            _ => return None,
        };
        let layer = match second >> 1 & 0b11 {
            0 => return None,
            layer => 4 - layer,
        };
        // Neither an index of 15 nor a free bitrate tells how long the frame is.
        let index = usize::from(third >> 4).checked_sub(1).filter(|&index| index < 14)?;
        let rate = *[44_100, 48_000, 32_000].get(usize::from(third >> 2 & 0b11))?;
        let rate = match version {
            Version::One => rate,
            Version::Two => rate / 2,
            Version::TwoAndAHalf => rate / 4,
        };
        let bitrate = 1000 * BITRATES[table(version, layer)][index];
        let padding = usize::from(third >> 1 & 1);
        let length = match (layer, version) {
            (1, _) => (12 * bitrate / rate as usize + padding) * 4,
            (3, Version::Two | Version::TwoAndAHalf) => 72 * bitrate / rate as usize + padding,
            _ => 144 * bitrate / rate as usize + padding,
        };
        let channels = if fourth >> 6 == 3 { 1 } else { 2 };
        Some(Self { version, layer, rate, channels, length })
    }

    /// Whether both can be frames of one stream.
    pub(super) fn continues(&self, other: &Self) -> bool {
        (self.version, self.layer, self.rate, self.channels)
            == (other.version, other.layer, other.rate, other.channels)
    }

    /// How many samples per channel the frame holds.
    pub(super) fn samples(&self) -> u64 {
        match (self.layer, self.version) {
            (1, _) => 384,
            (3, Version::Two | Version::TwoAndAHalf) => 576,
            _ => 1152,
        }
    }

    /// Where an encoder's tag stands in a frame of layer 3: after the side information.
    fn tag_at(&self) -> usize {
        4 + match (self.version, self.channels) {
            (Version::One, 2) => 32,
            (Version::One, _) | (_, 2) => 17,
            _ => 9,
        }
    }
}

/// The tag that an encoder leaves in a first frame of silence: Xing, Info or VBRI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag {
    /// How many frames follow, and how many bytes, this frame among them.
    pub(super) frames: Option<u32>,
    pub(super) bytes: Option<u32>,
    /// What to leave out at the start, in samples per channel: the encoder's delay and the decoder's.
    pub(super) skip: u32,
    /// What to leave out at the end.
    pub(super) padding: u32,
}

impl Tag {
    pub(super) fn parse(header: &Header, frame: &[u8]) -> Option<Self> {
        if header.layer != 3 {
            return None;
        }
        let number = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
        if frame.get(36..40) == Some(b"VBRI") {
            return Some(Self { bytes: number(46), frames: number(50), ..Self::default() });
        }
        let mut at = header.tag_at();
        if !matches!(frame.get(at..at + 4)?, b"Xing" | b"Info") {
            return None;
        }
        let flags = number(at + 4)?;
        at += 8;
        let mut field = |flag: u32, length: usize| {
            let there = flags & flag != 0;
            let value = there.then(|| number(at)).flatten();
            at += if there { length } else { 0 };
            value
        };
        let (frames, bytes) = (field(1, 4), field(2, 4));
        field(4, 100);
        field(8, 4);
        let (skip, padding) = delays(frame, at);
        Some(Self { frames, bytes, skip, padding })
    }
}

/// What LAME and those after it write: who made the file (9 bytes), and twelve bytes further the two delays.
fn delays(frame: &[u8], at: usize) -> (u32, u32) {
    let Some(&[a, b, c]) = frame.get(at + 21..at + 24) else { return (0, 0) };
    if !frame[at..at + 4].iter().all(u8::is_ascii_alphanumeric) {
        return (0, 0);
    }
    let delay = u32::from(a) << 4 | u32::from(b) >> 4;
    let padding = u32::from(b & 0x0F) << 8 | u32::from(c);
    (delay + DECODER_DELAY, padding.saturating_sub(DECODER_DELAY))
}

fn table(version: Version, layer: u8) -> usize {
    match (version, layer) {
        (Version::One, layer) => usize::from(layer - 1),
        (_, 1) => 3,
        _ => 4,
    }
}

/// In kbit/s, by the index less one: version 1 with its three layers, then the others with layer 1, and 2 or 3.
const BITRATES: [[usize; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// How much later than the encoder's samples those of a decoder of layer 3 come.
const DECODER_DELAY: u32 = 529;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_standard_says() {
        let frame = |bytes: [u8; 4]| Header::parse(&bytes).unwrap();
        let found = frame([0xFF, 0xFB, 0x90, 0x44]);
        assert_eq!((found.layer, found.rate, found.channels, found.length), (3, 44_100, 2, 417));
        assert_eq!((found.samples(), frame([0xFF, 0xFB, 0x92, 0x44]).length), (1152, 418));
        let found = frame([0xFF, 0xF3, 0x40, 0xC4]);
        assert_eq!((found.rate, found.channels, found.length, found.samples()), (22_050, 1, 104, 576));
        assert_eq!(frame([0xFF, 0xFD, 0xA4, 0x04]).length, 576, "layer 2, 192 kbit/s at 48 kHz");
        assert_eq!(frame([0xFF, 0xFF, 0x94, 0x04]).length, 12 * 288_000 / 48_000 * 4);
        for wrong in
            [[0xFF, 0xFB, 0xF0, 0], [0xFF, 0xFB, 0x00, 0], [0xFF, 0xFB, 0x9C, 0], [0xFF, 0xEB, 0x90, 0]]
        {
            assert_eq!(Header::parse(&wrong), None, "{wrong:x?}");
        }
        assert_eq!(Header::parse(&[0xFF, 0xF9, 0x90, 0]), None, "there is no layer 4");
        assert_eq!(Header::parse(&[0xFF, 0xFB, 0x90, 0x02]), None, "nor a third emphasis");
    }

    #[test]
    fn the_tag_of_an_encoder_tells_length_and_delays() {
        let header = Header::parse(&[0xFF, 0xFB, 0x90, 0x44]).unwrap();
        let mut frame = vec![0; header.length];
        frame[36..40].copy_from_slice(b"Info");
        frame[43] = 0b1111;
        frame[44..52].copy_from_slice(&[0, 0, 1, 0, 0, 1, 0xA1, 0]);
        frame[156..160].copy_from_slice(b"LAME");
        frame[156 + 21..156 + 24].copy_from_slice(&[0x24, 0x05, 0x1C]);
        let tag = Tag::parse(&header, &frame).unwrap();
        assert_eq!((tag.frames, tag.bytes), (Some(256), Some(0x1A100)));
        assert_eq!((tag.skip, tag.padding), (576 + 529, 0x51C - 529));
        frame[156] = 0;
        assert_eq!(Tag::parse(&header, &frame).unwrap().skip, 0);
        frame[36] = 0;
        assert_eq!(Tag::parse(&header, &frame), None);
    }
}
