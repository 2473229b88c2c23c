//! The main gateway's messages: what we read of them, and what we write.
//!
//! A GUILD_CREATE may have megabytes; only the few fields that matter here are kept.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bridge::events::{UpdateVoiceState, VoiceServer, VoiceState};
use crate::gateway::session::ChannelKind;
use crate::id::{ChannelId, GuildId, SessionId, ShardId, Token, UserId};

/// An event of the main gateway that voice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dispatch {
    /// READY: a new session; voice states of an earlier one are gone.
    Ready {
        /// We.
        user: UserId,
        /// The name of the session.
        session_id: SessionId,
    },
    /// RESUMED: the earlier session goes on, missed events were replayed.
    Resumed,
    /// VOICE_STATE_UPDATE.
    VoiceStateUpdate(VoiceState),
    /// VOICE_SERVER_UPDATE.
    VoiceServerUpdate(VoiceServer),
    /// CHANNEL_CREATE or CHANNEL_UPDATE of a voice or stage channel.
    VoiceChannel {
        /// Its guild.
        guild: GuildId,
        /// The channel.
        channel: VoiceChannel,
    },
    /// GUILD_DELETE: the bot is not in the guild any more.
    GuildDeleted(GuildId),
    /// GUILD_DELETE with `unavailable`: the guild has an outage.
    GuildUnavailable(GuildId),
    /// GUILD_CREATE.
    GuildAvailable {
        /// The guild.
        guild: GuildId,
        /// Its voice and stage channels.
        voice_channels: Vec<VoiceChannel>,
        /// Who is in them, with the guild filled in.
        voice_states: Vec<VoiceState>,
    },
}

/// A voice or stage channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VoiceChannel {
    /// The channel.
    pub id: ChannelId,
    /// Which of the two it is.
    pub kind: ChannelKind,
    /// Bits per second, where Discord names them.
    pub bitrate: Option<u32>,
}

/// A message, read as far as the shard needs it.
#[derive(Debug)]
pub(super) enum Message {
    Hello { interval: Duration },
    HeartbeatRequest,
    HeartbeatAck,
    Reconnect,
    InvalidSession(Resumable),
    Ready { user: UserId, session_id: SessionId, resume_url: Option<String> },
    Dispatch(Dispatch),
    Ignored,
}

/// Whether an invalid session may be resumed all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resumable {
    Yes,
    No,
}

/// The frame was not understood.
#[derive(Debug)]
pub(super) struct Malformed;

/// Reads a text frame; returns the message and its sequence number, if it has one.
pub(super) fn decode(text: &[u8]) -> Result<(Message, Option<u64>), Malformed> {
    let head: Head = serde_json::from_slice(text).map_err(|_| Malformed)?;
    let message = match head.op {
        0 => dispatch(head.t.as_deref().unwrap_or_default(), text)?,
        1 => Message::HeartbeatRequest,
        7 => Message::Reconnect,
        9 => Message::InvalidSession(match body::<Option<bool>>(text)? {
            Some(true) => Resumable::Yes,
            _ => Resumable::No,
        }),
        10 => {
            let seconds = body::<Hello>(text)?.heartbeat_interval / 1000.0;
            Message::Hello { interval: Duration::try_from_secs_f64(seconds).map_err(|_| Malformed)? }
        }
        11 => Message::HeartbeatAck,
        _ => Message::Ignored,
    };
    Ok((message, head.s))
}

fn dispatch(name: &str, text: &[u8]) -> Result<Message, Malformed> {
    Ok(Message::Dispatch(match name {
        "READY" => {
            let ReadyBody { user, session_id, resume_gateway_url } = body(text)?;
            return Ok(Message::Ready { user: user.id, session_id, resume_url: resume_gateway_url });
        }
        "RESUMED" => Dispatch::Resumed,
        "VOICE_STATE_UPDATE" => Dispatch::VoiceStateUpdate(body(text)?),
        "VOICE_SERVER_UPDATE" => Dispatch::VoiceServerUpdate(body(text)?),
        "GUILD_CREATE" => body::<GuildBody>(text)?.into_dispatch(),
        "GUILD_DELETE" => match body::<GuildBody>(text)? {
            GuildBody { id, unavailable: Some(true), .. } => Dispatch::GuildUnavailable(id),
            GuildBody { id, .. } => Dispatch::GuildDeleted(id),
        },
        "CHANNEL_CREATE" | "CHANNEL_UPDATE" => {
            let body = body::<ChannelBody>(text)?;
            match (body.guild_id, body.voice_channel()) {
                (Some(guild), Some(channel)) => Dispatch::VoiceChannel { guild, channel },
                _ => return Ok(Message::Ignored),
            }
        }
        _ => return Ok(Message::Ignored),
    }))
}

fn body<D: DeserializeOwned>(text: &[u8]) -> Result<D, Malformed> {
    serde_json::from_slice::<Body<D>>(text).map(|body| body.d).map_err(|_| Malformed)
}

#[derive(Deserialize)]
struct Head<'a> {
    op: u64,
    s: Option<u64>,
    #[serde(borrow)]
    t: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Body<D> {
    d: D,
}

#[derive(Deserialize)]
struct Hello {
    heartbeat_interval: f64,
}

#[derive(Deserialize)]
struct ReadyBody {
    user: UserBody,
    session_id: SessionId,
    resume_gateway_url: Option<String>,
}

#[derive(Deserialize)]
struct UserBody {
    id: UserId,
}

#[derive(Deserialize)]
struct GuildBody {
    id: GuildId,
    unavailable: Option<bool>,
    channels: Option<Vec<ChannelBody>>,
    voice_states: Option<Vec<VoiceState>>,
}

#[derive(Deserialize)]
struct ChannelBody {
    id: ChannelId,
    guild_id: Option<GuildId>,
    #[serde(rename = "type")]
    kind: u64,
    bitrate: Option<u32>,
}

impl GuildBody {
    fn into_dispatch(self) -> Dispatch {
        let channels = self.channels.unwrap_or_default();
        let mut voice_states = self.voice_states.unwrap_or_default();
        for state in &mut voice_states {
            state.guild = Some(self.id);
        }
        Dispatch::GuildAvailable {
            guild: self.id,
            voice_channels: channels.iter().filter_map(ChannelBody::voice_channel).collect(),
            voice_states,
        }
    }
}

impl ChannelBody {
    fn voice_channel(&self) -> Option<VoiceChannel> {
        let kind = match self.kind {
            2 => ChannelKind::Voice,
            13 => ChannelKind::Stage,
            _ => return None,
        };
        Some(VoiceChannel { id: self.id, kind, bitrate: self.bitrate })
    }
}

/// Op 1; the last sequence number is null before the first event.
pub(super) fn heartbeat(last: Option<u64>) -> String {
    encode(1, &last)
}

/// Op 2.
pub(super) fn identify(token: &Token, shard: ShardId) -> String {
    let properties = Properties { os: std::env::consts::OS, browser: "actix-voice", device: "actix-voice" };
    let shard = (shard != ShardId::SINGLE).then_some([shard.index, shard.count]);
    encode(2, &Identify { token: bare(token), intents: INTENTS, properties, shard })
}

/// Op 4.
pub(super) fn update_voice_state(update: &UpdateVoiceState) -> String {
    encode(4, update)
}

/// Op 6.
pub(super) fn resume(token: &Token, session_id: &SessionId, seq: u64) -> String {
    encode(6, &Resume { token: bare(token), session_id, seq })
}

/// Discord's REST interface wants `Bot ` before the token, the gateway does not: users paste both.
pub(super) fn bare(token: &Token) -> &str {
    token.0.trim().trim_start_matches("Bot ")
}

fn encode<D: Serialize>(op: u8, d: &D) -> String {
    serde_json::to_string(&Frame { op, d }).expect("structs of numbers and strings always serialise")
}

#[derive(Serialize)]
struct Frame<'a, D> {
    op: u8,
    d: &'a D,
}

#[derive(Serialize)]
struct Identify<'a> {
    token: &'a str,
    intents: u32,
    properties: Properties,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<[u32; 2]>,
}

#[derive(Serialize)]
struct Properties {
    os: &'static str,
    browser: &'static str,
    device: &'static str,
}

#[derive(Serialize)]
struct Resume<'a> {
    token: &'a str,
    session_id: &'a SessionId,
    seq: u64,
}

/// GUILDS and GUILD_VOICE_STATES, all that voice needs; neither is privileged.
const INTENTS: u32 = 1 << 0 | 1 << 7;
