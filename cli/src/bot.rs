//! A bot that logs in at a main gateway and joins channels.

use std::time::Duration;

use actix::{Actor, Addr};
use actix_voice::{
    actors::{
        CallHandle, Config, Encryption, Join, MainGateway, SendLimit, Subscribe, VoiceManager,
        main_gateway::Logout,
    },
    call::EndReason,
    id::{ChannelId, GuildId, Token},
    main_gateway::{DISCORD, MainGatewayError},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    event_collector::{BotStatus, EventCollector},
    exit::Failure,
    screen::Screen,
};

/// Where a bot logs in: Discord, or another main gateway by its URL.
#[derive(Clone, Debug)]
pub struct GatewayUrl(String);

/// A bot that has logged in.
pub struct Bot {
    manager: Addr<VoiceManager>,
    gateway: Addr<MainGateway>,
    status: watch::Receiver<BotStatus>,
}

impl GatewayUrl {
    /// Reads `ws://host:port` or `wss://host:port`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let host = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://"));
        match host {
            Some(host) if !host.is_empty() => Ok(Self(url.to_owned())),
            _ => Err("a gateway is ws://host:port or wss://host:port".into()),
        }
    }

    /// A gateway without TLS names voice servers without TLS.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        if self.0.starts_with("ws://") {
            config.encryption = Encryption::None;
        }
        config
    }
}

impl Default for GatewayUrl {
    fn default() -> Self {
        Self(DISCORD.to_owned())
    }
}

/// Reads a bot token.
///
/// # Errors
///
/// When it is empty, as an unset secret of a build system is.
pub fn parse_token(text: &str) -> Result<Token, String> {
    match text.trim() {
        "" => Err("the token is empty".into()),
        token => Ok(Token(token.to_owned())),
    }
}

impl Bot {
    /// Logs in at a gateway that takes what Discord takes.
    ///
    /// # Errors
    ///
    /// When the gateway cannot be reached, or refuses the bot.
    pub async fn log_in(url: &GatewayUrl, token: Token, screen: &Screen) -> Result<Self, Failure> {
        Self::log_in_to(url, &url.config(), SendLimit::Discords, token, screen).await
    }

    /// Logs in, configured like this, at a gateway that takes so many messages.
    ///
    /// # Errors
    ///
    /// As [`log_in`](Self::log_in).
    pub async fn log_in_to(
        url: &GatewayUrl,
        config: &Config,
        limit: SendLimit,
        token: Token,
        screen: &Screen,
    ) -> Result<Self, Failure> {
        let (collector, status) = EventCollector::new(screen.clone());
        let events = collector.start();
        let manager = VoiceManager::new(config.clone()).start();
        manager.do_send(Subscribe::new(events.clone().recipient()));
        let gateway = MainGateway::at(&url.0, token, config, manager.clone());
        let gateway = gateway.send_limit(limit).listener(events.recipient()).start();
        let bot = Self { manager, gateway, status };
        let decided = |status: &BotStatus| {
            status.user.is_some() || status.refused.is_some() || status.unreachable.is_some()
        };
        let unreachable = |cause: String| Failure::Unreachable { url: url.0.clone(), cause };
        let cause = match timeout(LOGIN_TIMEOUT, bot.until(decided, |status| status.login_outcome())).await {
            Ok(LoginOutcome::LoggedIn) => return Ok(bot),
            Ok(LoginOutcome::Refused(error)) => return Err(error.into()),
            Ok(LoginOutcome::Unreachable(cause)) => cause,
            Err(_) => format!("it did not let the bot in within {} s", LOGIN_TIMEOUT.as_secs()),
        };
        Err(unreachable(cause))
    }

    /// The manager of the bot's calls.
    pub fn manager(&self) -> &Addr<VoiceManager> {
        &self.manager
    }

    /// Joins a channel.
    ///
    /// # Errors
    ///
    /// When it is not joined.
    pub fn join(
        &self,
        guild: GuildId,
        channel: ChannelId,
    ) -> impl Future<Output = Result<CallHandle, Failure>> + use<> {
        let joining = self.manager.send(Join::new(guild, channel));
        async { Ok(joining.await.map_err(|error| Failure::Other(error.to_string()))??) }
    }

    /// Waits until a condition holds of the bot's status, and takes something from it.
    pub async fn until<T>(
        &self,
        condition: impl Fn(&BotStatus) -> bool,
        take: impl Fn(&BotStatus) -> T,
    ) -> T {
        let mut status = self.status.clone();
        loop {
            {
                let current = status.borrow_and_update();
                if condition(&current) {
                    return take(&current);
                }
            }
            if status.changed().await.is_err() {
                // The collector never ends before the bot: its manager holds the collector's address.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the call of this guild, or the bot's login, has ended.
    pub async fn ended(&self, guild: GuildId) -> BotExit {
        let exit = |status: &BotStatus| {
            let call = status.ended_calls.get(&guild).cloned().map(BotExit::Call);
            call.or(status.refused.map(BotExit::Refused))
        };
        loop {
            if let Some(exit) = self.until(|status| exit(status).is_some(), exit).await {
                return exit;
            }
        }
    }

    /// Takes something from the bot's status.
    pub fn read_status<T>(&self, take: impl Fn(&BotStatus) -> T) -> T {
        take(&self.status.borrow())
    }

    /// Logs out, which takes the bot out of all voice channels.
    pub async fn log_out(self) {
        // A gateway that does not take the logout notices the closed socket.
        let _ = timeout(LOGOUT_TIMEOUT, self.gateway.send(Logout)).await;
    }
}

/// Why a bot speaks no more.
pub enum BotExit {
    /// The call is over.
    Call(EndReason),
    /// The main gateway does not let the bot in again.
    Refused(MainGatewayError),
}

/// What came of a login.
enum LoginOutcome {
    LoggedIn,
    Refused(MainGatewayError),
    Unreachable(String),
}

impl BotStatus {
    fn login_outcome(&self) -> LoginOutcome {
        match (self.user, self.refused, &self.unreachable) {
            (_, Some(error), _) => LoginOutcome::Refused(error),
            (Some(_), ..) => LoginOutcome::LoggedIn,
            (None, None, cause) => LoginOutcome::Unreachable(cause.clone().unwrap_or_default()),
        }
    }
}

/// How long a main gateway may take to let the bot in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long logging out may take.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(2);
