//! The DAVE delivery service.

use serde_json::Value;
use tokio::time::Instant;

/// The switches of the delivery service.
#[derive(Debug, Clone, Default)]
pub struct DaveSettings {}

/// A message for one member.
#[derive(Debug, Clone)]
pub(crate) enum ServerMessage {
    #[expect(dead_code, reason = "not sent yet")]
    Json { op: u8, d: Value },
    #[expect(dead_code, reason = "not sent yet")]
    Binary { op: u8, payload: Vec<u8> },
}

#[derive(Debug)]
pub(crate) struct DeliveryService {}

impl DeliveryService {
    pub(crate) fn new(_call: u64, _settings: DaveSettings) -> Self {
        Self {}
    }
    pub(crate) fn join(&mut self, _user: u64, _max_version: u16, _now: Instant) {}
    pub(crate) fn key_package(&mut self, _user: u64, _payload: &[u8]) {}
    pub(crate) fn commit_welcome(&mut self, _user: u64, _payload: &[u8]) {}
    pub(crate) fn transition_ready(&mut self, _user: u64, _id: u16) {}
    pub(crate) fn invalid_commit_welcome(&mut self, _user: u64, _id: u16) {}
    pub(crate) fn leave(&mut self, _user: u64) {}
    pub(crate) fn version(&self) -> u16 {
        0
    }
    pub(crate) fn poll(&mut self, _now: Instant) -> Vec<(u64, ServerMessage)> {
        Vec::new()
    }
    pub(crate) fn deadline(&self) -> Option<Instant> {
        None
    }
}
