//! RTP headers: who sent which packet, when, and where in it the sound lies (RFC 3550 section 5.1).
//!
//! ```text
//! | 10PXCCCC | M PT | sequence | timestamp | SSRC | CSRC … | profile, words | body … | payload | padding |
//! |<------------------ 12 bytes ----------------->|<-4·CC->|<-- 4, if X --->|<4·words>|        |<- if P->|
//! ```

use std::ops::Range;

use crate::id::Ssrc;

/// The payload type of Opus: Discord numbers its codecs itself and sends voice as 120.
///
/// <https://docs.discord.com/developers/topics/voice-connections#sending-and-receiving-voice>
pub const OPUS: u8 = 120;

/// The length in bytes of a header without CSRCs and without an extension.
pub const FIXED_HEADER: usize = 12;

/// The fixed part of one RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    flags: u8,
    marker_and_type: u8,
    /// The number of the packet.
    pub sequence: Sequence,
    /// The time of the first sample in the packet.
    pub timestamp: Timestamp,
    /// The sender.
    pub ssrc: Ssrc,
}

impl Header {
    /// Makes the header of a voice packet: no padding, no extension, no CSRC, no marker.
    pub const fn voice(sequence: Sequence, timestamp: Timestamp, ssrc: Ssrc) -> Self {
        Self { flags: VERSION_2, marker_and_type: OPUS, sequence, timestamp, ssrc }
    }

    /// Reads the fixed part at the front of a packet.
    ///
    /// # Errors
    ///
    /// [`RtpError::NotRtp`] for another protocol on the same socket, [`RtpError::Rtcp`] for the control
    /// packets of RTP (RFC 5761 section 4), [`RtpError::TooShort`] for what ends inside the fixed part.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        match *packet {
            [] => return Err(RtpError::TooShort),
            [flags, ..] if flags & VERSION_MASK != VERSION_2 => return Err(RtpError::NotRtp),
            [_, 192..=223, ..] => return Err(RtpError::Rtcp),
            _ => {}
        }
        let Some(&[flags, marker_and_type, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]) = packet.first_chunk()
        else {
            return Err(RtpError::TooShort);
        };
        Ok(Self {
            flags,
            marker_and_type,
            sequence: Sequence(u16::from_be_bytes([s0, s1])),
            timestamp: Timestamp(u32::from_be_bytes([t0, t1, t2, t3])),
            ssrc: Ssrc(u32::from_be_bytes([i0, i1, i2, i3])),
        })
    }

    /// Returns the fixed part as it goes on the wire.
    pub fn to_bytes(&self) -> [u8; FIXED_HEADER] {
        let mut bytes = [0; FIXED_HEADER];
        bytes[0] = self.flags;
        bytes[1] = self.marker_and_type;
        bytes[2..4].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.ssrc.0.to_be_bytes());
        bytes
    }

    /// Returns the payload type: 120 for Opus.
    pub fn payload_type(&self) -> u8 {
        self.marker_and_type & !MARKER
    }

    /// Returns the length in bytes of the header with its CSRCs and the preamble of its extension, which
    /// is what the `_rtpsize` modes leave readable.
    pub fn rtpsize(&self) -> usize {
        FIXED_HEADER + self.csrcs() + if self.has_extension() { PREAMBLE } else { 0 }
    }

    /// Finds the payload in the decrypted part of a packet, past the extension and before the padding.
    ///
    /// `clear` is the part of the packet that was never encrypted, from its first byte; `plain` is what
    /// followed it. The end of the header may lie in either. The range counts from the start of `plain`.
    ///
    /// # Errors
    ///
    /// [`RtpError::BadExtension`] and [`RtpError::BadPadding`] for lengths that do not fit in the packet,
    /// [`RtpError::Empty`] for a packet of nothing but header and padding.
    pub fn payload(&self, clear: &[u8], plain: &[u8]) -> Result<Range<usize>, RtpError> {
        let byte = |at: usize| clear.get(at).or_else(|| plain.get(at - clear.len())).copied();
        let mut header = self.rtpsize();
        if self.has_extension() {
            let words = byte(header - 2).zip(byte(header - 1)).ok_or(RtpError::BadExtension)?;
            header += 4 * usize::from(u16::from_be_bytes(words.into()));
        }
        let start = header.checked_sub(clear.len()).ok_or(RtpError::BadExtension)?;
        let rest = plain.get(start..).ok_or(RtpError::BadExtension)?;
        match rest.len() - self.padding(rest)? {
            0 => Err(RtpError::Empty),
            length => Ok(start..start + length),
        }
    }

    /// Reads how many bytes at the end of `rest` are padding; the last of them says so.
    fn padding(&self, rest: &[u8]) -> Result<usize, RtpError> {
        if self.flags & PADDING == 0 {
            return Ok(0);
        }
        let count = rest.last().map_or(0, |&count| usize::from(count));
        if count == 0 || count > rest.len() { Err(RtpError::BadPadding) } else { Ok(count) }
    }

    fn csrcs(&self) -> usize {
        4 * usize::from(self.flags & CSRC_COUNT)
    }

    fn has_extension(&self) -> bool {
        self.flags & EXTENSION != 0
    }
}

/// The number of a packet; wraps from 65,535 to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(pub u16);

impl Sequence {
    /// Returns the number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Returns how many packets this one is after `other`, negative when before it. Right across a wrap as
    /// long as the two are fewer than 32,768 packets apart.
    pub const fn since(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// The time of a sample, in samples at 48 kHz from a random start; wraps after a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// Returns the time `samples` later.
    #[must_use]
    pub const fn after(self, samples: u32) -> Self {
        Self(self.0.wrapping_add(samples))
    }

    /// Returns how many samples this time is after `other`, negative when before it. Right across a wrap
    /// as long as the two are less than 12 hours apart.
    pub const fn since(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtpError {
    /// The packet ends inside its header.
    #[error("the packet ends inside its header")]
    TooShort,
    /// The version is not 2: the datagram is of another protocol.
    #[error("the datagram is not RTP version 2")]
    NotRtp,
    /// The packet is RTCP, RTP's control protocol.
    #[error("the packet is RTCP")]
    Rtcp,
    /// The header extension is longer than the packet.
    #[error("the header extension is longer than the packet")]
    BadExtension,
    /// The padding is longer than the packet, or counts itself as nothing.
    #[error("the padding count does not fit the packet")]
    BadPadding,
    /// The packet carries no payload.
    #[error("the packet carries no payload")]
    Empty,
}

/// The first byte of a header, bit by bit: `10 P X CCCC`.
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION_2: u8 = 0b1000_0000;
const PADDING: u8 = 0b0010_0000;
const EXTENSION: u8 = 0b0001_0000;
const CSRC_COUNT: u8 = 0b0000_1111;

/// The top bit of the second byte; the rest is the payload type.
const MARKER: u8 = 0b1000_0000;

/// Profile and length of an extension (RFC 3550 section 5.3.1).
const PREAMBLE: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIXED: [u8; 12] = [0x80, 0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

    fn with_flags(flags: u8) -> Header {
        Header::parse(&[&[flags], &FIXED[1..]].concat()).unwrap()
    }

    #[test]
    fn a_voice_header_is_the_twelve_bytes_of_the_vectors() {
        let header = Header::voice(Sequence(0x0102), Timestamp(0x0304_0506), Ssrc(0x0708_090a));
        assert_eq!(header.to_bytes(), FIXED);
        assert_eq!(Header::parse(&FIXED), Ok(header));
    }

    #[test]
    fn the_marker_is_not_part_of_the_payload_type() {
        let mut packet = FIXED;
        packet[1] = 0xf8;
        assert_eq!(Header::parse(&packet).unwrap().payload_type(), OPUS);
    }

    #[test]
    fn every_prefix_of_a_header_is_too_short() {
        for length in 0..12 {
            assert_eq!(Header::parse(&FIXED[..length]), Err(RtpError::TooShort), "{length} bytes");
        }
    }

    #[test]
    fn other_protocols_and_rtcp_are_told_apart() {
        assert_eq!(Header::parse(&[0x13, 0x37, 0xca, 0xfe, 0, 0, 0, 1]), Err(RtpError::NotRtp));
        assert_eq!(Header::parse(&[0x40; 40]), Err(RtpError::NotRtp));
        for kind in [200, 201, 202, 205, 206] {
            assert_eq!(Header::parse(&[0x80, kind, 0, 1]), Err(RtpError::Rtcp), "type {kind}");
        }
    }

    #[test]
    fn the_clear_part_grows_with_csrcs_and_extension() {
        assert_eq!(with_flags(0x80).rtpsize(), 12);
        assert_eq!(with_flags(0x90).rtpsize(), 16);
        assert_eq!(with_flags(0xbf).rtpsize(), 12 + 60 + 4);
    }

    #[test]
    fn the_payload_lies_between_extension_body_and_padding() {
        let clear = [&[0xb0], &FIXED[1..], &[0xbe, 0xde, 0, 1]].concat();
        let plain = [0x10, 0xff, 0x90, 2, 0xf8, 0xff, 0xfe, 0, 0, 0, 4];
        assert_eq!(with_flags(0xb0).payload(&clear, &plain), Ok(4..7));
    }

    #[test]
    fn an_encrypted_preamble_is_found_too() {
        let plain = [0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0x90, 2, 0xf8, 0xff, 0xfe];
        assert_eq!(with_flags(0x91).payload(&FIXED, &plain), Ok(12..15));
    }

    #[test]
    fn an_extension_longer_than_the_packet_is_refused() {
        let clear = [&[0x90], &FIXED[1..], &[0xbe, 0xde, 0, 2]].concat();
        assert_eq!(with_flags(0x90).payload(&clear, &[1; 7]), Err(RtpError::BadExtension));
        assert_eq!(with_flags(0x90).payload(&clear, &[1; 8]), Err(RtpError::Empty));
        assert_eq!(with_flags(0x90).payload(&FIXED, &[0xbe, 0xde, 0]), Err(RtpError::BadExtension));
    }

    #[test]
    fn padding_is_checked_before_it_is_cut() {
        let header = with_flags(0xa0);
        assert_eq!(header.payload(&FIXED, &[9, 9, 1]), Ok(0..2));
        assert_eq!(header.payload(&FIXED, &[9, 9, 0]), Err(RtpError::BadPadding));
        assert_eq!(header.payload(&FIXED, &[9, 9, 4]), Err(RtpError::BadPadding));
        assert_eq!(header.payload(&FIXED, &[]), Err(RtpError::BadPadding));
        assert_eq!(header.payload(&FIXED, &[0, 0, 3]), Err(RtpError::Empty));
    }

    #[test]
    fn sequence_and_timestamp_count_across_the_wrap() {
        assert_eq!(Sequence(65_535).next(), Sequence(0));
        assert_eq!(Sequence(1).since(Sequence(65_534)), 3);
        assert_eq!(Sequence(65_534).since(Sequence(1)), -3);
        assert_eq!(Timestamp(u32::MAX - 959).after(960), Timestamp(0));
        assert_eq!(Timestamp(480).since(Timestamp(u32::MAX - 479)), 960);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(header) = Header::parse(&packet) {
                prop_assert_eq!(&header.to_bytes()[..], &packet[..FIXED_HEADER]);
            }
        }

        #[test]
        fn a_payload_always_lies_inside_the_packet(
            flags in 0x80u8..=0xbf,
            rest in prop::collection::vec(any::<u8>(), 0..120),
            clear in 12usize..80,
        ) {
            let packet = [&[flags][..], &FIXED[1..], &rest[..]].concat();
            let header = Header::parse(&packet).unwrap();
            let (clear, plain) = packet.split_at(clear.min(packet.len()));
            if let Ok(payload) = header.payload(clear, plain) {
                prop_assert!(payload.start < payload.end && payload.end <= plain.len());
            }
        }
    }
}
