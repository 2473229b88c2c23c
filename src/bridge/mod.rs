//! Rendezvous: brings VOICE_STATE_UPDATE and VOICE_SERVER_UPDATE together.

pub mod events;
