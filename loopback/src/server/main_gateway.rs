//! The main gateway, version 10: identify, resume, heartbeats and dispatches.
//!
//! <https://docs.discord.com/developers/events/gateway>

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::connections::{Role, SocketAction};
use super::main_sessions::{Dispatch, MainSession, ReplayError, Shard};
use super::payload::{self, Frame, VoiceStateRequest};
use super::{State, tolerance};
use crate::SendLimit;
use crate::log::{Event, redacted};
use crate::opcodes::main as op;
use crate::rule::Rule;

impl State {
    /// Greets a new websocket.
    pub(super) fn main_opened(&mut self, id: u64, now: Instant) {
        if self.connections.version(id) != VERSION {
            return self.close(id, 4012, "Invalid API version.", now);
        }
        let interval = self.settings.main_heartbeat_interval;
        let milliseconds = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.send_plain(id, op::HELLO, json!({"heartbeat_interval": milliseconds}), now);
        self.expect_heartbeat(id, interval, now);
    }

    /// Reads one frame of a client.
    pub(super) fn main_text(&mut self, id: u64, text: &str, now: Instant) {
        if text.len() > PAYLOAD_LIMIT {
            return self.close(id, 4002, "Payload is too large.", now);
        }
        let Some(Frame { op, d }) = Frame::parse(text.as_bytes()) else {
            return self.close(id, 4002, "Error while decoding payload.", now);
        };
        self.log_event(id, now, Event::Received { op, d: redacted(d.clone()) });
        if self.settings.send_limit != SendLimit::Lifted && self.connections.exceeds_rate(id, now) {
            self.violation(id, Rule::TooManySends, now);
            if self.settings.send_limit == SendLimit::Close {
                return self.close(id, 4008, "You are being rate limited.", now);
            }
        }
        self.check_ids(id, &d, now);
        match (op, self.main_session_of(id)) {
            (op::HEARTBEAT, _) => self.main_heartbeat(id, &d, now),
            (op::IDENTIFY, None) => self.main_identify(id, &d, now),
            (op::RESUME, None) => self.main_resume(id, &d, now),
            (op::IDENTIFY | op::RESUME, Some(_)) => self.close(id, 4005, "Already authenticated.", now),
            (
                op::VOICE_STATE_UPDATE
                | op::PRESENCE_UPDATE
                | op::VOICE_SERVER_PING
                | op::REQUEST_GUILD_MEMBERS
                | op::REQUEST_SOUNDBOARD_SOUNDS,
                None,
            ) => {
                self.violation(id, Rule::BeforeIdentify(op), now);
                self.close(id, 4003, "Not authenticated.", now);
            }
            (op::VOICE_STATE_UPDATE, Some(session)) => self.main_voice_state(id, &session, &d, now),
            // Presence, the voice server ping and the requests have nothing to do with voice.
            (
                op::PRESENCE_UPDATE
                | op::VOICE_SERVER_PING
                | op::REQUEST_GUILD_MEMBERS
                | op::REQUEST_SOUNDBOARD_SOUNDS,
                Some(_),
            ) => {}
            _ => self.close(id, 4001, "Unknown opcode.", now),
        }
    }

    fn main_session_of(&self, id: u64) -> Option<String> {
        match self.connections.role(id)? {
            Role::Main(session) => Some(session.clone()),
            _ => None,
        }
    }

    fn main_heartbeat(&mut self, id: u64, d: &Value, now: Instant) {
        let interval = self.settings.main_heartbeat_interval;
        self.expect_heartbeat(id, interval, now);
        let session = self.main_session_of(id).and_then(|session| self.main_sessions.get(&session));
        if let Some(last) = session.and_then(|session| session.expected_sequence(d.as_u64(), now)) {
            self.violation(id, Rule::WrongSequence { told: d.as_u64(), last }, now);
        }
        let user = self.connections.user(id);
        if !self.faults.muted_main_acks.use_up(user) {
            self.send_plain(id, op::HEARTBEAT_ACK, Value::Null, now);
        }
    }

    /// Ids are strings, also in what clients send.
    pub(super) fn check_ids(&mut self, id: u64, d: &Value, now: Instant) {
        if let Some(field) = payload::numeric_id(d) {
            self.violation(id, Rule::NumericId(field), now);
        }
    }

    /// Gives the client its interval and a tolerance to send the next heartbeat.
    pub(super) fn expect_heartbeat(&mut self, id: u64, interval: Duration, now: Instant) {
        self.connections.expect_heartbeat(id, now + tolerance(interval));
    }

    fn main_identify(&mut self, id: u64, d: &Value, now: Instant) {
        let (Some(token), true) = (payload::string(d, "token"), d.get("properties").is_some()) else {
            return self.close(id, 4002, "Error while decoding payload.", now);
        };
        let Some(user) = self.directory.user_of_token(token) else {
            return self.close(id, 4004, "Authentication failed.", now);
        };
        let Some(intents) = payload::integer(d, "intents") else {
            return self.close(id, 4013, "Invalid intent(s).", now);
        };
        let Some(shard) = Shard::parse(d) else {
            return self.close(id, 4010, "Invalid shard.", now);
        };
        if shard.count < self.sharding.required() {
            return self.close(id, 4011, "Sharding required.", now);
        }
        if !self.may_identify(id, user, shard, now) {
            return;
        }
        let session = self.random.hex(16);
        self.main_sessions.insert(session.clone(), MainSession::new(user, intents, shard, id));
        self.connections.bind(id, Role::Main(session.clone()), user);
        let ready = self.ready(&session, user, shard);
        self.dispatch(&session, "READY", ready, now);
        let guilds = self.directory.guilds().filter(|(guild, _)| shard.has(*guild));
        let available = guilds.filter(|(_, record)| !record.unavailable);
        for guild in available.map(|(guild, _)| guild).collect::<Vec<_>>() {
            let create = self.guild_create(guild);
            self.dispatch(&session, "GUILD_CREATE", create, now);
        }
    }

    fn ready(&self, session: &str, user: u64, shard: Shard) -> Value {
        let guilds = self.directory.guilds().filter(|(guild, _)| shard.has(*guild));
        let guilds = guilds.map(|(guild, _)| json!({"id": guild.to_string(), "unavailable": true}));
        let name = self.directory.user_name(user);
        json!({
            "v": VERSION,
            "user": {"id": user.to_string(), "username": name, "discriminator": "0", "bot": true, "avatar": null},
            "guilds": guilds.collect::<Vec<_>>(),
            "session_id": session,
            "resume_gateway_url": self.addresses.gateway_url,
            "shard": [shard.index, shard.count],
            "application": {"id": user.to_string(), "flags": 0},
        })
    }

    /// The `d` of a GUILD_CREATE.
    pub(super) fn guild_create(&self, guild: u64) -> Value {
        let name = self.directory.guild(guild).map_or("", |guild| &guild.name);
        let channels = self.directory.channels_of(guild);
        let states = self.voice_states.in_guild(guild);
        json!({
            "id": guild.to_string(),
            "name": name,
            "unavailable": false,
            "member_count": self.directory.user_count(),
            "members": [],
            "channels": channels.map(|(id, record)| payload::channel(id, record)).collect::<Vec<_>>(),
            "voice_states":
                states.map(|(user, state)| payload::voice_state(None, user, state)).collect::<Vec<_>>(),
        })
    }

    fn main_resume(&mut self, id: u64, d: &Value, now: Instant) {
        let (Some(token), Some(session)) = (payload::string(d, "token"), payload::string(d, "session_id"))
        else {
            return self.close(id, 4002, "Error while decoding payload.", now);
        };
        let Some(user) = self.directory.user_of_token(token) else {
            return self.close(id, 4004, "Authentication failed.", now);
        };
        let owns = |known: &MainSession| known.user() == user;
        if self.main_sessions.get(session).is_some_and(owns) {
            self.hold_late_events(session, now);
        }
        let known = self.main_sessions.get(session).filter(|known| owns(known));
        let Some(sequence) = payload::integer(d, "seq") else {
            return self.close(id, 4002, "Error while decoding payload.", now);
        };
        match known.map(|known| known.replay_after(sequence)) {
            Some(Ok(missed)) => {
                if let Some(known) = self.main_sessions.get_mut(session) {
                    known.resent_after(sequence, now);
                }
                self.main_resumed(id, session.to_owned(), missed, now);
            }
            Some(Err(ReplayError::Unsent)) => self.close(id, 4007, "Invalid `seq`.", now),
            Some(Err(ReplayError::Gone)) | None => {
                self.send_plain(id, op::INVALID_SESSION, Value::Bool(false), now)
            }
        }
    }

    fn main_resumed(&mut self, id: u64, session: String, missed: Vec<(u64, Dispatch)>, now: Instant) {
        let Some(known) = self.main_sessions.get_mut(&session) else { return };
        let (user, replaced) = (known.user(), known.attach(id));
        if let Some(replaced) = replaced {
            self.connections.reset(replaced);
        }
        self.connections.bind(id, Role::Main(session.clone()), user);
        for (sequence, dispatch) in missed {
            self.send_dispatch(id, sequence, &dispatch, now);
        }
        self.dispatch(&session, "RESUMED", json!({}), now);
    }

    fn main_voice_state(&mut self, id: u64, session: &str, d: &Value, now: Instant) {
        match VoiceStateRequest::parse(d) {
            Some(request) => self.update_voice_state(id, session, request, now),
            None => self.close(id, 4002, "Error while decoding payload.", now),
        }
    }

    /// Sends an event to one session, now or later, or holds it for its resume.
    pub(super) fn dispatch(&mut self, session: &str, name: &'static str, d: Value, now: Instant) {
        let Some(known) = self.main_sessions.get(session).filter(|known| known.wants(name)) else { return };
        let connected = known.connection().is_some();
        let dispatch = Dispatch { name, d };
        for _ in 0..self.late_events.copies(name) {
            match self.late_events.due(session, name, now).filter(|_| connected) {
                Some(due) => self.late_events.add(due, session, dispatch.clone()),
                None => self.dispatch_now(session, dispatch.clone(), now),
            }
        }
    }

    /// Sends the late events that are due.
    pub(super) fn send_late_events(&mut self, now: Instant) {
        for (session, dispatch) in self.late_events.take_due(now) {
            self.dispatch_now(&session, dispatch, now);
        }
    }

    /// Holds the late events of a session whose websocket is lost for its resume.
    fn hold_late_events(&mut self, session: &str, now: Instant) {
        for dispatch in self.late_events.take_of(session) {
            self.dispatch_now(session, dispatch, now);
        }
    }

    /// Numbers an event as it leaves.
    fn dispatch_now(&mut self, session: &str, dispatch: Dispatch, now: Instant) {
        let Some(known) = self.main_sessions.get_mut(session) else { return };
        let sequence = known.push(dispatch.clone(), now);
        if let Some(id) = known.connection() {
            self.send_dispatch(id, sequence, &dispatch, now);
        }
    }

    /// Sends an event of a guild to every session that sees it.
    pub(super) fn broadcast(&mut self, guild: u64, name: &'static str, d: &Value, now: Instant) {
        for session in self.main_sessions.with_guild(guild) {
            self.dispatch(&session, name, d.clone(), now);
        }
    }

    fn send_dispatch(&mut self, id: u64, sequence: u64, dispatch: &Dispatch, now: Instant) {
        self.connections.queue_action(id, SocketAction::Text(dispatch.encode(sequence)));
        let name = Some(dispatch.name.to_owned());
        self.log_event(
            id,
            now,
            Event::Sent { op: op::DISPATCH, name, seq: Some(sequence), d: redacted(dispatch.d.clone()) },
        );
    }

    /// Keeps a session for its resume after the websocket was lost.
    pub(super) fn detach_main(&mut self, session: &str, now: Instant) {
        let window = self.settings.main_resume_window;
        if let Some(known) = self.main_sessions.get_mut(session) {
            known.detach(now + window);
        }
        self.hold_late_events(session, now);
    }

    /// Gives a session up: its voice states go, and its voice connections are closed with 4014.
    pub(super) fn lose_main_session(&mut self, session: &str, now: Instant) {
        self.main_sessions.remove(session);
        self.late_events.take_of(session);
        for (guild, user) in self.voice_states.of_session(session) {
            self.remove_voice_state(guild, user, now);
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        }
    }

    /// Sends op 9; a session that is not resumable is lost with everything it owned.
    pub(super) fn invalidate_main_session(&mut self, session: &str, resumable: bool, now: Instant) {
        let Some(id) = self.main_sessions.get(session).and_then(MainSession::connection) else { return };
        self.send_plain(id, op::INVALID_SESSION, Value::Bool(resumable), now);
        self.connections.unbind(id);
        if resumable {
            self.detach_main(session, now);
        } else {
            self.lose_main_session(session, now);
        }
    }
}

const VERSION: u8 = 10;
/// <https://docs.discord.com/developers/events/gateway#sending-events>
const PAYLOAD_LIMIT: usize = 4_096;
