//! The flags of op 5: how somebody speaks.

use std::ops::BitOr;

/// How somebody speaks; empty when it does not. [Discord's flags](https://docs.discord.com/developers/topics/voice-connections#speaking).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpeakingFlags(u8);

impl SpeakingFlags {
    /// Not speaking. With this alone Discord takes no audio from us.
    pub const NONE: Self = Self(0);
    /// Voice from a microphone; what a bot that plays music sends as well.
    pub const MICROPHONE: Self = Self(1);
    /// The sound of a shared screen, without a speaking indicator.
    pub const SOUNDSHARE: Self = Self(2);
    /// Priority speaker, lowers the volume of all others; only together with [`MICROPHONE`](Self::MICROPHONE), and
    /// ignored without the permission PRIORITY_SPEAKER.
    pub const PRIORITY: Self = Self(4);

    /// Takes the flags as Discord numbers them; unknown ones are kept.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The flags as Discord numbers them.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether nothing is set: not speaking.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for SpeakingFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::SpeakingFlags as Flags;

    #[test]
    fn flags_have_the_numbers_of_discord_and_can_be_combined() {
        let both = Flags::MICROPHONE | Flags::PRIORITY;
        assert_eq!([Flags::NONE, Flags::MICROPHONE, Flags::SOUNDSHARE, both].map(Flags::bits), [0, 1, 2, 5]);
        assert_eq!(both | Flags::PRIORITY, both);
        assert_eq!(Flags::from_bits(5), both);
        assert!(both.contains(Flags::MICROPHONE) && both.contains(both) && both.contains(Flags::NONE));
        assert!(!both.contains(Flags::SOUNDSHARE) && !Flags::MICROPHONE.contains(both));
        assert!(Flags::NONE.is_empty() && !both.is_empty());
    }
}
