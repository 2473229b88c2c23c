//! Frame: 20 ms of audio, the unit in which everything here moves.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// 20 ms of audio on its way to a voice channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// One Opus packet that lasts 20 ms; forwarded untouched where nothing else plays.
    Opus(Bytes),
    /// Plain samples, to be mixed and encoded.
    Pcm(Pcm),
}

/// 20 ms of plain samples: 48 kHz, stereo, interleaved (left first), 1.0 is full scale.
///
/// The samples live in a box, so that moving a frame from actor to actor moves a pointer.
#[derive(Clone, PartialEq)]
pub struct Pcm(Box<[f32; SAMPLES]>);

/// Moves the packets among these frames into one piece of memory, so that whoever plays them finds one behind the other, and
/// gives back one piece and not many.
pub fn pack(frames: &mut [Frame]) {
    let mut packets = BytesMut::with_capacity(frames.iter().filter_map(Frame::opus).map(Bytes::len).sum());
    for frame in frames {
        if let Frame::Opus(packet) = frame {
            packets.extend_from_slice(packet);
            *packet = packets.split().freeze();
        }
    }
}

impl Frame {
    fn opus(&self) -> Option<&Bytes> {
        match self {
            Self::Opus(packet) => Some(packet),
            Self::Pcm(_) => None,
        }
    }
}

impl Pcm {
    /// Makes a frame of these samples: 960 pairs of left and right.
    pub fn new(samples: [f32; SAMPLES]) -> Self {
        Self(Box::new(samples))
    }

    /// Returns the loudest sample's distance from zero; not-a-number counts as zero.
    pub fn peak(&self) -> f32 {
        self.iter().fold(0.0, |peak, sample| sample.abs().max(peak))
    }
}

impl Default for Pcm {
    /// Makes a frame of digital silence.
    fn default() -> Self {
        Self::new([0.0; SAMPLES])
    }
}

impl Deref for Pcm {
    type Target = [f32; SAMPLES];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Pcm {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for Pcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pcm(20 ms, peak {:.3})", self.peak())
    }
}

/// Samples per second and channel: the one rate Discord uses.
pub const SAMPLE_RATE: u32 = 48_000;
/// Channels: Discord announces Opus as stereo.
pub const CHANNELS: usize = 2;
/// Samples per channel in a frame; the RTP timestamp advances by it.
pub const FRAME_SAMPLES: usize = 960;
/// What a frame lasts.
pub const FRAME: Duration = Duration::from_millis(20);
/// The Opus packet for 20 ms of silence, of which five end a transmission
/// ([Discord: voice data interpolation](https://discord.com/developers/docs/topics/voice-connections#voice-data-interpolation)).
pub const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];

/// Samples of both channels in a frame.
const SAMPLES: usize = FRAME_SAMPLES * CHANNELS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::opus;

    #[test]
    fn a_frame_lasts_what_its_samples_say() {
        assert_eq!(FRAME_SAMPLES as u32 * 1000, SAMPLE_RATE * FRAME.as_millis() as u32);
        assert_eq!(opus::duration(&SILENCE), Ok(FRAME));
    }

    #[test]
    fn packed_frames_are_what_they_were_and_lie_one_behind_the_other() {
        let mut frames = [
            Frame::Opus(Bytes::from(vec![1; 100])),
            Frame::Pcm(Pcm::new([0.5; SAMPLES])),
            Frame::Opus(Bytes::new()),
            Frame::Opus(Bytes::from(vec![2; 7])),
        ];
        let before = frames.clone();
        pack(&mut frames);
        assert_eq!(frames, before);
        let starts: Vec<_> =
            frames.iter().filter_map(Frame::opus).map(|packet| packet.as_ptr() as usize).collect();
        assert_eq!(starts[2] - starts[0], 100);
        pack(&mut []);
    }

    #[test]
    fn the_peak_is_found_on_either_side_of_zero_and_past_nan() {
        let mut pcm = Pcm::default();
        assert_eq!(pcm.peak(), 0.0);
        pcm[3] = f32::NAN;
        pcm[100] = -0.75;
        pcm[1919] = 0.5;
        assert_eq!(pcm.peak(), 0.75);
        assert_eq!(format!("{pcm:?}"), "Pcm(20 ms, peak 0.750)");
    }
}
