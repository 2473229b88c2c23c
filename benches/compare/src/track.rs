//! The file that everybody plays: long enough that nobody comes to its end while being measured.

use std::{
    f32::consts::TAU,
    fs::{self, File},
    io::{BufWriter, Cursor, Write},
    path::{Path, PathBuf},
};

use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use crate::{Source, measure::Failure};

/// Makes the file in this directory.
///
/// # Errors
///
/// When it cannot be written.
pub fn make(source: Source, directory: &Path) -> Result<PathBuf, Failure> {
    match source {
        Source::Passthrough => {
            let file = directory.join("track.opus");
            repeat(&file)?;
            Ok(file)
        }
        Source::Encode | Source::Mix => {
            let file = directory.join("track.wav");
            synthesise(&file)?;
            Ok(file)
        }
        Source::Idle => Ok(PathBuf::new()),
    }
}

/// Writes the demo's packets again and again, as one Ogg Opus stream.
fn repeat(file: &Path) -> Result<(), Failure> {
    let mut reader = PacketReader::new(Cursor::new(DEMO));
    let (mut headers, mut packets) = (Vec::new(), Vec::new());
    while let Some(packet) = reader.read_packet().map_err(Failure::NoTrack)? {
        if headers.len() < 2 { &mut headers } else { &mut packets }.push(packet.data);
    }
    let mut writer = PacketWriter::new(BufWriter::new(File::create(file)?));
    for header in headers {
        writer.write_packet(header, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
    }
    let frames = SECONDS * 50;
    for (number, packet) in (1..=frames).zip(packets.iter().cycle()) {
        let info = match number {
            _ if number == frames => PacketWriteEndInfo::EndStream,
            _ if number % 50 == 0 => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        writer.write_packet(packet.clone(), SERIAL, info, u64::from(number) * 960)?;
    }
    Ok(())
}

/// Writes a WAV file, 48 kHz and stereo, of chords with some noise: neither silence nor a plain tone, which cost less to
/// encode than music.
fn synthesise(file: &Path) -> Result<(), Failure> {
    let length = SECONDS * RATE * 4;
    if fs::metadata(file).is_ok_and(|metadata| metadata.len() == u64::from(length) + 44) {
        return Ok(());
    }
    let mut out = BufWriter::new(File::create(file)?);
    out.write_all(b"RIFF")?;
    out.write_all(&(36 + length).to_le_bytes())?;
    out.write_all(b"WAVEfmt \x10\0\0\0\x01\0\x02\0")?;
    out.write_all(&RATE.to_le_bytes())?;
    out.write_all(&(RATE * 4).to_le_bytes())?;
    out.write_all(b"\x04\0\x10\0data")?;
    out.write_all(&length.to_le_bytes())?;
    let mut random = fastrand::Rng::with_seed(1);
    for beat in 0..SECONDS * 4 {
        let root = 110.0 * 2.0_f32.powf(((beat * 7) % 12) as f32 / 12.0);
        for sample in 0..RATE / 4 {
            let time = sample as f32 / RATE as f32;
            let fading = (-6.0 * time).exp();
            let voice = |ratio: f32| (TAU * root * ratio * time).sin();
            let noise = random.f32() - 0.5;
            let left = voice(1.0) + voice(1.5) + 0.5 * voice(5.04);
            let right = voice(1.0) + voice(1.25) + 0.5 * voice(7.03);
            for channel in [left, right] {
                let value = (channel * fading * 0.2 + noise * 0.03) * 32_000.0;
                out.write_all(&(value as i16).to_le_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

const DEMO: &[u8] = include_bytes!("../../../tests/audio/demo.opus");
const SERIAL: u32 = 1;
const RATE: u32 = 48_000;
/// Ten minutes.
const SECONDS: u32 = 600;
