//! What a session begins with: credentials, the way to start, and the choice of the encryption mode.

use crate::gateway::payload::{Command, GATEWAY_VERSION, Identify, Resume};
use crate::id::{ChannelId, GuildId, SessionId, Ssrc, Token, UserId};

/// What the main gateway gave us to connect with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The guild.
    pub guild: GuildId,
    /// The voice channel.
    pub channel: ChannelId,
    /// What kind of channel it is.
    pub channel_kind: ChannelKind,
    /// We.
    pub user: UserId,
    /// From our own VOICE_STATE_UPDATE.
    pub session_id: SessionId,
    /// From VOICE_SERVER_UPDATE; good for one session.
    pub token: Token,
    /// `host:port` from VOICE_SERVER_UPDATE.
    pub endpoint: String,
}

/// What kind of channel a bot is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelKind {
    /// A voice channel, end-to-end encrypted; also where nothing else is known.
    #[default]
    Voice,
    /// A stage, with an audience; never end-to-end encrypted.
    Stage,
}

/// Whether a websocket is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `wss`, as Discord's.
    Tls,
    /// `ws`, for a server on this machine.
    Plain,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Tls => "wss",
            Self::Plain => "ws",
        }
    }
}

/// Which voice servers are connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endpoints {
    /// Whichever VOICE_SERVER_UPDATE names.
    #[default]
    Any,
    /// Only those under Discord's own domains.
    Discord,
}

impl Endpoints {
    fn include(self, authority: &str) -> bool {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_ascii_lowercase();
        self == Self::Any || DISCORDS.iter().any(|domain| host.ends_with(domain))
    }
}

/// The domains of Discord's voice servers.
const DISCORDS: [&str; 2] = [".discord.media", ".discord.gg"];

/// The endpoint that VOICE_SERVER_UPDATE named is not connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadEndpoint {
    /// It is something else.
    #[error(
        "the endpoint {0:?} of VOICE_SERVER_UPDATE is no host and port; does the bot pass it on as it came?"
    )]
    NotHostAndPort(String),
    /// It is not under Discord's domains, and only those are allowed.
    #[error(
        "the endpoint {0:?} of VOICE_SERVER_UPDATE is not Discord's; Config::endpoints says which are allowed"
    )]
    NotDiscords(String),
}

/// How a websocket begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// A new session.
    Identify {
        /// The newest DAVE version we speak, 0 for none.
        max_dave_protocol_version: u16,
        /// The encryption modes that may be used, best first.
        modes: Vec<String>,
    },
    /// The session of an earlier websocket goes on: SSRC, key, UDP socket and DAVE group stay.
    Resume {
        /// [`Session::last_seq`](super::Session::last_seq) of the earlier websocket.
        seq_ack: Option<u16>,
        /// From [`Action::Ready`](super::Action::Ready) of the earlier websocket.
        ssrc: Ssrc,
        /// From there too: the encryption mode.
        mode: String,
    },
}

impl Credentials {
    /// The address of the websocket, spoken to in this way, if it is one of these endpoints. Only host and port are taken of the endpoint: what else it
    /// names, a scheme above all, is not the server's to choose.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`] when it is no host and port, or another one.
    pub fn url(&self, scheme: Scheme, endpoints: Endpoints) -> Result<String, BadEndpoint> {
        let rest = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(is_plain) {
            return Err(BadEndpoint::NotHostAndPort(self.endpoint.clone()));
        }
        if !endpoints.include(authority) {
            return Err(BadEndpoint::NotDiscords(self.endpoint.clone()));
        }
        Ok(format!("{}://{authority}/?v={GATEWAY_VERSION}", scheme.name()))
    }

    pub(super) fn identify(&self, max_dave_protocol_version: u16) -> Command {
        let Self { guild, user, session_id, token, .. } = self.clone();
        Command::Identify(Identify { guild, user, session_id, token, max_dave_protocol_version })
    }

    pub(super) fn resume(&self, seq_ack: Option<u16>) -> Command {
        let Self { guild, session_id, token, .. } = self.clone();
        Command::Resume(Resume { guild, session_id, token, seq_ack })
    }
}

/// Chooses the encryption mode: the first of ours that is offered.
pub(super) fn choose_mode<'a>(offered: &[String], ours: &'a [String]) -> Option<&'a str> {
    ours.iter().find(|mode| offered.contains(mode)).map(String::as_str)
}
