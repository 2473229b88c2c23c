//! What a simulated member says, as Discord's client sends it.
//!
//! The client encodes 20 ms at a time, so that a packet repeats its predecessor coarsely (in-band FEC, for an expected loss of
//! 30 %), and leaves out what is silent (DTX). After speech it goes on for 25 frames, of which the last five are silence; then
//! it sends nothing until somebody speaks again.

use std::time::Duration;

use audiopus::coder::Encoder as LibEncoder;
use audiopus::{Application, Bitrate, Channels, SampleRate, Signal};
use bytes::Bytes;

use crate::opus::{
    Decoder, FRAME_SAMPLES, MAX_PACKET_BYTES, OpusError, SAMPLE_RATE, SILENCE, SILENCE_FRAMES, refused,
    samples,
};

pub use synthetic::synthesise;
pub use wave::{WaveError, read_wave};

mod synthetic;
#[cfg(test)]
mod tests;
mod wave;

/// How a member's client encodes.
///
/// ```
/// use actix_voice_loopback::speech::{ClientVoice, synthesise};
///
/// let said = ClientVoice::discord().speak(&synthesise(7, std::time::Duration::from_secs(3)))?;
/// let coarse = ClientVoice::discord().mono().frame_ms(60.0).without_fec();
/// # assert!(!said.packets.is_empty());
/// # Ok::<(), actix_voice_loopback::opus::OpusError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClientVoice {
    bitrate: i32,
    fec: bool,
    dtx: bool,
    mono: bool,
    frame: usize,
}

/// What a member says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Speech {
    /// The packets, in the order in which they are sent.
    pub packets: Vec<SpokenPacket>,
    /// How long it is, pauses at the end among it.
    pub length: Duration,
}

/// One packet of a [`Speech`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpokenPacket {
    /// When it is sent, after the beginning.
    pub at: Duration,
    /// Its media time: samples at 48 kHz since the beginning.
    pub time: u64,
    /// The packet.
    pub opus: Bytes,
}

impl ClientVoice {
    /// As Discord's client does: 64 kbit/s, stereo, 20 ms, with FEC for a loss of 30 %, and DTX.
    pub fn discord() -> Self {
        Self { bitrate: 64_000, fec: true, dtx: true, mono: false, frame: FRAME_SAMPLES }
    }

    /// Bits a second, 500 to 512,000.
    pub fn bitrate(self, bitrate: u32) -> Self {
        Self { bitrate: i32::try_from(bitrate).unwrap_or(i32::MAX), ..self }
    }

    /// Repeats nothing in the next packet.
    pub fn without_fec(self) -> Self {
        Self { fec: false, ..self }
    }

    /// Sends a packet for each frame of a talkspurt, however silent.
    pub fn without_dtx(self) -> Self {
        Self { dtx: false, ..self }
    }

    /// Encodes one channel.
    pub fn mono(self) -> Self {
        Self { mono: true, ..self }
    }

    /// Sends packets of this length: 2.5, 5, 10, 20, 40, 60, 80, 100 or 120 ms.
    pub fn frame_ms(self, milliseconds: f64) -> Self {
        Self { frame: (milliseconds * 48.0) as usize, ..self }
    }

    /// Encodes what is said: 48 kHz, stereo, interleaved. What is below −50 dBFS for long is a pause, in which nothing is sent.
    ///
    /// # Errors
    /// [`OpusError::Refused`] for a bitrate or a length of packets that Opus does not have.
    pub fn speak(&self, audio: &[f32]) -> Result<Speech, OpusError> {
        let mut encoder = self.encoder()?;
        let mut packets = Vec::new();
        // How many samples of a talkspurt are left.
        let (mut left, mut silence_left) = (0, 0);
        for (n, chunk) in audio.chunks(2 * self.frame).enumerate() {
            let time = (n * self.frame) as u64;
            if is_speech(chunk) {
                (left, silence_left) = (TRAILING_SAMPLES, SILENCE_FRAMES as usize * FRAME_SAMPLES);
            } else if left == 0 {
                // The end of a talkspurt comes in frames of 20 ms, whatever the others last.
                let frames = silence_left.min(self.frame).div_ceil(FRAME_SAMPLES);
                let due = |frame: usize| time + (frame * FRAME_SAMPLES) as u64;
                packets.extend((0..frames).map(|frame| SpokenPacket::new(due(frame), SILENCE.to_vec())));
                silence_left = silence_left.saturating_sub(frames * FRAME_SAMPLES);
                continue;
            }
            left = left.saturating_sub(if is_speech(chunk) { 0 } else { self.frame });
            let packet = self.encode(&mut encoder, chunk)?;
            if !self.dtx || packet.len() > DTX_BYTES {
                packets.push(SpokenPacket::new(time, packet));
            }
        }
        // Who stops in mid-speech says so all the same.
        let end = (audio.len() / 2).next_multiple_of(self.frame);
        let frames = silence_left.div_ceil(FRAME_SAMPLES);
        packets.extend(
            (0..frames).map(|n| SpokenPacket::new((end + n * FRAME_SAMPLES) as u64, SILENCE.to_vec())),
        );
        Ok(Speech { length: duration((end + frames * FRAME_SAMPLES) as u64), packets })
    }

    fn encoder(&self) -> Result<LibEncoder, OpusError> {
        let channels = if self.mono { Channels::Mono } else { Channels::Stereo };
        let mut encoder =
            LibEncoder::new(SampleRate::Hz48000, channels, Application::Voip).map_err(refused)?;
        encoder.set_bitrate(Bitrate::BitsPerSecond(self.bitrate)).map_err(refused)?;
        encoder.set_signal(Signal::Voice).map_err(refused)?;
        encoder.set_inband_fec(self.fec).map_err(refused)?;
        encoder.set_packet_loss_perc(if self.fec { EXPECTED_LOSS } else { 0 }).map_err(refused)?;
        encoder.set_dtx(self.dtx).map_err(refused)?;
        Ok(encoder)
    }

    fn encode(&self, encoder: &mut LibEncoder, chunk: &[f32]) -> Result<Vec<u8>, OpusError> {
        let mut frame = chunk.to_vec();
        frame.resize(2 * self.frame, 0.0);
        if self.mono {
            frame = frame.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
        }
        let mut packet = vec![0; 6 * MAX_PACKET_BYTES];
        let length = encoder.encode_float(&frame, &mut packet).map_err(refused)?;
        packet.truncate(length);
        Ok(packet)
    }
}

impl Speech {
    /// Sends the packets by a clock that is so much too fast, in parts per million; a negative one is too slow.
    pub fn on_clock(mut self, ppm: f64) -> Self {
        for packet in &mut self.packets {
            packet.at = duration(packet.time).div_f64(1.0 + ppm / 1e6);
        }
        self
    }

    /// What somebody hears to whom every packet comes: 48 kHz, stereo, interleaved, from the beginning on, silent where nothing
    /// is sent. What libopus encodes late is taken off, so that it is heard when it was said.
    ///
    /// # Errors
    /// [`OpusError::Refused`] where libopus gives no decoder.
    pub fn decoded(&self) -> Result<Vec<f32>, OpusError> {
        let mut decoder = Decoder::new()?;
        let mut decoded = Vec::new();
        for packet in &self.packets {
            decoded.resize(decoded.len().max(2 * packet.time as usize), 0.0);
            decoder.decode(&packet.opus, &mut decoded)?;
        }
        decoded.drain(..decoded.len().min(2 * LOOK_AHEAD));
        Ok(decoded)
    }
}

impl SpokenPacket {
    fn new(time: u64, opus: Vec<u8>) -> Self {
        Self { at: duration(time), time, opus: opus.into() }
    }

    /// Samples per channel at 48 kHz.
    pub fn samples(&self) -> u32 {
        samples(&self.opus).unwrap_or(FRAME_SAMPLES as u32)
    }
}

fn is_speech(chunk: &[f32]) -> bool {
    let energy: f32 = chunk.iter().map(|sample| sample * sample).sum();
    energy > SPEECH_POWER * chunk.len() as f32
}

fn duration(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / u64::from(SAMPLE_RATE))
}

/// −50 dBFS.
const SPEECH_POWER: f32 = 1e-5;
/// 25 frames are sent after speech; five of them are silence.
const TRAILING_SAMPLES: usize = 20 * FRAME_SAMPLES;
const EXPECTED_LOSS: u8 = 30;
/// What an encoder says that has nothing to transmit.
const DTX_BYTES: usize = 2;
/// What libopus encodes late.
const LOOK_AHEAD: usize = 312;
