//! What a source is.

use std::time::Duration;

use super::error::SourceError;
use crate::audio::frame::Frame;

/// Something that can be played: a file, a stream, a tone.
///
/// A source is pulled, 20 ms at a time, ahead of the time it is heard; it may take a while over a frame
/// (a disc that spins up), since whoever pulls it keeps five in reserve.
pub trait Source: Send + 'static {
    /// Returns the next 20 ms, or `None` after the last.
    ///
    /// # Errors
    /// [`SourceError`] when what follows cannot be played. Everything before the damage has been returned by
    /// then; asked again, the source says `None`.
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError>;

    /// Returns how long the whole source lasts, where it says so.
    fn duration(&self) -> Option<Duration> {
        None
    }
}

impl Source for Box<dyn Source> {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        self.as_mut().next_frame()
    }

    fn duration(&self) -> Option<Duration> {
        self.as_ref().duration()
    }
}
