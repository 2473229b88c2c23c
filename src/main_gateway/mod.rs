//! Shard: one connection to Discord's main gateway, version 10, for bots that bring none of their own; [`Sharding`] says
//! which there are, and when each identifies.
//!
//! ```text
//!           wait over               opened              Hello                    READY
//!  Backoff ──────────▶ AwaitOpen ──────────▶ AwaitHello ─┬─▶ AwaitTurn ─▶ AwaitReady ─┬─▶ Ready
//!     ▲                                                  └─▶ AwaitResumed ────────────┘
//!     │                                                             RESUMED
//!     └── from every state: closed, a missed deadline, a beat not answered, op 7, op 9
//!
//!  Stopped ◀── from every state: a close code that is final, or stop()
//! ```
//!
//! It asks for intents GUILDS and GUILD_VOICE_STATES only. Between two connections it waits 0.5 to 16 s, doubling;
//! it resumes where Discord allows it, so that voice connections survive.

mod action;
mod close;
mod gateway_bot;
mod identify_queue;
mod message;
mod pace;
mod pending_updates;
mod restarts;
mod retry;
mod sharding;
mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::action::Action;
pub use self::close::{Loss, MainGatewayError};
pub use self::gateway_bot::{GatewayBot, GatewayBotError, SessionStartLimit};
pub use self::message::{Dispatch, VoiceChannel};
pub use self::sharding::{Sharding, ShardingAction, Shards};
pub use self::state::ResumePoint;

use self::close::{Reaction, reaction};
use self::message::{Message, Resumable, decode};
use self::pace::Pace;
use self::pending_updates::PendingVoiceUpdates;
use self::retry::{Reached, Retry};
use self::state::{MainSession, State};
use crate::bridge::{SendLimit, events::UpdateVoiceState};
use crate::gateway::close::{CLOSE_FOR_GOOD, CLOSE_TO_RESUME};
use crate::gateway::heartbeat::{self, Heartbeat};
use crate::id::{SessionId, ShardId, Token, UserId};

/// One connection to the main gateway and its successors. Its owner brings facts, and after each polls until there is
/// no action left.
#[derive(Debug)]
pub struct Shard {
    token: Token,
    id: ShardId,
    /// The address for new sessions.
    url: String,
    state: State,
    /// What a resume needs; none until READY and after Discord has forgotten it.
    session: Option<MainSession>,
    /// The sequence number of the last event.
    last_seq: Option<u64>,
    user: Option<UserId>,
    retry: Retry,
    pace: Pace,
    pending_updates: PendingVoiceUpdates,
    latency: Option<Duration>,
    /// For how long a connection that is in doubt may be silent.
    patience: Duration,
    malformed: u64,
    actions: VecDeque<Action>,
}

impl Shard {
    /// Begins; the first action is to connect.
    ///
    /// `url` is [`DISCORD`] or another server's `wss://host:port`. `seed` may be any number; bots that start together
    /// should have different ones, so that they do not all reconnect at once.
    #[must_use]
    pub fn new(token: Token, url: impl Into<String>, seed: u64, now: Instant) -> Self {
        Self {
            token,
            id: ShardId::SINGLE,
            url: url.into(),
            state: State::Backoff { until: now },
            session: None,
            last_seq: None,
            user: None,
            retry: Retry::new(seed),
            pace: Pace::default(),
            pending_updates: PendingVoiceUpdates::default(),
            latency: None,
            patience: PROBE_TIMEOUT,
            malformed: 0,
            actions: VecDeque::new(),
        }
    }

    /// Is this one of several.
    #[must_use]
    pub fn of(self, id: ShardId) -> Self {
        Self { id, ..self }
    }

    /// Sends as many messages as this gateway takes.
    #[must_use]
    pub fn send_limit(mut self, limit: SendLimit) -> Self {
        self.pace.set_limit(limit);
        self
    }

    /// Resumes this session first of all.
    #[must_use]
    pub fn resume(self, ResumePoint { session, last_seq, user }: ResumePoint) -> Self {
        Self { session: Some(session), last_seq, user, ..self }
    }

    /// What another shard needs to go on with this one's session, if there is one.
    #[must_use]
    pub fn resume_point(&self) -> Option<ResumePoint> {
        let session = self.session.clone()?;
        Some(ResumePoint { session, last_seq: self.last_seq, user: self.user })
    }

    /// Identifies: it is this shard's turn. Does nothing if it has not asked for that, or lost its connection since.
    pub fn may_identify(&mut self, now: Instant) {
        let state = std::mem::replace(&mut self.state, State::Stopped);
        self.state = match state {
            State::AwaitTurn { heartbeat } => {
                self.last_seq = None;
                self.retry.identified(now);
                self.send(message::identify(&self.token, self.id), now);
                State::AwaitReady { until: now + READY_TIMEOUT, heartbeat }
            }
            other => other,
        };
    }

    /// Takes the opening of the websocket.
    pub fn opened(&mut self, now: Instant) {
        if matches!(self.state, State::AwaitOpen { .. }) {
            self.pace.connected();
            self.state = State::AwaitHello { until: now + HELLO_TIMEOUT };
        }
    }

    /// Takes a text frame.
    pub fn text(&mut self, text: &[u8], now: Instant) {
        if matches!(self.state, State::Backoff { .. } | State::AwaitOpen { .. } | State::Stopped) {
            return;
        }
        if self.state.heartbeat().is_some_and(Heartbeat::heard) {
            self.actions.push_back(Action::Answered);
        }
        match decode(text) {
            Ok((message, seq)) => {
                self.last_seq = seq.or(self.last_seq);
                self.message(message, now);
            }
            Err(message::Malformed) => self.malformed += 1,
        }
    }

    /// Takes the end of the websocket, with the code of its close frame if there was one.
    pub fn closed(&mut self, code: Option<u16>, now: Instant) {
        if matches!(self.state, State::Backoff { .. } | State::Stopped) {
            return;
        }
        match code.map_or(Reaction::Resume, reaction) {
            Reaction::Resume => {}
            Reaction::Identify => self.session = None,
            Reaction::Fail(error) => {
                self.state = State::Stopped;
                return self.actions.push_back(Action::Fail(error));
            }
        }
        self.wait(code.map_or(Loss::Severed, Loss::Closed), Duration::ZERO, now);
    }

    /// There is reason to doubt the connection, such as an op 4 without an answer: beats at once, and takes silence for
    /// some seconds for its end.
    pub fn probe(&mut self, now: Instant) {
        if let State::Ready { heartbeat } = &mut self.state {
            heartbeat.probe(self.patience, now);
        }
    }

    /// Joins, moves, leaves or mutes (op 4): sent in order, as soon as the session and Discord's limit allow, and again
    /// after a resume if the connection was lost before Discord answered.
    pub fn update_voice_state(&mut self, update: UpdateVoiceState) {
        if !matches!(self.state, State::Stopped) {
            self.pace.push(update);
        }
    }

    /// Ends the session: Discord takes the bot out of every voice channel.
    pub fn stop(&mut self) {
        if !matches!(self.state, State::Backoff { .. } | State::Stopped) {
            self.actions.push_back(Action::Close(CLOSE_FOR_GOOD));
        }
        self.state = State::Stopped;
    }

    /// Says what to do now; ask until it returns none.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        self.expire(now);
        match self.state.heartbeat().and_then(|heartbeat| heartbeat.poll(now)) {
            Some(heartbeat::Action::Beat { .. }) => self.send(message::heartbeat(self.last_seq), now),
            Some(heartbeat::Action::Zombie) => self.lose(Loss::Zombie, now),
            None => {}
        }
        if self.actions.is_empty() && self.is_ready() {
            // Counted by the pace itself.
            if let Some(update) = self.pace.next(now) {
                self.pending_updates.sent(update, now);
                self.actions.push_back(Action::Send(message::update_voice_state(&update)));
            }
        }
        self.actions.pop_front()
    }

    /// Says when to [`poll`](Self::poll) again at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Backoff { until } | State::AwaitOpen { until } | State::AwaitHello { until } => {
                Some(*until)
            }
            State::AwaitTurn { heartbeat } => heartbeat.deadline(),
            State::AwaitReady { until, heartbeat } | State::AwaitResumed { until, heartbeat } => {
                heartbeat.deadline().into_iter().chain([*until]).min()
            }
            State::Ready { heartbeat } => heartbeat.deadline().into_iter().chain(self.pace.deadline()).min(),
            State::Stopped => None,
        }
    }

    /// We, once known.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    /// Whether the session is running, new or resumed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// The round trip of the last heartbeat.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// How many frames could not be understood and were skipped.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// How many op 4 were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.pace.dropped()
    }

    fn message(&mut self, message: Message, now: Instant) {
        match message {
            Message::Hello { interval } => self.hello(interval, now),
            Message::HeartbeatRequest => {
                if let Some(heartbeat) = self.state.heartbeat() {
                    heartbeat.requested(now);
                }
            }
            Message::HeartbeatAck => {
                let latency = self.state.heartbeat().and_then(|heartbeat| heartbeat.acknowledge_any(now));
                self.latency = latency.or(self.latency);
                self.patience = PROBE_TIMEOUT.max(latency.unwrap_or_default() * 2);
            }
            Message::Reconnect => self.lose(Loss::ReconnectAsked, now),
            Message::InvalidSession(Resumable::Yes) => self.lose(Loss::InvalidSession, now),
            Message::InvalidSession(Resumable::No) => {
                self.session = None;
                let pause = self.retry.after_invalid_session();
                self.actions.push_back(Action::Close(CLOSE_TO_RESUME));
                self.wait(Loss::InvalidSession, pause, now);
            }
            Message::Ready { user, session_id, resume_url } => self.ready(user, session_id, resume_url),
            Message::Dispatch(Dispatch::Resumed) => self.resumed(now),
            Message::Dispatch(dispatch) => self.dispatch(dispatch),
            Message::Ignored => {}
        }
    }

    /// A second Hello on the same connection means nothing.
    fn hello(&mut self, interval: Duration, now: Instant) {
        if !matches!(self.state, State::AwaitHello { .. }) {
            return;
        }
        let first = now + interval.min(HELLO_INTERVAL_MAX).mul_f64(self.retry.fraction());
        let heartbeat = Heartbeat::with(interval, 1, 0, first);
        let until = now + READY_TIMEOUT;
        if let Some(session) = &self.session {
            let resume = message::resume(&self.token, &session.id, self.last_seq.unwrap_or(0));
            self.state = State::AwaitResumed { until, heartbeat };
            self.send(resume, now);
        } else {
            self.state = State::AwaitTurn { heartbeat };
            self.actions.push_back(Action::RequestIdentify);
        }
    }

    fn ready(&mut self, user: UserId, session_id: SessionId, resume_url: Option<String>) {
        if !self.begin() {
            return;
        }
        self.retry.ready();
        self.user = Some(user);
        // The token goes to this address: never from an encrypted connection to a clear one.
        let url = resume_url
            .filter(|url| !url.is_empty() && (url.starts_with("wss:") || self.url.starts_with("ws:")));
        self.session =
            Some(MainSession { id: session_id.clone(), url: url.unwrap_or_else(|| self.url.clone()) });
        self.actions.push_back(Action::Dispatch(Dispatch::Ready { user, session_id }));
    }

    fn resumed(&mut self, now: Instant) {
        let State::AwaitResumed { until, .. } = self.state else {
            self.malformed += 1;
            return;
        };
        if self.begin() {
            // A gateway that was given up may only have been slow.
            self.patience = PROBE_TIMEOUT.max((now + READY_TIMEOUT).duration_since(until) * 2);
            self.actions.push_back(Action::Dispatch(Dispatch::Resumed));
            // The replay is over: what it did not answer went down with the connection.
            for update in self.pending_updates.take(now) {
                self.pace.push_again(update);
            }
        }
    }

    fn dispatch(&mut self, dispatch: Dispatch) {
        if let Dispatch::VoiceStateUpdate(state) = &dispatch
            && Some(state.user) == self.user
        {
            self.pending_updates.answered(state);
        }
        self.actions.push_back(Action::Dispatch(dispatch));
    }

    /// Enters Ready, if either kind of it is awaited.
    fn begin(&mut self) -> bool {
        let state = std::mem::replace(&mut self.state, State::Stopped);
        self.state = match state {
            State::AwaitReady { heartbeat, .. } | State::AwaitResumed { heartbeat, .. } => {
                State::Ready { heartbeat }
            }
            other => {
                self.state = other;
                self.malformed += 1;
                return false;
            }
        };
        self.retry.established();
        true
    }

    /// Acts on the state's deadline.
    fn expire(&mut self, now: Instant) {
        let (until, awaited) = match &self.state {
            State::Backoff { until } if now >= *until => {
                self.state = State::AwaitOpen { until: now + CONNECT_TIMEOUT };
                let own = self.session.as_ref().filter(|_| !self.retry.address_is_hopeless());
                let base = own.map_or(&self.url, |session| &session.url);
                return self.actions.push_back(Action::Connect { url: address(base) });
            }
            State::Backoff { .. } | State::AwaitTurn { .. } | State::Ready { .. } | State::Stopped => return,
            State::AwaitOpen { until } => (*until, "the websocket to open"),
            State::AwaitHello { until } => (*until, "Hello"),
            State::AwaitReady { until, .. } => (*until, "READY"),
            State::AwaitResumed { until, .. } => (*until, "RESUMED"),
        };
        if now >= until {
            self.lose(Loss::Timeout { awaited }, now);
        }
    }

    /// Gives the connection up, to come back.
    fn lose(&mut self, why: Loss, now: Instant) {
        self.actions.push_back(Action::Close(CLOSE_TO_RESUME));
        self.wait(why, Duration::ZERO, now);
    }

    /// Waits before the next connection, at least for `pause`.
    fn wait(&mut self, why: Loss, pause: Duration, now: Instant) {
        self.retry.failed(match self.state {
            State::Ready { .. } => Reached::Session,
            State::AwaitHello { .. }
            | State::AwaitTurn { .. }
            | State::AwaitReady { .. }
            | State::AwaitResumed { .. } => Reached::Discord,
            State::Backoff { .. } | State::AwaitOpen { .. } | State::Stopped => Reached::Nothing,
        });
        if self.retry.session_is_hopeless() {
            self.session = None;
        }
        let after = match &self.session {
            Some(_) => self.retry.before_resume(),
            None => self.retry.before_identify(now),
        };
        let after = after.max(pause);
        self.state = State::Backoff { until: now + after };
        self.actions.push_back(Action::Reconnecting { after, why });
    }

    fn send(&mut self, frame: String, now: Instant) {
        self.pace.sent(now);
        self.actions.push_back(Action::Send(frame));
    }
}

/// The address with the query that says how we speak.
fn address(base: &str) -> String {
    let (base, _) = base.split_once('?').unwrap_or((base, ""));
    format!("{}/?v=10&encoding=json", base.trim_end_matches('/'))
}

/// Discord's own main gateway.
pub const DISCORD: &str = "wss://gateway.discord.gg";

/// As for the voice gateway.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that is in doubt may be silent, unless its answers are known to take longer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// READY of a bot in many guilds, or a long replay, takes its time.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Keeps a nonsensical interval from overflowing an instant.
const HELLO_INTERVAL_MAX: Duration = Duration::from_secs(3600);
