//! Recent: the last packets of a track, from which a decoder can go on where nothing was decoded.

use std::collections::VecDeque;

use super::{
    frame::Pcm,
    opus::{Decoder, OpusError},
};

/// The last 80 ms of packets: what a decoder has to hear before it sounds right (RFC 7845 section 4.6).
///
/// They are copied into memory that serves again: a clone of a packet would ask for some.
#[derive(Debug, Default)]
pub(crate) struct RecentPackets(VecDeque<Vec<u8>>);

impl RecentPackets {
    /// How many there are at most.
    pub(crate) const MAX: usize = 4;

    pub(crate) fn remember(&mut self, packet: &[u8]) {
        let oldest = if self.0.len() < Self::MAX { None } else { self.0.pop_front() };
        let mut latest = oldest.unwrap_or_default();
        latest.clear();
        latest.extend_from_slice(packet);
        self.0.push_back(latest);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A decoder that has heard them; `heard` is given each frame, the oldest first. They are forgotten.
    ///
    /// # Errors
    /// When there is no memory for a decoder.
    pub(crate) fn decoder(&mut self, mut heard: impl FnMut(&Pcm)) -> Result<Decoder, OpusError> {
        let (mut decoder, mut frame) = (Decoder::new()?, Pcm::default());
        for packet in &self.0 {
            // What does not decode was not heard by others either; it leaves silence.
            let _ = decoder.decode_frame(Some(packet), &mut frame);
            heard(&frame);
        }
        self.clear();
        Ok(decoder)
    }
}
