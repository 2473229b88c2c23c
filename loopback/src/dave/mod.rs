//! The DAVE delivery service.

use serde_json::Value;
use tokio::time::Instant;

/// The switches of the delivery service.
#[derive(Debug, Clone)]
pub struct DaveSettings {
    /// Highest protocol version of the call.
    pub max_version: u16,
    /// Whether clients without DAVE are refused.
    pub required: bool,
}

impl Default for DaveSettings {
    fn default() -> Self {
        Self { max_version: 1, required: true }
    }
}

/// Something to go wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {}

/// A message of the voice gateway to a client.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// Ops 21, 22 and 24.
    Json {
        /// The opcode.
        op: u8,
        /// The payload's `d`.
        d: Value,
    },
    /// Ops 25, 27, 29 and 30.
    Binary {
        /// The opcode.
        op: u8,
        /// What follows sequence number and opcode.
        payload: Vec<u8>,
    },
}

/// A message of a client to the voice gateway.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// Ops 23 and 31.
    Json {
        /// The opcode.
        op: u8,
        /// The payload's `d`.
        d: Value,
    },
    /// Ops 26 and 28.
    Binary {
        /// The opcode.
        op: u8,
        /// What follows the opcode.
        payload: Vec<u8>,
    },
}

/// Why the delivery service did not act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The bytes are no such message.
    #[error("malformed")]
    Malformed,
}

impl DeliveryError {
    /// The close code to answer with.
    pub fn close_code(&self) -> Option<u16> {
        Some(4020)
    }
    /// Whether a correct client would never have caused this.
    pub fn is_violation(&self) -> bool {
        true
    }
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFate {
    /// It waits.
    Waiting,
}

/// The delivery service of one call.
pub struct DeliveryService {}

impl DeliveryService {
    /// Makes the service of the call in one channel.
    pub fn new(_call_channel_id: u64, _settings: DaveSettings) -> Self {
        Self {}
    }
    /// A client has joined the call.
    pub fn join(&mut self, _user: u64, _max_version: u16, _now: Instant) {}
    /// A client has left for good.
    pub fn leave(&mut self, _user: u64) {}
    /// The protocol version of the call.
    pub fn version(&self) -> u16 {
        0
    }
    /// Op 26.
    ///
    /// # Errors
    /// Never.
    pub fn key_package(&mut self, _user: u64, _payload: &[u8]) -> Result<(), DeliveryError> {
        Err(DeliveryError::Malformed)
    }
    /// Op 28.
    ///
    /// # Errors
    /// Never.
    pub fn commit_welcome(&mut self, _user: u64, _payload: &[u8]) -> Result<CommitFate, DeliveryError> {
        Ok(CommitFate::Waiting)
    }
    /// Op 23.
    ///
    /// # Errors
    /// Never.
    pub fn transition_ready(&mut self, _user: u64, _transition_id: u16) -> Result<(), DeliveryError> {
        Ok(())
    }
    /// Op 31.
    ///
    /// # Errors
    /// Never.
    pub fn invalid_commit_welcome(&mut self, _user: u64, _transition_id: u16) -> Result<(), DeliveryError> {
        Ok(())
    }
    /// Says what to send now.
    pub fn poll(&mut self, _now: Instant) -> Vec<(u64, ServerMessage)> {
        Vec::new()
    }
    /// When `poll` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }
    /// Whether this user was told to encrypt.
    pub fn is_encrypted(&self, _user: u64) -> bool {
        false
    }
    /// The epoch of the group.
    pub fn epoch(&self) -> u64 {
        0
    }
    /// Users in the group.
    pub fn established(&self) -> Vec<u64> {
        Vec::new()
    }
    /// Makes something go wrong.
    pub fn fault(&mut self, _fault: Fault) {}
    /// The switches.
    pub fn settings_mut(&mut self) -> &mut DaveSettings {
        unreachable!("no service is made")
    }
}

/// A member.
pub struct Participant {}

impl Participant {
    /// Makes a member of the call in one channel.
    pub fn new(_user: u64, _call_channel_id: u64) -> Self {
        Self {}
    }
    /// Op 4.
    pub fn described(&mut self, _version: u16) -> Vec<ClientMessage> {
        Vec::new()
    }
    /// Op 11.
    pub fn clients_connect(&mut self, _users: &[u64]) {}
    /// Op 13.
    pub fn client_disconnect(&mut self, _user: u64) {}
    /// The other ops.
    pub fn receive(&mut self, _message: &ServerMessage, _now: Instant) -> Vec<ClientMessage> {
        Vec::new()
    }
    /// Seals a frame.
    pub fn encrypt(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        Some(frame.to_vec())
    }
    /// Opens a frame.
    ///
    /// # Errors
    /// Never.
    pub fn decrypt(&mut self, _user: u64, bytes: &[u8], _now: Instant) -> Result<Vec<u8>, DeliveryError> {
        Ok(bytes.to_vec())
    }
    /// What it has to say of its own accord.
    pub fn outgoing(&mut self) -> Vec<ClientMessage> {
        Vec::new()
    }
    /// The 30 digits.
    pub fn privacy_code(&self) -> Option<String> {
        None
    }
}
