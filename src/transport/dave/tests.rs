//! Calls of several bots, with the server's part played by hand.

mod chaos;
mod joins;
mod peers;
mod proposals;
mod recovery;
pub(super) mod service;
mod strays;
pub(super) mod support;
mod transitions;
