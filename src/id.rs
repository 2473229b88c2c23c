//! The names of things: Discord's snowflakes, RTP's SSRC, and the secrets that must never be printed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

macro_rules! snowflake {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(id: u64) -> Self {
                Self(id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(SnowflakeVisitor).map(Self)
            }
        }
    )*};
}

snowflake! {
    /// A guild, the community that owns the voice channel.
    GuildId;
    /// A voice or stage channel.
    ChannelId;
    /// A user, our own bot included.
    UserId;
}

/// A shard of a bot: one of `count` main gateways that share the bot's guilds between them. See
/// [Sharding](https://docs.discord.com/developers/events/gateway#sharding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId {
    /// Which it is, from 0 up to but not including `count`.
    pub index: u32,
    /// How many there are in all programs of the bot; 1 if it does not shard.
    pub count: u32,
}

impl ShardId {
    /// The one main gateway of a bot that does not shard: all guilds are its.
    pub const SINGLE: Self = Self { index: 0, count: 1 };

    /// The shard of a guild among so many, at least one.
    #[must_use]
    pub fn of(guild: GuildId, count: u32) -> Self {
        let count = count.max(1);
        let index = u32::try_from((guild.0 >> 22) % u64::from(count)).expect("it is less than a u32");
        Self { index, count }
    }

    /// Whether what concerns this guild comes to this shard.
    #[must_use]
    pub fn has(self, guild: GuildId) -> bool {
        Self::of(guild, self.count) == self
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.index, self.count)
    }
}

/// A synchronisation source: the number that names one sender's packets (RFC 3550 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ssrc(pub u32);

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a main-gateway session, as VOICE_STATE_UPDATE gives it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub String);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(***)")
    }
}

/// A bot token or a voice token; prints as `***`, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The 32 bytes that encrypt the packets of one voice session; prints as `***`, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct SecretKey(pub [u8; 32]);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// Reads a snowflake that is a decimal string, as Discord sends it, or a plain number.
struct SnowflakeVisitor;

impl de::Visitor<'_> for SnowflakeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snowflake: a decimal string or a number")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<u64, E> {
        Ok(id)
    }

    fn visit_i64<E: de::Error>(self, id: i64) -> Result<u64, E> {
        u64::try_from(id).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snowflake_is_a_decimal_string_on_the_wire() {
        assert_eq!(serde_json::to_string(&GuildId(41771983423143937)).unwrap(), r#""41771983423143937""#);
        assert_eq!(
            serde_json::from_str::<GuildId>(r#""41771983423143937""#).unwrap(),
            GuildId(41771983423143937)
        );
        assert_eq!(serde_json::from_str::<GuildId>("41771983423143937").unwrap(), GuildId(41771983423143937));
        assert!(serde_json::from_str::<GuildId>(r#""-1""#).is_err());
    }

    #[test]
    fn secrets_do_not_print() {
        let all =
            format!("{:?} {:?} {:?}", Token("abc".into()), SessionId("abc".into()), SecretKey([0xab; 32]));
        assert!(!all.contains("abc") && !all.contains("171"), "{all}");
    }
}
