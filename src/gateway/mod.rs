//! The voice gateway: payloads, close codes, heartbeats and the session.

pub mod close;
pub mod heartbeat;
pub mod payload;
pub mod session;
