//! Stories: what a user of the crate would notice, told against an offline Discord.

mod closing;
mod crowd;
mod joining;
mod leaving;
mod losing_main;
mod moving;
mod own_gateway;
mod play;
mod resuming;
mod stage;
mod witness;
