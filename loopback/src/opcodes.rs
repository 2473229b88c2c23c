//! The opcodes of both gateways, by the names that Discord's documents give them; those of DAVE are in [`crate::dave::op`].

/// Opcodes of the main gateway:
/// <https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-opcodes>.
pub(crate) mod main {
    pub(crate) const DISPATCH: u8 = 0;
    pub(crate) const HEARTBEAT: u8 = 1;
    pub(crate) const IDENTIFY: u8 = 2;
    pub(crate) const PRESENCE_UPDATE: u8 = 3;
    pub(crate) const VOICE_STATE_UPDATE: u8 = 4;
    /// Undocumented.
    pub(crate) const VOICE_SERVER_PING: u8 = 5;
    pub(crate) const RESUME: u8 = 6;
    pub(crate) const RECONNECT: u8 = 7;
    pub(crate) const REQUEST_GUILD_MEMBERS: u8 = 8;
    pub(crate) const INVALID_SESSION: u8 = 9;
    pub(crate) const HELLO: u8 = 10;
    pub(crate) const HEARTBEAT_ACK: u8 = 11;
    pub(crate) const REQUEST_SOUNDBOARD_SOUNDS: u8 = 31;
}

/// Opcodes of the voice gateway:
/// <https://docs.discord.com/developers/topics/opcodes-and-status-codes#voice-voice-gateway-opcodes>.
pub(crate) mod voice {
    pub(crate) const IDENTIFY: u8 = 0;
    pub(crate) const SELECT_PROTOCOL: u8 = 1;
    pub(crate) const READY: u8 = 2;
    pub(crate) const HEARTBEAT: u8 = 3;
    pub(crate) const SESSION_DESCRIPTION: u8 = 4;
    pub(crate) const SPEAKING: u8 = 5;
    pub(crate) const HEARTBEAT_ACK: u8 = 6;
    pub(crate) const RESUME: u8 = 7;
    pub(crate) const HELLO: u8 = 8;
    pub(crate) const RESUMED: u8 = 9;
    pub(crate) const CLIENTS_CONNECT: u8 = 11;
    /// Undocumented.
    pub(crate) const VIDEO: u8 = 12;
    pub(crate) const CLIENT_DISCONNECT: u8 = 13;
    /// Undocumented.
    pub(crate) const SESSION_UPDATE: u8 = 14;
    /// Undocumented.
    pub(crate) const MEDIA_SINK_WANTS: u8 = 15;
    /// Undocumented.
    pub(crate) const VOICE_BACKEND_VERSION: u8 = 16;
    /// Undocumented.
    pub(crate) const CLIENT_FLAGS: u8 = 18;
    /// Undocumented.
    pub(crate) const CLIENT_PLATFORM: u8 = 20;
    /// Undocumented.
    pub(crate) const NO_ROUTE: u8 = 32;
}
