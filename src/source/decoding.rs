//! Decoding: a source that is decoded where it is pulled.

use std::time::Duration;

use super::{definition::Source, error::SourceError};
use crate::{
    audio::{
        frame::{Frame, Pcm},
        opus::Decoder,
        recent::RecentPackets,
    },
    speaker::FrameFormat,
};

/// A source whose Opus packets are decoded while they are to be mixed, so that the mixer need not do it.
#[derive(Debug)]
pub struct Decoding<S> {
    source: S,
    decoder: Option<Decoder>,
    /// What was handed on as it came.
    recent: RecentPackets,
}

impl<S: Source> Decoding<S> {
    /// A source that has not been asked for anything.
    pub fn new(source: S) -> Self {
        Self { source, decoder: None, recent: RecentPackets::default() }
    }

    /// Returns whether the source may wait for something.
    pub fn may_block(&self) -> bool {
        self.source.may_block()
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
                self.decoder = None;
                if let Some(Frame::Opus(packet)) = &frame {
                    self.recent.remember(packet);
                }
                Ok(frame)
            }
        }
    }

    /// Goes on from another place.
    ///
    /// # Errors
    /// Those of the source.
    pub fn seek(&mut self, to: Duration) -> Result<Duration, SourceError> {
        self.decoder = None;
        self.recent.clear();
        self.source.seek(to)
    }

    /// Returns whether it can go on from another place.
    pub fn can_seek(&self) -> bool {
        self.source.can_seek()
    }

    /// Returns how many samples per channel of the last frame belong to the audio.
    pub fn last_frame(&self) -> usize {
        self.source.last_frame()
    }

    fn decode(&mut self, packet: &[u8]) -> Option<Pcm> {
        let mut pcm = Pcm::default();
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(self.recent.decoder(|_| ()).ok()?),
        };
        decoder.decode_frame(Some(packet), &mut pcm).ok().map(|()| pcm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audio::opus::{Encoder, EncoderSettings},
        source::Tone,
    };

    /// A tone, as Opus packets.
    struct Packets(Tone, Encoder);

    impl Packets {
        fn lasting(length: Duration) -> Decoding<Self> {
            let encoder = Encoder::new(&EncoderSettings::default()).unwrap();
            Decoding::new(Self(Tone::new(440.0).lasting(length), encoder))
        }
    }

    impl Source for Packets {
        fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
            let Some(Frame::Pcm(pcm)) = self.0.next_frame()? else { return Ok(None) };
            let mut packet = [0; 1_000];
            let length = self.1.encode(&pcm, &mut packet).unwrap();
            Ok(Some(Frame::Opus(packet[..length].to_vec().into())))
        }
    }

    #[test]
    fn packets_are_decoded_only_where_samples_are_wanted() {
        let mut source = Packets::lasting(Duration::from_millis(200));
        for _ in 0..5 {
            let frame = source.next_frame(FrameFormat::Any).unwrap();
            assert!(matches!(frame, Some(Frame::Opus(_))), "{frame:?}");
        }
        let mut loudest = 0.0_f32;
        for _ in 0..5 {
            let Some(Frame::Pcm(pcm)) = source.next_frame(FrameFormat::Pcm).unwrap() else {
                panic!("a packet")
            };
            loudest = loudest.max(pcm.peak());
        }
        assert!((0.15..0.4).contains(&loudest), "the tone has a peak of {loudest}");
        assert_eq!(source.next_frame(FrameFormat::Pcm).unwrap(), None);
    }

    #[test]
    fn a_source_lasts_as_long_in_a_box_as_out_of_it_and_says_nothing_it_does_not_know() {
        let length = Duration::from_secs(3);
        let boxed: Box<dyn Source> = Box::new(Tone::new(440.0).lasting(length));
        assert_eq!(Source::duration(&boxed), Some(length));
        assert_eq!(Packets::lasting(length).source.duration(), None);
    }
}
