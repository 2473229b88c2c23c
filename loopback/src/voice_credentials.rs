//! What a client says of itself at the voice gateway, and whether it is let in.

use serde_json::Value;

use crate::payload;
use crate::server::{GrantState, State};
use crate::socket::Listener;
use crate::token::Token;
use crate::voice_session::{Outlet, VoiceSession};

/// What a client says of itself in Identify and Resume.
pub(crate) struct VoiceCredentials {
    pub(crate) guild: u64,
    /// Absent in Resume.
    pub(crate) user: Option<u64>,
    pub(crate) channel: Option<u64>,
    pub(crate) session_id: String,
    pub(crate) token: Token,
    pub(crate) max_dave: u16,
}

impl VoiceCredentials {
    pub(crate) fn parse(d: &Value, version: u8) -> Option<Self> {
        let channel = payload::snowflake(d, "channel_id");
        if version >= CHANNEL_REQUIRED_SINCE && channel.is_none() {
            return None;
        }
        Some(Self {
            guild: payload::snowflake(d, "server_id")?,
            user: payload::snowflake(d, "user_id"),
            channel: channel.filter(|_| version >= CHANNEL_REQUIRED_SINCE),
            session_id: payload::string(d, "session_id")?.to_owned(),
            token: Token(payload::string(d, "token")?.to_owned()),
            max_dave: payload::integer(d, "max_dave_protocol_version").unwrap_or(0),
        })
    }

    fn fits(&self, session: &VoiceSession) -> bool {
        session.outlet != Outlet::Member
            && session.guild == self.guild
            && session.session_id == self.session_id
            && session.token == self.token
            && self.channel.is_none_or(|channel| session.channel == channel)
    }
}

impl State {
    /// Judges an Identify; the codes are those of PROTOCOL 2.7.
    pub(crate) fn admit(&self, id: u64, credentials: &VoiceCredentials) -> Result<(), (u16, &'static str)> {
        let Some(guild) = self.guilds.get(&credentials.guild) else {
            return Err((4011, "Server not found."));
        };
        let grant = self.grants.get(&credentials.token);
        let grant =
            grant.filter(|grant| grant.guild == credentials.guild && Some(grant.user) == credentials.user);
        let Some(grant) = grant else { return Err((4004, "Authentication failed.")) };
        if grant.state == GrantState::Spent {
            return Err((4006, "Session is no longer valid."));
        }
        if self.connections.get(&id).map(|connection| connection.listener)
            != Some(Listener::Voice(guild.region))
        {
            return Err((4011, "Server not found."));
        }
        let state = self.voice_states.get(&(grant.guild, grant.user));
        let Some(state) = state.filter(|state| state.session_id == credentials.session_id) else {
            return Err((4006, "Session is no longer valid."));
        };
        if credentials.channel.is_some() && credentials.channel != state.channel {
            return Err((4006, "Session is no longer valid."));
        }
        if credentials.max_dave == 0 && state.channel.is_some_and(|channel| self.dave_required(channel)) {
            return Err((4017, "E2EE/DAVE protocol required."));
        }
        Ok(())
    }

    /// The session that a Resume may go on with: it is that of the token, on this server, of the same gateway version,
    /// and no newer token has been given out since.
    pub(crate) fn resumable(&self, id: u64, credentials: &VoiceCredentials) -> Option<(u32, u64)> {
        let connection = self.connections.get(&id)?;
        let (ssrc, session) = self.voice_sessions.iter().find(|(_, session)| {
            credentials.fits(session)
                && session.superseded.is_none()
                && session.version == connection.version
                && connection.listener == Listener::Voice(session.region)
        })?;
        Some((*ssrc, session.user))
    }
}

/// The gateway version that made `channel_id` a must.
const CHANNEL_REQUIRED_SINCE: u8 = 9;
