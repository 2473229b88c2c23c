//! Metadata: what a file says about itself.

use symphonia::core::io::BufReader;
use symphonia::core::meta::well_known::METADATA_ID_VORBIS_COMMENT;
use symphonia::core::meta::{MetadataBuilder, MetadataInfo, StandardTag, Tag};
use symphonia::default::meta::embedded::vorbis::read_vorbis_comment;

use super::reading::guarded;
use crate::source::Metadata;

impl Metadata {
    /// Takes what tags say; what is known already stays.
    pub(super) fn add(&mut self, tags: &[Tag]) {
        for tag in tags {
            let (field, text) = match &tag.std {
                Some(StandardTag::TrackTitle(text)) => (&mut self.title, text),
                Some(StandardTag::Artist(text)) => (&mut self.artist, text),
                Some(StandardTag::Album(text)) => (&mut self.album, text),
                Some(StandardTag::AlbumArtist(text)) => (&mut self.album_artist, text),
                Some(StandardTag::Genre(text)) => (&mut self.genre, text),
                Some(StandardTag::ReleaseDate(text) | StandardTag::RecordingDate(text)) => {
                    (&mut self.date, text)
                }
                Some(StandardTag::ReleaseYear(year) | StandardTag::RecordingYear(year)) => {
                    self.date.get_or_insert_with(|| year.to_string());
                    continue;
                }
                Some(StandardTag::TrackNumber(number)) => {
                    self.track_number.get_or_insert(*number);
                    continue;
                }
                _ => continue,
            };
            add(field, text);
        }
    }

    /// Takes what a Vorbis comment says, as FLAC and Opus have it.
    pub(super) fn add_vorbis_comment(&mut self, block: &[u8]) {
        let info = MetadataInfo {
            metadata: METADATA_ID_VORBIS_COMMENT,
            short_name: "vorbis",
            long_name: "Vorbis comment",
        };
        let mut builder = MetadataBuilder::new(info);
        // What was read before something was wrong with it is of use.
        let _ = guarded(|| read_vorbis_comment(&mut BufReader::new(block), &mut builder, &mut Vec::new()));
        self.add(&builder.build().media.tags);
    }

    /// Takes what is not known yet from another.
    pub(super) fn fill_from(&mut self, other: &Self) {
        let fill = |field: &mut Option<String>, text: &Option<String>| {
            if field.is_none() {
                field.clone_from(text);
            }
        };
        fill(&mut self.title, &other.title);
        fill(&mut self.artist, &other.artist);
        fill(&mut self.album, &other.album);
        fill(&mut self.album_artist, &other.album_artist);
        fill(&mut self.genre, &other.genre);
        fill(&mut self.date, &other.date);
        self.track_number = self.track_number.or(other.track_number);
        self.duration = self.duration.or(other.duration);
    }

    /// Takes a tag under the name that ffmpeg and RIFF give it.
    pub(super) fn add_named(&mut self, name: &str, text: &str) {
        match name.to_ascii_lowercase().as_str() {
            "title" | "inam" => add(&mut self.title, text),
            "artist" | "iart" => add(&mut self.artist, text),
            "album" | "iprd" => add(&mut self.album, text),
            "album_artist" => add(&mut self.album_artist, text),
            "genre" | "ignr" => add(&mut self.genre, text),
            "date" | "icrd" => add(&mut self.date, text),
            "track" | "itrk" | "iprt" => {
                let number = text.split('/').next().and_then(|number| number.trim().parse().ok());
                self.track_number = self.track_number.or(number);
            }
            _ => {}
        }
    }
}

/// Fills a field that is empty; a text that is empty says nothing.
fn add(field: &mut Option<String>, text: &str) {
    let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\0');
    if field.is_none() && !text.is_empty() {
        *field = Some(text.chars().take(MAX_TEXT).collect());
    }
}

/// A block of comments that is longer is not read beyond this.
pub(super) const MAX_COMMENT: usize = 1 << 20;
/// Longer texts are cut off: they are no titles.
const MAX_TEXT: usize = 1_000;
