//! Each filter against what it should do, alone, while it changes, and with whatever comes.

mod changing;
mod loudness;
mod response;
mod settings;
mod support;
mod timescale;
