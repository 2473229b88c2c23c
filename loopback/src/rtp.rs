//! RTP and its neighbours on the media socket: telling datagrams apart, headers, IP discovery, keepalives.

use std::net::SocketAddr;

/// What a datagram on the media socket is, told by length and first bytes only.
///
/// See Discord's docs, "Voice Connections", paragraphs "IP Discovery" and "Encrypting and Sending Voice", and RFC 5761
/// section 4 for telling RTP from RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Datagram {
    /// A well-formed IP discovery request of this SSRC.
    Discovery(u32),
    /// Discord's own ping, `1337CAFE` and this sequence number.
    Ping(u32),
    /// A short datagram that only keeps a NAT mapping alive.
    Keepalive,
    /// RTP version 2 with this header.
    Rtp(Header),
    /// RTCP of this sender.
    Rtcp(u32),
    /// None of these, or a discovery request with a wrong type or length.
    Unknown,
}

impl Datagram {
    /// Tells what a datagram is.
    pub fn parse(datagram: &[u8]) -> Self {
        if let Some(header) = Header::parse(datagram) {
            return match datagram[1] {
                192..=223 => Self::Rtcp(be32(datagram, 4)),
                _ => Self::Rtp(header),
            };
        }
        if datagram.len() == DISCOVERY_LEN {
            return match datagram[..4] {
                [0, 1, 0, 70] => Self::Discovery(be32(datagram, 4)),
                _ => Self::Unknown,
            };
        }
        match datagram {
            [0x13, 0x37, 0xCA, 0xFE, a, b, c, d] => Self::Ping(u32::from_be_bytes([*a, *b, *c, *d])),
            _ if (1..=KEEPALIVE_MAX).contains(&datagram.len()) => Self::Keepalive,
            _ => Self::Unknown,
        }
    }
}

/// The fixed part of an RTP header (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// P: the payload ends in padding whose last byte is its length.
    pub padding: bool,
    /// X: an extension follows the contributing sources.
    pub extension: bool,
    /// M: the first packet of a talk spurt, where the sender says so.
    pub marker: bool,
    /// CC: how many contributing sources follow the fixed part.
    pub csrc_count: u8,
    /// The payload type; 120 is Opus on Discord.
    pub payload_type: u8,
    /// Counts packets, wraps at 65 535.
    pub sequence: u16,
    /// Counts samples at 48 kHz, wraps at 2³².
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
}

impl Header {
    /// Makes the header of an Opus packet without extension, padding or contributing sources.
    pub fn opus(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            padding: false,
            extension: false,
            marker: false,
            csrc_count: 0,
            payload_type: OPUS_PAYLOAD_TYPE,
            sequence,
            timestamp,
            ssrc,
        }
    }

    /// Reads the fixed part; `None` where it is short or not version 2.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        if packet.len() < HEADER_LEN || packet[0] >> 6 != 2 {
            return None;
        }
        Some(Self {
            padding: packet[0] & 0x20 != 0,
            extension: packet[0] & 0x10 != 0,
            csrc_count: packet[0] & 0x0F,
            marker: packet[1] & 0x80 != 0,
            payload_type: packet[1] & 0x7F,
            sequence: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: be32(packet, 4),
            ssrc: be32(packet, 8),
        })
    }

    /// Writes the fixed part, 12 bytes.
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] =
            0x80 | u8::from(self.padding) << 5 | u8::from(self.extension) << 4 | self.csrc_count & 0x0F;
        bytes[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7F;
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }

    /// Length in bytes of what the `rtpsize` modes leave clear: header, contributing sources, extension preamble.
    pub fn rtpsize_len(&self) -> usize {
        HEADER_LEN + self.csrc_len() + if self.extension { PREAMBLE_LEN } else { 0 }
    }

    pub(crate) fn csrc_len(&self) -> usize {
        4 * usize::from(self.csrc_count)
    }
}

/// Length in bytes of an extension's body, from its clear preamble (profile, then length in words).
pub(crate) fn extension_len(preamble: &[u8]) -> Option<usize> {
    let words = preamble.get(2..PREAMBLE_LEN)?;
    Some(4 * usize::from(u16::from_be_bytes([words[0], words[1]])))
}

/// Takes the extension body off the front and, with P set, the padding off the end; `None` where lengths do not fit.
pub(crate) fn strip<'a>(header: &Header, extension: usize, plain: &'a [u8]) -> Option<&'a [u8]> {
    let rest = plain.get(extension..)?;
    if !header.padding {
        return Some(rest);
    }
    let count = usize::from(*rest.last()?);
    if count == 0 { None } else { rest.get(..rest.len().checked_sub(count)?) }
}

/// Writes the answer to a discovery request: who asked, as seen from here, 74 bytes.
pub fn discovery_answer(ssrc: u32, seen: SocketAddr) -> [u8; DISCOVERY_LEN] {
    let mut answer = [0; DISCOVERY_LEN];
    answer[..4].copy_from_slice(&[0, 2, 0, 70]);
    answer[4..8].copy_from_slice(&ssrc.to_be_bytes());
    let address = seen.ip().to_canonical().to_string();
    answer[8..8 + address.len()].copy_from_slice(address.as_bytes());
    answer[72..].copy_from_slice(&seen.port().to_be_bytes());
    answer
}

/// Writes the answer to Discord's own ping.
pub fn pong(sequence: u32) -> [u8; 8] {
    let [a, b, c, d] = sequence.to_be_bytes();
    [0x13, 0x37, 0xF0, 0x0D, a, b, c, d]
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Length in bytes of an RTP header without contributing sources and extension.
pub const HEADER_LEN: usize = 12;
/// The payload type under which Discord carries Opus.
pub const OPUS_PAYLOAD_TYPE: u8 = 120;
/// Length in bytes of a discovery request and of its answer.
pub const DISCOVERY_LEN: usize = 74;
const PREAMBLE_LEN: usize = 4;
/// Known keepalives have 4, 8 or 9 bytes; what is longer is meant to be something.
const KEEPALIVE_MAX: usize = 11;

#[cfg(test)]
mod tests {
    use super::{Datagram, Header, discovery_answer, pong, strip};

    #[test]
    fn a_discovery_request_is_told_by_its_type_and_length() {
        let mut request = [0; 74];
        request[..8].copy_from_slice(&[0, 1, 0, 70, 7, 8, 9, 10]);
        assert_eq!(Datagram::parse(&request), Datagram::Discovery(0x0708_090A));
        request[1] = 2;
        assert_eq!(Datagram::parse(&request), Datagram::Unknown);
        request[1] = 1;
        assert_eq!(Datagram::parse(&request[..73]), Datagram::Unknown);
    }

    #[test]
    fn a_discovery_answer_names_the_address_as_text_and_the_port() {
        let v4 = discovery_answer(0x0708_090A, "203.0.113.7:51234".parse().unwrap());
        assert_eq!(v4[..8], [0, 2, 0, 70, 7, 8, 9, 10]);
        assert_eq!(&v4[8..20], b"203.0.113.7\0");
        assert_eq!(v4[72..], [0xC8, 0x22]);
        let v6 = discovery_answer(1, "[2001:db8::7]:80".parse().unwrap());
        assert_eq!(&v6[8..21], b"2001:db8::7\0\0");
    }

    #[test]
    fn pings_and_keepalives_of_known_clients_are_not_media() {
        assert_eq!(Datagram::parse(&[0x13, 0x37, 0xCA, 0xFE, 0, 0, 1, 2]), Datagram::Ping(0x0102));
        assert_eq!(pong(0x0102), [0x13, 0x37, 0xF0, 0x0D, 0, 0, 1, 2]);
        assert_eq!(Datagram::parse(&[0x80, 0, 0, 1]), Datagram::Keepalive);
        assert_eq!(Datagram::parse(&[0xC9, 0, 0, 0, 0, 0, 0, 0, 0]), Datagram::Keepalive);
        assert_eq!(Datagram::parse(&[]), Datagram::Unknown);
        assert_eq!(Datagram::parse(&[0x80, 200, 0, 6, 0, 0, 0, 9, 0, 0, 0, 0]), Datagram::Rtcp(9));
    }

    #[test]
    fn a_header_is_written_as_rfc_3550_draws_it() {
        let header = Header::opus(0x0708_090A, 0x0102, 0x0304_0506);
        assert_eq!(header.bytes(), [0x80, 0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let all = Header { padding: true, extension: true, marker: true, csrc_count: 2, ..header };
        assert_eq!(all.bytes()[..2], [0xB2, 0xF8]);
        assert_eq!(Header::parse(&all.bytes()), Some(all));
        assert_eq!(all.rtpsize_len(), 24);
    }

    #[test]
    fn padding_that_does_not_fit_is_refused() {
        let padded = Header { padding: true, ..Header::opus(1, 1, 1) };
        assert_eq!(strip(&padded, 1, &[9, 7, 0, 2]), Some(&[7][..]));
        assert_eq!(strip(&padded, 0, &[0, 0, 3]), Some(&[][..]));
        assert_eq!(strip(&padded, 0, &[0, 0, 4]), None);
        assert_eq!(strip(&padded, 0, &[7, 0]), None);
        assert_eq!(strip(&padded, 0, &[]), None);
        assert_eq!(strip(&padded, 5, &[7]), None);
    }
}
