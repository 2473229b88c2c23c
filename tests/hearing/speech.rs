//! Speech, and what an encoder makes of it.

use std::{fs, path::Path};

use actix_voice::{
    audio::{
        frame::{Frame, Pcm},
        opus::{Application, Encoder, EncoderSettings, MAX_PACKET},
    },
    source::{self, Source},
};
use bytes::Bytes;

/// The frames of a recording of `tests/audio`, as often as asked for.
pub fn frames(file: &str, times: usize) -> Vec<Pcm> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio").join(file);
    assert!(fs::exists(&path).unwrap());
    let mut source = source::open(&path).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = source.next_frame().unwrap() {
        let Frame::Pcm(pcm) = frame else { panic!("{file} is not decoded") };
        frames.push(pcm);
    }
    let count = frames.len();
    frames.into_iter().cycle().take(count * times).collect()
}

/// Whether packets carry a copy of the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    With,
    Without,
}

/// Encodes as Discord's client does: 64 kb/s, voice, with an expected loss of 30 %.
pub fn encode(frames: &[Pcm], copies: Copies) -> Vec<Bytes> {
    let fec = copies == Copies::With;
    let application = Application::Voip;
    let settings = EncoderSettings {
        bitrate: 64_000,
        fec,
        expected_loss: 30,
        application,
        ..EncoderSettings::default()
    };
    let mut encoder = Encoder::new(&settings).unwrap();
    let encode = |frame: &Pcm| {
        let mut packet = vec![0; MAX_PACKET];
        let length = encoder.encode(frame, &mut packet).unwrap();
        Bytes::copy_from_slice(&packet[..length])
    };
    frames.iter().map(encode).collect()
}

/// Samples as PESQ wants them.
pub fn sixteen_bits(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|sample| (sample * 32_767.0).clamp(-32_768.0, 32_767.0) as i16).collect()
}
