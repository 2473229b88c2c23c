//! The DAVE hook: where a call's delivery service is fed, and where its messages come out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::buffer::{ACK_TIMEOUT, NumberedMessage};
use crate::builder::Dave;
use crate::dave::{
    ClientMessage, DaveSettings, DeliveryError, DeliveryService, Participant, ServerMessage, op as dave_op,
};
use crate::opcodes::voice as voice_op;
use crate::payload;
use crate::plain_audio::PlainAudioAudit;
use crate::rule::{Rule, Violation};
use crate::server::{ChannelKind, State};
use crate::voice_session::{Outlet, VoiceSession};

/// The delivery service of one call.
pub(crate) struct Delivery {
    pub(crate) service: DeliveryService,
    audit: PlainAudioAudit,
}

impl Delivery {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.service.deadline()
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.audit.violations()
    }

    fn text(&mut self, user: u64, op: u8, d: &Value) -> Result<(), Refused> {
        let transition = payload::integer(d, "transition_id").ok_or(Refused::Undecodable)?;
        match op {
            dave_op::TRANSITION_READY => self.service.transition_ready(user, transition)?,
            _ => self.service.invalid_commit_welcome(user, transition)?,
        }
        Ok(())
    }

    fn binary(&mut self, user: u64, op: u8, payload: &[u8]) -> Result<(), Refused> {
        match op {
            dave_op::KEY_PACKAGE => self.service.key_package(user, payload)?,
            _ => {
                self.service.commit_welcome(user, payload)?;
            }
        }
        Ok(())
    }
}

/// Why a message did not reach the service, or was not acted on by it.
enum Refused {
    Undecodable,
    ByService(DeliveryError),
}

impl From<DeliveryError> for Refused {
    fn from(error: DeliveryError) -> Self {
        Self::ByService(error)
    }
}

/// A simulated member's side of the encryption; its ear and its mouth share it.
pub(crate) type SharedParticipant = Arc<Mutex<Participant>>;

impl State {
    /// Lets a user into the call's group; says the DAVE version for its Session Description.
    ///
    /// What the service has to say to it waits for [`Self::poll_delivery`], which comes after that description.
    pub(crate) fn join_delivery(&mut self, channel: u64, user: u64, max_version: u16, now: Instant) -> u16 {
        if self.settings.dave == Dave::Off {
            return 0;
        }
        if !self.deliveries.contains_key(&channel) {
            let service = DeliveryService::new(channel, self.dave_settings_of(channel));
            let audit = PlainAudioAudit::new(&self.relay, channel);
            self.deliveries.insert(channel, Delivery { service, audit });
        }
        if let Some(delivery) = self.deliveries.get_mut(&channel) {
            delivery.service.join(user, max_version, now);
        }
        self.delivery_version(channel)
    }

    fn dave_settings_of(&self, channel: u64) -> DaveSettings {
        let mut settings = self.settings.dave_settings.clone();
        settings.required = self.dave_required(channel);
        if self.is_stage(channel) {
            settings.max_version = 0;
        }
        settings
    }

    /// Whether clients without DAVE are closed with 4017; stage channels are never encrypted.
    pub(crate) fn dave_required(&self, channel: u64) -> bool {
        self.settings.dave == Dave::Required && !self.is_stage(channel)
    }

    pub(crate) fn is_stage(&self, channel: u64) -> bool {
        self.channels.get(&channel).is_some_and(|record| record.kind == ChannelKind::Stage)
    }

    /// The DAVE version the call speaks now.
    pub(crate) fn delivery_version(&self, channel: u64) -> u16 {
        self.deliveries.get(&channel).map_or(0, |delivery| delivery.service.version())
    }

    /// Takes a user out of the call's group.
    pub(crate) fn leave_delivery(&mut self, channel: u64, user: u64, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
        delivery.service.leave(user);
        self.poll_delivery(channel, now);
        if !self.voice_sessions.values().any(|session| session.channel == channel && session.described) {
            let gone = self.deliveries.remove(&channel);
            for violation in gone.iter().flat_map(Delivery::violations) {
                self.log.keep_violation(violation);
            }
        }
    }

    /// Routes a client's DAVE text message.
    pub(crate) fn delivery_text(&mut self, id: u64, ssrc: u32, op: u8, d: &Value, now: Instant) {
        self.route(id, ssrc, now, |delivery, user| delivery.text(user, op, d));
    }

    /// Routes a client's DAVE binary message.
    pub(crate) fn delivery_binary(&mut self, id: u64, ssrc: u32, op: u8, payload: &[u8], now: Instant) {
        let taken = self.route(id, ssrc, now, |delivery, user| delivery.binary(user, op, payload));
        // Within a call the service notices by itself.
        if taken && op == dave_op::KEY_PACKAGE && !self.is_fresh(payload) {
            self.violation(id, Rule::Dave(DeliveryError::ReusedKeyPackage.to_string()), now);
        }
    }

    fn is_fresh(&mut self, key_package: &[u8]) -> bool {
        let hash = <[u8; 32]>::from(Sha256::digest(key_package));
        if self.key_packages.contains(&hash) {
            return false;
        }
        if self.key_packages.len() == KEY_PACKAGES_MAX {
            self.key_packages.pop_front();
        }
        self.key_packages.push_back(hash);
        true
    }

    /// Feeds a message to the service of its sender's call; says whether it was taken.
    fn route(
        &mut self,
        id: u64,
        ssrc: u32,
        now: Instant,
        feed: impl FnOnce(&mut Delivery, u64) -> Result<(), Refused>,
    ) -> bool {
        let Some(session) = self.voice_sessions.get(&ssrc) else { return false };
        let (channel, user) = (session.channel, session.user);
        let resumed = session.resumed_within(REPEAT_TIMEOUT, now);
        let Some(delivery) = self.deliveries.get_mut(&channel) else { return false };
        let fed = feed(delivery, user);
        let taken = fed.is_ok();
        match fed {
            Ok(()) => {}
            Err(Refused::Undecodable) => self.close(id, 4002, "Failed to decode payload.", now),
            Err(Refused::ByService(error)) => {
                // Who has lost a websocket cannot know whether op 23 was lost with it, and may well say it again.
                let repeats = matches!(error, DeliveryError::RepeatedReady(_)) && resumed;
                if error.is_violation() && !repeats {
                    self.violation(id, Rule::Dave(error.to_string()), now);
                }
                if let Some(code) = error.close_code() {
                    self.close(id, code, "Bad request.", now);
                }
            }
        }
        self.poll_delivery(channel, now);
        taken
    }

    /// Numbers what the service has to say into each member's buffer, and lets simulated members answer.
    pub(crate) fn poll_delivery(&mut self, channel: u64, now: Instant) {
        loop {
            let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
            let said = delivery.service.poll(now);
            if said.is_empty() {
                break;
            }
            for (user, message) in said {
                self.deliver(channel, user, message, now);
            }
        }
        self.check_readiness(channel, now);
        let Some(delivery) = self.deliveries.get(&channel) else { return };
        let inside = self.voice_sessions.values().filter(|session| session.channel == channel);
        let users = inside.map(|session| session.user).filter(|user| delivery.service.is_encrypted(*user));
        delivery.audit.encrypted(users, now);
    }

    /// Sends a newcomer what comes before its Session Description.
    pub(crate) fn greet(&mut self, channel: u64, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
        for (user, message) in delivery.service.greet() {
            self.deliver(channel, user, message, now);
        }
    }

    /// Accuses those who did not get ready for a transition, although their websocket was there all the while.
    fn check_readiness(&mut self, channel: u64, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
        // A transition is told of as it opens; the rest is for timers that come late.
        let time = delivery.service.settings_mut().transition_timeout + ACK_TIMEOUT;
        for (user, transition) in delivery.service.take_overdue() {
            let sessions = self.voice_sessions.values();
            let mut own = sessions.filter(|session| session.channel == channel && session.user == user);
            let hears = |session: &VoiceSession| match session.outlet {
                Outlet::Connection(id) => !session.resumed_within(time, now) && !self.owes_no_heartbeat(id),
                Outlet::Detached(_) | Outlet::Member => false,
            };
            if own.any(hears) {
                self.log.violation(now, Some(user), Rule::NeverReady(transition));
            }
        }
    }

    fn deliver(&mut self, channel: u64, user: u64, message: ServerMessage, now: Instant) {
        let session = self
            .voice_sessions
            .iter()
            .find(|(_, session)| session.channel == channel && session.user == user && session.described);
        let Some((ssrc, outlet)) = session.map(|(ssrc, session)| (*ssrc, session.outlet)) else { return };
        if outlet == Outlet::Member {
            let answers = self.with_participant(ssrc, |member| member.receive(&message, now));
            return self.answer(channel, user, answers.unwrap_or_default());
        }
        let numbered = match message {
            ServerMessage::Json { op, d } => NumberedMessage::Json { op, d },
            ServerMessage::Binary { op, payload } => {
                NumberedMessage::Binary { op, payload: Bytes::from(payload) }
            }
        };
        self.send_numbered(ssrc, numbered, now);
    }

    /// Gives a simulated member its side of the encryption and describes the call to it.
    pub(crate) fn join_participant(&mut self, ssrc: u32, participant: SharedParticipant, now: Instant) {
        self.participants.insert(ssrc, participant);
        self.introduce(ssrc, now);
        let Some(session) = self.voice_sessions.get(&ssrc) else { return };
        let (channel, user, max_dave) = (session.channel, session.user, session.max_dave);
        let version = self.join_delivery(channel, user, max_dave, now);
        let answers = self.with_participant(ssrc, |member| member.described(version));
        // The external sender comes before the key package is of use.
        self.poll_delivery(channel, now);
        self.answer(channel, user, answers.unwrap_or_default());
        self.poll_delivery(channel, now);
    }

    /// Feeds what simulated members have to say of their own accord.
    pub(crate) fn poll_participants(&mut self, now: Instant) {
        for ssrc in self.participants.keys().copied().collect::<Vec<_>>() {
            let Some(session) = self.voice_sessions.get(&ssrc) else { continue };
            let (channel, user) = (session.channel, session.user);
            let said = self.with_participant(ssrc, Participant::outgoing).unwrap_or_default();
            if !said.is_empty() {
                self.answer(channel, user, said);
                self.poll_delivery(channel, now);
            }
        }
    }

    /// Shows ops 11 and 13 to a simulated member.
    pub(crate) fn inform_participant(&mut self, ssrc: u32, message: &NumberedMessage) {
        let NumberedMessage::Json { op, d } = message else { return };
        let id = |value: &Value| value.as_str().and_then(|digits| digits.parse().ok());
        match *op {
            voice_op::CLIENTS_CONNECT => {
                let users: Vec<u64> = d["user_ids"].as_array().into_iter().flatten().filter_map(id).collect();
                self.with_participant(ssrc, |member| member.clients_connect(&users));
            }
            voice_op::CLIENT_DISCONNECT => {
                let user = id(&d["user_id"]).unwrap_or_default();
                self.with_participant(ssrc, |member| member.client_disconnect(user));
            }
            _ => {}
        }
    }

    fn with_participant<R>(&self, ssrc: u32, act: impl FnOnce(&mut Participant) -> R) -> Option<R> {
        let participant = self.participants.get(&ssrc)?;
        Some(act(&mut participant.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn answer(&mut self, channel: u64, user: u64, messages: Vec<ClientMessage>) {
        let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
        for message in messages {
            let fed = match message {
                ClientMessage::Json { op, d } => delivery.text(user, op, &d),
                ClientMessage::Binary { op, payload } => delivery.binary(user, op, &payload),
            };
            if let Err(Refused::ByService(error)) = fed {
                tracing::debug!(user, %error, "the answer of a simulated member was refused");
            }
        }
    }
}

/// How many key packages are remembered over all calls.
const KEY_PACKAGES_MAX: usize = 4_096;
/// How long after a resume what may have been lost with the websocket may be said again.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(2);
