//! The two events and the one command of Discord's main gateway that voice depends on.
//!
//! They are plain structs with Discord's field names on the wire, so that a bot with its own main gateway builds
//! them from the event's JSON or field by field.

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{ChannelId, GuildId, SessionId, Token, UserId};

/// Who is where: the payload of a [VOICE_STATE_UPDATE](https://docs.discord.com/developers/events/gateway-events#voice-state-update).
///
/// Comes for every user of every guild the bot is in, if intent GUILD_VOICE_STATES is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceState {
    /// The guild; absent in the voice states of a GUILD_CREATE and in private calls.
    #[serde(rename = "guild_id", default)]
    pub guild: Option<GuildId>,
    /// The channel the user is in, or none once it has left.
    #[serde(rename = "channel_id", default)]
    pub channel: Option<ChannelId>,
    /// The user.
    #[serde(rename = "user_id")]
    pub user: UserId,
    /// The name of the user's session; of our own it goes into the voice gateway's Identify.
    pub session_id: SessionId,
    /// Whether a moderator has deafened the user.
    #[serde(default, deserialize_with = "or_default")]
    pub deaf: bool,
    /// Whether a moderator has muted the user; its audio is silently dropped.
    #[serde(default, deserialize_with = "or_default")]
    pub mute: bool,
    /// Whether the user has deafened itself.
    #[serde(default, deserialize_with = "or_default")]
    pub self_deaf: bool,
    /// Whether the user has muted itself.
    #[serde(default, deserialize_with = "or_default")]
    pub self_mute: bool,
    /// Whether the user is in the audience of a stage and may not speak.
    #[serde(default, deserialize_with = "or_default")]
    pub suppress: bool,
}

/// Where to connect: the payload of a [VOICE_SERVER_UPDATE](https://docs.discord.com/developers/events/gateway-events#voice-server-update).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceServer {
    /// The guild.
    #[serde(rename = "guild_id")]
    pub guild: GuildId,
    /// The token for one voice session.
    pub token: Token,
    /// `host:port` without a scheme, or none while Discord allocates another server.
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// Joins, moves, leaves or mutes: the payload of op 4, [Update Voice State](https://docs.discord.com/developers/events/gateway-events#update-voice-state).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateVoiceState {
    /// The guild.
    #[serde(rename = "guild_id")]
    pub guild: GuildId,
    /// The channel to be in, or none to leave.
    #[serde(rename = "channel_id")]
    pub channel: Option<ChannelId>,
    /// Whether to appear muted.
    pub self_mute: bool,
    /// Whether to appear deafened.
    pub self_deaf: bool,
}

/// How the bot appears to others in voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfFlags {
    /// Whether it appears muted.
    pub mute: bool,
    /// Whether it appears deafened; Discord then sends it nobody's audio.
    pub deaf: bool,
}

impl Default for SelfFlags {
    /// Not muted, and deaf: nobody's audio is sent to a bot that only speaks.
    fn default() -> Self {
        Self { mute: false, deaf: true }
    }
}

/// Reads null like an absent field.
fn or_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_state_reads_discords_payload() {
        let state: VoiceState = serde_json::from_str(
            r#"{"guild_id":"111","channel_id":"222","user_id":"900","session_id":"5f0c","deaf":false,"mute":true,
                "self_deaf":false,"self_mute":false,"self_video":false,"suppress":true,"member":{"nick":null},
                "request_to_speak_timestamp":null}"#,
        )
        .unwrap();
        assert_eq!((state.guild, state.channel), (Some(GuildId(111)), Some(ChannelId(222))));
        assert_eq!((state.user, state.session_id.0.as_str()), (UserId(900), "5f0c"));
        assert!(state.mute && state.suppress && !state.deaf && !state.self_mute && !state.self_deaf);
    }

    #[test]
    fn a_voice_state_without_guild_or_channel_is_one_who_left() {
        let state: VoiceState =
            serde_json::from_str(r#"{"channel_id":null,"user_id":"900","session_id":"s","suppress":null}"#)
                .unwrap();
        assert_eq!((state.guild, state.channel), (None, None));
        assert!(!state.suppress);
    }

    #[test]
    fn a_voice_server_keeps_its_port_and_may_lack_an_endpoint() {
        let with = r#"{"token":"t","guild_id":"111","endpoint":"c-ewr12.discord.media:2096"}"#;
        let server: VoiceServer = serde_json::from_str(with).unwrap();
        assert_eq!(server.endpoint.as_deref(), Some("c-ewr12.discord.media:2096"));
        let server: VoiceServer =
            serde_json::from_str(r#"{"token":"t","guild_id":"111","endpoint":null}"#).unwrap();
        assert_eq!(server.endpoint, None);
    }

    #[test]
    fn an_update_is_written_as_op_4_wants_it() {
        let leave =
            UpdateVoiceState { guild: GuildId(111), channel: None, self_mute: false, self_deaf: true };
        assert_eq!(
            serde_json::to_string(&leave).unwrap(),
            r#"{"guild_id":"111","channel_id":null,"self_mute":false,"self_deaf":true}"#
        );
    }

    #[test]
    fn no_secret_is_printed() {
        let server = VoiceServer { guild: GuildId(1), token: Token("hush".into()), endpoint: None };
        assert!(!format!("{server:?}").contains("hush"));
    }
}
