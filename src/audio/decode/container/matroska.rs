//! Matroska tracks whose packets are compressed or encrypted (RFC 9559 section 5.1.4.1.31), which symphonia hands out as
//! they are.

/// A track that cannot be played as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) track: u64,
    pub(super) cause: &'static str,
}

/// Finds such tracks in the start of a file.
pub(super) fn encoded_tracks(head: &[u8]) -> Vec<Encoded> {
    let mut found = Vec::new();
    for (id, segment) in Elements(head).filter(|(id, _)| *id == SEGMENT) {
        debug_assert_eq!(id, SEGMENT);
        let tracks = Elements(segment).filter(|(id, _)| *id == TRACKS);
        for (_, entry) in tracks.flat_map(|(_, tracks)| Elements(tracks)).filter(|(id, _)| *id == TRACK_ENTRY)
        {
            let number = child(entry, &[TRACK_NUMBER]).map(unsigned).unwrap_or_default();
            if let Some(encoding) = child(entry, &[CONTENT_ENCODINGS, CONTENT_ENCODING]) {
                found.push(Encoded { track: number, cause: cause(encoding) });
            }
        }
    }
    found
}

fn cause(encoding: &[u8]) -> &'static str {
    match child(encoding, &[CONTENT_COMPRESSION]) {
        None => "its contents are encrypted",
        Some(compression) => match child(compression, &[CONTENT_COMP_ALGO]).map_or(0, unsigned) {
            0 => "its contents are compressed (zlib)",
            3 => "its contents are compressed (headers left out)",
            _ => "its contents are compressed",
        },
    }
}

/// The first element at this path.
fn child<'a>(parent: &'a [u8], path: &[u32]) -> Option<&'a [u8]> {
    path.iter().try_fold(parent, |parent, id| {
        Elements(parent).find(|(found, _)| found == id).map(|(_, contents)| contents)
    })
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The elements that follow each other in some bytes; the last may be cut off.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = self.0.first()?.leading_zeros() as usize + 1;
        let id = self
            .0
            .get(..length)
            .filter(|_| length <= 4)?
            .iter()
            .fold(0, |id, &byte| id << 8 | u32::from(byte));
        let rest = &self.0[length..];
        let length = rest.first()?.leading_zeros() as usize + 1;
        let bytes = rest.get(..length).filter(|_| length <= 8)?;
        let marker = 1_u64 << (7 * length);
        let size = bytes.iter().fold(0, |size, &byte| size << 8 | u64::from(byte)) & (marker - 1);
        let rest = &rest[length..];
        // A size of all ones is unknown: it lasts to the end.
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        self.0 = &rest[size..];
        Some((id, &rest[..size]))
    }
}

/// How much of a file is looked through: its tracks stand near its start.
pub(super) const HEAD: usize = 256 << 10;
const SEGMENT: u32 = 0x1853_8067;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK_ENTRY: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const CONTENT_ENCODINGS: u32 = 0x6D80;
const CONTENT_ENCODING: u32 = 0x6240;
const CONTENT_COMPRESSION: u32 = 0x5034;
const CONTENT_COMP_ALGO: u32 = 0x4254;

#[cfg(test)]
mod tests {
    use super::*;

    fn element(id: u32, contents: &[u8]) -> Vec<u8> {
        let id = id.to_be_bytes().into_iter().skip_while(|&byte| byte == 0);
        id.chain([0x40 | (contents.len() >> 8) as u8, contents.len() as u8])
            .chain(contents.iter().copied())
            .collect()
    }

    #[test]
    fn a_track_whose_packets_are_compressed_is_found() {
        let plain = element(TRACK_ENTRY, &element(TRACK_NUMBER, &[1]));
        let zlib = element(CONTENT_COMPRESSION, &element(CONTENT_COMP_ALGO, &[0]));
        let encodings = element(CONTENT_ENCODINGS, &element(CONTENT_ENCODING, &zlib));
        let packed = element(TRACK_ENTRY, &[element(TRACK_NUMBER, &[2]), encodings].concat());
        let tracks = element(TRACKS, &[plain, packed].concat());
        let file = [element(0x1A45_DFA3, &[]), element(SEGMENT, &tracks)].concat();
        assert_eq!(
            encoded_tracks(&file),
            [Encoded { track: 2, cause: "its contents are compressed (zlib)" }]
        );
        for cut in 0..file.len() {
            encoded_tracks(&file[..cut]);
        }
    }
}
