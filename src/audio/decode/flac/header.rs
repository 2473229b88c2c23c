//! The two headers of FLAC (RFC 9639): that of the stream, and that of a frame.

/// What the STREAMINFO block says (section 8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamInfo {
    pub(super) format: Format,
    /// Samples per channel in all; 0 where that is unknown.
    pub(super) samples: u64,
}

/// What a decoder has to be made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) rate: u32,
    pub(super) channels: u8,
    pub(super) bits: u8,
}

impl StreamInfo {
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let packed = u64::from_be_bytes(block.get(10..18)?.try_into().ok()?);
        let format = Format {
            rate: (packed >> 44) as u32,
            channels: (packed >> 41 & 0b111) as u8 + 1,
            bits: (packed >> 36 & 0b1_1111) as u8 + 1,
        };
        Some(Self { format, samples: packed & 0xF_FFFF_FFFF })
    }
}

impl Format {
    /// A STREAMINFO block for a decoder: frames of any length, and nothing about the whole.
    pub(super) fn stream_info(&self) -> Vec<u8> {
        let (rate, channels, bits) =
            (u64::from(self.rate), u64::from(self.channels - 1), u64::from(self.bits - 1));
        let packed = rate << 44 | channels << 41 | bits << 36;
        let mut block = vec![0, 16, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0];
        block.extend(packed.to_be_bytes());
        block.extend([0; 16]);
        block
    }
}

/// What stands at the start of a frame (section 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) format: Format,
    /// Samples per channel in this frame.
    pub(super) samples: u32,
    pub(super) length: usize,
}

impl FrameHeader {
    /// Reads a header whose checksum is right. What it leaves to the stream is as in `stream`.
    pub(super) fn parse(bytes: &[u8], stream: &Format) -> Option<Self> {
        let &[0xFF, 0xF8 | 0xF9, sizes, channels, ..] = bytes else { return None };
        if channels & 1 != 0 || channels >> 4 > 10 {
            return None;
        }
        let mut at = 4 + coded_number_length(*bytes.get(4)?)?;
        let mut number = |length: usize| {
            let value =
                bytes.get(at..at + length)?.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
            at += length;
            Some(value)
        };
        let samples = match sizes >> 4 {
            0 => return None,
            1 => 192,
            code @ 2..=5 => 144 << code,
            6 => number(1)? + 1,
            7 => number(2)? + 1,
            code => 1 << code,
        };
        let rate = match sizes & 0x0F {
            0 => stream.rate,
            12 => number(1)? * 1_000,
            13 => number(2)?,
            14 => number(2)? * 10,
            code => *RATES.get(usize::from(code) - 1)?,
        };
        let bits = match channels >> 1 & 0b111 {
            0 => stream.bits,
            3 => return None,
            code => [8, 12, 0, 16, 20, 24, 32][usize::from(code) - 1],
        };
        let channels = match channels >> 4 {
            count @ 0..=7 => count + 1,
            _ => 2,
        };
        if rate == 0 || bits < 4 || crc8(bytes.get(..at)?) != *bytes.get(at)? {
            return None;
        }
        Some(Self { format: Format { rate, channels, bits }, samples, length: at + 1 })
    }
}

/// How long the number of the frame or sample is: coded as UTF-8 codes characters, up to seven bytes.
fn coded_number_length(first: u8) -> Option<usize> {
    match first.leading_ones() {
        0 => Some(1),
        length @ 2..=7 => Some(length as usize),
        _ => None,
    }
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| crc << 1 ^ if crc & 0x80 == 0 { 0 } else { 7 }))
}

/// The codes from 1 on.
const RATES: [u32; 11] =
    [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];

#[cfg(test)]
mod tests {
    use symphonia::core::checksum::Crc16Ansi;
    use symphonia::core::io::Monitor;

    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // RFC 9639 appendix D.1.
        let info = StreamInfo::parse(&[
            0x10, 0x00, 0x10, 0x00, 0x00, 0x00, 0x0F, 0x00, 0x00, 0x0F, 0x0A, 0xC4, 0x42, 0xF0, 0x00, 0x00,
            0x00, 0x01,
        ])
        .unwrap();
        let format = Format { rate: 44_100, channels: 2, bits: 16 };
        assert_eq!(info, StreamInfo { format, samples: 1 });
        let frame =
            [0xFF, 0xF8, 0x69, 0x18, 0x00, 0x00, 0xBF, 0x03, 0x58, 0xFD, 0x03, 0x12, 0x8B, 0xAA, 0x9A];
        let header = FrameHeader::parse(&frame, &Format::default()).unwrap();
        assert_eq!(header, FrameHeader { format, samples: 1, length: 7 });
        let mut crc = Crc16Ansi::new(0);
        crc.process_buf_bytes(&frame);
        assert_eq!(crc.crc(), 0);
        assert_eq!(StreamInfo::parse(&format.stream_info()), Some(StreamInfo { format, samples: 0 }));
    }

    #[test]
    fn a_wrong_checksum_is_no_header() {
        let frame = [0xFF, 0xF8, 0x69, 0x18, 0x00, 0x00, 0xBE];
        assert_eq!(FrameHeader::parse(&frame, &Format::default()), None);
        assert_eq!(FrameHeader::parse(&frame[..6], &Format::default()), None);
    }
}
