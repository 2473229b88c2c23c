//! Voice sessions: what outlives a voice websocket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::buffer::NumberedBuffer;
use crate::token::Token;

/// The user of a session, its channel, and the credentials that it began with.
#[derive(Debug)]
pub(super) struct SessionIdentity {
    pub(super) user: u64,
    pub(super) guild: u64,
    pub(super) channel: u64,
    pub(super) session_id: String,
    pub(super) token: Token,
    /// The gateway version.
    pub(super) version: u8,
    pub(super) max_dave: u16,
    /// On whose port it began.
    pub(super) region: usize,
}

/// What survives a resume.
#[derive(Debug)]
pub(super) struct VoiceSession {
    identity: SessionIdentity,
    attachment: Attachment,
    call: CallState,
    discovered: Option<SocketAddr>,
    /// The SSRC of its audio, where that is no more the one of its Ready.
    audio_ssrc: Option<u32>,
    pub(super) buffer: NumberedBuffer,
}

/// Which websocket a session has, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attachment {
    Connected(Websocket),
    /// A newer token was given out, so the session cannot be resumed; it ends at this time.
    Superseded(Websocket, Instant),
    /// The websocket was lost; the session is given up at this time unless it is resumed.
    Detached(Instant),
    /// The member is simulated and needs no websocket.
    Simulated,
}

/// The websocket that serves a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Websocket {
    connection: u64,
    /// When it resumed the session; `None` if the session began on it.
    resumed: Option<Instant>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallState {
    /// The Session Description was not sent yet.
    Handshaking,
    /// The Session Description was sent: the user hears and can be heard.
    InCall {
        /// The flags of the last Speaking; `None` before the first.
        speaking: Option<u8>,
    },
}

impl VoiceSession {
    /// A session that begins on a websocket.
    pub(super) fn connected(identity: SessionIdentity, connection: u64, buffer: NumberedBuffer) -> Self {
        let attachment = Attachment::Connected(Websocket { connection, resumed: None });
        Self {
            identity,
            attachment,
            call: CallState::Handshaking,
            discovered: None,
            audio_ssrc: None,
            buffer,
        }
    }

    /// The session of a simulated member, which is in the call at once.
    pub(super) fn simulated(identity: SessionIdentity) -> Self {
        let (attachment, call) = (Attachment::Simulated, CallState::InCall { speaking: Some(0) });
        let buffer = NumberedBuffer::new(0, 0);
        Self { identity, attachment, call, discovered: None, audio_ssrc: None, buffer }
    }

    /// The SSRC of its audio; `own` is the one of its Ready.
    pub(super) fn audio_ssrc(&self, own: u32) -> u32 {
        self.audio_ssrc.unwrap_or(own)
    }

    pub(super) fn set_audio_ssrc(&mut self, ssrc: u32) {
        self.audio_ssrc = Some(ssrc);
    }

    pub(super) fn identity(&self) -> &SessionIdentity {
        &self.identity
    }

    pub(super) fn is_simulated(&self) -> bool {
        self.attachment == Attachment::Simulated
    }

    /// Whether a newer token was given out.
    pub(super) fn is_superseded(&self) -> bool {
        matches!(self.attachment, Attachment::Superseded(..))
    }

    /// Whether a Resume may go on with it.
    pub(super) fn is_resumable(&self) -> bool {
        matches!(self.attachment, Attachment::Connected(_) | Attachment::Detached(_))
    }

    /// Whether it has lost its websocket.
    pub(super) fn is_detached(&self) -> bool {
        matches!(self.attachment, Attachment::Detached(_))
    }

    fn websocket(&self) -> Option<Websocket> {
        match self.attachment {
            Attachment::Connected(websocket) | Attachment::Superseded(websocket, _) => Some(websocket),
            Attachment::Detached(_) | Attachment::Simulated => None,
        }
    }

    /// The websocket that serves it.
    pub(super) fn connection(&self) -> Option<u64> {
        Some(self.websocket()?.connection)
    }

    /// Whether it was resumed within this time.
    pub(super) fn resumed_within(&self, time: Duration, now: Instant) -> bool {
        let resumed = self.websocket().and_then(|websocket| websocket.resumed);
        resumed.is_some_and(|resumed| resumed + time >= now)
    }

    /// Goes on with it on another websocket; what it holds is sent again.
    pub(super) fn resume(&mut self, connection: u64, now: Instant) {
        self.attachment = Attachment::Connected(Websocket { connection, resumed: Some(now) });
        self.buffer.resent(now);
    }

    /// Keeps it for a resume after its websocket was lost.
    pub(super) fn detach(&mut self, until: Instant) {
        self.attachment = Attachment::Detached(until);
    }

    /// Makes it a session that cannot be resumed and ends at this time.
    fn supersede(&mut self, ends: Instant) {
        if let Attachment::Connected(websocket) = self.attachment {
            self.attachment = Attachment::Superseded(websocket, ends);
        }
    }

    /// When it is given up.
    fn deadline(&self) -> Option<Instant> {
        match self.attachment {
            Attachment::Superseded(_, at) | Attachment::Detached(at) => Some(at),
            Attachment::Connected(_) | Attachment::Simulated => None,
        }
    }

    /// Whether its Session Description was sent.
    pub(super) fn is_in_call(&self) -> bool {
        matches!(self.call, CallState::InCall { .. })
    }

    /// Lets it into the call; says whether it was outside.
    pub(super) fn enter_call(&mut self) -> bool {
        let outside = !self.is_in_call();
        if outside {
            self.call = CallState::InCall { speaking: None };
        }
        outside
    }

    /// The flags of its last Speaking.
    pub(super) fn speaking(&self) -> Option<u8> {
        match self.call {
            CallState::InCall { speaking } => speaking,
            CallState::Handshaking => None,
        }
    }

    /// Takes the flags of a Speaking; says whether they are new.
    pub(super) fn set_speaking(&mut self, flags: u8) -> bool {
        match &mut self.call {
            CallState::InCall { speaking } => speaking.replace(flags) != Some(flags),
            CallState::Handshaking => false,
        }
    }

    /// Takes note of where its discovery request came from.
    pub(super) fn set_discovered(&mut self, from: SocketAddr) {
        self.discovered = Some(from);
    }

    pub(super) fn discovered(&self) -> Option<SocketAddr> {
        self.discovered
    }
}

/// The owner of the voice sessions, by SSRC.
#[derive(Debug, Default)]
pub(super) struct VoiceSessions {
    by_ssrc: BTreeMap<u32, VoiceSession>,
}

impl VoiceSessions {
    pub(super) fn insert(&mut self, ssrc: u32, session: VoiceSession) {
        self.by_ssrc.insert(ssrc, session);
    }

    pub(super) fn get(&self, ssrc: u32) -> Option<&VoiceSession> {
        self.by_ssrc.get(&ssrc)
    }

    pub(super) fn get_mut(&mut self, ssrc: u32) -> Option<&mut VoiceSession> {
        self.by_ssrc.get_mut(&ssrc)
    }

    pub(super) fn remove(&mut self, ssrc: u32) -> Option<VoiceSession> {
        self.by_ssrc.remove(&ssrc)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &VoiceSession)> {
        self.by_ssrc.iter().map(|(ssrc, session)| (*ssrc, session))
    }

    /// The sessions of a user in a guild.
    pub(super) fn of(&self, guild: u64, user: u64) -> impl Iterator<Item = (u32, &VoiceSession)> {
        self.of_user(user).filter(move |(_, session)| session.identity.guild == guild)
    }

    /// The sessions of a user.
    pub(super) fn of_user(&self, user: u64) -> impl Iterator<Item = (u32, &VoiceSession)> {
        self.iter().filter(move |(_, session)| session.identity.user == user)
    }

    /// The sessions in a channel, also those whose Session Description was not sent yet.
    pub(super) fn in_channel(&self, channel: u64) -> impl Iterator<Item = (u32, &VoiceSession)> {
        self.iter().filter(move |(_, session)| session.identity.channel == channel)
    }

    /// The sessions in a call.
    pub(super) fn in_call(&self, channel: u64) -> impl Iterator<Item = (u32, &VoiceSession)> {
        self.in_channel(channel).filter(|(_, session)| session.is_in_call())
    }

    /// The others in a call.
    pub(super) fn others_in(&self, channel: u64, ssrc: u32) -> Vec<u32> {
        self.in_call(channel).map(|(other, _)| other).filter(|other| *other != ssrc).collect()
    }

    /// Supersedes the sessions of a user in a guild; returns those that have no websocket and so are over at once.
    pub(super) fn supersede(&mut self, guild: u64, user: u64, now: Instant) -> Vec<u32> {
        for session in self.by_ssrc.values_mut() {
            if session.identity.guild == guild && session.identity.user == user {
                session.supersede(now + SUPERSEDED_TIMEOUT);
            }
        }
        self.of(guild, user).filter(|(_, session)| session.is_detached()).map(|(ssrc, _)| ssrc).collect()
    }

    /// The sessions whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Vec<u32> {
        let over = |session: &VoiceSession| session.deadline().is_some_and(|deadline| deadline <= now);
        self.iter().filter(|(_, session)| over(session)).map(|(ssrc, _)| ssrc).collect()
    }

    /// When the next session is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_ssrc.values().filter_map(VoiceSession::deadline).min()
    }
}

/// How long a client may stay on a server after it was given another; it should leave at once.
const SUPERSEDED_TIMEOUT: Duration = Duration::from_secs(5);
/// The gateway version that brought sequence numbers.
pub(super) const NUMBERED_SINCE: u8 = 8;
