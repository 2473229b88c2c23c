#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! | module | decides | machine / actor |
//! |---|---|---|
//! | [`bridge`] | what the two events of the main gateway mean together | `GuildVoice` / `Bridge` |
//! | [`call`] | what follows a failure | `Recovery`, `Supervision` / `Call` |
//! | [`gateway`] | what is said to the voice gateway, and when it is dead | `Session` / `Gateway`, `Heartbeat` / `Heartbeater` |
//! | [`main_gateway`] | what is said to the main gateway, and by which shard when | `Sharding` / `MainGateway`, `Shard` / `ShardConnection` |
//! | [`transport`] | what goes over UDP, and how it is sealed | `Link` / `Transport`, `dave::Group` / `Dave` |
//! | [`hearing`], [`jitter`] | what is heard of the others, in which order, and what stands in for what is lost | `Hearing` over `Forwarder` and `Player` / `Listener` |
//! | [`speaker`] | which frame goes out when | `Pacer` / `Speaker` |
//! | [`queue`] | which track plays next, and what is opened ahead | `Queue` / `Queue` |
//! | [`source`], [`audio`] | where frames come from, and what they are made of | trait `Source` / `Player` |
//! | [`recording`] | what of what is heard goes into which file | `Recording` / `Recorder` |
//! | [`actors`] | nothing: it carries out | `VoiceManager` on top |

#[cfg(feature = "actors")]
#[path = "../actors/mod.rs"]
pub mod actors;

pub mod audio;
pub mod bridge;
pub mod call;
pub mod gateway;
pub mod hearing;
pub mod id;
pub mod jitter;
pub mod main_gateway;
pub mod queue;
pub mod recording;
pub mod source;
pub mod speaker;
pub mod transport;
