//! Both gateways, seen by a client written from Discord's documentation alone.

mod calls;
mod client;
mod faults;
mod joining;
mod late_events;
mod main_gateway;
mod networks;
mod resuming;
mod voice_gateway;
