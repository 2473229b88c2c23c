//! The command as a user runs it: its own process, real time, and a Discord on this machine.

mod bench;
mod demo;
mod exit_codes;
mod hall;
mod loopback;
mod play;
