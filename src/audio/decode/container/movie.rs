//! The index of an MP4 or QuickTime file (`moov`, ISO/IEC 14496-12), for what symphonia does not read in it: edit lists,
//! the byte order of PCM, and how long a fragmented file lasts.

use std::time::Duration;

use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_PCM_F32BE, CODEC_ID_PCM_F64BE, CODEC_ID_PCM_S8, CODEC_ID_PCM_S24BE, CODEC_ID_PCM_S32BE,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};

use super::super::event::Stream;
use super::super::input::Input;
use super::super::length::{self, Length};

/// What the index says.
#[derive(Default)]
pub(super) struct Movie {
    tracks: Vec<MovieTrack>,
    is_fragmented: bool,
    /// How long all fragments last together, where that is told.
    fragments: Option<Duration>,
    /// Whether a box lasts longer than the file.
    is_cut: bool,
    /// Where the types of the boxes of tracks stand that hold no sound.
    soundless: Vec<u64>,
}

#[derive(Default)]
struct MovieTrack {
    id: u32,
    timescale: u32,
    /// The part that is to be played, in units of the timescale: from where, and how much.
    from: u64,
    lasts: Option<u64>,
    /// What the samples are, where symphonia takes them for something else.
    pcm: Option<(AudioCodecId, u32)>,
}

/// Whether the index of a stream comes before its sound.
pub(super) fn is_streamable(input: &mut Input) -> bool {
    let mut at = 0;
    loop {
        let ahead = input.peek(at + 16);
        let Some(found) = BoxHeader::parse(ahead.get(at..).unwrap_or_default()) else { return false };
        match &found.kind {
            b"moov" => return true,
            b"ftyp" | b"styp" | b"free" | b"skip" | b"wide" | b"uuid" | b"pdin" | b"sidx"
                if found.size < MAX_BEFORE =>
            {
                at += found.size as usize;
            }
            _ => return false,
        }
    }
}

impl Movie {
    /// Reads the index: without it, nothing is known.
    pub(super) fn read(input: &mut Input) -> Self {
        let mut movie = Self { is_cut: is_cut(input), ..Self::default() };
        let Some((start, moov)) = find(input) else { return movie };
        let scale =
            child(&moov, &[b"mvhd"]).and_then(|header| timing(header, 12, 20)).map_or(1, |(scale, _)| scale);
        movie.is_fragmented = child(&moov, &[b"mvex"]).is_some();
        movie.fragments = child(&moov, &[b"mvex", b"mehd"]).and_then(|header| {
            let lasts = if *header.first()? == 0 { number(header, 4, 4)? } else { number(header, 4, 8)? };
            (lasts > 0).then(|| length::of_samples(lasts, scale))
        });
        for (at, kind, track) in Boxes::new(&moov) {
            if kind != b"trak" {
                continue;
            }
            if child(track, &[b"mdia", b"hdlr"]).and_then(|handler| handler.get(8..12)) == Some(b"soun") {
                movie.tracks.extend(MovieTrack::read(track, scale));
            } else {
                movie.soundless.push(start + at as u64 + 4);
            }
        }
        movie
    }

    /// Keeps symphonia from reading the tracks of pictures, over which it stumbles. Fragments count on them.
    pub(super) fn hide_pictures(&self, input: &mut Input) {
        if !self.is_fragmented && !self.tracks.is_empty() {
            self.soundless.iter().for_each(|&place| input.patch(place, *b"free"));
        }
    }

    /// Whether the end of the file is missing: symphonia then plays it as a stream only.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn is_fragmented(&self) -> bool {
        self.is_fragmented
    }

    fn track(&self, id: u32) -> Option<&MovieTrack> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// Puts right what the samples are.
    pub(super) fn correct(&self, id: u32, parameters: &mut AudioCodecParameters) {
        if let Some((codec, bits)) = self.track(id).and_then(|track| track.pcm) {
            parameters.for_codec(codec).with_bits_per_sample(bits).with_bits_per_coded_sample(bits);
        }
    }

    /// Leaves out what the edit list leaves out.
    pub(super) fn trim(&self, id: u32, stream: &mut Stream) {
        if let Some(track) = self.track(id) {
            (stream.skip, stream.keep, stream.unit) = (track.from, track.lasts, Some(track.timescale));
        }
    }

    /// How long the part is that is to be played, where an edit list says so.
    pub(super) fn kept_length(&self, id: u32) -> Option<Duration> {
        let track = self.track(id)?;
        track.lasts.map(|lasts| length::of_samples(lasts, track.timescale))
    }

    /// How long the fragments last.
    pub(super) fn fragmented_length(&self, id: u32) -> Length {
        let skipped =
            self.track(id).map_or(Duration::ZERO, |track| length::of_samples(track.from, track.timescale));
        Length { told: self.fragments.map(|lasts| lasts.saturating_sub(skipped)), declared: None }
    }
}

impl MovieTrack {
    /// `scale` is the timescale of the movie, in which edits last.
    fn read(track: &[u8], scale: u32) -> Option<Self> {
        let header = child(track, &[b"tkhd"])?;
        let id = number(header, if *header.first()? == 0 { 12 } else { 20 }, 4)? as u32;
        let (timescale, there) = timing(child(track, &[b"mdia", b"mdhd"])?, 12, 20)?;
        let mut found = Self { id, timescale, ..Self::default() };
        if let Some(list) = child(track, &[b"edts", b"elst"]) {
            found.edit(list, scale, there);
        }
        found.pcm = child(track, &[b"mdia", b"minf", b"stbl", b"stsd"]).and_then(pcm);
        Some(found)
    }

    /// Takes an edit list (section 8.6.6) of one part; what it says of more than one is not followed. `there` is how long
    /// the whole of the track is.
    fn edit(&mut self, list: &[u8], scale: u32, there: u64) {
        let width = if list.first() == Some(&0) { 4 } else { 8 };
        let entries = list.get(8..).unwrap_or_default().chunks_exact(2 * width + 4);
        let mut parts = entries.filter_map(|entry| {
            let from = number(entry, width, width)?;
            // All ones stand for an empty edit: nothing is to be played for a while.
            (from != u64::MAX >> (64 - 8 * width)).then_some((number(entry, 0, width)?, from))
        });
        if let (Some((lasts, from)), None) = (parts.next(), parts.next()) {
            let lasts = u128::from(lasts) * u128::from(self.timescale) / u128::from(scale.max(1));
            self.from = from;
            // The movie counts more coarsely than the track. Where both mean the same, the track is right.
            let (coarse, left) = (u64::from(self.timescale / scale.max(1)), there.saturating_sub(from));
            let exact = |lasts: u64| if lasts.abs_diff(left) <= coarse { left } else { lasts };
            self.lasts = u64::try_from(lasts).ok().filter(|&lasts| lasts > 0).map(exact);
        }
    }
}

/// The codec of a sample description of PCM that symphonia takes for little-endian, as QuickTime means it.
fn pcm(descriptions: &[u8]) -> Option<(AudioCodecId, u32)> {
    let (_, kind, entry) = Boxes::new(descriptions.get(8..)?).next()?;
    let found = match kind {
        b"in24" => (CODEC_ID_PCM_S24BE, 24),
        b"in32" => (CODEC_ID_PCM_S32BE, 32),
        b"fl32" => (CODEC_ID_PCM_F32BE, 32),
        b"fl64" => (CODEC_ID_PCM_F64BE, 64),
        b"twos" if number(entry, 18, 2)? == 8 => (CODEC_ID_PCM_S8, 8),
        _ => return None,
    };
    // Version 1 has sixteen bytes more than version 0. An `enda` of 1 says little-endian.
    let extensions = entry.get(if number(entry, 8, 2)? == 1 { 44 } else { 28 }..).unwrap_or_default();
    let order = child(extensions, &[b"wave", b"enda"]).or_else(|| child(extensions, &[b"enda"]));
    (order.and_then(|order| number(order, 0, 2)) != Some(1)).then_some(found)
}

/// Whether a file ends before the last of its boxes does.
fn is_cut(input: &mut Input) -> bool {
    let (Some(length), mut at) = (input.byte_length(), input.position()) else { return false };
    for _ in 0..MAX_BOXES {
        let Some(found) = BoxHeader::parse(&input.read_at(at, 16)) else { return false };
        // A box of no told size lasts to the end, wherever that is.
        match at.checked_add(found.size) {
            None => return false,
            Some(end) if end > length => return true,
            Some(end) => at = end,
        }
    }
    false
}

/// Finds the index, and where its contents start.
fn find(input: &mut Input) -> Option<(u64, Vec<u8>)> {
    let start = input.position();
    let mut at = start;
    for _ in 0..MAX_BOXES {
        let head = if input.byte_length().is_some() {
            input.read_at(at, 16)
        } else {
            let from = (at - start) as usize;
            input.peek(from + 16).get(from..).unwrap_or_default().to_vec()
        };
        let found = BoxHeader::parse(&head)?;
        let contents = at + found.header as u64;
        if &found.kind == b"moov" && found.size <= MAX_INDEX {
            let length = found.size as usize - found.header;
            let mut index = if input.byte_length().is_some() {
                input.read_at(contents, length)
            } else {
                let from = (contents - start) as usize;
                input.peek(from + length).get(from..).unwrap_or_default().to_vec()
            };
            index.truncate(length);
            return Some((contents, index));
        }
        // Of a stream only the start is looked at.
        if input.byte_length().is_none() && at - start > MAX_BEFORE {
            return None;
        }
        at = at.checked_add(found.size)?;
    }
    None
}

struct BoxHeader {
    kind: [u8; 4],
    header: usize,
    /// With the header.
    size: u64,
}

impl BoxHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let kind = bytes.get(4..8)?.try_into().ok()?;
        let (header, size) = match number(bytes, 0, 4)? {
            0 => (8, u64::MAX),
            1 => (16, number(bytes, 8, 8)?),
            size => (8, size),
        };
        (size >= header as u64).then_some(Self { kind, header, size })
    }
}

/// The boxes that follow each other in some bytes, each with its place.
struct Boxes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Boxes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = (usize, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let found = BoxHeader::parse(rest)?;
        let size = usize::try_from(found.size).unwrap_or(usize::MAX).min(rest.len());
        let place = self.at;
        self.at += size;
        Some((place, &rest[4..8], rest.get(found.header..size)?))
    }
}

/// The contents of the first box at this path.
fn child<'a>(parent: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(parent, |parent, kind| {
        Boxes::new(parent).find(|(_, found, _)| found == kind).map(|(_, _, contents)| contents)
    })
}

/// The timescale and duration of a header whose version decides where they stand.
fn timing(header: &[u8], short: usize, long: usize) -> Option<(u32, u64)> {
    let (at, width) = if *header.first()? == 0 { (short, 4) } else { (long, 8) };
    let scale = number(header, at, 4).filter(|&scale| scale > 0)?;
    Some((scale as u32, number(header, at + 4, width)?))
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// How many boxes a file may consist of; one in fragments has thousands.
const MAX_BOXES: usize = 20_000;
/// An index that is longer is read by symphonia alone.
const MAX_INDEX: u64 = 16 << 20;
/// How much may stand before the index of a stream.
const MAX_BEFORE: u64 = 1 << 20;
