//! The actix-voice command.
fn main() {}
