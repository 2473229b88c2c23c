//! DAVE in the gateways: where the messages of clients reach the delivery service, and where its messages go.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::State;
use super::buffer::{ACK_TIMEOUT, NumberedMessage};
use super::deliveries::{Delivery, Refused};
use super::participants::SharedParticipant;
use super::plain_audio::PlainAudioAudit;
use super::voice_sessions::SessionIdentity;
use crate::Dave;
use crate::dave::{
    ClientMessage, DaveSettings, DeliveryError, DeliveryService, Participant, ServerMessage, op,
};
use crate::rule::Rule;

impl State {
    /// Lets a user into the call's group; says the DAVE version for its Session Description.
    ///
    /// The messages of the service to the user wait for [`Self::poll_delivery`], which comes after that description.
    pub(super) fn join_delivery(&mut self, channel: u64, user: u64, max_version: u16, now: Instant) -> u16 {
        if self.settings.dave == Dave::Off {
            return 0;
        }
        let settings = self.dave_settings_of(channel);
        let delivery = self.deliveries.get_or_insert_with(channel, || {
            let audit = PlainAudioAudit::new(&self.relay, channel);
            Delivery::new(DeliveryService::new(channel, settings), audit)
        });
        delivery.service.join(user, max_version, now);
        delivery.service.version()
    }

    fn dave_settings_of(&self, channel: u64) -> DaveSettings {
        let mut settings = self.settings.dave_settings.clone();
        settings.required = self.dave_required(channel);
        if self.directory.is_stage(channel) {
            settings.max_version = 0;
        }
        settings
    }

    /// Whether clients without DAVE are closed with 4017; stage channels are never encrypted.
    pub(super) fn dave_required(&self, channel: u64) -> bool {
        self.settings.dave == Dave::Required && !self.directory.is_stage(channel)
    }

    /// Takes a user out of the call's group.
    pub(super) fn leave_delivery(&mut self, channel: u64, user: u64, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(channel) else { return };
        delivery.service.leave(user);
        self.poll_delivery(channel, now);
        if self.voice_sessions.in_call(channel).next().is_some() {
            return;
        }
        if let Some(delivery) = self.deliveries.remove(channel) {
            for violation in delivery.violations() {
                self.log.keep_violation(violation);
            }
        }
    }

    /// Routes a client's DAVE text message.
    pub(super) fn delivery_text(&mut self, id: u64, ssrc: u32, op: u8, d: &Value, now: Instant) {
        self.route(id, ssrc, now, |delivery, user| delivery.text(user, op, d));
    }

    /// Routes a client's DAVE binary message.
    pub(super) fn delivery_binary(&mut self, id: u64, ssrc: u32, op: u8, payload: &[u8], now: Instant) {
        let taken = self.route(id, ssrc, now, |delivery, user| delivery.binary(user, op, payload));
        // Within a call the service notices by itself.
        if taken && op == op::KEY_PACKAGE && !self.deliveries.is_fresh(payload) {
            self.violation(id, Rule::Dave(DeliveryError::ReusedKeyPackage.to_string()), now);
        }
    }

    /// Feeds a message to the service of its sender's call; says whether it was taken.
    fn route(
        &mut self,
        id: u64,
        ssrc: u32,
        now: Instant,
        feed: impl FnOnce(&mut Delivery, u64) -> Result<(), Refused>,
    ) -> bool {
        let Some(session) = self.voice_sessions.get(ssrc) else { return false };
        let SessionIdentity { channel, user, .. } = *session.identity();
        let resumed = session.resumed_within(REPEAT_TIMEOUT, now);
        let Some(delivery) = self.deliveries.get_mut(channel) else { return false };
        let fed = feed(delivery, user);
        let taken = fed.is_ok();
        if let Err(refused) = fed {
            self.answer_refused(id, refused, resumed, now);
        }
        self.poll_delivery(channel, now);
        taken
    }

    /// Records and closes as the reason asks for; `resumed` says that the client has only just resumed.
    fn answer_refused(&mut self, id: u64, refused: Refused, resumed: bool, now: Instant) {
        let error = match refused {
            Refused::Undecodable => return self.close(id, 4002, "Failed to decode payload.", now),
            Refused::ByService(error) => error,
        };
        // A client that has lost a websocket cannot know whether op 23 was lost with it, and may send it again.
        let repeats = matches!(error, DeliveryError::RepeatedReady(_)) && resumed;
        if error.is_violation() && !repeats {
            self.violation(id, Rule::Dave(error.to_string()), now);
        }
        if let Some(code) = error.close_code() {
            self.close(id, code, "Bad request.", now);
        }
    }

    /// Numbers what the service has to say into each member's buffer, and lets simulated members answer.
    pub(super) fn poll_delivery(&mut self, channel: u64, now: Instant) {
        loop {
            let Some(delivery) = self.deliveries.get_mut(channel) else { return };
            let said = delivery.service.poll(now);
            if said.is_empty() {
                break;
            }
            for (user, message) in said {
                self.deliver(channel, user, message, now);
            }
        }
        self.check_readiness(channel, now);
        let Some(delivery) = self.deliveries.get(channel) else { return };
        let users = self.voice_sessions.in_channel(channel).map(|(_, session)| session.identity().user);
        delivery.audit_plain_audio(users, now);
    }

    /// Sends a newcomer what comes before its Session Description.
    pub(super) fn poll_before_description(&mut self, channel: u64, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(channel) else { return };
        for (user, message) in delivery.service.poll_before_description() {
            self.deliver(channel, user, message, now);
        }
    }

    /// Records who did not get ready for a transition, although their websocket was there all the while.
    fn check_readiness(&mut self, channel: u64, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(channel) else { return };
        // A client learns of a transition when it opens; the second term is for timers that fire late.
        let time = delivery.service.settings_mut().transition_timeout + ACK_TIMEOUT;
        for (user, transition) in delivery.service.take_overdue() {
            let mut connections = self.voice_sessions.in_channel(channel).filter_map(|(_, session)| {
                let own = session.identity().user == user && !session.resumed_within(time, now);
                session.connection().filter(|_| own)
            });
            if connections.any(|id| self.connections.owes_heartbeat(id)) {
                self.log.violation(now, Some(user), Rule::NeverReady(transition));
            }
        }
    }

    fn deliver(&mut self, channel: u64, user: u64, message: ServerMessage, now: Instant) {
        let session = {
            let mut sessions = self.voice_sessions.in_call(channel);
            sessions.find(|(_, session)| session.identity().user == user)
        };
        let session = session.map(|(ssrc, session)| (ssrc, session.is_simulated()));
        let Some((ssrc, simulated)) = session else { return };
        if simulated {
            let answers = self.participants.with(ssrc, |member| member.receive(&message, now));
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
        let Some(session) = self.voice_sessions.get(ssrc) else { return };
        let SessionIdentity { channel, user, max_dave, .. } = *session.identity();
        let version = self.join_delivery(channel, user, max_dave, now);
        let answers = self.participants.with(ssrc, |member| member.described(version));
        // The external sender comes before the key package is of use.
        self.poll_delivery(channel, now);
        self.answer(channel, user, answers.unwrap_or_default());
        self.poll_delivery(channel, now);
    }

    /// Feeds what simulated members have to say of their own accord.
    pub(crate) fn poll_participants(&mut self, now: Instant) {
        for ssrc in self.participants.ssrcs() {
            let Some(session) = self.voice_sessions.get(ssrc) else { continue };
            let SessionIdentity { channel, user, .. } = *session.identity();
            let said = self.participants.with(ssrc, Participant::outgoing).unwrap_or_default();
            if !said.is_empty() {
                self.answer(channel, user, said);
                self.poll_delivery(channel, now);
            }
        }
    }

    fn answer(&mut self, channel: u64, user: u64, messages: Vec<ClientMessage>) {
        let Some(delivery) = self.deliveries.get_mut(channel) else { return };
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

/// How long after a resume what may have been lost with the websocket may be said again.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(2);
