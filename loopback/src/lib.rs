//! Discord on 127.0.0.1.

pub mod dave;
