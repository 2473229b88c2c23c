//! A page of a recording, for people: waveforms and players, in one file that needs nothing else.

use std::fmt::Write;

use super::{Session, Speaker, session::format_length};

/// What the page shows of one track.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PageTrack {
    /// The file's name.
    pub file: String,
    /// What to call it.
    pub title: String,
    /// The loudest sample of each stretch of the recording, all of one length, 0 to 1.
    pub peaks: Vec<f32>,
    /// The file itself; none where it is too long to be part of the page, which then names it instead.
    pub content: Option<Vec<u8>>,
}

impl PageTrack {
    /// A track of this name.
    #[must_use]
    pub fn new(file: impl Into<String>, title: impl Into<String>, peaks: Vec<f32>) -> Self {
        Self { file: file.into(), title: title.into(), peaks, content: None }
    }

    /// Puts the file into the page.
    #[must_use]
    pub fn content(self, content: Vec<u8>) -> Self {
        Self { content: Some(content), ..self }
    }
}

/// Writes the page. `labels` is what `labels.txt` says.
#[must_use]
pub fn page(session: &Session, tracks: &[PageTrack], labels: &str) -> String {
    let mut page = String::from(HEAD);
    let when = escaped(&session.began);
    let length = format_length(session.duration_ms);
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<h1>Recording</h1><p>{when}, {length}; guild {}, channel {}</p>",
        session.guild, session.channel
    );
    if let Some(code) = session.privacy_codes.last() {
        let _ = write!(page, "<p>privacy code {}</p>", escaped(&code.code));
    }
    for track in tracks {
        let speaker = session.speakers.iter().find(|speaker| speaker.file == track.file);
        write_track(&mut page, track, speaker);
    }
    write_markers(&mut page, labels, session);
    page.push_str("</body></html>\n");
    page
}

fn write_track(page: &mut String, track: &PageTrack, speaker: Option<&Speaker>) {
    let _ = write!(page, "<section><h2>{}</h2>", escaped(&track.title));
    if let Some(Speaker { spoken_ms, packets, lost, .. }) = speaker {
        let spoken = format_length(*spoken_ms);
        let _ = write!(page, "<p>{spoken} of speech, {packets} packets, {lost} lost</p>");
    }
    let width = track.peaks.len().max(1);
    let _ = write!(page, "<svg viewBox=\"0 0 {width} 100\" preserveAspectRatio=\"none\"><path d=\"");
    for (at, peak) in track.peaks.iter().enumerate() {
        let half = (peak.clamp(0.0, 1.0) * 49.0).max(0.3);
        let _ = write!(page, "M{at}.5 {:.1}V{:.1}", 50.0 - half, 50.0 + half);
    }
    page.push_str("\"/></svg>");
    let source = match &track.content {
        Some(content) => {
            let kind = if track.file.ends_with(".flac") { "audio/flac" } else { "audio/ogg" };
            format!("data:{kind};base64,{}", base64(content))
        }
        None => escaped(&track.file),
    };
    let _ = write!(page, "<audio controls preload=\"metadata\" src=\"{source}\"></audio></section>");
}

/// Markers are the labels without a length.
fn write_markers(page: &mut String, labels: &str, session: &Session) {
    let fields = labels.lines().filter_map(|line| {
        let mut fields = line.splitn(3, '\t');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let spoken = |text: &str| session.speakers.iter().any(|speaker| speaker.user.to_string() == text);
    let markers: Vec<_> = fields.filter(|(began, ended, text)| began == ended && !spoken(text)).collect();
    if markers.is_empty() {
        return;
    }
    page.push_str("<h2>Markers</h2><ul>");
    for (at, _, text) in markers {
        let at_ms = at.parse::<f64>().map_or(0, |seconds| (seconds * 1000.0) as u64);
        let _ = write!(page, "<li>{} {}</li>", format_length(at_ms), escaped(text));
    }
    page.push_str("</ul>");
}

fn escaped(text: &str) -> String {
    let escape = |character: char| match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Base 64 with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4 {
            let digit = (bits >> (18 - 6 * n) & 0x3F) as usize;
            text.push(if n <= chunk.len() { char::from(BASE_64[digit]) } else { '=' });
        }
    }
    text
}

const BASE_64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Recording</title><style>\
body{font:16px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h2{margin-bottom:0}p{margin:.3rem 0;color:#555}\
svg{width:100%;height:4rem;background:#f3f3f6}path{stroke:#5865f2;fill:none;stroke-width:1}\
audio{width:100%}</style></head><body>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_that_of_rfc_4648() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn what_people_write_is_text_and_not_markup() {
        assert_eq!(escaped("<b>\"&\"</b>"), "&lt;b&gt;&quot;&amp;&quot;&lt;/b&gt;");
    }
}
