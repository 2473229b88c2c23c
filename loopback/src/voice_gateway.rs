//! The voice gateway, versions 4 to 9: the handshake and what a client may say after it.
//!
//! <https://docs.discord.com/developers/topics/voice-connections>

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::buffer::{AckError, NumberedBuffer};
use crate::builder::HelloOrder;
use crate::cipher::Mode;
use crate::dave::op::{COMMIT_WELCOME, INVALID_COMMIT_WELCOME, KEY_PACKAGE, TRANSITION_READY};
use crate::faults::Stage;
use crate::log::{Event, Rule, redacted};
use crate::payload::{self, Frame, ProtocolSelection, SeqAck};
use crate::relay::Peer;
use crate::server::{Bound, State};
use crate::socket::Door;
use crate::voice_claim::Claim;
use crate::voice_session::{NUMBERED_SINCE, Outlet, SPEAKING, VoiceSession};

impl State {
    /// Greets a new websocket.
    pub(crate) fn voice_opened(&mut self, id: u64, now: Instant) {
        if self.struck(Stage::Connect, id, now) {
            return;
        }
        if !(OLDEST..=NEWEST).contains(&self.version_of(id)) {
            return self.close(id, 4012, "Unsupported gateway version.", now);
        }
        if self.settings.hello == HelloOrder::AtOnce {
            self.hello(id, now);
        }
    }

    fn hello(&mut self, id: u64, now: Instant) {
        let (version, interval) = (self.version_of(id), self.settings.heartbeat_interval);
        self.send_plain(id, HELLO, json!({"v": version, "heartbeat_interval": interval}), now);
        self.expect_voice_beat(id, now);
        self.struck(Stage::Hello, id, now);
    }

    fn late_hello(&mut self, id: u64, now: Instant) {
        if self.settings.hello == HelloOrder::AfterReady {
            self.hello(id, now);
        }
    }

    fn expect_voice_beat(&mut self, id: u64, now: Instant) {
        let interval = Duration::try_from_secs_f64(self.settings.heartbeat_interval / 1_000.0);
        self.expect_beat(id, interval.unwrap_or(DAY).min(DAY), now);
    }

    fn version_of(&self, id: u64) -> u8 {
        self.connections.get(&id).map_or(0, |connection| connection.version)
    }

    fn voice_session_of(&self, id: u64) -> Option<u32> {
        match self.connections.get(&id)?.bound {
            Bound::Voice(ssrc) => Some(ssrc),
            _ => None,
        }
    }

    /// Reads one text frame of a client.
    pub(crate) fn voice_text(&mut self, id: u64, text: &str, now: Instant) {
        let Some(Frame { op, d }) = Frame::parse(text.as_bytes()) else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        self.note(id, now, Event::Received { op, d: redacted(d.clone()) });
        self.judge_ids(id, &d, now);
        match (op, self.voice_session_of(id)) {
            (HEARTBEAT, _) => self.voice_beat(id, &d, now),
            (IDENTIFY, None) => self.voice_identify(id, &d, now),
            (RESUME, None) => self.voice_resume(id, &d, now),
            (IDENTIFY | RESUME, Some(_)) => self.close(id, 4005, "Already authenticated.", now),
            (SELECT_PROTOCOL, Some(ssrc)) => self.select_protocol(id, ssrc, &d, now),
            (SPEAKING, Some(ssrc)) => self.client_speaks(id, ssrc, &d, now),
            (TRANSITION_READY | INVALID_COMMIT_WELCOME, Some(ssrc)) => {
                self.delivery_text(id, ssrc, op, &d, now);
            }
            (BACKEND_VERSION, Some(_)) => {
                self.send_plain(id, BACKEND_VERSION, json!({"voice": "0.13.0", "rtc_worker": "0.5.0"}), now);
            }
            // Video, session update, media sink wants and no route: nothing to do for audio.
            (12 | 14 | 15 | 32, Some(_)) => {}
            (1 | 5 | 12 | 14..=16 | 23 | 31 | 32, None) => self.too_early(id, op, now),
            _ => self.close(id, 4001, "Unknown opcode.", now),
        }
    }

    /// Reads one binary frame of a client.
    pub(crate) fn voice_binary(&mut self, id: u64, frame: &[u8], now: Instant) {
        let Some((&op, payload)) = frame.split_first() else {
            return self.close(id, 4020, "Bad request.", now);
        };
        if op == b'{' {
            return self.violation(id, Rule::JsonInBinaryFrame, now);
        }
        self.note(id, now, Event::ReceivedBinary { op, payload: Bytes::copy_from_slice(payload) });
        match (op, self.voice_session_of(id)) {
            (KEY_PACKAGE | COMMIT_WELCOME, None) => self.too_early(id, op, now),
            (KEY_PACKAGE | COMMIT_WELCOME, Some(ssrc)) => {
                self.delivery_binary(id, ssrc, op, payload, now);
            }
            _ => self.close(id, 4001, "Unknown opcode.", now),
        }
    }

    fn too_early(&mut self, id: u64, op: u8, now: Instant) {
        self.violation(id, Rule::BeforeIdentify(op), now);
        self.close(id, 4003, "Not authenticated.", now);
    }

    fn voice_beat(&mut self, id: u64, d: &Value, now: Instant) {
        let numbered = self.version_of(id) >= NUMBERED_SINCE;
        let nonce = if numbered { d.get("t") } else { Some(d) };
        let Some(nonce) = nonce.filter(|nonce| nonce.is_number()).cloned() else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        self.expect_voice_beat(id, now);
        let session = self.voice_session_of(id);
        if let (true, Some(ssrc)) = (numbered, session) {
            self.acknowledged(id, ssrc, SeqAck::of(d), now);
        }
        if session.is_some_and(|ssrc| self.ack_is_muted(ssrc)) {
            return;
        }
        let d = if numbered { json!({"t": nonce}) } else { nonce };
        self.send_plain(id, HEARTBEAT_ACK, d, now);
    }

    fn ack_is_muted(&mut self, ssrc: u32) -> bool {
        let user = self.voice_sessions.get(&ssrc).map(|session| session.user);
        self.faults.muted_acks.use_up(user)
    }

    fn acknowledged(&mut self, id: u64, ssrc: u32, seq_ack: SeqAck, now: Instant) {
        let Ok(sequence) = seq_ack.sequence() else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        self.judge_ack(ssrc, sequence, now);
        let Some(session) = self.voice_sessions.get(&ssrc) else { return };
        if let Some(missing) = session.buffer.late(now) {
            self.log.violation(now, Some(session.user), Rule::SeqAckLate(missing));
        }
    }

    /// Judges the `seq_ack` of a heartbeat or a resume.
    fn judge_ack(&mut self, ssrc: u32, sequence: Option<u16>, now: Instant) {
        let Some(session) = self.voice_sessions.get_mut(&ssrc) else { return };
        let rule = match session.buffer.acknowledge(sequence) {
            Ok(()) => return,
            Err(AckError::Unsent) => Rule::SeqAckUnsent(sequence),
            Err(AckError::Backwards) => Rule::SeqAckBackwards(sequence),
        };
        self.log.violation(now, Some(session.user), rule);
    }

    fn voice_identify(&mut self, id: u64, d: &Value, now: Instant) {
        if self.struck(Stage::Identify, id, now) {
            return;
        }
        let Some(claim) = Claim::parse(d, self.version_of(id)) else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        match self.admit(id, &claim) {
            Err((code, reason)) => self.close(id, code, reason, now),
            Ok(()) => self.begin_voice_session(id, claim, now),
        }
    }

    fn begin_voice_session(&mut self, id: u64, claim: Claim, now: Instant) {
        let (guild, Some(user)) = (claim.guild, claim.user) else { return };
        let state = self.voice_states.get(&(guild, user));
        let Some(channel) = state.and_then(|state| state.channel) else { return };
        self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        self.spend(&claim.token);
        let ssrc = self.next_ssrc();
        let region = match self.connections.get(&id).map(|connection| connection.door) {
            Some(Door::Voice(region)) => region,
            Some(Door::Main) | None => 0,
        };
        let session = VoiceSession {
            user,
            guild,
            channel,
            session_id: claim.session_id,
            token: claim.token,
            version: self.version_of(id),
            max_dave: claim.max_dave,
            region,
            outlet: Outlet::Connection(id),
            resumed: None,
            superseded: None,
            buffer: NumberedBuffer::new(self.settings.first_sequence, self.settings.buffer_capacity),
            described: false,
            speaking: None,
            discovered: None,
        };
        self.voice_sessions.insert(ssrc, session);
        self.bind(id, Bound::Voice(ssrc), user);
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
        self.send_plain(id, READY, d, now);
        self.late_hello(id, now);
        self.struck(Stage::Ready, id, now);
    }

    fn select_protocol(&mut self, id: u64, ssrc: u32, d: &Value, now: Instant) {
        if self.struck(Stage::SelectProtocol, id, now) {
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
        let discovered = self.voice_sessions.get(&ssrc).and_then(|session| session.discovered);
        let told = (selection.address.as_str(), selection.port);
        if discovered.is_some_and(|from| (from.ip().to_string().as_str(), from.port()) != told) {
            self.violation(id, Rule::ForeignAddress, now);
        }
        self.describe_session(id, ssrc, mode, &selection.mode, now);
    }

    /// Lets a user into the call: introductions first, then the Session Description, then what DAVE has to say.
    fn describe_session(&mut self, id: u64, ssrc: u32, mode: Mode, name: &str, now: Instant) {
        let key: [u8; 32] = std::array::from_fn(|_| self.random.u8(..));
        self.relay.describe(ssrc, mode, key);
        let media_session = self.hex(16);
        let Some(session) = self.voice_sessions.get_mut(&ssrc) else { return };
        let (channel, user, max_dave) = (session.channel, session.user, session.max_dave);
        let again = std::mem::replace(&mut session.described, true);
        let version = if again {
            self.delivery_version(channel)
        } else {
            self.introduce(ssrc, now);
            let version = self.join_delivery(channel, user, max_dave, now);
            self.greet(channel, now);
            version
        };
        let d = json!({
            "mode": name,
            "secret_key": key,
            "dave_protocol_version": version,
            "audio_codec": "opus",
            "video_codec": "H264",
            "media_session_id": media_session,
        });
        self.send_plain(id, SESSION_DESCRIPTION, d, now);
        self.pump_delivery(channel, now);
        self.struck(Stage::Described, id, now);
    }

    fn client_speaks(&mut self, id: u64, ssrc: u32, d: &Value, now: Instant) {
        let (Some(flags), Some(named)) = (payload::integer(d, "speaking"), payload::integer(d, "ssrc"))
        else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        if self.exceeds_rate(id, now) {
            self.violation(id, Rule::SpeakingTooOften, now);
            return self.close(id, 4021, "Rate limited.", now);
        }
        if named != ssrc {
            return self.violation(id, Rule::ForeignSsrc(named), now);
        }
        if !self.voice_sessions.get(&ssrc).is_some_and(|session| session.described) {
            return self.violation(id, Rule::SpeakingBeforeDescription, now);
        }
        self.speaks(ssrc, flags, now);
        self.struck(Stage::Established, id, now);
    }

    fn voice_resume(&mut self, id: u64, d: &Value, now: Instant) {
        if self.struck(Stage::Identify, id, now) {
            return;
        }
        let Some(claim) = Claim::parse(d, self.version_of(id)) else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        let Some((ssrc, user)) = self.resumable(id, &claim) else {
            return self.close(id, 4006, "Session is no longer valid.", now);
        };
        let refused = self.faults.refused_resumes.use_up(Some(user));
        let Ok(after) = SeqAck::of(d).sequence() else {
            return self.close(id, 4002, "Failed to decode payload.", now);
        };
        if self.version_of(id) >= NUMBERED_SINCE {
            self.judge_ack(ssrc, after, now);
        }
        let missed = self.voice_sessions.get(&ssrc).and_then(|session| session.buffer.replay_after(after));
        match missed.filter(|_| !refused) {
            Some(missed) => self.resume_session(id, ssrc, missed, now),
            None => {
                self.let_go(ssrc);
                self.end_voice_session(ssrc, now);
                self.close(id, 4006, "Session is no longer valid.", now);
            }
        }
    }

    fn resume_session(
        &mut self,
        id: u64,
        ssrc: u32,
        missed: Vec<(u16, crate::buffer::Numbered)>,
        now: Instant,
    ) {
        self.let_go(ssrc);
        let Some(session) = self.voice_sessions.get_mut(&ssrc) else { return };
        session.outlet = Outlet::Connection(id);
        session.resumed = Some(now);
        session.buffer.resent(now);
        let user = session.user;
        self.relay.resumed(ssrc);
        self.bind(id, Bound::Voice(ssrc), user);
        self.late_hello(id, now);
        self.send_plain(id, RESUMED, Value::Null, now);
        let numbered = self.version_of(id) >= NUMBERED_SINCE;
        for (sequence, message) in missed {
            self.send_message(id, &message, numbered.then_some(sequence), now);
        }
        self.struck(Stage::Resumed, id, now);
    }

    /// Resets a websocket that another one takes over from.
    fn let_go(&mut self, ssrc: u32) {
        if let Some(Outlet::Connection(old)) = self.voice_sessions.get(&ssrc).map(|session| session.outlet) {
            self.abandon(old);
        }
    }
}

const IDENTIFY: u8 = 0;
const SELECT_PROTOCOL: u8 = 1;
const READY: u8 = 2;
const HEARTBEAT: u8 = 3;
const SESSION_DESCRIPTION: u8 = 4;
const HEARTBEAT_ACK: u8 = 6;
const RESUME: u8 = 7;
const HELLO: u8 = 8;
const RESUMED: u8 = 9;
const BACKEND_VERSION: u8 = 16;
/// Versions below 4 are refused since November 2024.
const OLDEST: u8 = 4;
const NEWEST: u8 = 9;
const DAY: Duration = Duration::from_secs(86_400);
