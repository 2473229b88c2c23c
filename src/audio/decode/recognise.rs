//! Recognising what bytes are, by evidence: a name is no evidence, and nor is one chance sync word.

use super::{adts, mpeg};

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RIFF, RF64 or BW64 with WAVE in it.
    Wave,
    Flac,
    /// MP1, MP2 or MP3; the first frame is so many bytes further.
    Mpeg {
        offset: usize,
    },
    /// AAC in ADTS frames.
    Adts,
    Ogg,
    IsoMp4,
    Matroska,
    Aiff,
    Caf,
    /// Sound, or a film, that is not decoded here; ffmpeg knows it.
    Foreign(&'static str),
    /// Nothing that sounds.
    Soundless(&'static str),
    /// A list of other files, which are to be played instead.
    Playlist,
    Text,
    Unknown,
}

/// Says what the bytes are, from those at the start: tags have been left out, and there are at least
/// [`EVIDENCE`] of them unless there are no more.
pub(super) fn recognise(ahead: &[u8]) -> Kind {
    let known = by_marker(ahead)
        .or_else(|| boxed(ahead))
        .or_else(|| SIGNATURES.iter().find_map(|it| it.matches(ahead)));
    if let Some(kind) = known {
        return kind;
    }
    if adts::is_stream(ahead) {
        return Kind::Adts;
    }
    if let Some(offset) = mpeg::find(ahead) {
        return Kind::Mpeg { offset };
    }
    if is_transport_stream(ahead) {
        return Kind::Foreign("an MPEG transport stream");
    }
    if is_ac3(ahead) {
        return Kind::Foreign("AC-3");
    }
    if is_text(ahead) {
        let text = String::from_utf8_lossy(&ahead[..ahead.len().min(2_000)]).to_ascii_lowercase();
        return match text.trim_start() {
            text if text.starts_with("#extm3u") || text.starts_with("[playlist]") => Kind::Playlist,
            text if text.starts_with("<!doctype html") || text.starts_with("<html") => {
                Kind::Soundless("a web page")
            }
            _ => Kind::Text,
        };
    }
    Kind::Unknown
}

fn by_marker(ahead: &[u8]) -> Option<Kind> {
    let form = ahead.get(8..12).unwrap_or_default();
    Some(match ahead.get(..4)? {
        b"RIFF" | b"RF64" | b"BW64" if form == b"WAVE" => Kind::Wave,
        b"FORM" if form == b"AIFF" || form == b"AIFC" => Kind::Aiff,
        b"fLaC" => Kind::Flac,
        b"OggS" => ogg(ahead),
        b"\x1A\x45\xDF\xA3" => Kind::Matroska,
        b"caff" => Kind::Caf,
        _ => return None,
    })
}

/// The first packet of the first stream tells a codec that is not decoded here, before its headers are looked for in vain.
fn ogg(ahead: &[u8]) -> Kind {
    let segments = ahead.get(26).copied().unwrap_or_default();
    match ahead.get(27 + usize::from(segments)..).unwrap_or_default() {
        [b'S', b'p', b'e', b'e', b'x', b' ', ..] => Kind::Foreign("Speex"),
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', rest @ ..] => {
            // Where the channels are mapped, the number of streams follows.
            let is_mapped = rest.get(10).is_some_and(|&family| family > 0);
            let streams = rest.get(11).copied().unwrap_or_default();
            if is_mapped && streams > 1 { Kind::Foreign("Opus of more than two channels") } else { Kind::Ogg }
        }
        _ => Kind::Ogg,
    }
}

/// ISO base media files start with a box of a known type; the brand tells films and sounds from pictures.
fn boxed(ahead: &[u8]) -> Option<Kind> {
    match ahead.get(4..8)? {
        b"ftyp" if matches!(ahead.get(8..12)?, b"heic" | b"heix" | b"mif1" | b"avif" | b"crx ") => {
            Some(Kind::Soundless("a picture"))
        }
        b"ftyp" | b"moov" | b"mdat" | b"wide" | b"skip" | b"free" | b"styp" | b"pnot" => {
            let size = u32::from_be_bytes(ahead[..4].try_into().ok()?);
            (size == 0 || size == 1 || size >= 8).then_some(Kind::IsoMp4)
        }
        _ => None,
    }
}

/// Bytes at a place that say what follows.
struct Signature(usize, &'static [u8], Kind);

impl Signature {
    fn matches(&self, ahead: &[u8]) -> Option<Kind> {
        ahead.get(self.0..)?.starts_with(self.1).then_some(self.2)
    }
}

const SIGNATURES: [Signature; 51] = [
    Signature(0, b"wvpk", Kind::Foreign("WavPack")),
    Signature(0, b"MAC ", Kind::Foreign("Monkey's Audio")),
    Signature(0, b"MPCK", Kind::Foreign("Musepack")),
    Signature(0, b"MP+", Kind::Foreign("Musepack")),
    Signature(0, b"TTA1", Kind::Foreign("True Audio")),
    Signature(0, b"TTA2", Kind::Foreign("True Audio")),
    Signature(0, b"OFR ", Kind::Foreign("OptimFROG")),
    Signature(0, b"tBaK", Kind::Foreign("TAK")),
    Signature(0, b"ajkg", Kind::Foreign("Shorten")),
    Signature(0, b"#!AMR", Kind::Foreign("AMR")),
    Signature(0, b"#!SILK_V3", Kind::Soundless("a SILK voice message")),
    Signature(0, b"\x02#!SILK_V3", Kind::Soundless("a SILK voice message")),
    Signature(0, b"\x7F\xFE\x80\x01", Kind::Foreign("DTS")),
    Signature(0, b"\xFE\x7F\x01\x80", Kind::Foreign("DTS")),
    Signature(0, b"DTSHDHDR", Kind::Foreign("DTS")),
    Signature(4, b"\xF8\x72\x6F\xBA", Kind::Foreign("TrueHD")),
    Signature(0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", Kind::Foreign("Windows Media (WMA, WMV)")),
    Signature(0, b".snd", Kind::Foreign("Sun audio (AU)")),
    Signature(0, b"DSD ", Kind::Foreign("DSD")),
    Signature(0, b"FRM8", Kind::Foreign("DSD")),
    Signature(0, b"ADIF", Kind::Foreign("AAC (ADIF)")),
    Signature(0, b"Creative Voice File", Kind::Foreign("Creative Voice")),
    Signature(0, b".ra\xFD", Kind::Foreign("RealAudio")),
    Signature(0, b".RMF", Kind::Foreign("RealMedia")),
    Signature(0, b"FLV\x01", Kind::Foreign("Flash video")),
    Signature(8, b"AVI ", Kind::Foreign("AVI")),
    Signature(8, b"8SVX", Kind::Foreign("Amiga 8SVX")),
    Signature(0, b"riff\x2E\x91\xCF\x11", Kind::Foreign("Sony Wave64")),
    Signature(0, b"\0\0\x01\xBA", Kind::Foreign("an MPEG programme stream")),
    Signature(0, b"IMPM", Kind::Foreign("a tracker module")),
    Signature(0, b"Extended Module:", Kind::Foreign("a tracker module")),
    Signature(44, b"SCRM", Kind::Foreign("a tracker module")),
    Signature(1080, b"M.K.", Kind::Foreign("a tracker module")),
    Signature(0, b"PSID", Kind::Soundless("a SID tune")),
    Signature(0, b"MThd", Kind::Soundless("a MIDI file")),
    Signature(0, b"\x89PNG", Kind::Soundless("a picture")),
    Signature(0, b"\xFF\xD8\xFF", Kind::Soundless("a picture")),
    Signature(0, b"GIF8", Kind::Soundless("a picture")),
    Signature(8, b"WEBP", Kind::Soundless("a picture")),
    Signature(0, b"II*\0", Kind::Soundless("a picture")),
    Signature(0, b"MM\0*", Kind::Soundless("a picture")),
    Signature(0, b"%PDF", Kind::Soundless("a PDF document")),
    Signature(0, b"PK\x03\x04", Kind::Soundless("a ZIP archive")),
    Signature(0, b"\x1F\x8B", Kind::Soundless("a gzip archive")),
    Signature(0, b"BZh", Kind::Soundless("a bzip2 archive")),
    Signature(0, b"7z\xBC\xAF\x27\x1C", Kind::Soundless("a 7z archive")),
    Signature(0, b"\xFD7zXZ", Kind::Soundless("an xz archive")),
    Signature(0, b"Rar!", Kind::Soundless("a RAR archive")),
    Signature(0, b"\x7FELF", Kind::Soundless("a programme")),
    Signature(0, b"SQLite format 3", Kind::Soundless("a database")),
    Signature(0, b"\xD0\xCF\x11\xE0", Kind::Soundless("a document")),
];

/// Packets of 188 bytes, each with its sync byte.
fn is_transport_stream(ahead: &[u8]) -> bool {
    ahead.len() >= 5 * 188 && (0..5).all(|packet| ahead[packet * 188] == 0x47)
}

/// Frames of AC-3 whose lengths lead from one to the next (ATSC A/52 table 5.18).
fn is_ac3(mut ahead: &[u8]) -> bool {
    const KBITS: [usize; 19] =
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
    for _ in 0..3 {
        let &[0x0B, 0x77, _, _, code, ..] = ahead else { return false };
        let Some(&kbits) = KBITS.get(usize::from(code & 0x3F) / 2) else { return false };
        let words = match code >> 6 {
            0 => 2 * kbits,
            1 => kbits * 96_000 / 44_100 + usize::from(code & 1),
            2 => 3 * kbits,
            _ => return false,
        };
        ahead = ahead.get(2 * words..).unwrap_or_default();
    }
    true
}

/// Whether these are characters, and no control characters but those of text.
fn is_text(ahead: &[u8]) -> bool {
    let start = &ahead[..ahead.len().min(2_000)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut off.
        Err(error) if error.valid_up_to() + 4 > start.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text.chars().all(|character| !character.is_control() || character.is_ascii_whitespace())
}

/// How many bytes [`recognise`] wants to see.
pub(super) const EVIDENCE: usize = 96 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_taken_for_what_they_are() {
        let cases: [(&[u8], Kind); 12] = [
            (b"RIFF\x24\0\0\0WAVEfmt ", Kind::Wave),
            (b"RF64\xFF\xFF\xFF\xFFWAVEds64", Kind::Wave),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Kind::Soundless("a picture")),
            (b"RIFF\x24\0\0\0AVI LIST", Kind::Foreign("AVI")),
            (b"FORM\0\0\0\x24AIFCCOMM", Kind::Aiff),
            (b"\0\0\0\x1CftypM4A \0\0", Kind::IsoMp4),
            (b"\0\0\0\x1Cftypheic\0\0", Kind::Soundless("a picture")),
            (b"#EXTM3U\nhttp://radio.example/", Kind::Playlist),
            (b"\xEF\xBB\xBF just text, \xC3\xA4h", Kind::Text),
            (b"<!DOCTYPE html><title>404", Kind::Soundless("a web page")),
            (b"wvpk\x32\0\0\0", Kind::Foreign("WavPack")),
            (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", Kind::Unknown),
        ];
        for (bytes, kind) in cases {
            assert_eq!(recognise(bytes), kind, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn one_chance_sync_is_no_evidence() {
        let mut noise: Vec<u8> =
            (0..60_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 17) as u8).collect();
        assert_eq!(recognise(&noise), Kind::Unknown);
        for at in [0, 1_000, 30_000] {
            noise[at..at + 4].copy_from_slice(&[0xFF, 0xFB, 0x90, 0x44]);
            noise[at + 417..at + 421].copy_from_slice(&[0xFF, 0xFB, 0x50, 0x44]);
        }
        noise[0] = 7;
        assert_eq!(recognise(&noise), Kind::Unknown);
        let frame = [&[0xFF, 0xFB, 0x90, 0x44][..], &[0; 413]].concat();
        let frames = [&noise[1..900], &frame.repeat(5)[..]].concat();
        assert_eq!(recognise(&frames), Kind::Mpeg { offset: 899 });
    }
}
