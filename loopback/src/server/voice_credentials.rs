//! The credentials of Identify and Resume, and whether they let a client in.

use serde_json::Value;

use super::State;
use super::connections::Listener;
use super::grants::GrantState;
use super::payload;
use super::voice_sessions::VoiceSession;
use crate::token::Token;

/// The fields of Identify and Resume.
pub(super) struct VoiceCredentials {
    pub(super) guild: u64,
    /// Absent in Resume.
    pub(super) user: Option<u64>,
    pub(super) channel: Option<u64>,
    pub(super) session_id: String,
    pub(super) token: Token,
    pub(super) max_dave: u16,
}

impl VoiceCredentials {
    pub(super) fn parse(d: &Value, version: u8) -> Option<Self> {
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
        let identity = session.identity();
        session.is_resumable()
            && identity.guild == self.guild
            && identity.session_id == self.session_id
            && identity.token == self.token
            && self.channel.is_none_or(|channel| identity.channel == channel)
    }
}

impl State {
    /// Checks an Identify; the error is the close code and its reason.
    pub(super) fn admit(&self, id: u64, credentials: &VoiceCredentials) -> Result<(), (u16, &'static str)> {
        let Some(guild) = self.directory.guild(credentials.guild) else {
            return Err((4011, "Server not found."));
        };
        let grant = self.grants.get(&credentials.token);
        let grant =
            grant.filter(|grant| grant.guild == credentials.guild && Some(grant.user) == credentials.user);
        let Some(grant) = grant else { return Err((4004, "Authentication failed.")) };
        if grant.state == GrantState::Spent {
            return Err((4006, "Session is no longer valid."));
        }
        if self.connections.listener(id) != Some(Listener::Voice(guild.region)) {
            return Err((4011, "Server not found."));
        }
        let state = self.voice_states.get(grant.guild, grant.user);
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
    pub(super) fn resumable(&self, id: u64, credentials: &VoiceCredentials) -> Option<(u32, u64)> {
        let (version, listener) = (self.connections.version(id), self.connections.listener(id)?);
        let (ssrc, session) = self.voice_sessions.iter().find(|(_, session)| {
            credentials.fits(session)
                && session.identity().version == version
                && listener == Listener::Voice(session.identity().region)
        })?;
        Some((ssrc, session.identity().user))
    }
}

/// The gateway version that made `channel_id` a must.
const CHANNEL_REQUIRED_SINCE: u8 = 9;
