//! The one request of Discord's REST interface: how many shards, and how fast they may identify.

use std::{sync::Arc, time::Duration};

use awc::{Client, Connector, http::header};
use rustls::ClientConfig;

use crate::{
    id::Token,
    main_gateway::{GatewayBot, GatewayBotError},
};

/// Asks Discord.
///
/// # Errors
///
/// When there is no answer, or none that is of use.
pub(super) async fn gateway_bot(
    url: String,
    token: Token,
    tls: Arc<ClientConfig>,
) -> Result<GatewayBot, GatewayBotError> {
    let unreachable = |error: &dyn std::fmt::Display| GatewayBotError::Unreachable(error.to_string());
    let connector =
        Connector::new().rustls_0_23(tls).timeout(CONNECT_TIMEOUT).handshake_timeout(CONNECT_TIMEOUT);
    let client = Client::builder().connector(connector).timeout(CONNECT_TIMEOUT).finish();
    let request = client
        .get(url)
        .insert_header((header::AUTHORIZATION, GatewayBot::authorization(&token)))
        .insert_header((header::USER_AGENT, USER_AGENT));
    let mut answer = request.send().await.map_err(|error| unreachable(&error))?;
    let retry_after = answer.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|after| after.to_str().ok()?.parse().ok());
    let body = answer.body().limit(MAX_BODY).await.map_err(|error| unreachable(&error))?;
    GatewayBot::read(answer.status().as_u16(), retry_after, &body)
}

/// As [Discord wants it](https://docs.discord.com/developers/reference#user-agent).
const USER_AGENT: &str =
    concat!("DiscordBot (https://crates.io/crates/actix-voice, ", env!("CARGO_PKG_VERSION"), ")");
/// The answer has some hundred bytes.
const MAX_BODY: usize = 64 << 10;
/// For each step; the machine limits the whole.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
