//! What a source is.

use std::time::Duration;

use super::{error::SourceError, metadata::Metadata};
use crate::audio::frame::{FRAME_SAMPLES, Frame};

/// Something that can be played: a file, a stream, a tone.
///
/// A source is pulled, 20 ms at a time, ahead of the time it is heard; it may take a while over a frame
/// (a disc that spins up), since whoever pulls it keeps some in reserve.
pub trait Source: Send + 'static {
    /// Returns the next 20 ms, or `None` after the last.
    ///
    /// # Errors
    /// [`SourceError`] when what follows cannot be played. Everything before the damage has been returned by
    /// then; asked again, the source says `None`.
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError>;

    /// Goes on from this place, at its beginning at the latest frame that is not after it; returns where that is. Also after
    /// the end. A place behind the end is the end.
    ///
    /// # Errors
    /// [`SourceError::NotSeekable`] unless [`Self::can_seek`]; then the source goes on where it was.
    fn seek(&mut self, to: Duration) -> Result<Duration, SourceError> {
        let cause = format!("it is not seekable, and was asked for {to:?}");
        Err(SourceError::NotSeekable { name: "the source".to_owned(), cause })
    }

    /// Returns whether it can go on from another place.
    fn can_seek(&self) -> bool {
        false
    }

    /// Returns how many samples per channel of the last frame that was returned belong to the audio: fewer than 960 where the
    /// last frame is filled up. Asked once all were returned.
    fn last_frame(&self) -> usize {
        FRAME_SAMPLES
    }

    /// Returns what the source says about itself, where it says anything.
    fn metadata(&self) -> Option<&Metadata> {
        None
    }

    /// Returns how long the whole source lasts, where it says so.
    fn duration(&self) -> Option<Duration> {
        None
    }

    /// Returns whether a frame may have to be waited for, on a pipe or a network: such a source gets a thread of its own.
    /// The others share one, where nothing is pulled while one of them is at work.
    fn may_block(&self) -> bool {
        true
    }

    /// Returns whether the audio comes into being as it is heard (a microphone, speech synthesis): then only 100 ms of it
    /// are pulled ahead, and half a second otherwise.
    fn is_live(&self) -> bool {
        false
    }
}

impl Source for Box<dyn Source> {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        self.as_mut().next_frame()
    }

    fn seek(&mut self, to: Duration) -> Result<Duration, SourceError> {
        self.as_mut().seek(to)
    }

    fn can_seek(&self) -> bool {
        self.as_ref().can_seek()
    }

    fn last_frame(&self) -> usize {
        self.as_ref().last_frame()
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.as_ref().metadata()
    }

    fn duration(&self) -> Option<Duration> {
        self.as_ref().duration()
    }

    fn may_block(&self) -> bool {
        self.as_ref().may_block()
    }

    fn is_live(&self) -> bool {
        self.as_ref().is_live()
    }
}
