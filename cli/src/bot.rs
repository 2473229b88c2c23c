//! A bot that logs in at a main gateway and joins channels.

use std::time::Duration;

use actix::{Actor, Addr};
use actix_voice::{
    actors::{
        CallHandle, Config, Encryption, Join, MainGateway, Subscribe, VoiceManager, main_gateway::Logout,
    },
    id::{ChannelId, GuildId, Token},
    main_gateway::{DISCORD, MainGatewayError},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    exit::Failure,
    news::{News, Standing},
    screen::Screen,
};

/// Where a bot logs in: Discord, or another main gateway by its URL.
#[derive(Clone, Debug)]
pub struct GatewayUrl(String);

/// A bot that has logged in.
pub struct Bot {
    manager: Addr<VoiceManager>,
    gateway: Addr<MainGateway>,
    standing: watch::Receiver<Standing>,
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
    fn config(&self) -> Config {
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
    /// Logs in.
    ///
    /// # Errors
    ///
    /// When the gateway cannot be reached, or refuses the bot.
    pub async fn log_in(url: &GatewayUrl, token: Token, screen: &Screen) -> Result<Self, Failure> {
        let config = url.config();
        let (news, standing) = News::new(screen.clone());
        let news = news.start();
        let manager = VoiceManager::new(config.clone()).start();
        manager.do_send(Subscribe::new(news.clone().recipient()));
        let gateway =
            MainGateway::at(&url.0, token, &config, manager.clone()).listener(news.recipient()).start();
        let bot = Self { manager, gateway, standing };
        let decided = |standing: &Standing| {
            standing.user.is_some() || standing.refused.is_some() || standing.unreachable.is_some()
        };
        let unreachable = |cause: String| Failure::Unreachable { url: url.0.clone(), cause };
        let cause =
            match timeout(LOGIN_TIMEOUT, bot.until(decided, |standing| standing.login_outcome())).await {
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

    /// Waits until a condition holds of what is known, and takes something from it.
    pub async fn until<T>(&self, condition: impl Fn(&Standing) -> bool, take: impl Fn(&Standing) -> T) -> T {
        let mut standing = self.standing.clone();
        loop {
            {
                let known = standing.borrow_and_update();
                if condition(&known) {
                    return take(&known);
                }
            }
            if standing.changed().await.is_err() {
                // The news never end before the bot: its manager holds them.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes something from what is known now.
    pub fn read_status<T>(&self, take: impl Fn(&Standing) -> T) -> T {
        take(&self.standing.borrow())
    }

    /// Logs out, which takes the bot out of all voice channels.
    pub async fn log_out(self) {
        // A gateway that does not take the logout notices the closed socket.
        let _ = timeout(LOGOUT_TIMEOUT, self.gateway.send(Logout)).await;
    }
}

/// What came of a login.
enum LoginOutcome {
    LoggedIn,
    Refused(MainGatewayError),
    Unreachable(String),
}

impl Standing {
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
