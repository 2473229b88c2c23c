//! Walks over what was heard in the order it was sent, and decodes it.

use super::Packet;
use crate::opus::{self, Decoder, OpusError, SAMPLE_RATE};

/// What decoding puts where audio is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holes {
    /// What libopus invents, for at most 100 ms a hole, as a listener hears it.
    Concealed,
    /// Silence, so that a comparison finds every hole.
    Silent,
}

/// A stretch of what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch<'a> {
    /// An Opus packet and its samples per channel.
    Audio(&'a [u8], u64),
    /// So many samples per channel, a multiple of 120, that packets were lost of.
    Lost(u64),
    /// So many samples per channel, a multiple of 120, in which nothing was sent.
    Paused(u64),
}

/// Puts packets in the order they were sent, with what is between them. What is no Opus packet is left out.
pub(super) fn stretches(audio: &[Packet]) -> Vec<Stretch<'_>> {
    let mut sent: Vec<_> = audio.iter().collect();
    sent.sort_by_key(|packet| packet.position);
    let mut stretches = Vec::with_capacity(sent.len());
    let Some(first) = sent.first() else { return stretches };
    let (mut end, mut before) = (first.position, *first);
    for packet in sent {
        let Some(samples) = opus::samples(&packet.opus) else { continue };
        let hole = (packet.position - end).max(0) / SHORTEST_FRAME * SHORTEST_FRAME;
        if hole > 0 {
            let contiguous = packet.ssrc != before.ssrc || packet.sequence == before.sequence.wrapping_add(1);
            let hole = hole.unsigned_abs();
            stretches.push(if contiguous { Stretch::Paused(hole) } else { Stretch::Lost(hole) });
        }
        stretches.push(Stretch::Audio(&packet.opus, u64::from(samples)));
        end += hole + i64::from(samples);
        before = packet;
    }
    stretches
}

pub(super) fn decode(audio: &[Packet], holes: Holes) -> Result<Vec<f32>, OpusError> {
    let mut decoder = Decoder::new()?;
    let mut decoded = Vec::new();
    for stretch in stretches(audio) {
        match stretch {
            Stretch::Audio(packet, samples) => {
                if decoder.decode(packet, &mut decoded).is_err() {
                    fill(&mut decoder, samples, holes, &mut decoded)?;
                }
            }
            Stretch::Lost(samples) => fill(&mut decoder, samples, holes, &mut decoded)?,
            Stretch::Paused(samples) => silence(samples, &mut decoded),
        }
        if decoded.len() >= DECODED_MAX {
            decoded.truncate(DECODED_MAX);
            break;
        }
    }
    Ok(decoded)
}

/// The decoder always conceals, because it needs the history; what it made may be silenced.
fn fill(decoder: &mut Decoder, samples: u64, holes: Holes, decoded: &mut Vec<f32>) -> Result<(), OpusError> {
    let start = decoded.len();
    let mut left = samples;
    while left > samples.saturating_sub(CONCEALED_MAX) {
        let step = left.min(960);
        decoder.conceal(step as usize, decoded)?;
        left -= step;
    }
    if holes == Holes::Silent {
        decoded[start..].fill(0.0);
    }
    silence(left, decoded);
    Ok(())
}

fn silence(samples: u64, decoded: &mut Vec<f32>) {
    decoded.resize(decoded.len() + 2 * samples as usize, 0.0);
}

/// 2.5 ms, the shortest that Opus can conceal.
const SHORTEST_FRAME: i64 = 120;
/// 100 ms; libopus has faded to silence by then.
const CONCEALED_MAX: u64 = 4800;
/// An hour of stereo.
const DECODED_MAX: usize = 2 * 3600 * SAMPLE_RATE as usize;
