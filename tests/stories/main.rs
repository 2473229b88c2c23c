//! Stories: what a user of the crate would notice, told against an offline Discord.

mod play;
mod stage;
