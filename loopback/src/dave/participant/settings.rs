//! How a member behaves where clients differ, or where documents leave it open.

use std::time::Duration;

/// How a member behaves where clients differ.
#[derive(Debug, Clone)]
pub struct ParticipantSettings {
    /// How long plain frames are accepted after a call got encrypted (default 10 s).
    pub passthrough_timeout: Duration,
    /// What happens to frames while there is nobody to share a key with.
    pub while_alone: WhileAlone,
    /// What happens to the three bytes of Opus silence.
    pub silence: Silence,
    /// How many frames in a row may fail before op 31 (default `None`: never; discord.js has 36).
    pub recovery_after: Option<u32>,
}

impl Default for ParticipantSettings {
    fn default() -> Self {
        Self {
            passthrough_timeout: Duration::from_secs(10),
            while_alone: WhileAlone::Hold,
            silence: Silence::Encrypted,
            recovery_after: None,
        }
    }
}

/// What happens to frames while there is nobody to share a key with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileAlone {
    /// They are not sent.
    Hold,
    /// They are sent in clear, as discord.js does.
    Plain,
}

/// What happens to the three bytes of Opus silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// They are encrypted like any frame, as libdave does.
    Encrypted,
    /// They stay as they are, as discord.js does.
    Clear,
}
