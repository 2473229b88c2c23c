//! What DAVE does to one Opus frame on its way out, and the layout of an encrypted frame.
//!
//! ```text
//! | media, encrypted | tag 8 | nonce ULEB128 1–5 | clear ranges | size u8 | FA FA |
//! |<---- Opus ------>|<------------------- size bytes -------------------------->|
//! ```
//!
//! `size` counts from the tag to the end: 12 to 15 bytes for audio, which has no clear ranges. See
//! [frame payload](https://daveprotocol.com/#payload-format).

use std::collections::VecDeque;

use super::action::SenderKey;
use super::keys::{BaseSecret, FrameCipher, GENERATION_SHIFT, Mark, Ratchet, TAG};

/// Encrypts the frames we send, with a key that only [`SenderKey`] changes bring.
///
/// A new sealer has no key and withholds everything. After its owner has crashed, do not feed a new sealer from the old
/// [`Group`](super::Group): the nonces used so far died with the old one. Build a new `Group` (which means a new
/// Identify), whose keys are new.
#[derive(Default)]
pub struct FrameSealer {
    sender: Sender,
    retired: VecDeque<(Mark, u64)>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sealed {
    /// The output is an encrypted frame.
    Encrypted,
    /// The call is at protocol version 0: the output is the frame as it was.
    Plain,
    /// Encryption is required and there is no key yet: nothing was appended and nothing may be sent.
    Withheld,
}

#[derive(Default)]
enum Sender {
    #[default]
    Withheld,
    Plain,
    Keyed(Box<SendingKey>),
}

/// One epoch's key, and how many nonces of it are used up.
struct SendingKey {
    mark: Mark,
    ratchet: Ratchet,
    cipher: FrameCipher,
    used: u64,
}

impl FrameSealer {
    /// Builds a sealer that withholds every frame until a key comes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches to another key, or to none. A key that was in use before goes on where its nonces stopped.
    pub fn switch(&mut self, key: &SenderKey) {
        let next = match key {
            SenderKey::Epoch { secret, .. } => Some(secret),
            SenderKey::Plain | SenderKey::Withhold => None,
        };
        if let (Sender::Keyed(current), Some(secret)) = (&self.sender, next)
            && current.mark == secret.mark()
        {
            return;
        }
        self.retire();
        self.sender = match (key, next) {
            (_, Some(secret)) => Sender::Keyed(Box::new(self.resume(secret))),
            (SenderKey::Plain, None) => Sender::Plain,
            (_, None) => Sender::Withheld,
        };
    }

    /// Appends to `out` what goes on the wire for one Opus frame; it allocates only while it grows.
    ///
    /// The 3-byte silence frame is encrypted like any other: receivers take either form, and an observer then learns
    /// nothing about who is silent.
    pub fn seal(&mut self, opus: &[u8], out: &mut Vec<u8>) -> Sealed {
        match &mut self.sender {
            Sender::Withheld => Sealed::Withheld,
            Sender::Plain => {
                out.extend_from_slice(opus);
                Sealed::Plain
            }
            Sender::Keyed(key) => key.seal(opus, out),
        }
    }

    fn retire(&mut self) {
        let Sender::Keyed(key) = std::mem::take(&mut self.sender) else { return };
        if self.retired.len() == RETIRED_KEYS {
            self.retired.pop_front();
        }
        self.retired.push_back((key.mark, key.used));
    }

    fn resume(&mut self, secret: &BaseSecret) -> SendingKey {
        let mark = secret.mark();
        let used = match self.retired.iter().position(|(retired, _)| *retired == mark) {
            Some(at) => self.retired.remove(at).map_or(0, |(_, used)| used),
            None => 0,
        };
        SendingKey::new(secret, mark, used)
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, used: u64) {
        let Sender::Keyed(key) = &mut self.sender else { panic!("no key to skip in") };
        key.used = used;
    }
}

impl SendingKey {
    fn new(secret: &BaseSecret, mark: Mark, used: u64) -> Self {
        let mut ratchet = Ratchet::new(secret);
        let cipher = ratchet.draw();
        Self { mark, ratchet, cipher, used }
    }

    fn seal(&mut self, opus: &[u8], out: &mut Vec<u8>) -> Sealed {
        self.used += 1;
        let generation = (self.used >> GENERATION_SHIFT) as u32;
        while self.ratchet.next_generation() <= generation {
            self.cipher = self.ratchet.draw();
        }
        let nonce = self.used as u32;
        let start = out.len();
        out.extend_from_slice(opus);
        let Some(tag) = self.cipher.seal(nonce, &[], &mut out[start..]) else {
            out.truncate(start);
            return Sealed::Withheld;
        };
        out.extend_from_slice(&tag);
        let nonce_length = write_leb128(nonce, out);
        out.push((FIXED + nonce_length) as u8);
        out.extend_from_slice(&MARKER);
        Sealed::Encrypted
    }
}

/// An encrypted frame taken apart.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) media: &'a [u8],
    pub(super) tag: &'a [u8; TAG],
    pub(super) nonce: u32,
    pub(super) ranges: Ranges<'a>,
}

impl<'a> Parts<'a> {
    /// Takes a frame apart; `None` means that it is no DAVE frame at all.
    pub(super) fn of(frame: &'a [u8]) -> Option<Self> {
        let before = frame.strip_suffix(&MARKER)?;
        let (&size, before) = before.split_last()?;
        let size = usize::from(size);
        if size < FIXED || size > frame.len() {
            return None;
        }
        let (media, supplement) = before.split_at(frame.len() - size);
        let (tag, mut rest) = supplement.split_first_chunk()?;
        let nonce = u32::try_from(read_leb128(&mut rest)?).ok()?;
        let ranges = Ranges(rest);
        ranges.fit(media.len()).then_some(Self { media, tag, nonce, ranges })
    }
}

/// The parts of the media that are clear: pairs of offset and length, ascending.
#[derive(Clone, Copy)]
pub(super) struct Ranges<'a>(&'a [u8]);

impl Ranges<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the ranges can be read to their last byte, ascend, do not overlap and lie within the media.
    fn fit(mut self, media: usize) -> bool {
        let mut end = 0;
        while !self.is_empty() {
            let Some(range) = self.next() else { return false };
            if range.start < end || range.end > media {
                return false;
            }
            end = range.end;
        }
        true
    }
}

impl Iterator for Ranges<'_> {
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = usize::try_from(read_leb128(&mut self.0)?).ok()?;
        let length = usize::try_from(read_leb128(&mut self.0)?).ok()?;
        Some(start..start.checked_add(length)?)
    }
}

fn write_leb128(mut value: u32, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out.len() - start
}

/// Reads one number of at most 63 bits and moves past it.
fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

/// The last two bytes of every encrypted frame.
const MARKER: [u8; 2] = [0xfa, 0xfa];

/// Bytes of the supplement besides nonce and ranges: tag, size and marker.
const FIXED: usize = TAG + 1 + MARKER.len();

/// How many former keys' nonce counters are remembered: far more epochs than a server can leave open.
const RETIRED_KEYS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::frame::SILENCE;
    use crate::transport::dave::tests::support::hex;

    fn epoch(secret: [u8; 16]) -> SenderKey {
        SenderKey::Epoch { epoch: 1, secret: BaseSecret::new(secret) }
    }

    fn vector_key() -> SenderKey {
        epoch(hex("cedd61b1b8a1ca69046554282cf70b7b").try_into().unwrap())
    }

    fn nonce_of(frame: &[u8]) -> u32 {
        Parts::of(frame).expect("an encrypted frame").nonce
    }

    #[test]
    fn frames_are_byte_for_byte_those_of_the_vectors() {
        let opus: Vec<u8> = (1..=10).collect();
        let mut out = Vec::new();
        for (nonce, frame) in [
            (1, "d027a8ef4a86f715a2fcba04c1c774b21968010cfafa"),
            (300, "3a202b8ff27cbdb1cae8130667d1932e63f5ac020dfafa"),
            (1 << 24, "37dd4f884f9154ce4bf1c785ddc246b11ebd808080080ffafa"),
        ] {
            let mut sealer = FrameSealer::new();
            sealer.switch(&vector_key());
            sealer.skip_to(nonce - 1);
            out.clear();
            assert_eq!(sealer.seal(&opus, &mut out), Sealed::Encrypted);
            assert_eq!(out, hex(frame), "nonce {nonce}");
        }
    }

    #[test]
    fn without_a_key_nothing_leaves() {
        let mut out = b"header".to_vec();
        assert_eq!(FrameSealer::new().seal(&[1, 2, 3], &mut out), Sealed::Withheld);
        assert_eq!(FrameSealer::new().seal(&SILENCE, &mut out), Sealed::Withheld);
        assert_eq!(out, b"header");
    }

    #[test]
    fn silence_is_encrypted_too() {
        let mut sealer = FrameSealer::new();
        sealer.switch(&vector_key());
        let mut out = Vec::new();
        assert_eq!(sealer.seal(&SILENCE, &mut out), Sealed::Encrypted);
        assert_eq!(out.len(), 3 + 12);
        assert_ne!(out[..3], SILENCE);
    }

    #[test]
    fn version_zero_sends_the_frame_as_it_is() {
        let mut sealer = FrameSealer::new();
        sealer.switch(&SenderKey::Plain);
        let mut out = Vec::new();
        assert_eq!(sealer.seal(&[9, 8, 7], &mut out), Sealed::Plain);
        assert_eq!(out, [9, 8, 7]);
        sealer.switch(&SenderKey::Withhold);
        assert_eq!(sealer.seal(&[6, 5, 4], &mut out), Sealed::Withheld);
        assert_eq!(out, [9, 8, 7]);
    }

    #[test]
    fn a_key_installed_again_goes_on_with_its_nonces() {
        let mut sealer = FrameSealer::new();
        let mut out = Vec::new();
        let mut seen = Vec::new();
        let pause = [&SenderKey::Withhold, &SenderKey::Plain, &epoch([2; 16]), &epoch([1; 16])];
        for change in pause {
            sealer.switch(&epoch([1; 16]));
            for _ in 0..3 {
                out.clear();
                sealer.seal(&[0], &mut out);
                seen.push(nonce_of(&out));
            }
            sealer.switch(change);
        }
        assert_eq!(seen, (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn after_four_thousand_million_frames_the_key_is_new_and_the_nonce_wraps() {
        let mut sealer = FrameSealer::new();
        sealer.switch(&vector_key());
        let (mut first, mut wrapped) = (Vec::new(), Vec::new());
        sealer.seal(&[1, 2, 3], &mut first);
        sealer.skip_to(1 << 32);
        assert_eq!(sealer.seal(&[1, 2, 3], &mut wrapped), Sealed::Encrypted);
        assert_eq!((nonce_of(&first), nonce_of(&wrapped)), (1, 1));
        assert_ne!(first, wrapped);
    }

    #[test]
    fn a_frame_is_recognised_only_when_every_field_of_its_tail_fits() {
        let frame = |tail: &[u8]| {
            let mut frame = vec![0; 4 + TAG];
            frame.extend_from_slice(tail);
            frame
        };
        let good = frame(&[0x01, 0x0c, 0xfa, 0xfa]);
        assert!(Parts::of(&good).is_some_and(|parts| parts.media.len() == 4 && parts.nonce == 1));
        assert!(Parts::of(&good[4..]).is_some_and(|parts| parts.media.is_empty()), "empty media is allowed");
        assert!(Parts::of(&frame(&[0x01, 0x0c, 0xfa, 0xfb])).is_none(), "wrong marker");
        assert!(Parts::of(&frame(&[0x01, 0x0b, 0xfa, 0xfa])).is_none(), "no room for a nonce");
        assert!(Parts::of(&frame(&[0x01, 0x0a, 0xfa, 0xfa])).is_none(), "size below the minimum");
        assert!(Parts::of(&frame(&[0x01, 0xff, 0xfa, 0xfa])).is_none(), "size beyond the frame");
        assert!(Parts::of(&frame(&[0x80, 0x0c, 0xfa, 0xfa])).is_none(), "unfinished nonce");
        assert!(
            Parts::of(&frame(&[0x80, 0x80, 0x80, 0x80, 0x10, 0x10, 0xfa, 0xfa])).is_none(),
            "nonce over 32 bits"
        );
        assert!(Parts::of(&frame(&[0x01, 0x00, 0x02, 0x0e, 0xfa, 0xfa])).is_some(), "one clear range");
        assert!(Parts::of(&frame(&[0x01, 0x00, 0x0d, 0xfa, 0xfa])).is_none(), "half a range");
        assert!(Parts::of(&frame(&[0x01, 0x02, 0x03, 0x0e, 0xfa, 0xfa])).is_none(), "range beyond the media");
        assert!(
            Parts::of(&frame(&[0x01, 0x01, 0x02, 0x02, 0x01, 0x10, 0xfa, 0xfa])).is_none(),
            "ranges overlap"
        );
    }
}
