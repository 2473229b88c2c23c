//! Writes what was heard as an Ogg Opus file (RFC 7845).

use std::borrow::Cow;

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

use super::Packet;
use super::playback::{Stretch, stretches};
use crate::opus;

/// Writes header, tags and packets. Granule positions follow the RTP timestamps: the samples missing in between are
/// written as packets that ask for concealment, as RFC 7845 section 4.1 wants it.
pub(super) fn write(audio: &[Packet]) -> Vec<u8> {
    let mut packets: Vec<(Cow<'_, [u8]>, u64)> = Vec::with_capacity(audio.len());
    let (mut granule, mut toc) = (0, opus::SILENCE[0]);
    for stretch in stretches(audio) {
        match stretch {
            Stretch::Audio(packet, samples) => {
                granule += samples;
                toc = packet.first().copied().unwrap_or(toc);
                packets.push((packet.into(), granule));
            }
            Stretch::Lost(mut left) | Stretch::Paused(mut left) => {
                while left > 0 {
                    let (packet, samples) = opus::concealment(toc, left);
                    left = left.saturating_sub(samples);
                    granule += samples;
                    packets.push((packet.to_vec().into(), granule));
                }
            }
        }
    }
    let mut file = PacketWriter::new(Vec::new());
    // Writing to a Vec cannot fail.
    let _ = file.write_packet(&HEAD[..], SERIAL, PacketWriteEndInfo::EndPage, 0);
    let only_headers = packets.is_empty();
    let tags_end = if only_headers { PacketWriteEndInfo::EndStream } else { PacketWriteEndInfo::EndPage };
    let _ = file.write_packet(tags(), SERIAL, tags_end, 0);
    let last = packets.len().saturating_sub(1);
    for (n, (packet, granule)) in packets.into_iter().enumerate() {
        let end = match n {
            n if n == last => PacketWriteEndInfo::EndStream,
            n if n % PACKETS_A_PAGE == PACKETS_A_PAGE - 1 => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        let _ = file.write_packet(packet, SERIAL, end, granule);
    }
    file.into_inner()
}

fn tags() -> Vec<u8> {
    let vendor = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).as_bytes();
    let length = u32::try_from(vendor.len()).unwrap_or(0).to_le_bytes();
    [&b"OpusTags"[..], &length, vendor, &0_u32.to_le_bytes()].concat()
}

/// Version 1, two channels, pre-skip 312 (the look-ahead of libopus), 48 kHz, no gain, mapping family 0.
const HEAD: [u8; 19] = *b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0";
const SERIAL: u32 = 1;
/// At most a second a page is recommended.
const PACKETS_A_PAGE: usize = 50;
