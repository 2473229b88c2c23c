#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! | module | decides |
//! |---|---|
//! | [`bridge`] | what the two events of the main gateway mean together |
//! | [`call`] | what follows a failure |
//! | [`gateway`] | what is said to the voice gateway |
//! | [`main_gateway`] | what is said to the main gateway |
//! | [`transport`] | what goes over UDP, and how it is sealed |
//! | [`speaker`] | which frame goes out when |
//! | [`source`], [`audio`] | where frames come from, and what they are made of |
//! | [`actors`] | nothing: it carries out |

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
