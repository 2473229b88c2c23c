//! Reading and writing the presentation language of MLS, with every bound checked.
//!
//! The codec below OpenMLS asserts on some malformed lengths in debug builds, so nothing goes to it that this reader
//! has not walked first. [RFC 9420, section 2.1](https://www.rfc-editor.org/rfc/rfc9420.html#section-2.1).

use sha2::{Digest, Sha256};

/// The bytes are not what they should be; names what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed MLS message: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// A hash that stands for a proposal or a key package.
pub(crate) type Reference = [u8; 32];

/// A cursor over bytes of a peer.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The bytes between an earlier copy of this reader and here.
    pub(crate) fn since(&self, earlier: Reader<'a>) -> &'a [u8] {
        &earlier.0[..earlier.0.len() - self.0.len()]
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Reads a vector with a length of 1, 2 or 4 bytes, which must be the shortest form.
    pub(crate) fn vector(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.take(length)
    }

    /// Like [`vector`](Self::vector), as a reader of its own.
    pub(crate) fn inner(&mut self) -> Result<Reader<'a>, Malformed> {
        self.vector().map(Reader)
    }

    /// Reads a vector that must hold exactly `N` bytes.
    pub(crate) fn sized_vector<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.vector()?.try_into().map_err(|_| Malformed("a vector of another length"))
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("trailing bytes")) }
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let first = self.u8()?;
        let low = u32::from(first & 0x3f);
        let (length, shortest) = match first >> 6 {
            0 => (low, 0),
            1 => (low << 8 | u32::from(self.u8()?), 0x40),
            2 => {
                let [a, b, c] = self.array()?;
                (low << 24 | u32::from_be_bytes([0, a, b, c]), 0x4000)
            }
            _ => return Err(Malformed("a length of 8 bytes")),
        };
        if length < shortest {
            return Err(Malformed("a length longer than need be"));
        }
        usize::try_from(length).map_err(|_| Malformed("a length beyond memory"))
    }
}

/// Appends a vector: length, then bytes.
pub(crate) fn write_vector(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ ..0x40 => out.push(length as u8),
        length @ 0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        length => out.extend_from_slice(&(0x8000_0000 | length as u32).to_be_bytes()),
    }
    out.extend_from_slice(bytes);
}

/// `RefHash` of [RFC 9420, section 5.2](https://www.rfc-editor.org/rfc/rfc9420.html#section-5.2).
pub(crate) fn reference(label: &str, value: &[u8]) -> Reference {
    let mut input = Vec::with_capacity(value.len() + 64);
    write_vector(&mut input, label.as_bytes());
    write_vector(&mut input, value);
    Sha256::digest(&input).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_every_length_form_come_back() {
        for length in [0, 1, 63, 64, 16_383, 16_384, 70_000] {
            let bytes = vec![7; length];
            let mut written = Vec::new();
            write_vector(&mut written, &bytes);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.vector(), Ok(bytes.as_slice()));
            assert_eq!(reader.finish(), Ok(()));
        }
        let mut written = Vec::new();
        write_vector(&mut written, &[0; 65]);
        assert_eq!(written[..2], [0x40, 0x41]);
    }

    #[test]
    fn illegal_lengths_are_refused_and_do_not_panic() {
        for bytes in [
            &[0xc0u8, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x40, 0x05, 1, 2, 3, 4, 5],
            &[0x80, 0, 0x3f, 0xff],
            &[5, 1],
            &[],
        ] {
            assert!(Reader::new(bytes).vector().is_err(), "{bytes:?}");
        }
    }
}
