//! GatewayBot: how many shards Discord recommends, and how fast and how often they may identify.
//!
//! [Get Gateway Bot](https://docs.discord.com/developers/events/gateway#get-gateway-bot), the one request of the REST interface
//! that is made.

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::DISCORD;
use super::message::bare;
use crate::id::Token;

/// What Discord says of a bot's main gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct GatewayBot {
    /// How many shards it recommends.
    pub shards: u32,
    /// How often they may identify.
    pub session_start_limit: SessionStartLimit,
}

/// How often a bot may identify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SessionStartLimit {
    /// How often until the limit is reset.
    pub remaining: u32,
    /// How often from then on, in a day.
    pub total: u32,
    /// How long until then; in milliseconds on the wire.
    #[serde(deserialize_with = "milliseconds")]
    pub reset_after: Duration,
    /// How many shards may identify within five seconds.
    pub max_concurrency: u32,
}

/// Why Discord did not say how many shards it recommends.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GatewayBotError {
    /// Status 401.
    #[error("Discord rejected the bot token (401)")]
    Unauthorized,
    /// Status 429.
    #[error("Discord was asked too often for the number of shards, and wants {} s of peace", after.as_secs())]
    RateLimited {
        /// How long not to ask again.
        after: Duration,
    },
    /// Another status.
    #[error("Discord answered with status {0} when asked for the number of shards")]
    Status(u16),
    /// No answer came.
    #[error("Discord cannot be asked for the number of shards: {0}")]
    Unreachable(String),
    /// The answer cannot be read.
    #[error("Discord's answer about the number of shards cannot be read")]
    Unreadable,
}

impl GatewayBot {
    /// Where the main gateway at this address is asked.
    #[must_use]
    pub fn address(gateway: &str) -> String {
        let (base, _) = gateway.split_once('?').unwrap_or((gateway, ""));
        let base = if base == DISCORD { "wss://discord.com" } else { base.trim_end_matches('/') };
        format!("{}/api/v10/gateway/bot", base.replacen("ws", "http", 1))
    }

    /// The value of the request's header `Authorization`. It is a secret.
    #[must_use]
    pub fn authorization(token: &Token) -> String {
        format!("Bot {}", bare(token))
    }

    /// Reads an answer, with the seconds of its header `Retry-After` if it has one.
    ///
    /// # Errors
    ///
    /// When it is a refusal, or makes no sense.
    pub fn read(status: u16, retry_after: Option<f64>, body: &[u8]) -> Result<Self, GatewayBotError> {
        match status {
            200 => serde_json::from_slice(body).map_err(|_| GatewayBotError::Unreadable),
            401 => Err(GatewayBotError::Unauthorized),
            429 => {
                let after = retry_after.and_then(|after| Duration::try_from_secs_f64(after).ok());
                Err(GatewayBotError::RateLimited { after: after.unwrap_or_default().min(RETRY_AFTER_MAX) })
            }
            status => Err(GatewayBotError::Status(status)),
        }
    }
}

impl GatewayBotError {
    /// Whether asking again may lead to another answer.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unreachable(_) => true,
            Self::Status(status) => *status >= 500,
            Self::Unauthorized | Self::Unreadable => false,
        }
    }

    /// How long not to ask again at least.
    pub(super) fn pause(&self) -> Duration {
        match self {
            Self::RateLimited { after } => *after,
            _ => Duration::ZERO,
        }
    }
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Longer than Discord ever asks for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
