//! Reasons: what went wrong with a call, and why it is over.

use crate::{
    bridge::JoinFailure,
    gateway::{close::CloseCode, session::SessionError},
    transport::WebsocketLoss,
};

/// What went wrong with the websocket or the transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The voice gateway closed the connection.
    #[error("the voice gateway closed the connection with {0}")]
    Closed(CloseCode),
    /// The connection broke without a close frame.
    #[error("the connection to the voice gateway broke: {0}")]
    Lost(String),
    /// The voice gateway stopped answering heartbeats.
    #[error("the voice gateway left two heartbeats unanswered")]
    Zombie,
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] SessionError),
    /// An actor panicked.
    #[error("the {0} actor panicked; this is a bug of ours, please report it")]
    Panicked(&'static str),
    /// The end-to-end encryption cannot go on.
    #[cfg(feature = "dave")]
    #[error(transparent)]
    E2ee(#[from] crate::transport::dave::DaveError),
    /// The UDP side failed.
    #[error("the UDP transport failed: {0}")]
    Transport(String),
    /// No credentials came for a new voice session.
    #[error(transparent)]
    Join(#[from] JoinFailure),
    /// Discord named another voice server, or another channel.
    #[error("Discord moved the call to another voice server")]
    ServerChanged,
    /// Discord is allocating a voice server.
    #[error("the voice server is gone; Discord is allocating another")]
    EndpointLost,
    /// Others speak, and nothing of it could be understood.
    #[error("others spoke for seconds, and nothing of it could be decrypted")]
    Deaf,
    /// The main gateway session was replaced.
    #[error("the main gateway began a new session")]
    MainSessionReplaced,
}

impl Cause {
    /// A word for it that does not change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed(_) => "closed",
            Self::Lost(_) => "lost",
            Self::Zombie => "zombie",
            Self::Handshake(_) => "handshake",
            Self::Panicked(_) => "panicked",
            #[cfg(feature = "dave")]
            Self::E2ee(_) => "e2ee",
            Self::Transport(_) => "transport",
            Self::Join(_) => "join",
            Self::Deaf => "deaf",
            Self::ServerChanged => "server_changed",
            Self::EndpointLost => "endpoint_lost",
            Self::MainSessionReplaced => "main_session_replaced",
        }
    }

    /// What the loss of a websocket for this cause says of the network.
    #[must_use]
    pub fn websocket_loss(&self) -> WebsocketLoss {
        match self {
            Self::Lost(_) | Self::Zombie => WebsocketLoss::Network,
            _ => WebsocketLoss::Closed,
        }
    }
}

/// Why a call is over, and what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The user asked for it.
    #[error("left as asked")]
    Left,
    /// A moderator disconnected the bot, or the channel is gone.
    #[error(
        "disconnected by a moderator, or the channel was deleted; join again only if someone asks for it"
    )]
    Kicked,
    /// The first join got no answer.
    #[error(transparent)]
    NotJoined(JoinFailure),
    /// The voice gateway gave a code after which trying again is wrong.
    #[error("the voice gateway refused: {0}")]
    Refused(CloseCode),
    /// No voice session can be made with this server, however often it is tried.
    #[error("no voice session can be made: {0}; is there a newer actix-voice?")]
    Incompatible(SessionError),
    /// Too many failures within a minute, or without a success in between.
    #[error("gave up after {failures} failures, try again later; the last: {last}")]
    GaveUp {
        /// How many failures there were.
        failures: usize,
        /// The last of them.
        last: Cause,
    },
    /// The call is not end-to-end encrypted, and the bot may not speak plainly.
    #[error(
        "the call is not end-to-end encrypted, so nothing was said in it: if it is a stage, tell the manager with \
         StageChannel; if that is as it should be, set Config::require_e2ee to false"
    )]
    NotEncrypted,
    /// The bot is no longer in the guild, or the guild is unavailable.
    #[error("the guild is gone or unavailable; join again when it is back")]
    GuildDeleted,
    /// Another program that runs with the bot's token joined voice in this guild.
    #[error("another program with the same bot token is in voice in this guild; stop one of the two")]
    TakenOver,
    /// A main gateway of another bot user was plugged in.
    #[error("a main gateway of another bot user was plugged in; join again, as that user")]
    UserReplaced,
    /// libopus did not take the encoder settings.
    #[error("the encoder settings cannot be used, correct them in Config: {0}")]
    NoEncoder(String),
    /// The call's own actor panicked.
    #[error("the call panicked, join again; this is a bug of ours, please report it")]
    Panicked,
    /// The manager was stopped.
    #[error("the voice manager was stopped")]
    Stopped,
}

impl EndReason {
    /// A word for it that does not change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Kicked => "kicked",
            Self::NotJoined(_) => "not_joined",
            Self::Refused(_) => "refused",
            Self::Incompatible(_) => "incompatible",
            Self::GaveUp { .. } => "gave_up",
            Self::NotEncrypted => "not_encrypted",
            Self::GuildDeleted => "guild_deleted",
            Self::TakenOver => "taken_over",
            Self::UserReplaced => "user_replaced",
            Self::NoEncoder(_) => "no_encoder",
            Self::Panicked => "panicked",
            Self::Stopped => "stopped",
        }
    }
}
