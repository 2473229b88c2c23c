//! Where the channels of a decoder belong.

use symphonia::core::audio::{ChannelLabel, Channels};

use crate::audio::mixdown::{Position, usual_layout};

/// The positions of a mask, in the order of its bits: those of WAVEFORMATEXTENSIBLE, and symphonia's after them.
pub(super) fn of_mask(mask: u64) -> Vec<Position> {
    let positions = POSITIONS.iter().enumerate().filter(|(bit, _)| mask & 1 << bit != 0);
    positions.map(|(_, &position)| position).collect()
}

/// The positions of a decoder's channels.
pub(super) fn of_channels(channels: &Channels) -> Vec<Position> {
    match channels {
        // One channel is mono, whatever it is called.
        Channels::Positioned(positions) if channels.count() > 1 => of_mask(positions.bits()),
        Channels::Custom(labels) => labels.iter().map(of_label).collect(),
        channels => usual_layout(channels.count()),
    }
}

fn of_label(label: &ChannelLabel) -> Position {
    match label {
        ChannelLabel::Positioned(position) => {
            of_mask(position.bits()).first().copied().unwrap_or(Position::Anywhere)
        }
        _ => Position::Anywhere,
    }
}

/// What each bit stands for, from the lowest. What has no place of its own in stereo stands for its nearest.
const POSITIONS: [Position; 26] = [
    Position::FrontLeft,
    Position::FrontRight,
    Position::FrontCentre,
    Position::LowFrequency,
    Position::BackLeft,
    Position::BackRight,
    // Between the centre and a side.
    Position::FrontLeft,
    Position::FrontRight,
    Position::BackCentre,
    Position::SideLeft,
    Position::SideRight,
    // Above.
    Position::TopCentre,
    Position::FrontLeft,
    Position::FrontCentre,
    Position::FrontRight,
    Position::BackLeft,
    Position::BackCentre,
    Position::BackRight,
    Position::LowFrequency,
    Position::SideLeft,
    Position::SideRight,
    // Below.
    Position::FrontCentre,
    Position::FrontLeft,
    Position::FrontRight,
    // Wide.
    Position::FrontLeft,
    Position::FrontRight,
];
