//! A voice session: what outlives a voice websocket, and how members of a call learn of each other.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::buffer::{NumberedBuffer, NumberedMessage};
use crate::log::{Event, redacted};
use crate::opcodes::voice as op;
use crate::rule::{Rule, Violation};
use crate::server::State;
use crate::socket::SocketAction;
use crate::token::Token;

/// What survives a resume.
#[derive(Debug)]
pub(crate) struct VoiceSession {
    pub(crate) user: u64,
    pub(crate) guild: u64,
    pub(crate) channel: u64,
    pub(crate) session_id: String,
    pub(crate) token: Token,
    pub(crate) version: u8,
    pub(crate) max_dave: u16,
    /// On whose port it was made.
    pub(crate) region: usize,
    pub(crate) outlet: Outlet,
    /// When it was resumed last.
    pub(crate) resumed: Option<Instant>,
    /// When it ends, after a newer token was given out: it cannot be resumed any more.
    pub(crate) superseded: Option<Instant>,
    pub(crate) buffer: NumberedBuffer,
    /// The Session Description was sent: the user is in the call.
    pub(crate) described: bool,
    /// The flags of the last Speaking; `None` before the first.
    pub(crate) speaking: Option<u8>,
    pub(crate) discovered: Option<SocketAddr>,
}

/// Where its messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlet {
    Connection(u64),
    /// Nowhere until a resume; given up at this time.
    Detached(Instant),
    /// To nobody: the member is simulated.
    Member,
}

impl VoiceSession {
    /// Whether its websocket was replaced within this time.
    pub(crate) fn resumed_within(&self, time: Duration, now: Instant) -> bool {
        self.resumed.is_some_and(|resumed| resumed + time >= now)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let resumable = match self.outlet {
            Outlet::Detached(until) => Some(until),
            Outlet::Connection(_) | Outlet::Member => None,
        };
        resumable.into_iter().chain(self.superseded).min()
    }
}

impl State {
    /// Numbers a message into the buffer and sends it, or leaves it there for the resume.
    pub(crate) fn send_numbered(&mut self, ssrc: u32, message: NumberedMessage, now: Instant) {
        let Some(session) = self.voice_sessions.get_mut(&ssrc) else { return };
        if session.outlet == Outlet::Member {
            return self.inform_participant(ssrc, &message);
        }
        let sequence = session.buffer.push(message.clone(), now);
        if let Outlet::Connection(id) = session.outlet {
            let sequence = (session.version >= NUMBERED_SINCE).then_some(sequence);
            self.send_message(id, &message, sequence, now);
        }
    }

    /// Sends a message that has its number already.
    pub(crate) fn send_message(
        &mut self,
        id: u64,
        message: &NumberedMessage,
        seq: Option<u16>,
        now: Instant,
    ) {
        self.queue_action(id, message.encode(seq));
        let event = match message.clone() {
            NumberedMessage::Json { op, d } => {
                Event::Sent { op, name: None, seq: seq.map(u64::from), d: redacted(d) }
            }
            NumberedMessage::Binary { op, payload } => Event::SentBinary { op, seq, payload },
        };
        self.log_event(id, now, event);
    }

    /// The others that are in a call.
    pub(crate) fn others_in(&self, channel: u64, ssrc: u32) -> Vec<u32> {
        let sessions = self.voice_sessions.iter();
        let inside = sessions
            .filter(|(other, session)| **other != ssrc && session.channel == channel && session.described);
        inside.map(|(other, _)| *other).collect()
    }

    /// Tells a newcomer of the others, and the others of the newcomer.
    pub(crate) fn introduce(&mut self, ssrc: u32, now: Instant) {
        let Some(channel) = self.voice_sessions.get(&ssrc).map(|session| session.channel) else { return };
        let others = self.others_in(channel, ssrc);
        self.introduce_to(ssrc, &others, now);
        for other in &others {
            self.introduce_to(*other, &[ssrc], now);
        }
        self.send_json(ssrc, op::MEDIA_SINK_WANTS, json!({"any": 100}), now);
        self.count_listeners(channel);
    }

    /// Tells the relay how many hear each member of a call.
    fn count_listeners(&self, channel: u64) {
        let sessions = self.voice_sessions.iter().filter(|(_, session)| session.channel == channel);
        let inside: Vec<u32> =
            sessions.filter(|(_, session)| session.described).map(|(ssrc, _)| *ssrc).collect();
        for ssrc in &inside {
            self.relay.set_listeners(*ssrc, inside.len() - 1);
        }
    }

    fn introduce_to(&mut self, listener: u32, ssrcs: &[u32], now: Instant) {
        let known = ssrcs.iter().filter_map(|ssrc| Some((*ssrc, self.voice_sessions.get(ssrc)?)));
        let known: Vec<_> = known.map(|(ssrc, session)| (ssrc, session.user, session.speaking)).collect();
        if known.is_empty() {
            return;
        }
        let users: Vec<_> = known.iter().map(|(_, user, _)| user.to_string()).collect();
        self.send_json(listener, op::CLIENTS_CONNECT, json!({"user_ids": users}), now);
        for (ssrc, user, speaking) in known {
            let user = user.to_string();
            self.send_json(listener, op::CLIENT_FLAGS, json!({"user_id": user, "flags": null}), now);
            self.send_json(listener, op::CLIENT_PLATFORM, json!({"user_id": user, "platform": null}), now);
            if let Some(speaking) = speaking {
                let d = json!({"user_id": user, "ssrc": ssrc, "speaking": speaking});
                self.send_json(listener, op::SPEAKING, d, now);
            }
        }
    }

    fn send_json(&mut self, ssrc: u32, op: u8, d: Value, now: Instant) {
        self.send_numbered(ssrc, NumberedMessage::Json { op, d }, now);
    }

    /// Takes new speaking flags and tells the others when they changed.
    pub(crate) fn set_speaking(&mut self, ssrc: u32, flags: u8, now: Instant) {
        self.relay.speaking(ssrc, flags);
        let Some(session) = self.voice_sessions.get_mut(&ssrc) else { return };
        if session.speaking.replace(flags) == Some(flags) {
            return;
        }
        let d = json!({"user_id": session.user.to_string(), "ssrc": ssrc, "speaking": flags});
        let channel = session.channel;
        for other in self.others_in(channel, ssrc) {
            self.send_json(other, op::SPEAKING, d.clone(), now);
        }
    }

    /// Keeps a session for its resume after the websocket was lost.
    pub(crate) fn detach_voice(&mut self, ssrc: u32, now: Instant) {
        let until = now + self.settings.resume_window;
        let Some(session) = self.voice_sessions.get_mut(&ssrc) else { return };
        session.outlet = Outlet::Detached(until);
        let superseded = session.superseded.is_some();
        self.relay.detached(ssrc);
        if superseded {
            self.end_voice_session(ssrc, now);
        }
    }

    /// Makes the sessions of a user in a guild things of the past: they cannot be resumed, and end after a while.
    pub(crate) fn supersede(&mut self, guild: u64, user: u64, now: Instant) {
        let sessions = self.voice_sessions.iter_mut();
        let owned = sessions.filter(|(_, session)| session.guild == guild && session.user == user);
        let mut lost = Vec::new();
        for (ssrc, session) in owned {
            session.superseded.get_or_insert(now + SUPERSEDED_TIMEOUT);
            if let Outlet::Detached(_) = session.outlet {
                lost.push(*ssrc);
            }
        }
        for ssrc in lost {
            self.end_voice_session(ssrc, now);
        }
    }

    /// Ends a session whose time is over.
    pub(crate) fn expire_voice(&mut self, ssrc: u32, now: Instant) {
        if let Some(Outlet::Connection(id)) = self.voice_sessions.get(&ssrc).map(|session| session.outlet) {
            self.close(id, 4014, "Disconnected.", now);
        }
        self.end_voice_session(ssrc, now);
    }

    /// Judges how a client that leaves of its own accord has stopped speaking.
    pub(crate) fn audit_leave(&mut self, ssrc: u32, now: Instant) {
        let session = self.voice_sessions.get(&ssrc).filter(|session| session.superseded.is_none());
        let Some((guild, user)) = session.map(|session| (session.guild, session.user)) else { return };
        if let Some(rule) = self.relay.audit_leave(ssrc) {
            self.log.keep_leave_violation(
                guild,
                Violation { at: now, user: Some(user), rule: Rule::Media(rule) },
            );
        }
    }

    /// Judges how a client that ends its main session has stopped speaking, wherever that session has joined.
    pub(crate) fn audit_leaves(&mut self, main_session: &str, now: Instant) {
        let owned = self.voice_states.iter().filter(|(_, state)| state.session_id == main_session);
        for (guild, user) in owned.map(|(key, _)| *key).collect::<Vec<_>>() {
            for ssrc in self.voice_sessions_of(guild, user) {
                self.audit_leave(ssrc, now);
            }
        }
    }

    /// The sessions of a user in a guild.
    pub(crate) fn voice_sessions_of(&self, guild: u64, user: u64) -> Vec<u32> {
        let sessions = self.voice_sessions.iter();
        let owned = sessions.filter(|(_, session)| session.guild == guild && session.user == user);
        owned.map(|(ssrc, _)| *ssrc).collect()
    }

    /// Ends a session for good: the others learn that the user is gone.
    pub(crate) fn end_voice_session(&mut self, ssrc: u32, now: Instant) {
        let Some(session) = self.voice_sessions.remove(&ssrc) else { return };
        if self.participants.remove(&ssrc).is_some() {
            self.relay.forget_stream(ssrc);
        }
        self.relay.close(ssrc);
        if !session.described {
            return;
        }
        let d = json!({"user_id": session.user.to_string()});
        for other in self.others_in(session.channel, ssrc) {
            self.send_json(other, op::CLIENT_DISCONNECT, d.clone(), now);
        }
        self.count_listeners(session.channel);
        self.leave_delivery(session.channel, session.user, now);
    }

    /// Closes the voice connection of a user in a guild, if there is one; its session ends as the code says.
    pub(crate) fn close_voice_of(&mut self, guild: u64, user: u64, code: u16, reason: &str, now: Instant) {
        let sessions = self.voice_sessions.iter();
        let owned = sessions.filter(|(_, session)| session.guild == guild && session.user == user);
        for (ssrc, outlet) in owned.map(|(ssrc, session)| (*ssrc, session.outlet)).collect::<Vec<_>>() {
            match outlet {
                Outlet::Connection(id) => self.close(id, code, reason, now),
                Outlet::Detached(_) | Outlet::Member => self.end_voice_session(ssrc, now),
            }
        }
    }

    /// Closes a connection whose audio came without Speaking.
    pub(crate) fn close_unannounced_audio(&mut self, ssrc: u32, now: Instant) {
        let outlet = self.voice_sessions.get(&ssrc).map(|session| session.outlet);
        if let Some(Outlet::Connection(id)) = outlet {
            self.close(id, 4020, "Invalid SSRC.", now);
        }
    }

    /// Sends frames past the numbering, as a fault.
    pub(crate) fn send_raw(&mut self, user: u64, action: &SocketAction) {
        for id in self.voice_connections(user) {
            self.queue_action(id, action.clone());
        }
    }

    /// The voice websockets that serve a user's sessions.
    pub(crate) fn voice_connections(&self, user: u64) -> Vec<u64> {
        let owned = self.voice_sessions.values().filter(|session| session.user == user);
        let connected = owned.filter_map(|session| match session.outlet {
            Outlet::Connection(id) => Some(id),
            Outlet::Detached(_) | Outlet::Member => None,
        });
        connected.collect()
    }
}

/// How long a client may stay on a server after it was given another; it should leave at once.
const SUPERSEDED_TIMEOUT: Duration = Duration::from_secs(5);
/// The gateway version that brought sequence numbers.
pub(crate) const NUMBERED_SINCE: u8 = 8;
