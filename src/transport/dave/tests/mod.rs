//! Calls of several bots, with the server's part played by hand.

mod joins;
mod peers;
mod proposals;
mod recovery;
mod strays;
mod transitions;
