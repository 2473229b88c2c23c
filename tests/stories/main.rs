//! Stories: what a user of the crate would notice, told against an offline Discord.

mod dave_churn;
mod dave_faults;
mod dave_joining;
mod dave_secrecy;
mod dave_stage;
mod dave_transitions;
mod play;
mod stage;
