//! Bitrates: what channels are encoded with, where it is not the default.

use std::collections::BTreeMap;

use crate::id::ChannelId;

/// The bitrates of channels, in bits per second.
pub(super) struct Bitrates {
    default: u32,
    /// Only those that differ from the default; at most [`MAX_CHANNELS`].
    by_channel: BTreeMap<ChannelId, u32>,
}

impl Bitrates {
    pub(super) fn new(default: u32) -> Self {
        Self { default, by_channel: BTreeMap::new() }
    }

    /// Notes the bitrate of a channel, as far as Discord lets it have it. Of too many, the oldest channel is forgotten.
    pub(super) fn set(&mut self, channel: ChannelId, bitrate: u32) {
        let bitrate = bitrate.clamp(MIN_BITRATE, MAX_BITRATE);
        if bitrate == self.default {
            self.by_channel.remove(&channel);
            return;
        }
        self.by_channel.insert(channel, bitrate);
        if self.by_channel.len() > MAX_CHANNELS {
            self.by_channel.pop_first();
        }
    }

    pub(super) fn of(&self, channel: ChannelId) -> u32 {
        self.by_channel.get(&channel).copied().unwrap_or(self.default)
    }
}

/// What Discord lets a channel have, in bits per second.
const MIN_BITRATE: u32 = 8_000;
const MAX_BITRATE: u32 = 384_000;
/// Some megabytes; a bot in thousands of guilds has fewer channels that differ.
const MAX_CHANNELS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_channels_that_differ_are_kept_and_only_so_many() {
        let mut bitrates = Bitrates::new(64_000);
        for channel in 0..MAX_CHANNELS as u64 + 10 {
            bitrates.set(ChannelId(channel), 96_000);
            bitrates.set(ChannelId(channel + 1_000_000), 64_000);
        }
        assert_eq!(bitrates.by_channel.len(), MAX_CHANNELS);
        assert_eq!(bitrates.of(ChannelId(MAX_CHANNELS as u64)), 96_000);
        assert_eq!(bitrates.of(ChannelId(0)), 64_000);
        bitrates.set(ChannelId(100), 64_000);
        assert_eq!((bitrates.of(ChannelId(100)), bitrates.by_channel.len()), (64_000, MAX_CHANNELS - 1));
    }
}
