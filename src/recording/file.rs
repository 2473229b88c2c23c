//! RecordingFile: the files of a recording, by their names in its folder.

use std::fmt;

use crate::id::UserId;

/// A file of a recording. [`Display`](fmt::Display) writes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordingFile {
    /// What one speaker said.
    Track(UserId),
    /// What is known of the recording.
    Session,
    /// What happened, a line each.
    Events,
    /// Talkspurts and markers, for Audacity.
    Labels,
}

impl fmt::Display for RecordingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Track(user) => write!(f, "{user}.ogg"),
            Self::Session => f.write_str("session.json"),
            Self::Events => f.write_str("events.jsonl"),
            Self::Labels => f.write_str("labels.txt"),
        }
    }
}
