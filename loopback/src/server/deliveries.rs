//! The delivery services of all calls: where their messages are fed, and which key packages were used.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::payload;
use super::plain_audio::PlainAudioAudit;
use crate::dave::{DeliveryError, DeliveryService, op};
use crate::rule::Violation;

/// The delivery service of one call.
pub(super) struct Delivery {
    pub(super) service: DeliveryService,
    audit: PlainAudioAudit,
}

impl Delivery {
    pub(super) fn new(service: DeliveryService, audit: PlainAudioAudit) -> Self {
        Self { service, audit }
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.audit.violations()
    }

    /// Takes note of which of these users have to encrypt from now on.
    pub(super) fn audit_plain_audio(&self, users: impl Iterator<Item = u64>, now: Instant) {
        self.audit.encrypted(users.filter(|user| self.service.is_encrypted(*user)), now);
    }

    /// Feeds a text message of a client.
    pub(super) fn text(&mut self, user: u64, op: u8, d: &Value) -> Result<(), Refused> {
        let transition = payload::integer(d, "transition_id").ok_or(Refused::Undecodable)?;
        match op {
            op::TRANSITION_READY => self.service.transition_ready(user, transition)?,
            _ => self.service.invalid_commit_welcome(user, transition)?,
        }
        Ok(())
    }

    /// Feeds a binary message of a client.
    pub(super) fn binary(&mut self, user: u64, op: u8, payload: &[u8]) -> Result<(), Refused> {
        match op {
            op::KEY_PACKAGE => self.service.key_package(user, payload)?,
            _ => {
                self.service.commit_welcome(user, payload)?;
            }
        }
        Ok(())
    }
}

/// Why a message did not reach the service, or was not acted on by it.
pub(super) enum Refused {
    Undecodable,
    ByService(DeliveryError),
}

impl From<DeliveryError> for Refused {
    fn from(error: DeliveryError) -> Self {
        Self::ByService(error)
    }
}

/// The owner of the delivery services, by channel.
#[derive(Default)]
pub(super) struct Deliveries {
    by_channel: BTreeMap<u64, Delivery>,
    /// The hashes of the key packages over all calls: each package may be used once.
    key_packages: VecDeque<[u8; 32]>,
}

impl Deliveries {
    /// The delivery service of a call; it is made when there is none.
    pub(super) fn get_or_insert_with(
        &mut self,
        channel: u64,
        make: impl FnOnce() -> Delivery,
    ) -> &mut Delivery {
        self.by_channel.entry(channel).or_insert_with(make)
    }

    pub(super) fn get(&self, channel: u64) -> Option<&Delivery> {
        self.by_channel.get(&channel)
    }

    pub(super) fn get_mut(&mut self, channel: u64) -> Option<&mut Delivery> {
        self.by_channel.get_mut(&channel)
    }

    pub(super) fn remove(&mut self, channel: u64) -> Option<Delivery> {
        self.by_channel.remove(&channel)
    }

    /// The DAVE version that a call speaks now.
    pub(super) fn version(&self, channel: u64) -> u16 {
        self.get(channel).map_or(0, |delivery| delivery.service.version())
    }

    pub(super) fn violations(&self) -> impl Iterator<Item = Violation> {
        self.by_channel.values().flat_map(Delivery::violations)
    }

    /// Whether a key package is seen for the first time over all calls.
    pub(super) fn is_fresh(&mut self, key_package: &[u8]) -> bool {
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

    /// The calls whose service has something to do now.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        let due = |delivery: &Delivery| delivery.service.deadline().is_some_and(|deadline| deadline <= now);
        self.by_channel.iter().filter(|(_, delivery)| due(delivery)).map(|(channel, _)| *channel).collect()
    }

    /// When a service has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_channel.values().filter_map(|delivery| delivery.service.deadline()).min()
    }
}

/// How many key packages are remembered over all calls.
const KEY_PACKAGES_MAX: usize = 4_096;
