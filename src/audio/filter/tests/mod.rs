mod changing;
mod loudness;
mod response;
mod settings;
mod support;
mod timescale;
