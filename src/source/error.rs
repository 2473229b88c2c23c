//! Why a source cannot be played, or not to its end.

use std::time::Duration;

/// Why a source cannot be played, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no such file.
    #[error("{name}: no such file")]
    NotFound {
        /// The path.
        name: String,
    },
    /// The file or stream could not be read at all.
    #[error("{name}: cannot be read: {cause}")]
    Unreadable {
        /// The path, or the name that the stream was given.
        name: String,
        /// What the system says.
        cause: String,
    },
    /// It was read and is nothing that can be played.
    #[error("{name}: cannot be played: {cause}")]
    Unsupported {
        /// The path, or the name that the stream was given.
        name: String,
        /// What is missing or unknown.
        cause: String,
    },
    /// It cannot go on from another place.
    #[error("{name}: cannot be played from another place: {cause}")]
    NotSeekable {
        /// The path, or the name that the stream was given.
        name: String,
        /// Why not.
        cause: String,
    },
    /// It is corrupt or ends too early; what was good before has been played.
    #[error("{name}: damaged {}: {cause}", place(*.at))]
    Damaged {
        /// The path, or the name that the stream was given.
        name: String,
        /// How much of it was good.
        at: Duration,
        /// What is wrong there.
        cause: String,
    },
}

/// A place in a file, in words: no time is a place before the first sound.
fn place(at: Duration) -> String {
    match at {
        Duration::ZERO => "at its start".to_owned(),
        at => format!("after {:.2} s", at.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_the_place_and_the_cause() {
        let error = SourceError::Damaged {
            name: "song.flac".into(),
            at: Duration::from_millis(3140),
            cause: "the file ends early".into(),
        };
        assert_eq!(error.to_string(), "song.flac: damaged after 3.14 s: the file ends early");
        let error =
            SourceError::Damaged { name: "song.flac".into(), at: Duration::ZERO, cause: "it is torn".into() };
        assert_eq!(error.to_string(), "song.flac: damaged at its start: it is torn");
    }
}
