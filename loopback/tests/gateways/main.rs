//! Both gateways, seen by a client written from Discord's documentation alone.

mod client;
mod faults;
mod calls;
mod joining;
mod main_gateway;
mod resuming;
mod voice_gateway;
