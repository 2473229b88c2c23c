//! Calls: what the voice gateway sends to those in a call, how they learn of each other, and how their sessions end.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::State;
use super::buffer::NumberedMessage;
use super::voice_sessions::{NUMBERED_SINCE, VoiceSession};
use crate::log::{Event, redacted};
use crate::opcodes::voice as op;
use crate::rule::{Rule, Violation};

impl State {
    /// Numbers a message into the buffer and sends it, or leaves it there for the resume.
    pub(super) fn send_numbered(&mut self, ssrc: u32, message: NumberedMessage, now: Instant) {
        let Some(session) = self.voice_sessions.get_mut(ssrc) else { return };
        if session.is_simulated() {
            return self.participants.inform(ssrc, &message);
        }
        let sequence = session.buffer.push(message.clone(), now);
        if let Some(id) = session.connection() {
            let sequence = (session.identity().version >= NUMBERED_SINCE).then_some(sequence);
            self.send_message(id, &message, sequence, now);
        }
    }

    /// Sends a message that has its number already.
    pub(super) fn send_message(
        &mut self,
        id: u64,
        message: &NumberedMessage,
        seq: Option<u16>,
        now: Instant,
    ) {
        self.connections.queue_action(id, message.encode(seq));
        let event = match message.clone() {
            NumberedMessage::Json { op, d } => {
                Event::Sent { op, name: None, seq: seq.map(u64::from), d: redacted(d) }
            }
            NumberedMessage::Binary { op, payload } => Event::SentBinary { op, seq, payload },
        };
        self.log_event(id, now, event);
    }

    /// Introduces a newcomer and the others in its call to each other.
    pub(super) fn introduce(&mut self, ssrc: u32, now: Instant) {
        let Some(session) = self.voice_sessions.get(ssrc) else { return };
        let channel = session.identity().channel;
        let others = self.voice_sessions.others_in(channel, ssrc);
        self.introduce_to(ssrc, &others, now);
        for other in &others {
            self.introduce_to(*other, &[ssrc], now);
        }
        self.send_json(ssrc, op::MEDIA_SINK_WANTS, json!({"any": 100}), now);
        self.count_listeners(channel);
    }

    /// Tells the relay how many hear each member of a call.
    fn count_listeners(&self, channel: u64) {
        let inside: Vec<u32> = self.voice_sessions.in_call(channel).map(|(ssrc, _)| ssrc).collect();
        for ssrc in &inside {
            self.relay.set_listeners(*ssrc, inside.len() - 1);
        }
    }

    fn introduce_to(&mut self, listener: u32, ssrcs: &[u32], now: Instant) {
        let known = ssrcs.iter().filter_map(|ssrc| Some((*ssrc, self.voice_sessions.get(*ssrc)?)));
        let known = known
            .map(|(ssrc, session)| (session.audio_ssrc(ssrc), session.identity().user, session.speaking()));
        let known: Vec<_> = known.collect();
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
        let Some(session) = self.voice_sessions.get_mut(ssrc) else { return };
        if !session.set_speaking(flags) {
            return;
        }
        let (channel, user) = (session.identity().channel, session.identity().user);
        let audio = session.audio_ssrc(ssrc);
        let d = json!({"user_id": user.to_string(), "ssrc": audio, "speaking": flags});
        for other in self.voice_sessions.others_in(channel, ssrc) {
            self.send_json(other, op::SPEAKING, d.clone(), now);
        }
    }

    /// Gives a simulated member another SSRC for its audio; who listens learns it with the next Speaking.
    pub(crate) fn change_audio_ssrc(&mut self, ssrc: u32) -> u32 {
        let audio = self.random.ssrc();
        if let Some(session) = self.voice_sessions.get_mut(ssrc) {
            session.set_audio_ssrc(audio);
        }
        audio
    }

    /// Keeps a session for its resume after the websocket was lost.
    pub(super) fn detach_voice(&mut self, ssrc: u32, now: Instant) {
        let until = now + self.settings.resume_window;
        let Some(session) = self.voice_sessions.get_mut(ssrc) else { return };
        let superseded = session.is_superseded();
        session.detach(until);
        self.relay.detached(ssrc);
        if superseded {
            self.end_voice_session(ssrc, now);
        }
    }

    /// Supersedes the sessions of a user in a guild: they cannot be resumed any more, and end soon.
    pub(super) fn supersede(&mut self, guild: u64, user: u64, now: Instant) {
        for ssrc in self.voice_sessions.supersede(guild, user, now) {
            self.end_voice_session(ssrc, now);
        }
    }

    /// Ends a session whose time is over.
    pub(super) fn expire_voice(&mut self, ssrc: u32, now: Instant) {
        if let Some(id) = self.voice_connection(ssrc) {
            self.close(id, 4014, "Disconnected.", now);
        }
        self.end_voice_session(ssrc, now);
    }

    /// Audits how a client that leaves of its own accord has stopped speaking.
    pub(super) fn audit_leave(&mut self, ssrc: u32, now: Instant) {
        let session = self.voice_sessions.get(ssrc).filter(|session| !session.is_superseded());
        let Some(identity) = session.map(VoiceSession::identity) else { return };
        if let Some(rule) = self.relay.audit_leave(ssrc) {
            let violation = Violation { at: now, user: Some(identity.user), rule: Rule::Media(rule) };
            self.log.keep_leave_violation(identity.guild, violation);
        }
    }

    /// Audits how a client that leaves a guild's voice has stopped speaking.
    pub(super) fn audit_leaves(&mut self, guild: u64, user: u64, now: Instant) {
        let sessions: Vec<u32> = self.voice_sessions.of(guild, user).map(|(ssrc, _)| ssrc).collect();
        for ssrc in sessions {
            self.audit_leave(ssrc, now);
        }
    }

    /// Ends a session for good: the others learn that the user is gone.
    pub(super) fn end_voice_session(&mut self, ssrc: u32, now: Instant) {
        let Some(session) = self.voice_sessions.remove(ssrc) else { return };
        if self.participants.remove(ssrc) {
            self.relay.forget_stream(session.audio_ssrc(ssrc));
        }
        self.relay.close(ssrc);
        if !session.is_in_call() {
            return;
        }
        let (channel, user) = (session.identity().channel, session.identity().user);
        let d = json!({"user_id": user.to_string()});
        for other in self.voice_sessions.others_in(channel, ssrc) {
            self.send_json(other, op::CLIENT_DISCONNECT, d.clone(), now);
        }
        self.count_listeners(channel);
        self.leave_delivery(channel, user, now);
    }

    /// Closes the voice connection of a user in a guild, if there is one; its session ends as the code says.
    pub(super) fn close_voice_of(&mut self, guild: u64, user: u64, code: u16, reason: &str, now: Instant) {
        let sessions = self.voice_sessions.of(guild, user);
        let sessions: Vec<_> = sessions.map(|(ssrc, session)| (ssrc, session.connection())).collect();
        for (ssrc, connection) in sessions {
            match connection {
                Some(id) => self.close(id, code, reason, now),
                None => self.end_voice_session(ssrc, now),
            }
        }
    }

    /// Closes a connection whose audio came without Speaking.
    pub(super) fn close_unannounced_audio(&mut self, ssrc: u32, now: Instant) {
        if let Some(id) = self.voice_connection(ssrc) {
            self.close(id, 4020, "Invalid SSRC.", now);
        }
    }

    /// The websocket that serves a session.
    pub(super) fn voice_connection(&self, ssrc: u32) -> Option<u64> {
        self.voice_sessions.get(ssrc)?.connection()
    }

    /// The voice websockets that serve a user's sessions.
    pub(super) fn voice_connections(&self, user: u64) -> Vec<u64> {
        self.voice_sessions.of_user(user).filter_map(|(_, session)| session.connection()).collect()
    }
}
