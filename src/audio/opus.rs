//! Opus: the packets of RFC 6716, and libopus behind two small types.

use std::time::Duration;

use audiopus::coder::{Decoder as LibDecoder, Encoder as LibEncoder, GenericCtl as _};
use audiopus::{Bitrate, Channels, MutSignals, SampleRate};

use super::frame::{CHANNELS, FRAME_SAMPLES, Pcm, SAMPLE_RATE};

/// Returns how long a packet lasts, after checking its whole layout (RFC 6716 sections 3.1 and 3.2).
///
/// # Errors
/// [`OpusError::Malformed`] where the packet breaks one of the RFC's rules R1 to R7.
pub fn duration(packet: &[u8]) -> Result<Duration, OpusError> {
    let samples = samples(packet)?;
    Ok(Duration::from_micros(u64::from(samples) * 1_000_000 / u64::from(SAMPLE_RATE)))
}

/// Returns how many samples per channel a packet holds at 48 kHz, after checking its whole layout
/// (RFC 6716 sections 3.1 and 3.2): from 120 (2.5 ms) to 5760 (120 ms).
///
/// # Errors
/// [`OpusError::Malformed`] where the packet breaks one of the RFC's rules R1 to R7.
pub fn samples(packet: &[u8]) -> Result<u32, OpusError> {
    let (&toc, body) = packet.split_first().ok_or(OpusError::Malformed("it is empty"))?;
    let per_frame = frame_samples(toc);
    let frames = match toc & 0b11 {
        0 => check_frame(body.len()).map(|()| 1)?,
        1 => equal_frames(body.len(), 2)?,
        2 => {
            let (first, rest) = frame_length(body)?;
            let second = rest.len().checked_sub(first).ok_or(CUT_SHORT)?;
            check_frame(second).map(|()| 2)?
        }
        _ => many_frames(body, per_frame)?,
    };
    Ok(per_frame * frames)
}

/// Returns whether a packet holds a coarse copy of the one before (forward error correction): only packets of SILK, alone or with
/// CELT above it, can (RFC 6716 section 4.2.4). Malformed packets hold none.
pub fn has_redundancy(packet: &[u8]) -> bool {
    let Some(&toc) = packet.first() else { return false };
    if is_celt(toc) || samples(packet).is_err() {
        return false;
    }
    let Some(&first) = first_frame(packet).and_then(<[u8]>::first) else { return false };
    let inner_frames = frame_samples(toc).div_ceil(FRAME_SAMPLES as u32);
    let is_set = |bit: u32| first >> bit & 1 == 1;
    let second_channel = toc & STEREO != 0 && is_set(6 - 2 * inner_frames.min(3));
    is_set(7 - inner_frames) || second_channel
}

/// Returns whether packets with this first byte are of CELT alone, without the part that is for speech.
pub fn is_celt(toc: u8) -> bool {
    toc >> 3 >= FIRST_CELT
}

/// Encodes 20 ms frames with libopus: 48 kHz, stereo, variable bitrate.
#[derive(Debug)]
pub struct Encoder {
    lib: LibEncoder,
}

impl Encoder {
    /// Makes an encoder.
    ///
    /// # Errors
    /// [`OpusError::Codec`] when libopus refuses a setting.
    pub fn new(settings: &EncoderSettings) -> Result<Self, OpusError> {
        let application = match settings.application {
            Application::Audio => audiopus::Application::Audio,
            Application::Voip => audiopus::Application::Voip,
            Application::LowDelay => audiopus::Application::LowDelay,
        };
        let signal = match settings.signal {
            Signal::Auto => audiopus::Signal::Auto,
            Signal::Voice => audiopus::Signal::Voice,
            Signal::Music => audiopus::Signal::Music,
        };
        let lib = LibEncoder::new(SampleRate::Hz48000, Channels::Stereo, application);
        let mut encoder = Self { lib: lib.map_err(codec("making an encoder"))? };
        encoder.set_bitrate(settings.bitrate)?;
        encoder.set_expected_loss(settings.expected_loss)?;
        let lib = &mut encoder.lib;
        lib.set_complexity(settings.complexity).map_err(codec("setting the complexity (0 to 10)"))?;
        lib.set_inband_fec(settings.fec).map_err(codec("setting forward error correction"))?;
        lib.set_signal(signal).map_err(codec("setting the signal"))?;
        Ok(encoder)
    }

    /// Encodes one frame into `out` and returns the packet's length in bytes.
    ///
    /// `out` also bounds the packet: [`MAX_PACKET`] bytes are always enough.
    ///
    /// # Errors
    /// [`OpusError::Codec`] when `out` is too small for any packet.
    pub fn encode(&mut self, pcm: &Pcm, out: &mut [u8]) -> Result<usize, OpusError> {
        self.lib.encode_float(&pcm[..], out).map_err(codec("encoding"))
    }

    /// Changes the bitrate from the next frame on, in bits per second; 500 to 512,000 are meaningful.
    ///
    /// # Errors
    /// [`OpusError::Codec`] when libopus refuses it.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), OpusError> {
        let bitrate = Bitrate::BitsPerSecond(bitrate.try_into().unwrap_or(i32::MAX));
        self.lib.set_bitrate(bitrate).map_err(codec("setting the bitrate"))
    }

    /// By how many samples per channel what is decoded comes after what was encoded.
    ///
    /// # Errors
    /// [`OpusError::Codec`] when libopus does not say.
    pub fn lookahead(&self) -> Result<usize, OpusError> {
        self.lib.lookahead().map(|samples| samples as usize).map_err(codec("asking for the delay"))
    }

    /// Forgets what was encoded before, and keeps the settings.
    ///
    /// # Errors
    /// [`OpusError::Codec`] when libopus refuses.
    pub fn reset(&mut self) -> Result<(), OpusError> {
        self.lib.reset_state().map_err(codec("resetting an encoder"))
    }

    /// Changes the packet loss to prepare for, in per cent.
    ///
    /// # Errors
    /// [`OpusError::Codec`] for more than 100 %.
    pub fn set_expected_loss(&mut self, per_cent: u8) -> Result<(), OpusError> {
        self.lib.set_packet_loss_perc(per_cent).map_err(codec("setting the expected loss (0 to 100 %)"))
    }
}

/// How to encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderSettings {
    /// Bits per second; 128,000 unless changed.
    pub bitrate: u32,
    /// Computing time against quality, 0 to 10; 10 unless changed.
    pub complexity: u8,
    /// Whether packets repeat their predecessor coarsely (forward error correction); only speech at low
    /// bitrates carries it, and only when a loss is expected.
    pub fec: bool,
    /// The packet loss to prepare for, in per cent.
    pub expected_loss: u8,
    /// What the audio is; the encoder finds out by itself unless told.
    pub signal: Signal,
    /// What to favour.
    pub application: Application,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            bitrate: 128_000,
            complexity: 10,
            fec: false,
            expected_loss: 0,
            signal: Signal::Auto,
            application: Application::Audio,
        }
    }
}

/// What the audio is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// The encoder decides from the sound.
    #[default]
    Auto,
    /// Speech.
    Voice,
    /// Music.
    Music,
}

/// What an encoder favours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Application {
    /// Faithfulness to the input.
    #[default]
    Audio,
    /// Intelligible speech.
    Voip,
    /// The shortest delay, 5 ms less than the others.
    LowDelay,
}

/// Decodes packets of any duration with libopus, whatever they were encoded from: to 48 kHz stereo unless asked for another
/// rate or for one channel.
#[derive(Debug)]
pub struct Decoder {
    lib: LibDecoder,
    hertz: u32,
    channels: usize,
}

impl Decoder {
    /// Makes a decoder to 48 kHz stereo.
    ///
    /// # Errors
    /// [`OpusError::Codec`] when there is no memory for it.
    pub fn new() -> Result<Self, OpusError> {
        Self::to(SAMPLE_RATE, CHANNELS)
    }

    /// Makes a decoder to 8,000, 12,000, 16,000, 24,000 or 48,000 samples a second, of one channel or two.
    ///
    /// # Errors
    /// [`OpusError::Codec`] for another rate, and when there is no memory for it.
    pub fn to(hertz: u32, channels: usize) -> Result<Self, OpusError> {
        let rate = SampleRate::try_from(hertz.cast_signed()).map_err(codec("making a decoder"))?;
        let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let lib = LibDecoder::new(rate, layout).map_err(codec("making a decoder"))?;
        Ok(Self { lib, hertz, channels: channels.clamp(1, CHANNELS) })
    }

    /// Decodes one packet and appends its samples, interleaved, to `out`; `None` stands for a lost packet
    /// of 20 ms, which is concealed. Returns the samples per channel.
    ///
    /// # Errors
    /// [`OpusError`] when the packet is malformed; `out` is as before then.
    pub fn decode(&mut self, packet: Option<&[u8]>, out: &mut Vec<f32>) -> Result<usize, OpusError> {
        let expected = packet.map_or(Ok(FRAME_SAMPLES as u32), samples)?;
        self.append(packet, expected, Redundancy::Ignore, out)
    }

    /// Appends what may have been in so many samples at 48 kHz that are lost: of whole 2.5 ms, and of 120 ms at most, which
    /// other lengths are cut to. Returns the samples per channel.
    ///
    /// # Errors
    /// [`OpusError`] when libopus refuses; `out` is as before then.
    pub fn conceal(&mut self, lost: u32, out: &mut Vec<f32>) -> Result<usize, OpusError> {
        self.append(None, concealable(lost), Redundancy::Ignore, out)
    }

    /// Appends the samples before `next`, which are lost: as much of their end as `next` holds a copy of, and before that what
    /// may have been. Lengths are as for [`Self::conceal`]. Returns the samples per channel.
    ///
    /// # Errors
    /// [`OpusError`] when `next` is malformed; `out` is as before then.
    pub fn recover(&mut self, next: &[u8], lost: u32, out: &mut Vec<f32>) -> Result<usize, OpusError> {
        samples(next)?;
        self.append(Some(next), concealable(lost), Redundancy::Use, out)
    }

    /// Decodes one packet of 20 ms into `into`; `None` stands for a lost one, which is concealed. Only for 48 kHz stereo.
    ///
    /// # Errors
    /// [`OpusError`] when the packet is malformed or does not last 20 ms; `into` is silence then.
    pub fn decode_frame(&mut self, packet: Option<&[u8]>, into: &mut Pcm) -> Result<(), OpusError> {
        into.fill(0.0);
        match packet.map(samples).transpose()? {
            Some(samples) if samples as usize != FRAME_SAMPLES => Err(OpusError::NotOneFrame { samples }),
            _ => self.run(packet, &mut into[..], Redundancy::Ignore).map(drop),
        }
    }

    /// Decodes the 20 ms before `next`, whose own packet was lost: from what `next` repeats of it where the
    /// sender used forward error correction, and by concealment otherwise. Only for 48 kHz stereo.
    ///
    /// # Errors
    /// [`OpusError`] when the packet is malformed; `into` is silence then.
    pub fn decode_lost(&mut self, next: &[u8], into: &mut Pcm) -> Result<(), OpusError> {
        into.fill(0.0);
        samples(next)?;
        self.run(Some(next), &mut into[..], Redundancy::Use).map(drop)
    }

    fn append(
        &mut self,
        packet: Option<&[u8]>,
        samples: u32,
        redundancy: Redundancy,
        out: &mut Vec<f32>,
    ) -> Result<usize, OpusError> {
        let expected = (u64::from(samples) * u64::from(self.hertz) / u64::from(SAMPLE_RATE)) as usize;
        let from = out.len();
        if expected == 0 {
            return Ok(0);
        }
        out.resize(from + expected * self.channels, 0.0);
        let decoded = self.run(packet, &mut out[from..], redundancy);
        out.truncate(from + decoded.as_ref().map_or(0, |samples| samples * self.channels));
        decoded
    }

    fn run(
        &mut self,
        packet: Option<&[u8]>,
        out: &mut [f32],
        redundancy: Redundancy,
    ) -> Result<usize, OpusError> {
        let packet = packet.map(TryInto::try_into).transpose().map_err(codec("decoding"))?;
        let out = MutSignals::try_from(out).map_err(codec("decoding"))?;
        let fec = matches!(redundancy, Redundancy::Use);
        self.lib.decode_float(packet, out, fec).map_err(codec("decoding"))
    }
}

/// What libopus conceals of so many samples at 48 kHz.
fn concealable(lost: u32) -> u32 {
    lost.min(MAX_SAMPLES) / SHORTEST_FRAME * SHORTEST_FRAME
}

/// Whether to decode what a packet says, or what it repeats of its predecessor.
enum Redundancy {
    Ignore,
    Use,
}

/// What can be wrong with an Opus packet or a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpusError {
    /// The packet breaks a rule of RFC 6716 section 3.
    #[error("not an Opus packet: {0}")]
    Malformed(&'static str),
    /// The packet is sound but does not last 20 ms.
    #[error("the Opus packet lasts {samples} samples, a frame lasts 960")]
    NotOneFrame {
        /// What it lasts, in samples per channel.
        samples: u32,
    },
    /// libopus refused.
    #[error("libopus failed at {doing}: {cause}")]
    Codec {
        /// What it was asked to do.
        doing: &'static str,
        /// Its answer.
        cause: String,
    },
}

fn codec(doing: &'static str) -> impl FnOnce(audiopus::Error) -> OpusError {
    move |cause| OpusError::Codec { doing, cause: cause.to_string() }
}

/// Samples of one frame at 48 kHz by the configuration in the top five bits (RFC 6716 table 2).
fn frame_samples(toc: u8) -> u32 {
    let config = u32::from(toc >> 3);
    match config {
        0..=11 => [480, 960, 1920, 2880][config as usize % 4],
        12..=15 => 480 << (config % 2),
        _ => 120 << (config % 4),
    }
}

/// The first frame of a sound packet.
fn first_frame(packet: &[u8]) -> Option<&[u8]> {
    let (toc, body) = packet.split_first()?;
    match toc & 0b11 {
        0 => Some(body),
        1 => body.get(..body.len() / 2),
        2 => frame_length(body).ok().and_then(|(first, rest)| rest.get(..first)),
        _ => {
            let (&count, mut rest) = body.split_first()?;
            if count & PADDED != 0 {
                rest = without_padding(rest).ok()?;
            }
            let frames = usize::from(count & 0x3F);
            if count & VARIABLE == 0 {
                return rest.get(..rest.len() / frames.max(1));
            }
            let mut first = None;
            for _ in 1..frames {
                let (length, after) = frame_length(rest).ok()?;
                first.get_or_insert(length);
                rest = after;
            }
            rest.get(..first.unwrap_or(rest.len()))
        }
    }
}

/// Code 3: a byte with the number of frames, then padding, then lengths where they differ (section 3.2.5).
fn many_frames(body: &[u8], per_frame: u32) -> Result<u32, OpusError> {
    let (&count, mut rest) = body.split_first().ok_or(CUT_SHORT)?;
    let frames = u32::from(count & 0x3F);
    if frames == 0 {
        return Err(OpusError::Malformed("it says it holds no frame"));
    }
    if frames * per_frame > MAX_SAMPLES {
        return Err(OpusError::Malformed("it lasts more than 120 ms"));
    }
    if count & PADDED != 0 {
        rest = without_padding(rest)?;
    }
    if count & VARIABLE == 0 {
        return equal_frames(rest.len(), frames);
    }
    let mut described = 0;
    for _ in 1..frames {
        let (length, after) = frame_length(rest)?;
        described += length;
        rest = after;
    }
    let last = rest.len().checked_sub(described).ok_or(CUT_SHORT)?;
    check_frame(last).map(|()| frames)
}

/// Takes the padding off: each leading 255 stands for 254 bytes of it, and the byte that ends them for itself.
fn without_padding(mut body: &[u8]) -> Result<&[u8], OpusError> {
    let mut padding = 0;
    loop {
        let (&length, rest) = body.split_first().ok_or(CUT_SHORT)?;
        body = rest;
        padding += if length == 255 { 254 } else { usize::from(length) };
        if length < 255 {
            let kept = body.len().checked_sub(padding).ok_or(CUT_SHORT)?;
            return Ok(&body[..kept]);
        }
    }
}

/// Reads a frame's length, one or two bytes (section 3.2.1), and returns it with what follows.
fn frame_length(body: &[u8]) -> Result<(usize, &[u8]), OpusError> {
    match *body {
        [first @ 0..=251, ref rest @ ..] => Ok((usize::from(first), rest)),
        [first, second, ref rest @ ..] => Ok((usize::from(first) + 4 * usize::from(second), rest)),
        _ => Err(CUT_SHORT),
    }
}

fn equal_frames(bytes: usize, frames: u32) -> Result<u32, OpusError> {
    if !bytes.is_multiple_of(frames as usize) {
        return Err(OpusError::Malformed("its frames cannot be of equal length"));
    }
    check_frame(bytes / frames as usize).map(|()| frames)
}

fn check_frame(bytes: usize) -> Result<(), OpusError> {
    if bytes > MAX_FRAME { Err(OpusError::Malformed("a frame is longer than 1275 bytes")) } else { Ok(()) }
}

/// Bytes that any packet of 20 ms fits in: one frame of the longest kind and its TOC.
pub const MAX_PACKET: usize = MAX_FRAME + 1;

const CUT_SHORT: OpusError = OpusError::Malformed("it is cut short");
/// The longest frame (RFC 6716 section 3.4, R2).
const MAX_FRAME: usize = 1275;
/// The longest packet, 120 ms (R5).
const MAX_SAMPLES: u32 = 5760;
/// The shortest frame, 2.5 ms.
const SHORTEST_FRAME: u32 = 120;
/// The first configuration without SILK (table 2).
const FIRST_CELT: u8 = 16;
/// The bit of a TOC that says that there are two channels.
const STEREO: u8 = 0b100;
/// The bits of a code 3 packet's second byte.
const PADDED: u8 = 0x40;
const VARIABLE: u8 = 0x80;

#[cfg(test)]
mod tests;
