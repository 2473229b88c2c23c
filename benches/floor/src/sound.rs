//! What is played: Opus packets, or samples, all of it in memory and the same for every call.

use std::{fs, io::Cursor, path::Path};

use actix_voice::audio::{
    frame::{FRAME_SAMPLES, Pcm},
    opus::{Encoder, EncoderSettings, MAX_PACKET},
};
use bench_join::{Arguments, JoinError, Source};
use bytes::Bytes;

/// What all calls play, again and again.
pub enum Sound {
    /// Nothing.
    Silence,
    /// Opus packets of 20 ms.
    Packets(Vec<Bytes>),
    /// Frames of 20 ms, and how many tracks of them sound together.
    Samples(Vec<Pcm>, usize),
}

/// Where one call is in it.
#[derive(Default)]
pub struct Playing {
    position: usize,
    encoding: Option<Box<Encoding>>,
}

struct Encoding {
    encoder: Encoder,
    mixed: Pcm,
    packet: [u8; MAX_PACKET],
}

impl Sound {
    /// Loads what is to be played.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is of another kind.
    pub fn load(arguments: &Arguments) -> Result<Self, JoinError> {
        let file = || arguments.file.as_deref().ok_or_else(|| JoinError("--file is missing".into()));
        match arguments.source {
            Source::Idle => Ok(Self::Silence),
            Source::Passthrough => Ok(Self::Packets(packets(file()?)?)),
            Source::Encode => Ok(Self::Samples(samples(file()?)?, 1)),
            Source::Mix => Ok(Self::Samples(samples(file()?)?, 2)),
        }
    }
}

impl Playing {
    /// The next packet.
    pub fn next<'a>(&'a mut self, sound: &'a Sound) -> Option<&'a [u8]> {
        self.position += 1;
        match sound {
            Sound::Silence => None,
            Sound::Packets(packets) => Some(&packets[self.position % packets.len()]),
            Sound::Samples(frames, tracks) => {
                let encoding = self.encoding.get_or_insert_with(Encoding::new);
                let frame = &frames[self.position % frames.len()];
                if *tracks == 1 {
                    return encoding.encode(frame);
                }
                let other = &frames[(self.position + frames.len() / 2) % frames.len()];
                encoding.mix(frame, other)
            }
        }
    }
}

impl Encoding {
    fn new() -> Box<Self> {
        let encoder = Encoder::new(&EncoderSettings::default()).expect("libopus takes the default settings");
        Box::new(Self { encoder, mixed: Pcm::default(), packet: [0; MAX_PACKET] })
    }

    fn encode(&mut self, frame: &Pcm) -> Option<&[u8]> {
        let length = self.encoder.encode(frame, &mut self.packet).ok()?;
        Some(&self.packet[..length])
    }

    fn mix(&mut self, one: &Pcm, other: &Pcm) -> Option<&[u8]> {
        for ((mixed, one), other) in self.mixed.iter_mut().zip(one.iter()).zip(other.iter()) {
            *mixed = one + other;
        }
        let length = self.encoder.encode(&self.mixed, &mut self.packet).ok()?;
        Some(&self.packet[..length])
    }
}

/// The packets of an Ogg Opus file, without its two headers.
fn packets(file: &Path) -> Result<Vec<Bytes>, JoinError> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    let mut reader = ogg::PacketReader::new(Cursor::new(bytes));
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet().map_err(|error| unreadable(file, &error))? {
        packets.push(Bytes::from(packet.data));
    }
    packets.drain(..packets.len().min(2));
    if packets.is_empty() { Err(unreadable(file, &"there is nothing in it")) } else { Ok(packets) }
}

/// The first seconds of a WAV file of 16 bits, 48 kHz and two channels, in frames of 20 ms.
fn samples(file: &Path) -> Result<Vec<Pcm>, JoinError> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    let header = bytes.get(..44).filter(|header| {
        header.starts_with(b"RIFF")
            && header[22..28] == [2, 0, 0x80, 0xBB, 0, 0]
            && header[34..40] == *b"\x10\0data"
    });
    header.ok_or_else(|| unreadable(file, &"it is no plain WAV of 16 bits, 48 kHz and two channels"))?;
    let mut frames = Vec::new();
    for chunk in bytes[44..].chunks_exact(FRAME_BYTES).take(FRAMES_MAX) {
        let mut frame = Pcm::default();
        for (sample, bytes) in frame.iter_mut().zip(chunk.chunks_exact(2)) {
            *sample = f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32768.0;
        }
        frames.push(frame);
    }
    if frames.is_empty() { Err(unreadable(file, &"it is too short")) } else { Ok(frames) }
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> JoinError {
    JoinError(format!("{}: {error}", file.display()))
}

/// Two channels of 16 bits.
const FRAME_BYTES: usize = FRAME_SAMPLES * 4;
/// 20 s.
const FRAMES_MAX: usize = 1000;
