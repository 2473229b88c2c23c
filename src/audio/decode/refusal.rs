//! Why something is not played, and whether ffmpeg would play it.

use std::io;

use symphonia::core::errors::Error;

use super::reading::explained;
use crate::source::SourceError;
use crate::source::ffmpeg::Ffmpeg;

/// Why something is not played.
pub(super) enum Refusal {
    /// It is sound of a kind that is not decoded here.
    Foreign(&'static str),
    /// It is no sound.
    Soundless(&'static str),
    Playlist,
    /// Nobody here knows what it is.
    Unknown,
    /// It is of a known kind, and this is in the way.
    Unsupported(String),
    Damaged(String),
    /// Its headers are in order, and nothing came out of it.
    Silent,
    Unreadable(io::Error),
    /// It is not decoded here, and ffmpeg is of no help either.
    Final(String),
}

impl Refusal {
    pub(super) fn unknown(error: Option<io::Error>) -> Self {
        error.map_or(Self::Unknown, Self::Unreadable)
    }

    pub(super) fn of_error(error: Error) -> Self {
        let cause = explained(&error);
        match error {
            Error::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => Self::Unreadable(error),
            Error::IoError(_) | Error::DecodeError(_) => Self::Damaged(cause),
            _ => Self::Unsupported(cause),
        }
    }

    pub(super) fn may_be_played_by_ffmpeg(&self) -> bool {
        match self {
            Self::Foreign(_) | Self::Unknown | Self::Unsupported(_) | Self::Damaged(_) | Self::Silent => true,
            // Lists are refused for another reason too: ffmpeg would open the files that they name.
            Self::Soundless(_) | Self::Playlist | Self::Unreadable(_) | Self::Final(_) => false,
        }
    }

    pub(super) fn cause(&self) -> String {
        match self {
            Self::Foreign(what) => format!("it is {what}, which is not decoded here"),
            Self::Soundless(what) => format!("it is {what}, and holds no sound"),
            Self::Playlist => "it is a playlist: play what it names".to_owned(),
            Self::Unknown => format!("it is no audio that is known here ({KNOWN})"),
            Self::Unsupported(cause) | Self::Damaged(cause) | Self::Final(cause) => cause.clone(),
            Self::Silent => "there is no sound in it".to_owned(),
            Self::Unreadable(error) => error.to_string(),
        }
    }

    /// What is to be said where ffmpeg cannot be started.
    pub(super) fn without_ffmpeg(&self, ffmpeg: &Ffmpeg, error: &io::Error) -> Self {
        let would = match self {
            Self::Foreign(_) | Self::Unsupported(_) => "ffmpeg would play it",
            _ => "ffmpeg might play it",
        };
        let why = match ffmpeg {
            _ if error.kind() != io::ErrorKind::NotFound => format!("cannot be started: {error}"),
            Ffmpeg::OnPath => "is not installed".to_owned(),
            Ffmpeg::At(path) => format!("is not at {}", path.display()),
            Ffmpeg::Off => "is switched off".to_owned(),
        };
        let cause = format!("{}; {would}, and {why}", self.cause());
        match self {
            Self::Damaged(_) => Self::Damaged(cause),
            _ => Self::Final(cause),
        }
    }

    /// What is to be said where ffmpeg would have to seek in a stream.
    pub(super) fn for_a_file(&self) -> Self {
        Self::Final(format!("{}; ffmpeg would play it from a file: save it as one", self.cause()))
    }

    /// What is to be said where ffmpeg cannot play it.
    pub(super) fn with_ffmpeg(&self, trouble: String) -> Self {
        let cause =
            format!("{}; and not by ffmpeg ({})", self.cause(), trouble.trim_start_matches("ffmpeg: "));
        match self {
            Self::Damaged(_) => Self::Damaged(cause),
            _ => Self::Final(cause),
        }
    }

    pub(super) fn into_error(self, name: String) -> SourceError {
        let cause = self.cause();
        match self {
            Self::Unreadable(_) => SourceError::Unreadable { name, cause },
            Self::Damaged(_) => SourceError::Damaged { name, at: std::time::Duration::ZERO, cause },
            _ => SourceError::Unsupported { name, cause },
        }
    }
}

const KNOWN: &str = "WAV, FLAC, MP3, AAC, Ogg, MP4, WebM, Matroska, AIFF, CAF";
