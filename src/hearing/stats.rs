//! Stats: what became of the packets of each speaker.

use std::time::Duration;

use super::{Format, Preset};
use crate::{id::UserId, jitter::Counts};

/// What became of the packets of one speaker, as those were told who listen with one preset and one format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeakerStats {
    /// The speaker.
    pub user: UserId,
    /// The preset.
    pub preset: Preset,
    /// As what they got frames.
    pub format: Format,
    /// Packets received, recovered, concealed, late, lost, and those that came twice.
    pub counts: Counts,
    /// How much the delays of its packets differ, as RFC 3550 section 6.4.1 has it.
    pub jitter: Duration,
    /// How long its frames waited here, from the socket to the listener, all together.
    pub delay_sum: Duration,
    /// The longest of these waits.
    pub longest_delay: Duration,
    /// How many frames that were.
    pub frames: u64,
}

impl SpeakerStats {
    pub(super) fn new(user: UserId, preset: Preset, format: Format) -> Self {
        let zero = Duration::ZERO;
        Self {
            user,
            preset,
            format,
            counts: Counts::default(),
            jitter: zero,
            delay_sum: zero,
            longest_delay: zero,
            frames: 0,
        }
    }

    /// How long a frame waited here, from the socket to the listener, on average.
    #[must_use]
    pub fn mean_delay(&self) -> Duration {
        self.delay_sum / u32::try_from(self.frames.max(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn handed_on(&mut self, delay: Duration) {
        self.frames += 1;
        self.delay_sum += delay;
        self.longest_delay = self.longest_delay.max(delay);
    }

    /// Adds what another stream of the speaker came to, or another session; the jitter is the last one's.
    pub(crate) fn merge(all: &mut Vec<Self>, stats: Self) {
        let same = |known: &&mut Self| {
            (known.user, known.preset, known.format) == (stats.user, stats.preset, stats.format)
        };
        let Some(known) = all.iter_mut().find(same) else { return all.push(stats) };
        known.counts += stats.counts;
        known.jitter = stats.jitter;
        known.delay_sum += stats.delay_sum;
        known.longest_delay = known.longest_delay.max(stats.longest_delay);
        known.frames += stats.frames;
    }
}
