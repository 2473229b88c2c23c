//! OpusReader: reads the Ogg Opus files of a recording, also those that are cut off.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use super::{
    opus_file::{frame_samples, last_page},
    pages::{Page, read_page},
};

/// Reads one speaker's file from its start, packet by packet.
#[derive(Debug)]
pub struct OpusReader<R> {
    input: R,
    pre_skip: u16,
    packets: VecDeque<Vec<u8>>,
    whole_bytes: u64,
    ending: Ending,
    /// Serial number, page number and granule position of the page to come.
    next_page: (u32, u32, u64),
}

/// What a file says next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stretch {
    /// An Opus packet.
    Sound(Vec<u8>),
    /// So many samples per channel at 48 kHz are missing.
    Missing(u32),
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It does not begin as an Ogg Opus file of a recording does.
    #[error("it is no Ogg Opus file")]
    NotOggOpus,
    /// The system cannot read it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// More may follow.
    Open,
    /// It ends as a file should.
    Ended,
    /// It is cut off.
    CutOff,
}

impl<R: Read> OpusReader<R> {
    /// Reads the two headers.
    ///
    /// # Errors
    /// [`ReadError::NotOggOpus`] where they are not there, and what reading returns.
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let pages = [read_page(&mut input)?, read_page(&mut input)?];
        let serial = pages[0].as_ref().map_or(0, |page| page.serial);
        let [head, tags] = pages.map(first_packet);
        let (Some((head, head_length)), Some((tags, tags_length))) = (head, tags) else {
            return Err(ReadError::NotOggOpus);
        };
        if head.len() < HEAD_LEN || !head.starts_with(b"OpusHead\x01") || !tags.starts_with(b"OpusTags") {
            return Err(ReadError::NotOggOpus);
        }
        let pre_skip = u16::from_le_bytes([head[10], head[11]]);
        let whole_bytes = (head_length + tags_length) as u64;
        let (packets, next_page) = (VecDeque::new(), (serial, 2, 0));
        Ok(Self { input, pre_skip, packets, whole_bytes, ending: Ending::Open, next_page })
    }

    /// Samples per channel at the start that are not to be heard.
    #[must_use]
    pub fn pre_skip(&self) -> u16 {
        self.pre_skip
    }

    /// Reads on; none at the end, or where the file is cut off.
    ///
    /// # Errors
    /// What reading returns.
    pub fn next_stretch(&mut self) -> io::Result<Option<Stretch>> {
        while self.packets.is_empty() {
            if self.ending != Ending::Open {
                return Ok(None);
            }
            match read_page(&mut self.input)? {
                Some(page) => self.take(page),
                None => self.ending = Ending::CutOff,
            }
        }
        Ok(self
            .packets
            .pop_front()
            .map(|packet| missing(&packet).map_or(Stretch::Sound(packet), Stretch::Missing)))
    }

    /// Whether it was read to its end, which is where it says.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ending == Ending::Ended && self.packets.is_empty()
    }

    /// How long the part is that is whole and was read so far, in bytes: a file that is cut off ends there.
    #[must_use]
    pub fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// The page that gives a file an end that was cut off behind what was read so far.
    #[must_use]
    pub fn last_page(&self) -> Vec<u8> {
        let (serial, sequence, granule) = self.next_page;
        last_page(serial, sequence, granule)
    }

    fn take(&mut self, page: Page) {
        self.next_page = (page.serial, page.sequence + 1, page.granule);
        self.whole_bytes += page.length as u64;
        self.packets.extend(page.packets);
        if page.last {
            self.ending = Ending::Ended;
        }
    }
}

fn first_packet(page: Option<Page>) -> Option<(Vec<u8>, usize)> {
    let page = page?;
    let length = page.length;
    Some((page.packets.into_iter().next()?, length))
}

/// How many samples a packet without a byte of sound stands for.
fn missing(packet: &[u8]) -> Option<u32> {
    let frames = match *packet {
        [coding] if coding & 3 == 0 => 1,
        [coding] if coding & 3 == 1 => 2,
        [coding, frames @ 1..=48] if coding & 3 == 3 => u32::from(frames),
        _ => return None,
    };
    Some(frames * frame_samples(packet[0]) as u32)
}

const HEAD_LEN: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::opus_file::OpusFile;

    fn file() -> Vec<u8> {
        let mut file = OpusFile::new(1, 0, &[]);
        for number in 0..100 {
            file.packet(&[0x7C, number, 9], 960);
            if number % 10 == 9 {
                file.missing(2_880);
            }
        }
        file.finish();
        file.take()
    }

    #[test]
    fn packets_and_what_is_missing_come_back_in_order() {
        let bytes = file();
        let mut reader = OpusReader::new(&bytes[..]).unwrap();
        assert_eq!(reader.pre_skip(), 312);
        let mut stretches = Vec::new();
        while let Some(stretch) = reader.next_stretch().unwrap() {
            stretches.push(stretch);
        }
        assert_eq!(stretches.len(), 110);
        assert_eq!(stretches[10], Stretch::Missing(2_880));
        assert_eq!(stretches[11], Stretch::Sound(vec![0x7C, 10, 9]));
        assert!(reader.is_complete());
        assert_eq!(reader.whole_bytes(), bytes.len() as u64);
    }

    #[test]
    fn a_file_that_is_cut_off_says_so_and_where() {
        let bytes = file();
        for cut in (0..bytes.len()).step_by(7) {
            let Ok(mut reader) = OpusReader::new(&bytes[..cut]) else { continue };
            while reader.next_stretch().unwrap().is_some() {}
            assert!(!reader.is_complete() && reader.whole_bytes() <= cut as u64);
            let mended = [&bytes[..reader.whole_bytes() as usize], &reader.last_page()].concat();
            let mut whole = OpusReader::new(&mended[..]).unwrap();
            while whole.next_stretch().unwrap().is_some() {}
            assert!(whole.is_complete() && whole.whole_bytes() == mended.len() as u64);
        }
        assert!(matches!(OpusReader::new(&b"RIFF"[..]), Err(ReadError::NotOggOpus)));
    }
}
