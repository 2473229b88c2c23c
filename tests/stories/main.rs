//! Stories: what a user of the crate would notice, told against an offline Discord.

#[path = "../audio_support/mod.rs"]
#[allow(dead_code, reason = "stories use their own part of it")]
mod audio_support;
mod damage;
mod days;
mod ears;
mod encoder;
mod formats;
mod hostile;
mod mixing;
mod panics;
mod play;
mod players;
mod pusher;
mod sources;
mod speaking;
mod stage;
mod systems;
