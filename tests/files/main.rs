//! Files of every kind: what plays, that it sounds right, and what is said of those that do not.
#![cfg(feature = "decode")]

#[path = "../stories/support/audio.rs"]
mod audio;
mod basics;
mod damage;
mod joined;
mod layouts;
mod make;
mod movies;
mod mutated;
mod ogg;
mod refused;
mod seeking;
mod streams;
mod tagged;
mod waves;
mod with_ffmpeg;
