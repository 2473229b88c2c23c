//! Discord voice for Rust, on actix actors.

#[cfg(feature = "actors")]
#[path = "../actors/mod.rs"]
pub mod actors;

pub mod audio;
pub mod bridge;
pub mod call;
pub mod gateway;
pub mod id;
pub mod main_gateway;
pub mod source;
pub mod speaker;
pub mod transport;
