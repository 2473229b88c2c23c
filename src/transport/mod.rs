//! Link: one UDP path to the voice server.

pub mod cipher;
#[cfg(feature = "dave")]
pub mod dave;
pub mod discovery;
pub mod rtp;
