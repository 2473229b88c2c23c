//! The DAVE hook: where a call's delivery service is fed, and where its messages come out.

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::buffer::Numbered;
use crate::builder::Dave;
use crate::dave::{DaveSettings, DeliveryService, ServerMessage};
use crate::payload;
use crate::server::State;

/// The delivery service of one call.
pub(crate) struct Delivery {
    service: DeliveryService,
}

impl Delivery {
    fn new(channel: u64, settings: DaveSettings) -> Self {
        Self { service: DeliveryService::new(channel, settings) }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.service.deadline()
    }
}

impl State {
    /// Lets a user into the call's group; says the DAVE version for its Session Description.
    ///
    /// What the service has to say to it waits for [`Self::pump_delivery`], which comes after that description.
    pub(crate) fn join_delivery(&mut self, channel: u64, user: u64, max_version: u16, now: Instant) -> u16 {
        if self.settings.dave == Dave::Off {
            return 0;
        }
        let settings = &self.dave_settings;
        let delivery =
            self.deliveries.entry(channel).or_insert_with(|| Delivery::new(channel, settings.clone()));
        delivery.service.join(user, max_version, now);
        self.delivery_version(channel)
    }

    /// The DAVE version the call speaks now.
    pub(crate) fn delivery_version(&self, channel: u64) -> u16 {
        self.deliveries.get(&channel).map_or(0, |delivery| delivery.service.version())
    }

    /// Takes a user out of the call's group.
    pub(crate) fn leave_delivery(&mut self, channel: u64, user: u64, now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
        delivery.service.leave(user);
        self.pump_delivery(channel, now);
        if !self.voice_sessions.values().any(|session| session.channel == channel && session.described) {
            self.deliveries.remove(&channel);
        }
    }

    /// Routes a client's DAVE text message; says whether it could be read.
    pub(crate) fn delivery_text(&mut self, channel: u64, user: u64, op: u8, d: &Value, now: Instant) -> bool {
        let Some(transition) = payload::integer(d, "transition_id") else { return false };
        if let Some(delivery) = self.deliveries.get_mut(&channel) {
            match op {
                TRANSITION_READY => delivery.service.transition_ready(user, transition),
                _ => delivery.service.invalid_commit_welcome(user, transition),
            }
            self.pump_delivery(channel, now);
        }
        true
    }

    /// Routes a client's DAVE binary message.
    pub(crate) fn delivery_binary(&mut self, channel: u64, user: u64, op: u8, payload: &[u8], now: Instant) {
        let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
        match op {
            KEY_PACKAGE => delivery.service.key_package(user, payload),
            _ => delivery.service.commit_welcome(user, payload),
        }
        self.pump_delivery(channel, now);
    }

    /// Numbers what the service has to say into each member's buffer.
    pub(crate) fn pump_delivery(&mut self, channel: u64, now: Instant) {
        loop {
            let Some(delivery) = self.deliveries.get_mut(&channel) else { return };
            let said = delivery.service.poll(now);
            if said.is_empty() {
                return;
            }
            for (user, message) in said {
                self.deliver(channel, user, message, now);
            }
        }
    }

    fn deliver(&mut self, channel: u64, user: u64, message: ServerMessage, now: Instant) {
        let numbered = match message {
            ServerMessage::Json { op, d } => Numbered::Json { op, d },
            ServerMessage::Binary { op, payload } => Numbered::Binary { op, payload: Bytes::from(payload) },
        };
        let session = self.voice_sessions.iter().find(|(_, session)| {
            session.channel == channel && session.user == user && session.described
        });
        if let Some(ssrc) = session.map(|(ssrc, _)| *ssrc) {
            self.send_numbered(ssrc, numbered, now);
        }
    }
}

/// DAVE Transition Ready.
pub(crate) const TRANSITION_READY: u8 = 23;
/// MLS Key Package.
pub(crate) const KEY_PACKAGE: u8 = 26;
/// MLS Commit Welcome.
pub(crate) const COMMIT_WELCOME: u8 = 28;
/// MLS Invalid Commit Welcome.
pub(crate) const INVALID_COMMIT_WELCOME: u8 = 31;
