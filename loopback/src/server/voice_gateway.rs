//! The voice gateway, versions 4 to 9: the handshake and what a client may say after it.
//!
//! <https://docs.discord.com/developers/topics/voice-connections>

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::State;
use super::buffer::{AckError, NumberedBuffer, NumberedMessage};
use super::connections::{Listener, Role};
use super::payload::{self, Frame, ProtocolSelection, SeqAck};
use super::pending_faults::HandshakeStep;
use super::voice_credentials::VoiceCredentials;
use super::voice_sessions::{NUMBERED_SINCE, SessionIdentity, VoiceSession};
use crate::HelloOrder;
use crate::cipher::Mode;
use crate::dave::op as dave_op;
use crate::log::{Event, redacted};
use crate::opcodes::voice as op;
use crate::relay::Peer;
use crate::rule::Rule;

impl State {
    /// Greets a new websocket.
    pub(super) fn voice_opened(&mut self, id: u64, now: Instant) {
        if self.apply_close_fault(HandshakeStep::Connect, id, now) {
            return;
        }
        if !(OLDEST..=NEWEST).contains(&self.connections.version(id)) {
            return self.close(id, 4012, "Unsupported gateway version.", now);
        }
        if self.settings.hello == HelloOrder::AtOnce {
            self.hello(id, now);
        }
    }

    fn hello(&mut self, id: u64, now: Instant) {
        let (version, interval) = (self.connections.version(id), self.settings.heartbeat_interval);
        self.send_plain(id, op::HELLO, json!({"v": version, "heartbeat_interval": interval}), now);
        self.expect_voice_heartbeat(id, now);
        self.apply_close_fault(HandshakeStep::Hello, id, now);
    }

    fn late_hello(&mut self, id: u64, now: Instant) {
        if self.settings.hello == HelloOrder::AfterReady {
            self.hello(id, now);
        }
    }

    fn expect_voice_heartbeat(&mut self, id: u64, now: Instant) {
        let interval = Duration::try_from_secs_f64(self.settings.heartbeat_interval / 1_000.0);
        self.expect_heartbeat(id, interval.unwrap_or(DAY).min(DAY), now);
    }

    fn voice_session_of(&self, id: u64) -> Option<u32> {
        match self.connections.role(id)? {
            Role::Voice(ssrc) => Some(*ssrc),
            _ => None,
        }
    }

    /// Reads one text frame of a client.
    pub(super) fn voice_text(&mut self, id: u64, text: &str, now: Instant) {
        let Some(Frame { op, d }) = Frame::parse(text.as_bytes()) else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        self.log_event(id, now, Event::Received { op, d: redacted(d.clone()) });
        self.check_ids(id, &d, now);
        match (op, self.voice_session_of(id)) {
            (op::HEARTBEAT, _) => self.voice_heartbeat(id, &d, now),
            (op::IDENTIFY, None) => self.voice_identify(id, &d, now),
            (op::RESUME, None) => self.voice_resume(id, &d, now),
            (op::IDENTIFY | op::RESUME, Some(_)) => self.close(id, 4005, "Already authenticated.", now),
            (op::SELECT_PROTOCOL, Some(ssrc)) => self.select_protocol(id, ssrc, &d, now),
            (op::SPEAKING, Some(ssrc)) => self.client_speaks(id, ssrc, &d, now),
            (dave_op::TRANSITION_READY | dave_op::INVALID_COMMIT_WELCOME, Some(ssrc)) => {
                self.delivery_text(id, ssrc, op, &d, now);
            }
            (op::VOICE_BACKEND_VERSION, Some(_)) => {
                self.send_plain(
                    id,
                    op::VOICE_BACKEND_VERSION,
                    json!({"voice": "0.13.0", "rtc_worker": "0.5.0"}),
                    now,
                );
            }
            // Video, session update, media sink wants and no route: nothing to do for audio.
            (op::VIDEO | op::SESSION_UPDATE | op::MEDIA_SINK_WANTS | op::NO_ROUTE, Some(_)) => {}
            (
                op::SELECT_PROTOCOL
                | op::SPEAKING
                | op::VIDEO
                | op::SESSION_UPDATE
                | op::MEDIA_SINK_WANTS
                | op::VOICE_BACKEND_VERSION
                | op::NO_ROUTE
                | dave_op::TRANSITION_READY
                | dave_op::INVALID_COMMIT_WELCOME,
                None,
            ) => self.close_unidentified(id, op, now),
            _ => self.close(id, 4001, "Unknown opcode.", now),
        }
    }

    /// Reads one binary frame of a client.
    pub(super) fn voice_binary(&mut self, id: u64, frame: &[u8], now: Instant) {
        let Some((&op, payload)) = frame.split_first() else {
            return self.close(id, 4020, "Bad request.", now);
        };
        if op == b'{' {
            return self.violation(id, Rule::JsonInBinaryFrame, now);
        }
        self.log_event(id, now, Event::ReceivedBinary { op, payload: Bytes::copy_from_slice(payload) });
        match (op, self.voice_session_of(id)) {
            (dave_op::KEY_PACKAGE | dave_op::COMMIT_WELCOME, None) => self.close_unidentified(id, op, now),
            (dave_op::KEY_PACKAGE | dave_op::COMMIT_WELCOME, Some(ssrc)) => {
                self.delivery_binary(id, ssrc, op, payload, now);
            }
            _ => self.close(id, 4001, "Unknown opcode.", now),
        }
    }

    fn close_unidentified(&mut self, id: u64, op: u8, now: Instant) {
        self.violation(id, Rule::BeforeIdentify(op), now);
        self.close(id, 4003, "Not authenticated.", now);
    }

    fn voice_heartbeat(&mut self, id: u64, d: &Value, now: Instant) {
        let numbered = self.connections.version(id) >= NUMBERED_SINCE;
        let nonce = if numbered { d.get("t") } else { Some(d) };
        let Some(nonce) = nonce.filter(|nonce| nonce.is_number()).cloned() else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        self.expect_voice_heartbeat(id, now);
        let session = self.voice_session_of(id);
        if let (true, Some(ssrc)) = (numbered, session) {
            self.acknowledged(id, ssrc, SeqAck::of(d), now);
        }
        if session.is_some_and(|ssrc| self.ack_is_muted(ssrc)) {
            return;
        }
        let d = if numbered { json!({"t": nonce}) } else { nonce };
        self.send_plain(id, op::HEARTBEAT_ACK, d, now);
    }

    fn ack_is_muted(&mut self, ssrc: u32) -> bool {
        let user = self.voice_sessions.get(ssrc).map(|session| session.identity().user);
        self.faults.muted_acks.use_up(user)
    }

    fn acknowledged(&mut self, id: u64, ssrc: u32, seq_ack: SeqAck, now: Instant) {
        let Ok(sequence) = seq_ack.sequence() else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        self.check_ack(ssrc, sequence, now);
        let Some(session) = self.voice_sessions.get(ssrc) else { return };
        if let Some(missing) = session.buffer.late(now) {
            self.log.violation(now, Some(session.identity().user), Rule::SeqAckLate(missing));
        }
    }

    /// Checks the `seq_ack` of a heartbeat or a resume.
    fn check_ack(&mut self, ssrc: u32, sequence: Option<u16>, now: Instant) {
        let Some(session) = self.voice_sessions.get_mut(ssrc) else { return };
        let rule = match session.buffer.acknowledge(sequence) {
            Ok(()) => return,
            Err(AckError::Unsent) => Rule::SeqAckUnsent(sequence),
            Err(AckError::Backwards) => Rule::SeqAckBackwards(sequence),
        };
        self.log.violation(now, Some(session.identity().user), rule);
    }

    fn voice_identify(&mut self, id: u64, d: &Value, now: Instant) {
        if self.apply_close_fault(HandshakeStep::Identify, id, now) {
            return;
        }
        let Some(credentials) = VoiceCredentials::parse(d, self.connections.version(id)) else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        match self.admit(id, &credentials) {
            Err((code, reason)) => self.close(id, code, reason, now),
            Ok(()) => self.begin_voice_session(id, credentials, now),
        }
    }

    fn begin_voice_session(&mut self, id: u64, credentials: VoiceCredentials, now: Instant) {
        let (guild, Some(user)) = (credentials.guild, credentials.user) else { return };
        let Some(channel) = self.voice_states.channel_of(guild, user) else { return };
        self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        self.grants.spend(&credentials.token);
        let ssrc = self.random.ssrc();
        let region = match self.connections.listener(id) {
            Some(Listener::Voice(region)) => region,
            Some(Listener::Main) | None => 0,
        };
        let identity = SessionIdentity {
            user,
            guild,
            channel,
            session_id: credentials.session_id,
            token: credentials.token,
            version: self.connections.version(id),
            max_dave: credentials.max_dave,
            region,
        };
        let buffer = NumberedBuffer::new(self.settings.first_sequence, self.settings.buffer_capacity);
        self.voice_sessions.insert(ssrc, VoiceSession::connected(identity, id, buffer));
        self.connections.bind(id, Role::Voice(ssrc), user);
        self.relay.open(Peer { ssrc, user, call: channel });
        self.ready_voice(id, ssrc, now);
    }

    fn ready_voice(&mut self, id: u64, ssrc: u32, now: Instant) {
        let address = self.relay.address();
        let d = json!({
            "ssrc": ssrc,
            "ip": address.ip().to_string(),
            "port": address.port(),
            "modes": self.settings.modes,
            "experiments": [],
            "streams": [],
        });
        self.send_plain(id, op::READY, d, now);
        self.late_hello(id, now);
        self.apply_close_fault(HandshakeStep::Ready, id, now);
    }

    fn select_protocol(&mut self, id: u64, ssrc: u32, d: &Value, now: Instant) {
        if self.apply_close_fault(HandshakeStep::SelectProtocol, id, now) {
            return;
        }
        let Some(selection) = ProtocolSelection::parse(d) else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        if selection.protocol != "udp" {
            return self.close(id, 4012, "Unknown protocol.", now);
        }
        let offered = self.settings.modes.contains(&selection.mode);
        let Some(mode) = Mode::from_name(&selection.mode).filter(|_| offered) else {
            return self.close(id, 4016, "Unknown encryption mode.", now);
        };
        let discovered = self.voice_sessions.get(ssrc).and_then(VoiceSession::discovered);
        let told = (selection.address.as_str(), selection.port);
        if discovered.is_some_and(|from| (from.ip().to_string().as_str(), from.port()) != told) {
            self.violation(id, Rule::ForeignAddress, now);
        }
        self.describe_session(id, ssrc, mode, &selection.mode, now);
    }

    /// Lets a user into the call: introductions first, then the Session Description, then what DAVE has to say.
    fn describe_session(&mut self, id: u64, ssrc: u32, mode: Mode, name: &str, now: Instant) {
        let key = self.random.key();
        self.relay.describe(ssrc, mode, key);
        let media_session = self.random.hex(16);
        let Some(session) = self.voice_sessions.get_mut(ssrc) else { return };
        let first = session.enter_call();
        let SessionIdentity { channel, user, max_dave, .. } = *session.identity();
        let version = if first {
            self.introduce(ssrc, now);
            let version = self.join_delivery(channel, user, max_dave, now);
            self.poll_before_description(channel, now);
            version
        } else {
            self.deliveries.version(channel)
        };
        let d = json!({
            "mode": name,
            "secret_key": key,
            "dave_protocol_version": version,
            "audio_codec": "opus",
            "video_codec": "H264",
            "media_session_id": media_session,
        });
        self.send_plain(id, op::SESSION_DESCRIPTION, d, now);
        self.poll_delivery(channel, now);
        self.apply_close_fault(HandshakeStep::Described, id, now);
    }

    fn client_speaks(&mut self, id: u64, ssrc: u32, d: &Value, now: Instant) {
        let (Some(flags), Some(named)) = (payload::integer(d, "speaking"), payload::integer(d, "ssrc"))
        else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        if self.connections.exceeds_rate(id, now) {
            self.violation(id, Rule::SpeakingTooOften, now);
            return self.close(id, 4021, "Rate limited.", now);
        }
        if named != ssrc {
            return self.violation(id, Rule::ForeignSsrc(named), now);
        }
        if !self.voice_sessions.get(ssrc).is_some_and(VoiceSession::is_in_call) {
            return self.violation(id, Rule::SpeakingBeforeDescription, now);
        }
        self.set_speaking(ssrc, flags, now);
        self.apply_close_fault(HandshakeStep::Established, id, now);
    }

    fn voice_resume(&mut self, id: u64, d: &Value, now: Instant) {
        if self.apply_close_fault(HandshakeStep::Identify, id, now) {
            return;
        }
        let Some(credentials) = VoiceCredentials::parse(d, self.connections.version(id)) else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        let Some((ssrc, user)) = self.resumable(id, &credentials) else {
            return self.close(id, 4006, "Session is no longer valid.", now);
        };
        let refused = self.faults.refused_resumes.use_up(Some(user));
        let Ok(after) = SeqAck::of(d).sequence() else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        if self.connections.version(id) >= NUMBERED_SINCE {
            self.check_ack(ssrc, after, now);
        }
        let missed = self.voice_sessions.get(ssrc).and_then(|session| session.buffer.replay_after(after));
        match missed.filter(|_| !refused) {
            Some(missed) => self.resume_session(id, ssrc, missed, now),
            None => {
                self.detach_old_socket(ssrc);
                self.end_voice_session(ssrc, now);
                self.close(id, 4006, "Session is no longer valid.", now);
            }
        }
    }

    fn resume_session(&mut self, id: u64, ssrc: u32, missed: Vec<(u16, NumberedMessage)>, now: Instant) {
        self.detach_old_socket(ssrc);
        let Some(session) = self.voice_sessions.get_mut(ssrc) else { return };
        session.resume(id, now);
        let user = session.identity().user;
        self.relay.resumed(ssrc);
        self.connections.bind(id, Role::Voice(ssrc), user);
        self.late_hello(id, now);
        self.send_plain(id, op::RESUMED, Value::Null, now);
        let numbered = self.connections.version(id) >= NUMBERED_SINCE;
        for (sequence, message) in missed {
            self.send_message(id, &message, numbered.then_some(sequence), now);
        }
        self.apply_close_fault(HandshakeStep::Resumed, id, now);
    }

    /// Resets a websocket that another one takes over from.
    fn detach_old_socket(&mut self, ssrc: u32) {
        if let Some(old) = self.voice_connection(ssrc) {
            self.connections.reset(old);
        }
    }
}

/// Versions below 4 are refused since November 2024.
const OLDEST: u8 = 4;
const NEWEST: u8 = 9;
const DAY: Duration = Duration::from_secs(86_400);
