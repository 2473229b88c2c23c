//! Metadata: what a source says about itself.

use std::time::Duration;

/// What a file says about itself: its tags, and how long it lasts.
///
/// Of a stream these are the tags at its start; of a chained Ogg stream (web radio) those of the part that plays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The title.
    pub title: Option<String>,
    /// Who plays or speaks.
    pub artist: Option<String>,
    /// The album.
    pub album: Option<String>,
    /// Whose album it is, where that differs.
    pub album_artist: Option<String>,
    /// The genre.
    pub genre: Option<String>,
    /// When it came out, as the file puts it: a year or a date.
    pub date: Option<String>,
    /// Its number on the album.
    pub track_number: Option<u64>,
    /// How long it lasts, where that is known.
    pub duration: Option<Duration>,
}
