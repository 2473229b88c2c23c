//! Stories of whole calls: one delivery service, some members, and a bus between them that keeps the order of each
//! connection and nothing else.

mod bus;
mod davey_peer;
mod faults;
mod joining;
mod leaving;
mod media;
mod rules;
mod storm;
mod versions;
