//! Discord on 127.0.0.1.

pub mod cipher;
pub mod netem;
pub mod opus;
pub mod recorder;
pub mod relay;
pub mod rtp;
pub mod score;
