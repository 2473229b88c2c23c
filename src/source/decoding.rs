//! Decoding: a source that is decoded where it is pulled.

use super::{definition::Source, error::SourceError};
use crate::{
    audio::{
        frame::{Frame, Pcm},
        opus::Decoder,
    },
    speaker::FrameFormat,
};

/// A source whose Opus packets are decoded while they are to be mixed, so that the mixer need not do it.
#[derive(Debug)]
pub struct Decoding<S> {
    source: S,
    decoder: Option<Decoder>,
}

impl<S: Source> Decoding<S> {
    /// A source that has not been asked for anything.
    pub fn new(source: S) -> Self {
        Self { source, decoder: None }
    }

    /// Returns the next 20 ms in a form that is of use, or `None` after the last.
    ///
    /// # Errors
    /// Those of the source. A packet that does not decode is left as it is, for the speaker to count.
    pub fn next_frame(&mut self, format: FrameFormat) -> Result<Option<Frame>, SourceError> {
        match (self.source.next_frame()?, format) {
            (Some(Frame::Opus(packet)), FrameFormat::Pcm) => {
                Ok(Some(self.decode(&packet).map_or(Frame::Opus(packet), Frame::Pcm)))
            }
            (frame, _) => {
                // What a decoder remembers is of a moment ago, and would be heard as a click.
                self.decoder = None;
                Ok(frame)
            }
        }
    }

    fn decode(&mut self, packet: &[u8]) -> Option<Pcm> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new().ok()?),
        };
        let mut pcm = Pcm::default();
        decoder.decode_frame(Some(packet), &mut pcm).ok().map(|()| pcm)
    }
}
