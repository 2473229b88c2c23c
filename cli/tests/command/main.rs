//! The command as a user runs it: its own process, real time, and a Discord on this machine.

mod bench;
mod demo;
#[cfg(unix)]
mod dev;
mod exit_codes;
#[cfg(unix)]
mod interrupts;
#[cfg(unix)]
mod loopback;
mod play;
mod record;
mod support;
