//! Mixdown: any layout of channels as stereo, by what each channel is (ITU-R BS.775).

use super::frame::CHANNELS;

/// Where the loudspeaker of a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Position {
    /// In front, on the left.
    FrontLeft,
    /// In front, on the right.
    FrontRight,
    /// In front, in the middle; also the one channel of mono.
    FrontCentre,
    /// Low-frequency effects, which stereo leaves out.
    LowFrequency,
    /// Behind, on the left.
    BackLeft,
    /// Behind, on the right.
    BackRight,
    /// Behind, in the middle.
    BackCentre,
    /// On the left.
    SideLeft,
    /// On the right.
    SideRight,
    /// Above, in the middle.
    TopCentre,
    /// Nowhere in particular: heard on both sides.
    Anywhere,
}

/// The layout that files of so many channels mean when they do not say: that of FLAC (RFC 9639 section 9.1.3).
#[must_use]
pub fn usual_layout(channels: usize) -> Vec<Position> {
    use Position::{
        BackCentre as BC, BackLeft as BL, BackRight as BR, FrontCentre as C, FrontLeft as L, FrontRight as R,
        LowFrequency as LFE, SideLeft as SL, SideRight as SR,
    };
    match channels {
        1 => vec![C],
        2 => vec![L, R],
        3 => vec![L, R, C],
        4 => vec![L, R, BL, BR],
        5 => vec![L, R, C, BL, BR],
        6 => vec![L, R, C, LFE, BL, BR],
        7 => vec![L, R, C, LFE, BC, SL, SR],
        8 => vec![L, R, C, LFE, BL, BR, SL, SR],
        _ => vec![Position::Anywhere; channels],
    }
}

/// How loud each channel is on the left and on the right.
///
/// The coefficients are those of ITU-R BS.775: the centre goes to both sides and a surround channel to its own, 3 dB
/// lower; what is behind in the middle is half left and half right surround; low frequencies are left out. The sums
/// are scaled together so that no input can exceed full scale.
pub(super) fn gains(layout: &[Position]) -> Vec<[f32; CHANNELS]> {
    if let [_] = layout {
        return vec![[1.0, 1.0]];
    }
    let gains: Vec<[f32; CHANNELS]> = layout.iter().map(|&position| gain(position)).collect();
    let loudest =
        [0, 1].map(|side| gains.iter().map(|gain| gain[side]).sum()).into_iter().fold(0.0, f32::max);
    // Of low frequencies alone nothing is left to scale.
    let scale = if loudest > 0.0 { 1.0 / loudest } else { 0.0 };
    gains.into_iter().map(|gain| gain.map(|side| side * scale)).collect()
}

fn gain(position: Position) -> [f32; CHANNELS] {
    match position {
        Position::FrontLeft => [1.0, 0.0],
        Position::FrontRight => [0.0, 1.0],
        Position::FrontCentre => [LOWER, LOWER],
        Position::LowFrequency => [0.0, 0.0],
        Position::BackLeft | Position::SideLeft => [LOWER, 0.0],
        Position::BackRight | Position::SideRight => [0.0, LOWER],
        Position::BackCentre | Position::TopCentre => [LOWER * LOWER, LOWER * LOWER],
        Position::Anywhere => [1.0, 1.0],
    }
}

/// 3 dB lower.
const LOWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [Position; 2] = [Position::FrontLeft, Position::FrontRight];

    /// What a channel at full scale is on the two sides, of what front left is on the left.
    fn beside_the_front(layout: &[Position]) -> Vec<[f32; 2]> {
        let gains = gains(layout);
        let front = gains[0][0];
        gains.iter().map(|gain| gain.map(|side| side / front)).collect()
    }

    #[test]
    fn every_channel_of_every_usual_layout_is_heard_where_it_belongs() {
        let (l, r, c, lfe) = ([1.0, 0.0], [0.0, 1.0], [LOWER, LOWER], [0.0, 0.0]);
        let (sl, sr, bc) = ([LOWER, 0.0], [0.0, LOWER], [0.5, 0.5]);
        let expected: [&[[f32; 2]]; 7] = [
            &[l, r],
            &[l, r, c],
            &[l, r, sl, sr],
            &[l, r, c, sl, sr],
            &[l, r, c, lfe, sl, sr],
            &[l, r, c, lfe, bc, sl, sr],
            &[l, r, c, lfe, sl, sr, sl, sr],
        ];
        for (layout, channels) in expected.into_iter().zip(2..) {
            let found = beside_the_front(&usual_layout(channels));
            for (channel, (found, expected)) in found.iter().zip(layout).enumerate() {
                let near =
                    found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6);
                assert!(near, "channel {channel} of {channels}: {found:?}, not {expected:?}");
            }
            assert_eq!(found.len(), layout.len());
        }
        assert_eq!(gains(&usual_layout(1)), [[1.0, 1.0]]);
    }

    #[test]
    fn what_a_channel_is_counts_and_not_its_place() {
        let with = |third| beside_the_front(&[SIDES[0], SIDES[1], Position::FrontCentre, third])[3];
        assert_eq!(with(Position::LowFrequency), [0.0, 0.0]);
        assert!((with(Position::BackCentre)[0] - 0.5).abs() < 1e-6);
        assert_eq!(with(Position::SideRight)[0], 0.0);
    }

    #[test]
    fn nothing_exceeds_full_scale() {
        for channels in 1..=32 {
            let gains = gains(&usual_layout(channels));
            for side in [0, 1] {
                let loudest: f32 = gains.iter().map(|gain| gain[side]).sum();
                assert!((loudest - 1.0).abs() < 1e-5, "{channels} channels: {loudest}");
            }
        }
        assert_eq!(gains(&[Position::LowFrequency; 2]), [[0.0, 0.0]; 2]);
    }
}
