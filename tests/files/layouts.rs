//! Channels are mixed down by what they are.

use crate::{
    audio::wav,
    make::{heard, levels},
};

/// A WAVE file with a channel mask, one of whose channels has a tone.
fn one_channel(mask: u32, channels: u16, sounding: usize) -> Vec<u8> {
    let samples: Vec<f32> = (0..9_600 * usize::from(channels))
        .map(|at| {
            let (moment, channel) = (at / usize::from(channels), at % usize::from(channels));
            if channel == sounding { 0.9 * (moment as f32 * 0.05).sin() } else { 0.0 }
        })
        .collect();
    let mut bytes = wav(48_000, channels, 16, &samples);
    bytes[16] = 40;
    bytes[20..22].copy_from_slice(&0xFFFE_u16.to_le_bytes());
    let mut extension = vec![22, 0, 16, 0];
    extension.extend(mask.to_le_bytes());
    extension.extend(b"\x01\0\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71");
    bytes.splice(36..36, extension);
    bytes
}

/// How loud each bit of a mask is on the left and the right, of what front left is on the left (ITU-R BS.775).
const PLACES: [(u32, [f32; 2]); 11] = [
    (0x001, [1.0, 0.0]),
    (0x002, [0.0, 1.0]),
    (0x004, [HALF_POWER, HALF_POWER]),
    (0x008, [0.0, 0.0]),
    (0x010, [HALF_POWER, 0.0]),
    (0x020, [0.0, HALF_POWER]),
    (0x040, [1.0, 0.0]),
    (0x080, [0.0, 1.0]),
    (0x100, [0.5, 0.5]),
    (0x200, [HALF_POWER, 0.0]),
    (0x400, [0.0, HALF_POWER]),
];
const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

#[test]
fn every_channel_of_every_layout_is_heard_where_it_belongs() {
    // Mono apart: 2.0, 2.1, 3.0, 3.1, 4.0, quadrophonic, 4.1, 5.0, 5.1 (back), 5.1 (side), hexagonal, 6.1, 7.0, 7.1, wide.
    let masks = [0x3, 0xB, 0x7, 0xF, 0x107, 0x33, 0x10F, 0x37, 0x3F, 0x60F, 0x137, 0x70F, 0x637, 0x63F, 0xFF];
    for mask in masks {
        let channels = u32::count_ones(mask) as u16;
        let places: Vec<[f32; 2]> =
            PLACES.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, sides)| *sides).collect();
        let heard =
            |channel: usize| levels(&heard("layout.wav", one_channel(mask, channels, channel)).samples());
        let front = heard(0)[0];
        let most = places.iter().map(|sides| sides[0]).sum::<f32>();
        assert!((front * most - 0.9 * HALF_POWER).abs() < 0.01, "mask {mask:#x}: all at once fill the scale");
        for (channel, expected) in places.iter().enumerate() {
            let found = heard(channel).map(|side| side / front);
            let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.01);
            assert!(near, "mask {mask:#x}, channel {channel}: {found:?}, not {expected:?}");
        }
    }
}

#[test]
fn one_channel_is_on_both_sides_whatever_it_is_called() {
    for mask in [0, 1, 4, 0x100] {
        let found = levels(&heard("mono.wav", one_channel(mask, 1, 0)).samples());
        assert!(found.iter().all(|side| (side - 0.9 * HALF_POWER).abs() < 0.01), "mask {mask:#x}: {found:?}");
    }
}
