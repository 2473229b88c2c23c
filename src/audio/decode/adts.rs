//! ADTS: how frames of AAC are recognised (ISO/IEC 13818-7 section 6.2).

/// Whether three frames follow each other, or as many as there are.
pub(super) fn is_stream(mut ahead: &[u8]) -> bool {
    let Some(first) = Header::parse(ahead) else { return false };
    for frames in 0..3 {
        match Header::parse(ahead).filter(|header| header.kind == first.kind) {
            Some(header) if header.length <= ahead.len() => ahead = &ahead[header.length..],
            _ => return frames > 0 && ahead.len() < 7,
        }
    }
    true
}

struct Header {
    /// Profile, rate and channels.
    kind: [u8; 2],
    length: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, second, third, fourth, fifth, sixth, _, ..] = bytes else { return None };
        if second & 0xF6 != 0xF0 || third >> 2 & 0x0F > 12 {
            return None;
        }
        let length = usize::from(fourth & 0b11) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        (length >= 7).then_some(Self { kind: [third & 0xFD, fourth & 0xC0], length })
    }
}
