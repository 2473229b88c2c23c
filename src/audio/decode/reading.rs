//! What is said of symphonia's errors, and how its panics are kept in.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::errors::Error;

use super::event::ENDS_EARLY;

/// Says what is wrong in words that can stand after a file's name.
pub(super) fn explained(error: &Error) -> String {
    match error {
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => ENDS_EARLY.to_owned(),
        Error::IoError(error) => format!("reading failed: {error}"),
        Error::Unsupported(cause) if cause.contains("unsupported audio codec") => {
            "its codec is not known here".to_owned()
        }
        Error::Unsupported(
            "aac: aac too complex" | "common (mp4a): program config element" | "aac: program config",
        ) => "it is AAC of a kind that is not decoded here (HE-AAC, or of more than two channels)".to_owned(),
        Error::DecodeError(cause) | Error::Unsupported(cause) | Error::LimitError(cause) => {
            (*cause).to_owned()
        }
        error => error.to_string(),
    }
}

/// Runs a step of a demuxer or decoder; should it panic, that is damage in what it read.
///
/// The symphonia crates check most of their arithmetic, not all. Whoever panicked is not asked again: the source ends.
pub(super) fn guarded<T>(step: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or(Err(Error::LimitError("the decoder gave up on it")))
}
