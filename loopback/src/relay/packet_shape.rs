//! What packets look like on their way to the members: header extensions, padding, and malformed packets.

use crate::rtp::Header;

/// What the relay puts around the payloads it passes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketShape {
    /// As Discord does: always a header extension, and now and then padding.
    #[default]
    Discord,
    /// The bare twelve-byte header.
    Plain,
    /// Extension, padding and two contributing sources on every packet.
    Full,
    /// So many bytes of padding on every packet, the last of which says how many; at least 1.
    Padded(u8),
    /// A header extension of so many words on every packet; none has a body of no bytes.
    Extended(u8),
    /// So many contributing sources on every packet, at most 15.
    Sources(u8),
}

/// Something a server may send that is no ordinary audio packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedPacket {
    /// A packet that is nothing but padding, in its place in the stream.
    AllPadding,
    /// A packet whose padding count exceeds it.
    BadPadding,
    /// A packet of another payload type, 101.
    OtherPayloadType,
    /// A packet that does not open; to the receiver it is lost.
    Forged,
    /// An RTP header with nothing behind it.
    Short,
    /// A sender report.
    Rtcp,
    /// A datagram of zeros, as long as an audio packet.
    ZeroFilled,
}

impl PacketShape {
    /// Builds a clear packet, ready to be sealed.
    pub(super) fn packet(self, header: Header, payload: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let (extension, padding, csrc_count) = match self {
            Self::Plain => (None, 0, 0),
            Self::Discord if random.u8(..) < PADDED_OF_256 => (Some(1), random.u8(1..=32), 0),
            Self::Discord => (Some(1), 0, 0),
            Self::Full => (Some(1), 4, 2),
            Self::Padded(count) => (None, count.max(1), 0),
            Self::Extended(words) => (Some(words), 0, 0),
            Self::Sources(count) => (None, 0, count.min(SOURCES_MAX)),
        };
        let header = Header { extension: extension.is_some(), padding: padding > 0, csrc_count, ..header };
        let mut packet = Vec::with_capacity(64 + payload.len());
        packet.extend_from_slice(&header.bytes());
        packet.extend((0..csrc_count).flat_map(|number| [0, 0, 0, 5 + number]));
        if let Some(words) = extension {
            packet.extend_from_slice(&[0xBE, 0xDE, 0, words]);
            packet.extend((0..words).flat_map(|word| if word == 0 { SPEAKER } else { [0; 4] }));
        }
        packet.extend_from_slice(payload);
        pad(&mut packet, padding);
        packet
    }
}

impl MalformedPacket {
    /// Builds a clear packet; [`Forged`](Self::Forged) and [`Short`](Self::Short) are spoiled once they are sealed.
    pub(super) fn packet(self, header: Header) -> Vec<u8> {
        let padded = Header { padding: true, ..header };
        match self {
            Self::AllPadding => {
                let mut packet = padded.bytes().to_vec();
                pad(&mut packet, 200);
                packet
            }
            Self::BadPadding => [&padded.bytes()[..], &[0, 0, 0, 250]].concat(),
            Self::OtherPayloadType => {
                let video = Header { payload_type: 101, ..header };
                [&video.bytes()[..], &[0x5A; 700]].concat()
            }
            Self::Forged | Self::Short | Self::ZeroFilled => [&header.bytes()[..], &[0xFC, 1, 2, 3]].concat(),
            Self::Rtcp => {
                let report = [&[0x80, 200, 0, 6][..], &header.ssrc.to_be_bytes(), &[0; 20]];
                report.concat()
            }
        }
    }

    /// Makes the sealed packet what it should be.
    pub(super) fn spoil(self, sealed: &mut Vec<u8>) {
        match self {
            Self::Forged => sealed[12] ^= 0x55,
            Self::Short => sealed.truncate(13),
            Self::ZeroFilled => {
                sealed.clear();
                sealed.resize(ZEROS, 0);
            }
            _ => {}
        }
    }

    /// Tells whether it takes a place in the stream's sequence.
    pub(super) fn takes_sequence(self) -> bool {
        matches!(self, Self::AllPadding | Self::BadPadding | Self::Forged)
    }
}

fn pad(packet: &mut Vec<u8>, count: u8) {
    if count > 0 {
        packet.resize(packet.len() + usize::from(count) - 1, 0);
        packet.push(count);
    }
}

/// A word of one-byte elements (RFC 8285 section 4.2): id 9, Discord's speaker byte, with the voice bit.
const SPEAKER: [u8; 4] = [0x90, 0x02, 0, 0];
const SOURCES_MAX: u8 = 15;
const ZEROS: usize = 120;
/// About one packet in twenty.
const PADDED_OF_256: u8 = 13;

#[cfg(test)]
mod tests {
    use super::PacketShape;
    use crate::rtp::Header;

    #[test]
    fn a_full_dress_holds_extension_padding_and_sources() {
        let packet =
            PacketShape::Full.packet(Header::opus(9, 1, 2), &[7, 7, 7], &mut fastrand::Rng::with_seed(1));
        let header = Header::parse(&packet).unwrap();
        assert!(header.extension && header.padding && header.csrc_count == 2);
        assert_eq!(packet[12..20], [0, 0, 0, 5, 0, 0, 0, 6]);
        assert_eq!(packet[20..28], [0xBE, 0xDE, 0, 1, 0x90, 2, 0, 0]);
        assert_eq!(packet[28..], [7, 7, 7, 0, 0, 0, 4]);
    }

    #[test]
    fn discords_dress_pads_a_few_per_cent() {
        let mut random = fastrand::Rng::with_seed(1);
        let padded = (0..10_000)
            .filter(|_| PacketShape::Discord.packet(Header::opus(9, 1, 2), &[7], &mut random)[0] & 0x20 != 0)
            .count();
        assert!((300..800).contains(&padded), "{padded}");
    }
}
