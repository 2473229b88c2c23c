//! A member of an end-to-end encrypted call, on OpenMLS directly: it shares no code with the client it is to judge.
//!
//! ```text
//!  op 4      op 26      op 25           op 27 → op 28          op 29 or 30 → op 23      op 22
//! (none) ──────────► pending group, epoch 0 ─────────► established ─────────► ready ─────────► sender switched
//!                        ▲                                 │ op 24 epoch 1, a bad commit (op 31)
//!                        └────────────── op 26 ────────────┘
//! ```

mod group;
mod media;
mod members;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::time::Instant;

use self::{
    group::{Committed, Session, SessionError},
    media::{BaseSecret, Opener, Sealer},
};
pub use self::{
    media::OpenError,
    settings::{ParticipantSettings, Silence, WhileAlone},
};
use super::{ClientMessage, ServerMessage, VERSION, codes, frame::Frame, op};
use crate::opus::SILENCE;

/// One member of one call.
pub struct Participant {
    user: u64,
    settings: ParticipantSettings,
    session: Session,
    /// The users that may be in the group: this member, and those of op 11 that no op 13 has taken out.
    recognised: BTreeSet<u64>,
    /// Prepared, not executed.
    transitions: BTreeMap<u16, Prepared>,
    last_transition: u16,
    sending: Sending,
    openers: BTreeMap<u64, Opener>,
    passthrough: Passthrough,
    failures: u32,
    outgoing: Vec<ClientMessage>,
}

/// A transition that waits for op 22; the key is that of its own epoch, whatever comes after.
struct Prepared {
    version: u16,
    key: Option<BaseSecret>,
}

/// How our own frames are sent.
enum Sending {
    Plain,
    Held,
    Sealed(Box<Sealer>),
}

/// Whether plain frames of others are let through.
#[derive(Clone, Copy)]
enum Passthrough {
    Never,
    Until(Instant),
    Always,
}

impl Participant {
    /// Makes a member of the call in one channel.
    pub fn new(user: u64, call_channel_id: u64) -> Self {
        Self::with_settings(user, call_channel_id, ParticipantSettings::default())
    }

    /// Makes a member that behaves as the settings say.
    pub fn with_settings(user: u64, call_channel_id: u64, settings: ParticipantSettings) -> Self {
        Self {
            user,
            settings,
            session: Session::new(user, call_channel_id),
            recognised: BTreeSet::from([user]),
            transitions: BTreeMap::new(),
            last_transition: 0,
            sending: Sending::Plain,
            openers: BTreeMap::new(),
            passthrough: Passthrough::Always,
            failures: 0,
            outgoing: Vec::new(),
        }
    }

    /// Op 4, with its `dave_protocol_version`. The answer holds op 26 if the call is encrypted.
    pub fn described(&mut self, version: u16) -> Vec<ClientMessage> {
        if version == 0 {
            self.sending = Sending::Plain;
            self.passthrough = Passthrough::Always;
            return Vec::new();
        }
        if self.session.is_established() {
            // Another op 1 was answered; the group is what it was.
            return Vec::new();
        }
        self.sending = Sending::Held;
        self.passthrough = Passthrough::Never;
        vec![self.key_package()]
    }

    /// Op 11.
    pub fn clients_connect(&mut self, users: &[u64]) {
        self.recognised.extend(users);
    }

    /// Op 13.
    pub fn client_disconnect(&mut self, user: u64) {
        if user != self.user {
            self.recognised.remove(&user);
        }
    }

    /// Ops 21, 22, 24, 25, 27, 29 and 30; anything else is ignored. Returns what to answer, in order.
    pub fn receive(&mut self, message: &ServerMessage, now: Instant) -> Vec<ClientMessage> {
        match message {
            ServerMessage::Json { op, d } => self.receive_json(*op, d, now),
            ServerMessage::Binary { op, payload } => self.receive_binary(*op, payload, now),
        }
    }

    /// Makes of an Opus frame what goes into the packet; `None` while there is no key to seal it with.
    pub fn encrypt(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let alone = self.recognised.len() == 1 && self.settings.while_alone == WhileAlone::Plain;
        match &mut self.sending {
            Sending::Plain => Some(frame.to_vec()),
            Sending::Held => alone.then(|| frame.to_vec()),
            Sending::Sealed(_) if self.settings.silence == Silence::Clear && frame == SILENCE => {
                Some(frame.to_vec())
            }
            Sending::Sealed(sealer) => Some(sealer.seal(frame)),
        }
    }

    /// Opens a frame of another member. Nothing unauthenticated comes out, except plain frames while they are
    /// allowed and silence.
    pub fn decrypt(&mut self, user: u64, bytes: &[u8], now: Instant) -> Result<Vec<u8>, OpenError> {
        // The SFU may insert silence in clear: <https://daveprotocol.com/#silence-packets>.
        if bytes == SILENCE {
            return Ok(bytes.to_vec());
        }
        let opened = match Frame::parse(bytes) {
            Some(frame) => self.openers.get_mut(&user).ok_or(OpenError::NoKey)?.open(&frame, now),
            None if self.accepts_plain(now) => Ok(bytes.to_vec()),
            None => Err(OpenError::NotEncrypted),
        };
        self.count_failure(opened.is_err());
        opened
    }

    /// The messages that the member sends of its own accord: op 31 and op 26 after too many failures.
    pub fn outgoing(&mut self) -> Vec<ClientMessage> {
        std::mem::take(&mut self.outgoing)
    }

    /// The user id.
    pub fn user(&self) -> u64 {
        self.user
    }

    /// The epoch of the group; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.session.epoch()
    }

    /// Users in the group, ourselves among them.
    pub fn members(&self) -> Vec<u64> {
        self.session.members().into_iter().map(|(user, _)| user).collect()
    }

    /// Whether our frames are sealed now.
    pub fn is_sealing(&self) -> bool {
        matches!(self.sending, Sending::Sealed(_))
    }

    /// The 30 digits everybody in the call sees; `None` outside a group.
    pub fn privacy_code(&self) -> Option<String> {
        codes::privacy_code(&self.session.epoch_authenticator()?)
    }

    /// The 45 digits this member and another compare; `None` unless both are in the group. Deliberately slow.
    pub fn verification_code(&self, other: u64) -> Option<String> {
        let members = self.session.members();
        let key = |of: u64| members.iter().find(|(user, _)| *user == of).map(|(_, key)| key.as_slice());
        codes::verification_code((key(self.user)?, self.user), (key(other)?, other))
    }

    fn receive_json(&mut self, op: u8, d: &Value, now: Instant) -> Vec<ClientMessage> {
        let number = |field: &str| d.get(field).and_then(as_number);
        let small = |field: &str| number(field).and_then(|number| u16::try_from(number).ok());
        match op {
            op::PREPARE_TRANSITION => match (small("transition_id"), small("protocol_version")) {
                (Some(id), Some(version)) => self.prepare(id, version, now),
                _ => Vec::new(),
            },
            op::EXECUTE_TRANSITION => {
                if let Some(prepared) = small("transition_id").and_then(|id| self.take_prepared(id)) {
                    self.execute(prepared, now);
                }
                Vec::new()
            }
            op::PREPARE_EPOCH if number("epoch") == Some(1) && small("protocol_version") != Some(0) => {
                self.start_anew()
            }
            _ => Vec::new(),
        }
    }

    fn receive_binary(&mut self, op: u8, payload: &[u8], now: Instant) -> Vec<ClientMessage> {
        match op {
            op::EXTERNAL_SENDER => {
                let result = self.session.set_sender(payload);
                self.log(result);
                Vec::new()
            }
            op::PROPOSALS => match self.session.proposals(payload, &self.recognised) {
                Ok(Some(payload)) => vec![ClientMessage::Binary { op: op::COMMIT_WELCOME, payload }],
                Ok(None) => Vec::new(),
                Err(error) => self.refused(op, &error),
            },
            op::ANNOUNCE_COMMIT => {
                self.transition(op, payload, now, |session, commit| session.announced(commit))
            }
            op::WELCOME => self.transition(op, payload, now, |session, welcome| {
                session.welcomed(welcome).map(|()| Committed::Applied)
            }),
            _ => Vec::new(),
        }
    }

    /// Ops 29 and 30: a transition id, then something that leads to another epoch.
    fn transition(
        &mut self,
        op: u8,
        payload: &[u8],
        now: Instant,
        step: impl FnOnce(&mut Session, &[u8]) -> Result<Committed, SessionError>,
    ) -> Vec<ClientMessage> {
        let Some((id, message)) = payload.split_first_chunk() else { return Vec::new() };
        let id = u16::from_be_bytes(*id);
        if op == op::WELCOME && self.session.is_established() {
            return Vec::new();
        }
        match step(&mut self.session, message) {
            Ok(Committed::Ignored) => Vec::new(),
            Ok(Committed::Applied) => {
                self.install_keys(now);
                self.prepare(id, VERSION, now)
            }
            Err(error) => {
                self.refused(op, &error);
                self.flag_invalid(id)
            }
        }
    }

    /// Gets ready for a transition; id 0 is executed at once and not confirmed.
    fn prepare(&mut self, id: u16, version: u16, now: Instant) -> Vec<ClientMessage> {
        if version == 0 {
            // Until it is executed, and for a while after, frames of both kinds are on the way.
            self.passthrough = Passthrough::Always;
        }
        let prepared = Prepared { version, key: self.session.base_secret(self.user) };
        if id == 0 {
            self.last_transition = 0;
            self.execute(prepared, now);
            return Vec::new();
        }
        self.transitions.insert(id, prepared);
        vec![ClientMessage::Json { op: op::TRANSITION_READY, d: json!({ "transition_id": id }) }]
    }

    fn take_prepared(&mut self, id: u16) -> Option<Prepared> {
        let prepared = self.transitions.remove(&id)?;
        self.last_transition = id;
        Some(prepared)
    }

    fn execute(&mut self, prepared: Prepared, now: Instant) {
        if prepared.version == 0 {
            return self.execute_downgrade(now);
        }
        if matches!(self.passthrough, Passthrough::Always) {
            self.passthrough = Passthrough::Until(now + self.settings.passthrough_timeout);
        }
        match (prepared.key, &self.sending) {
            (Some(key), Sending::Sealed(sealer)) if sealer.is_of(&key) => {}
            (Some(key), _) => self.sending = Sending::Sealed(Box::new(Sealer::new(key))),
            (None, _) => self.sending = Sending::Held,
        }
    }

    fn execute_downgrade(&mut self, now: Instant) {
        self.sending = Sending::Plain;
        self.passthrough = Passthrough::Always;
        self.openers.values_mut().for_each(|opener| opener.expire(now));
        // A pending group has been started for what comes next; only an established one is over.
        if self.session.is_established() {
            let result = self.session.reset();
            self.log(result);
        }
    }

    /// Receivers switch at once, and keep the keys of before for a while.
    fn install_keys(&mut self, now: Instant) {
        let members = self.members();
        for user in members.iter().filter(|user| **user != self.user) {
            if let Some(base) = self.session.base_secret(*user) {
                self.openers.entry(*user).or_default().install(base, now);
            }
        }
        for (user, opener) in &mut self.openers {
            opener.drop_expired(now);
            if !members.contains(user) {
                opener.expire(now);
            }
        }
        self.openers.retain(|_, opener| !opener.is_empty());
        self.failures = 0;
    }

    /// Op 24 with epoch 1: a new group is about to begin. Media keys stay until the next transition.
    fn start_anew(&mut self) -> Vec<ClientMessage> {
        self.transitions.clear();
        let result = self.session.reset();
        self.log(result);
        vec![self.key_package()]
    }

    /// Op 31: we cannot follow. The delivery service will add us anew.
    fn flag_invalid(&mut self, id: u16) -> Vec<ClientMessage> {
        let flag = ClientMessage::Json { op: op::INVALID_COMMIT_WELCOME, d: json!({ "transition_id": id }) };
        let mut messages = vec![flag];
        messages.extend(self.start_anew());
        messages
    }

    fn key_package(&mut self) -> ClientMessage {
        ClientMessage::Binary { op: op::KEY_PACKAGE, payload: self.session.key_package() }
    }

    fn accepts_plain(&mut self, now: Instant) -> bool {
        match self.passthrough {
            Passthrough::Never => false,
            Passthrough::Until(until) => now < until,
            Passthrough::Always => true,
        }
    }

    fn count_failure(&mut self, failed: bool) {
        self.failures = if failed { self.failures + 1 } else { 0 };
        let tolerated = self.settings.recovery_after;
        if tolerated.is_some_and(|tolerated| self.failures > tolerated) && self.transitions.is_empty() {
            self.failures = 0;
            let messages = self.flag_invalid(self.last_transition);
            self.outgoing.extend(messages);
        }
    }

    fn refused(&self, op: u8, error: &SessionError) -> Vec<ClientMessage> {
        tracing::debug!(user = self.user, op, %error, "message refused");
        Vec::new()
    }

    fn log(&self, result: Result<(), SessionError>) {
        if let Err(error) = result {
            tracing::debug!(user = self.user, %error, "message refused");
        }
    }
}

/// A number, or a string of digits: some layers turn 64-bit numbers into strings.
fn as_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
