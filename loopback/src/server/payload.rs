//! Reading and writing the JSON of both gateways.

use serde_json::{Map, Value, json};

use super::directory::ChannelRecord;
use super::voice_states::VoiceState;

/// A text frame that is `{op, d}`.
pub(super) struct Frame {
    pub(super) op: u8,
    pub(super) d: Value,
}

impl Frame {
    /// Parses a client's frame; `None` when it cannot be decoded.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut whole: Map<String, Value> = serde_json::from_slice(text).ok()?;
        let op = whole.get("op")?.as_u64()?;
        // Beyond a byte there is no opcode, so any unassigned one stands for it.
        let op = u8::try_from(op).unwrap_or(u8::MAX);
        Some(Self { op, d: whole.remove("d").unwrap_or(Value::Null) })
    }
}

/// A snowflake field: a decimal string, or a number as some old clients write it.
pub(super) fn snowflake(d: &Value, field: &str) -> Option<u64> {
    match d.get(field)? {
        Value::String(digits) => digits.parse().ok(),
        value => value.as_u64(),
    }
}

/// The first field with an id that is a number.
pub(super) fn numeric_id(d: &Value) -> Option<&'static str> {
    let ids = ["guild_id", "channel_id", "server_id", "user_id"];
    ids.into_iter().find(|field| d.get(field).is_some_and(Value::is_number))
}

/// A string field.
pub(super) fn string<'a>(d: &'a Value, field: &str) -> Option<&'a str> {
    d.get(field)?.as_str()
}

/// An integer field that fits.
pub(super) fn integer<T: TryFrom<u64>>(d: &Value, field: &str) -> Option<T> {
    T::try_from(d.get(field)?.as_u64()?).ok()
}

/// A field is not what it should be: close 4002.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undecodable;

/// What `seq_ack` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeqAck {
    /// Absent, null or −1: nothing numbered has come yet.
    Nothing,
    Last(u16),
    /// Not a number that could be one.
    Malformed,
}

impl SeqAck {
    pub(super) fn of(d: &Value) -> Self {
        match d.get("seq_ack") {
            None | Some(Value::Null) => Self::Nothing,
            Some(value) if value.as_i64() == Some(-1) => Self::Nothing,
            Some(value) => {
                let last = value.as_u64().and_then(|last| u16::try_from(last).ok());
                last.map_or(Self::Malformed, Self::Last)
            }
        }
    }

    /// The number; `None` for nothing yet.
    pub(super) fn sequence(self) -> Result<Option<u16>, Undecodable> {
        match self {
            Self::Nothing => Ok(None),
            Self::Last(sequence) => Ok(Some(sequence)),
            Self::Malformed => Err(Undecodable),
        }
    }
}

/// An op 4 of the main gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct VoiceStateRequest {
    pub(super) guild: u64,
    pub(super) channel: Option<u64>,
    pub(super) self_mute: bool,
    pub(super) self_deaf: bool,
}

impl VoiceStateRequest {
    pub(super) fn parse(d: &Value) -> Option<Self> {
        let channel = match d.get("channel_id")? {
            Value::Null => None,
            _ => Some(snowflake(d, "channel_id")?),
        };
        Some(Self {
            guild: snowflake(d, "guild_id")?,
            channel,
            self_mute: d.get("self_mute")?.as_bool()?,
            self_deaf: d.get("self_deaf")?.as_bool()?,
        })
    }
}

/// A voice state object; `guild_id` is left out where it stands inside a GUILD_CREATE.
pub(super) fn voice_state(guild: Option<u64>, user: u64, state: &VoiceState) -> Value {
    let mut object = json!({
        "channel_id": state.channel.map(|channel| channel.to_string()),
        "user_id": user.to_string(),
        "session_id": state.session_id,
        "deaf": false,
        "mute": false,
        "self_deaf": state.self_deaf,
        "self_mute": state.self_mute,
        "self_video": false,
        "suppress": state.suppress,
        "request_to_speak_timestamp": null,
    });
    if let Some(guild) = guild {
        object["guild_id"] = Value::from(guild.to_string());
    }
    object
}

/// A channel object.
pub(super) fn channel(id: u64, record: &ChannelRecord) -> Value {
    json!({
        "id": id.to_string(),
        "guild_id": record.guild.to_string(),
        "type": record.kind.number(),
        "name": record.name,
        "bitrate": record.bitrate,
        "user_limit": record.user_limit,
        "rtc_region": null,
        "position": 0,
        "permission_overwrites": [],
    })
}

/// The `d` of an op 1 for UDP.
pub(super) struct ProtocolSelection {
    pub(super) protocol: String,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) mode: String,
}

impl ProtocolSelection {
    pub(super) fn parse(d: &Value) -> Option<Self> {
        let protocol = string(d, "protocol")?.to_owned();
        if protocol != "udp" {
            return Some(Self { protocol, address: String::new(), port: 0, mode: String::new() });
        }
        let data = d.get("data")?;
        Some(Self {
            protocol,
            address: string(data, "address")?.to_owned(),
            port: integer(data, "port")?,
            mode: string(data, "mode")?.to_owned(),
        })
    }
}
