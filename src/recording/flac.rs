//! FlacWriter: a stream of FLAC (RFC 9639), 48 kHz, stereo, 16 bits, written as it goes.
//!
//! Each frame is 20 ms. A channel is coded as the differences that one of the fixed predictors leaves, as Rice codes: not the
//! smallest that FLAC can be, but small where it is quiet.

use crate::audio::frame::{FRAME_SAMPLES, Pcm, SAMPLE_RATE};

/// Writes frames one after another; the header comes with the first.
#[derive(Debug, Default)]
pub(super) struct FlacWriter {
    frames: u64,
}

impl FlacWriter {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The bytes of the next 20 ms.
    pub(super) fn frame(&mut self, pcm: &Pcm) -> Vec<u8> {
        let mut bytes = if self.frames == 0 { stream_header() } else { Vec::new() };
        let mut bits = Bits::default();
        bits.put(0b11_1111_1111_1110, 14);
        // Frames of one length; a length of 16 bits follows, at 48 kHz, left and right, 16 bits.
        bits.put(0b00, 2);
        bits.put(0b0111_1010, 8);
        bits.put(0b0001_1000, 8);
        bits.number(self.frames);
        bits.put(FRAME_SAMPLES as u64 - 1, 16);
        let sum = checksum8(&bits.bytes);
        bits.put(u64::from(sum), 8);
        for channel in 0..2 {
            let samples: Vec<i64> =
                pcm.iter().skip(channel).step_by(2).map(|sample| quantise(*sample)).collect();
            subframe(&samples, &mut bits);
        }
        bits.align();
        let sum = checksum16(&bits.bytes);
        bits.put(u64::from(sum), 16);
        self.frames += 1;
        bytes.append(&mut bits.bytes);
        bytes
    }
}

fn quantise(sample: f32) -> i64 {
    // What is not a number is silent.
    (sample.clamp(-1.0, 1.0) * 32_767.0).round() as i64
}

/// `fLaC` and the one block that has to be there: lengths and sizes of frames, and that the number of samples and their sum are
/// not known.
fn stream_header() -> Vec<u8> {
    let mut bits = Bits { bytes: b"fLaC".to_vec(), ..Bits::default() };
    bits.put(0x80, 8);
    bits.put(34, 24);
    bits.put(FRAME_SAMPLES as u64, 16);
    bits.put(FRAME_SAMPLES as u64, 16);
    bits.put(0, 48);
    bits.put(u64::from(SAMPLE_RATE), 20);
    bits.put(1, 3);
    bits.put(15, 5);
    bits.put(0, 36);
    (0..16).for_each(|_| bits.put(0, 8));
    bits.bytes
}

fn subframe(samples: &[i64], bits: &mut Bits) {
    if samples.iter().all(|sample| *sample == samples[0]) {
        bits.put(0b0000_0000, 8);
        return bits.put_signed(samples[0], 16);
    }
    let cost = |residual: &Vec<i64>| residual.iter().map(|value| value.unsigned_abs()).sum::<u64>();
    let orders = (0..=MAX_ORDER).map(|order| (order, residual(samples, order)));
    let Some((order, residual)) = orders.min_by_key(|(_, residual)| cost(residual)) else { return };
    bits.put(0b0001_0000 | (order as u64) << 1, 8);
    samples[..order].iter().for_each(|sample| bits.put_signed(*sample, 16));
    // Rice codes with parameters of four bits, all of one part.
    bits.put(0b00_0000, 6);
    let parameter = rice_parameter(cost(&residual) / residual.len().max(1) as u64);
    bits.put(parameter.into(), 4);
    for value in residual {
        let folded = ((value << 1) ^ (value >> 63)).cast_unsigned();
        bits.unary(folded >> parameter);
        bits.put(folded & ((1 << parameter) - 1), parameter);
    }
}

/// What a fixed predictor of this order leaves: differences of differences.
fn residual(samples: &[i64], order: usize) -> Vec<i64> {
    let mut values = samples.to_vec();
    for _ in 0..order {
        values = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    }
    values
}

/// The number of low bits that a value of this mean distance from zero is best split at.
fn rice_parameter(mean: u64) -> u32 {
    (2 * mean + 1).ilog2().min(RICE_MAX)
}

/// Bits, the highest first.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits that do not make a byte yet.
    open: u64,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u64, mut bits: u32) {
        while bits > 0 {
            let taken = bits.min(8 - self.count);
            let part = value >> (bits - taken) & ((1 << taken) - 1);
            self.open = self.open << taken | part;
            self.count += taken;
            bits -= taken;
            if self.count == 8 {
                self.bytes.push(self.open as u8);
                (self.open, self.count) = (0, 0);
            }
        }
    }

    fn put_signed(&mut self, value: i64, bits: u32) {
        self.put(value.cast_unsigned() & ((1 << bits) - 1), bits);
    }

    /// So many zeros, and a one.
    fn unary(&mut self, zeros: u64) {
        (0..zeros).for_each(|_| self.put(0, 1));
        self.put(1, 1);
    }

    fn align(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
    }

    /// A number as UTF-8 would write it, of up to 36 bits.
    fn number(&mut self, number: u64) {
        if number < 0x80 {
            return self.put(number, 8);
        }
        let following = (number.ilog2() - 1) / 5;
        self.put((0xFF00_u64 >> (following + 1)) & 0xFF | number >> (6 * following), 8);
        for n in (0..following).rev() {
            self.put(0x80 | number >> (6 * n) & 0x3F, 8);
        }
    }
}

fn checksum8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ byte, |sum: u8, _| sum << 1 ^ if sum & 0x80 == 0 { 0 } else { 0x07 })
    })
}

fn checksum16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        let sum = sum ^ u16::from(*byte) << 8;
        (0..8).fold(sum, |sum: u16, _| sum << 1 ^ if sum & 0x8000 == 0 { 0 } else { 0x8005 })
    })
}

const MAX_ORDER: usize = 4;
/// 15 would be an escape.
const RICE_MAX: u32 = 14;
