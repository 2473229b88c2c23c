//! Anchor: where a stream's media time stands on the line of a recording.

use crate::audio::frame::SAMPLE_RATE;

/// The smallest difference between arrival and media time of the last five to ten seconds, in samples at 48 kHz.
///
/// The packet that was least delayed says best when the sound was made. A look at the last seconds alone follows a clock that
/// runs fast or slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    /// The smallest of the window before this one, and of this one.
    least: [i64; 2],
    window_ends: i64,
}

impl Anchor {
    /// An anchor that knows one packet.
    pub(super) fn new(arrived: i64, time: i64) -> Self {
        Self { least: [i64::MAX, arrived - time], window_ends: arrived + WINDOW }
    }

    /// Takes a packet into account: when it came, and its media time.
    pub(super) fn observe(&mut self, arrived: i64, time: i64) {
        let difference = arrived - time;
        if arrived >= self.window_ends {
            self.least = [self.least[1], difference];
            self.window_ends = arrived + WINDOW;
        }
        self.least[1] = self.least[1].min(difference);
    }

    /// What to add to a media time to get a position.
    pub(super) fn offset(&self) -> i64 {
        self.least[0].min(self.least[1])
    }
}

const WINDOW: i64 = 5 * SAMPLE_RATE as i64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_delayed_packet_counts_until_it_is_long_ago() {
        let mut anchor = Anchor::new(1_000, 0);
        anchor.observe(1_960 - 300, 960);
        assert_eq!(anchor.offset(), 700);
        for n in 2..250 {
            anchor.observe(1_000 + n * 960, n * 960);
        }
        assert_eq!(anchor.offset(), 700, "five seconds later");
        for n in 250..700 {
            anchor.observe(1_000 + n * 960, n * 960);
        }
        assert_eq!(anchor.offset(), 1_000);
    }
}
