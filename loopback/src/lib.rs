//! Discord on 127.0.0.1: an offline main gateway, voice gateway, media relay and DAVE delivery service.
//!
//! A bot that is pointed at it cannot tell it from the real one, except that it does what a test says, at once and
//! always in the same way. It runs on any tokio runtime, also on a paused clock with the bot on the same thread.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use actix_voice_loopback::Discord;
//!
//! let discord = Discord::start().await;
//! let bot = discord.bot("parrot");
//! let channel = discord.guild("jungle").channel("General");
//! channel.bitrate(96_000).user_limit(3);
//! let ear = channel.listener("ear");
//!
//! println!("connect to {} with the token of {}", discord.gateway_url(), bot.user_id);
//! // … the bot joins, speaks and leaves …
//! discord.close_voice(bot.user_id, 4015, "");
//! assert!(discord.violations().is_empty());
//! # ear.leave();
//! # }
//! ```
//!
//! # Layout
//!
//! * `server`: the state behind both gateways; its own page lists the parts
//! * `shared`, `socket`, `http`, `tls`, `paced`: the lock around the state, websockets, one REST request, certificates, and
//!   paused clocks
//! * [`relay`], [`cipher`], [`rtp`], [`netem`]: the media relay, what packets are made of, and bad networks
//! * [`dave`]: end-to-end encryption, as the delivery service and as a member
//! * `rule`, `log`: the rules that clients are held to, and all that happened
//! * `member`, [`speech`], [`recorder`], [`opus`]: simulated members, what they say, and what they heard
//! * [`score`], [`judge`]: how good it was, what they heard of a bot and what a bot heard of them
//! * `builder`, `handles`, `faults`: what a test sets up, holds, and makes go wrong
//! * `opcodes`, `token`: the gateways' opcodes by name, and secrets

mod builder;
pub mod cipher;
pub mod dave;
mod faults;
mod handles;
mod http;
pub mod judge;
mod log;
mod member;
pub mod netem;
mod opcodes;
pub mod opus;
mod paced;
pub mod recorder;
pub mod relay;
pub mod rtp;
mod rule;
pub mod score;
mod server;
mod shared;
mod socket;
pub mod speech;
mod tls;
mod token;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use crate::builder::{
    Builder, Dave, Echoes, EventOrder, HelloOrder, NewSource, RelayThread, SendLimit, UnannouncedAudio,
};
pub use crate::faults::Invalid;
pub use crate::handles::{Bot, Channel, Guild};
pub use crate::log::{Closer, Entry, Event, Refusal, Side};
pub use crate::member::Member;
pub use crate::netem::Netem;
pub use crate::recorder::Hearing;
pub use crate::rule::{MediaRule, Rule, Violation};
pub use crate::server::{EventDelivery, HandshakeStep};

use crate::builder::Settings;
use crate::relay::Relay;
use crate::server::{Listener, State};
use crate::shared::Shared;
use crate::tls::Authority;

/// A running Discord; the clones are the same one, and it ends with the last of them.
#[derive(Clone)]
pub struct Discord {
    pub(crate) shared: Arc<Shared>,
    gateway_url: String,
    ca_pem: Option<String>,
    _tasks: Arc<JoinSet<()>>,
}

impl Discord {
    /// Starts one with everything at its default: no TLS, no faults, and [`Dave::Required`] as on Discord.
    ///
    /// [`Builder::dave`] with [`Dave::Off`] turns end-to-end encryption off.
    ///
    /// # Panics
    ///
    /// When no port can be bound; [`Builder::try_start`] returns the error instead.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Sets one up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn launch(settings: Settings) -> Result<Self, StartError> {
        let clock_step = settings.clock_step;
        let authority = if settings.secure { Some(Authority::new()?) } else { None };
        let main = bind(settings.ip, settings.port).await?;
        let regions = [bind(settings.ip, 0).await?, bind(settings.ip, 0).await?];
        let scheme = if settings.secure { "wss" } else { "ws" };
        let gateway_url = format!("{scheme}://{}", address(&main)?);
        let endpoints = regions.iter().map(|listener| Ok(address(listener)?.to_string()));
        let endpoints = endpoints.collect::<Result<Vec<_>, StartError>>()?;
        let relay =
            Relay::start_on(settings.ip, settings.seed, settings.relay_thread).map_err(StartError::Bind)?;
        relay.take_new_source(settings.new_source);
        if settings.echoes == Echoes::Never {
            relay.mute_all_echoes();
        }
        let state = State::new(settings, relay.clone(), gateway_url.clone(), endpoints);
        let acceptor = authority.as_ref().map(|authority| authority.acceptor.clone());
        let shared = Arc::new(Shared::new(state, relay, acceptor));

        let mut tasks = JoinSet::new();
        let paused = paced::clock_is_paused().await;
        tasks.spawn(paced::hold_back_paused_clock(paused, clock_step, Arc::clone(&shared)));
        tasks.spawn(socket::accept(main, Listener::Main, Arc::clone(&shared)));
        for (region, listener) in regions.into_iter().enumerate() {
            tasks.spawn(socket::accept(listener, Listener::Voice(region), Arc::clone(&shared)));
        }
        tasks.spawn(keep_time(Arc::clone(&shared)));
        tasks.spawn(take_relay_events(Arc::clone(&shared)));
        let ca_pem = authority.map(|authority| authority.pem);
        Ok(Self { shared, gateway_url, ca_pem, _tasks: Arc::new(tasks) })
    }

    /// Where the main gateway is: `ws://127.0.0.1:PORT`, or `wss://…` with TLS.
    ///
    /// Voice endpoints speak the same scheme as this.
    pub fn gateway_url(&self) -> String {
        self.gateway_url.clone()
    }

    /// The certificate authority to trust, as PEM; `None` without TLS.
    pub fn ca_pem(&self) -> Option<String> {
        self.ca_pem.clone()
    }

    /// The bot of this name; it is created when there is none.
    pub fn bot(&self, name: &str) -> Bot {
        Bot::of(&self.shared, name, None)
    }

    /// The bot of this name, with this token if it is created now.
    pub fn bot_with_token(&self, name: &str, token: &str) -> Bot {
        Bot::of(&self.shared, name, Some(token))
    }

    /// The guild of this name; it is created when there is none.
    pub fn guild(&self, name: &str) -> Guild {
        Guild::of(&self.shared, name)
    }

    /// What the relay got from a user so far; `None` if nothing came. In an encrypted call it is ciphertext.
    pub fn recording(&self, user: u64) -> Option<Hearing> {
        self.shared.relay.recording(user)
    }

    /// Everything that happened, oldest first; the last 65,536 entries.
    pub fn log(&self) -> Vec<Entry> {
        self.shared.peek(State::log_entries)
    }

    /// The payloads of a user's text messages with this opcode on one gateway, oldest first.
    pub fn received(&self, side: Side, user: u64, op: u8) -> Vec<Value> {
        let of_user = self.log().into_iter().filter(|entry| entry.side == side && entry.user == Some(user));
        let payloads = of_user.filter_map(|entry| match entry.event {
            Event::Received { op: received, d } if received == op => Some(d),
            _ => None,
        });
        payloads.collect()
    }

    /// The rules that clients broke so far, oldest first.
    ///
    /// Who has left in mid-word and comes back to the guild within ten seconds was only reconnecting: that is a
    /// violation until then, and none any more.
    pub fn violations(&self) -> Vec<Violation> {
        self.with_media_violations(self.shared.peek(State::violations))
    }

    /// The rules that clients broke so far, oldest first, but for those that may still turn out to be none.
    pub fn settled_violations(&self) -> Vec<Violation> {
        let now = Instant::now();
        self.with_media_violations(self.shared.peek(|state| state.settled_violations(now)))
    }

    /// Adds the violations that the relay has noticed.
    fn with_media_violations(&self, mut violations: Vec<Violation>) -> Vec<Violation> {
        violations.extend(self.shared.relay.violations());
        violations.sort_by_key(|violation| violation.at);
        violations
    }

    /// The media relay, for what only it can do.
    pub fn relay(&self) -> &Relay {
        &self.shared.relay
    }

    /// The epoch of the group in a channel's call; 0 while there is none.
    pub fn dave_epoch(&self, channel: &Channel) -> u64 {
        self.shared.peek(|state| state.dave_epoch(channel.id))
    }

    /// The users in the group of a channel's call, by id.
    pub fn dave_members(&self, channel: &Channel) -> Vec<u64> {
        self.shared.peek(|state| state.dave_members(channel.id))
    }

    /// The users that are in a channel, as voice states say.
    pub fn members_of(&self, channel: &Channel) -> Vec<u64> {
        self.shared.peek(|state| state.members_of(channel.id))
    }

    /// The users whose voice session in this channel is described, that is, who hear and can be heard.
    pub fn connected_to(&self, channel: &Channel) -> Vec<u64> {
        self.shared.peek(|state| state.connected_to(channel.id))
    }

    /// In how many calls a user's voice session is described.
    pub fn calls_of(&self, user: u64) -> usize {
        self.shared.peek(|state| state.calls_of(user))
    }

    /// Waits until a condition holds.
    ///
    /// It is looked at after everything that happens at a gateway or the relay.
    ///
    /// # Errors
    ///
    /// When it does not hold within `limit`; the error shows the last entries of the log.
    pub async fn until(
        &self,
        mut condition: impl FnMut(&Self) -> bool,
        limit: Duration,
    ) -> Result<(), TimedOut> {
        let deadline = Instant::now() + limit;
        let mut activity = self.shared.relay.activity();
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            activity.mark_unchanged();
            if condition(self) {
                return Ok(());
            }
            tokio::select! {
                () = changed => {}
                Ok(()) = activity.changed() => {}
                () = sleep_until(deadline) => return Err(TimedOut { limit, log: self.log() }),
            }
        }
    }
}

impl fmt::Debug for Discord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discord").field("gateway_url", &self.gateway_url).finish_non_exhaustive()
    }
}

/// Why the loopback could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No port could be bound.
    #[error("could not bind a port on the loopback address: {0}")]
    Bind(#[source] io::Error),
    /// No certificate could be made.
    #[error("could not make a certificate: {0}")]
    Certificate(String),
}

/// A condition did not come true in time.
pub struct TimedOut {
    limit: Duration,
    log: Vec<Entry>,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the condition did not hold within {:?}; what happened last:", self.limit)?;
        let Some(last) = self.log.last().map(|entry| entry.at) else { return f.write_str("nothing") };
        for entry in &self.log[self.log.len().saturating_sub(SHOWN)..] {
            let Entry { at, side, connection, user, event } = entry;
            let before = last.duration_since(*at);
            writeln!(f, "  -{before:?} {side:?} #{connection} user {}: {event}", user.unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Debug for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for TimedOut {}

async fn bind(ip: IpAddr, port: u16) -> Result<TcpListener, StartError> {
    TcpListener::bind((ip, port)).await.map_err(StartError::Bind)
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::Bind)
}

async fn keep_time(shared: Arc<Shared>) {
    shared.keep_time().await;
}

fn take_relay_events(shared: Arc<Shared>) -> impl Future<Output = ()> {
    let mut events = shared.relay.events();
    async move {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => shared.with(|state, now| state.relay_event(event, now)),
                    None => return,
                },
                () = shared.undecrypted.notified() => shared.with(State::poll_participants),
            }
        }
    }
}

/// Entries shown by [`TimedOut`].
const SHOWN: usize = 30;
