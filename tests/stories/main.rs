//! Stories: what a user of the crate would notice, told against an offline Discord.

#[path = "../audio_support/mod.rs"]
#[allow(dead_code, reason = "stories use their own part of it")]
mod audio_support;
mod closing;
mod crowd;
mod damage;
mod dave_churn;
mod dave_faults;
mod dave_joining;
mod dave_matrix;
mod dave_secrecy;
mod dave_stage;
mod dave_transitions;
mod days;
mod ears;
mod encoder;
mod formats;
mod hostile;
mod joining;
mod leaving;
mod losing_main;
mod mixing;
mod moving;
mod own_gateway;
mod panics;
mod play;
mod players;
mod pusher;
mod resuming;
mod sources;
mod speaking;
mod stage;
mod systems;
mod witness;
