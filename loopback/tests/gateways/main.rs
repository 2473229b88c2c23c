//! Both gateways, seen by a client written from Discord's documentation alone.

mod calls;
mod client;
mod faults;
mod joining;
mod main_gateway;
mod resuming;
mod voice_gateway;
