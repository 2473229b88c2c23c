//! One end-to-end encrypted frame: its layout on the wire, sealing and opening with a given key.
//!
//! ```text
//! | media, sealed and clear ranges mixed | tag 8 | nonce ULEB128 | ranges ULEB128 pairs | size 1 | FA FA |
//! ```
//!
//! Discord's words: <https://daveprotocol.com/#protocol-frame>.

use std::ops::Range;

use aes_gcm::{AeadInPlace, Aes128Gcm, KeyInit, Nonce};

use super::ratchet::FrameKey;

/// A frame taken apart; nothing of it is authenticated yet.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    /// The truncated nonce.
    pub(crate) nonce: u32,
    media: &'a [u8],
    tag: &'a [u8],
    clear: Vec<Range<usize>>,
}

/// Seals one frame; `clear` names the few ranges of `plain` that stay readable (none for Opus), in ascending order.
pub(crate) fn seal(key: &FrameKey, nonce: u32, plain: &[u8], clear: &[Range<usize>]) -> Vec<u8> {
    let (mut sealed, aad) = split(plain, clear);
    let tag = crypt(key, nonce, &aad, &mut sealed);
    let mut frame = join(&sealed, &aad, clear);
    frame.extend_from_slice(&tag[..TAG_BYTES]);
    let supplement = frame.len() - TAG_BYTES;
    write_leb128(&mut frame, u64::from(nonce));
    for range in clear {
        write_leb128(&mut frame, range.start as u64);
        write_leb128(&mut frame, range.len() as u64);
    }
    // Tag, nonce and ranges are here already; the size itself and the marker follow.
    let size = frame.len() - supplement + 1 + MARKER.len();
    frame.push(u8::try_from(size).unwrap_or(u8::MAX));
    frame.extend_from_slice(&MARKER);
    frame
}

impl<'a> Frame<'a> {
    /// Reads the layout; `None` means that this is no protocol frame (plain Opus, say).
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let body = bytes.strip_suffix(&MARKER)?;
        let (&size, body) = body.split_last()?;
        let size = usize::from(size);
        if size < MIN_SUPPLEMENT || size > bytes.len() {
            return None;
        }
        let (media, supplement) = body.split_at(bytes.len() - size);
        let (tag, mut rest) = supplement.split_at_checked(TAG_BYTES)?;
        let nonce = u32::try_from(read_leb128(&mut rest)?).ok()?;
        let clear = read_ranges(rest, media.len())?;
        Some(Self { nonce, media, tag, clear })
    }

    /// Opens the frame; `None` unless the tag is that of this very frame under this key.
    pub(crate) fn open(&self, key: &FrameKey) -> Option<Vec<u8>> {
        let (mut text, aad) = split(self.media, &self.clear);
        // Counter mode is its own inverse: the first pass yields the candidate, the second its tag.
        crypt(key, self.nonce, &aad, &mut text);
        let mut again = text.clone();
        let tag = crypt(key, self.nonce, &aad, &mut again);
        let difference = tag.iter().zip(self.tag).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        (difference == 0).then(|| join(&text, &aad, &self.clear))
    }
}

/// AES-128-GCM in place; returns the whole tag of what was put in.
fn crypt(key: &FrameKey, nonce: u32, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let mut full = [0; 12];
    full[8..].copy_from_slice(&nonce.to_le_bytes());
    Aes128Gcm::new(key.into())
        .encrypt_in_place_detached(Nonce::from_slice(&full), aad, text)
        .expect("a frame is shorter than 64 GiB")
        .into()
}

/// Splits media into (bytes outside the ranges, bytes within them).
fn split(media: &[u8], clear: &[Range<usize>]) -> (Vec<u8>, Vec<u8>) {
    let (mut outside, mut within) = (Vec::with_capacity(media.len()), Vec::new());
    let mut at = 0;
    for range in clear {
        outside.extend_from_slice(&media[at..range.start]);
        within.extend_from_slice(&media[range.clone()]);
        at = range.end;
    }
    outside.extend_from_slice(&media[at..]);
    (outside, within)
}

/// Undoes [`split`].
fn join(mut outside: &[u8], mut within: &[u8], clear: &[Range<usize>]) -> Vec<u8> {
    let mut media = Vec::with_capacity(outside.len() + within.len() + MAX_SUPPLEMENT);
    for range in clear {
        let (before, rest) = outside.split_at(range.start - media.len());
        media.extend_from_slice(before);
        outside = rest;
        let (inner, rest) = within.split_at(range.len());
        media.extend_from_slice(inner);
        within = rest;
    }
    media.extend_from_slice(outside);
    media
}

/// Ranges must ascend, must not overlap, must lie within the media and must fill their section exactly.
fn read_ranges(mut section: &[u8], media: usize) -> Option<Vec<Range<usize>>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    while !section.is_empty() {
        let start = usize::try_from(read_leb128(&mut section)?).ok()?;
        let length = usize::try_from(read_leb128(&mut section)?).ok()?;
        let end = start.checked_add(length)?;
        if end > media || start < ranges.last().map_or(0, |last| last.end) {
            return None;
        }
        ranges.push(start..end);
    }
    Some(ranges)
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits.leading_zeros() < shift {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn write_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes every protocol frame ends in.
pub(crate) const MARKER: [u8; 2] = [0xfa, 0xfa];
const TAG_BYTES: usize = 8;
/// Tag, size and marker, before nonce and ranges.
const MIN_SUPPLEMENT: usize = TAG_BYTES + 1 + MARKER.len();
/// An Opus frame with a nonce of five bytes.
const MAX_SUPPLEMENT: usize = MIN_SUPPLEMENT + 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dave::{hex, ratchet::Ratchet};

    fn keys() -> [FrameKey; 2] {
        let mut ratchet = Ratchet::new(hex("cedd61b1b8a1ca69046554282cf70b7b").try_into().unwrap());
        [ratchet.advance(), ratchet.advance()]
    }

    const VECTORS: [(u32, usize, &str); 3] = [
        (1, 0, "d027a8ef4a86f715a2fcba04c1c774b21968010cfafa"),
        (300, 0, "3a202b8ff27cbdb1cae8130667d1932e63f5ac020dfafa"),
        (1 << 24, 1, "37dd4f884f9154ce4bf1c785ddc246b11ebd808080080ffafa"),
    ];

    #[test]
    fn sealed_frames_are_those_of_the_published_vectors() {
        let plain: Vec<u8> = (1..=10).collect();
        for (nonce, generation, frame) in VECTORS {
            assert_eq!(seal(&keys()[generation], nonce, &plain, &[]), hex(frame), "nonce {nonce}");
        }
    }

    #[test]
    fn the_published_frames_open_under_their_key_and_no_other() {
        for (nonce, generation, frame) in VECTORS {
            let bytes = hex(frame);
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!(frame.nonce, nonce);
            assert_eq!(frame.open(&keys()[generation]), Some((1..=10).collect()));
            assert_eq!(frame.open(&keys()[1 - generation]), None);
        }
    }

    #[test]
    fn a_flip_of_any_bit_before_the_size_keeps_a_frame_shut() {
        let sealed = hex(VECTORS[0].2);
        for bit in 0..(sealed.len() - 3) * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let opened = Frame::parse(&forged).and_then(|frame| frame.open(&keys()[0]));
            assert_eq!(opened, None, "bit {bit}");
        }
    }

    #[test]
    fn clear_ranges_stay_readable_and_are_authenticated() {
        let plain: Vec<u8> = (0..40).collect();
        let mut sealed = seal(&keys()[0], 7, &plain, &[0..3, 10..12, 38..40]);
        assert_eq!(sealed[..3], plain[..3]);
        assert_eq!(sealed[38..40], plain[38..]);
        assert_ne!(sealed[3..10], plain[3..10]);
        assert_eq!(Frame::parse(&sealed).unwrap().open(&keys()[0]), Some(plain));
        sealed[1] ^= 1;
        assert_eq!(Frame::parse(&sealed).unwrap().open(&keys()[0]), None);
    }

    #[test]
    fn what_breaks_a_rule_of_the_layout_is_no_protocol_frame() {
        let tag = "0011223344556677";
        let not_frames = [
            String::new(),
            "fafa".into(),
            format!("{tag}0bfafa"),               // no nonce
            format!("01{tag}010cfafb"),           // marker
            format!("01{tag}010cfafa01"),         // marker not last
            format!("{tag}010dfafa"),             // size beyond the frame
            format!("01{tag}010afafa"),           // size below the least
            format!("01{tag}80800dfafa"),         // nonce cut off
            format!("0102{tag}808080801010fafa"), // nonce of 33 bits
            format!("0102{tag}0100030efafa"),     // range past the media
            format!("0102{tag}010101000110fafa"), // ranges descend
            format!("0102{tag}01010dfafa"),       // half a range
        ];
        for bytes in not_frames {
            assert_eq!(Frame::parse(&hex(&bytes)), None, "{bytes}");
        }
    }

    #[test]
    fn an_empty_frame_is_only_its_supplement_and_still_a_frame() {
        let sealed = seal(&keys()[0], 1, &[], &[]);
        assert_eq!(sealed.len(), 12);
        assert_eq!(Frame::parse(&sealed).unwrap().open(&keys()[0]), Some(Vec::new()));
    }
}
