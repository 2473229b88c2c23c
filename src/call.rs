//! Recovery: what a call does after every failure, so that it either lives on or ends with a reason.
//!
//! ```text
//!            credentials             established
//!  Joining ───────────────▶ Connecting ──────────▶ Live ◀──── resumed ──── Resuming
//!     ▲                        │                     │                        │ ▲
//!     │ rejoin, after a pause  ▼                     ▼ Verdict                ▼ │ attempt, after a pause
//!  Pausing ◀───────────────────┴──── Rejoin ─────────┴───── Resume ──────▶ Pausing
//!                                                    └─ AwaitMove ▶ Awaiting ─▶ credentials, kick, or rejoin
//! any ── Stop, kick, leave, five failures in a minute ─▶ Ended
//! ```
//!
//! The reaction to each close code is in [`crate::gateway::close`]; this machine remembers what was tried.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    bridge::JoinFailure,
    gateway::{
        close::{CloseCode, Verdict, verdict_of_loss},
        session::{Credentials, SessionError, choose_mode},
    },
    id::ChannelId,
};

/// What the call does next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Ask the bridge for fresh credentials.
    Rejoin,
    /// Tell the main gateway that the bot is no longer in voice.
    Leave,
    /// Begin a new voice session, with a new transport; the old ones are stopped first.
    Identify(Credentials),
    /// Continue the voice session on a new websocket; the transport is left alone.
    Resume(Credentials),
    /// Stop websocket and transport, and wait.
    Disconnect,
    /// Put a new speaker in the place of the dead one.
    ReplaceSpeaker,
    /// Stop all tracks; answered by [`Recovery::silent`].
    Hush,
    /// Say what is going on.
    Report(Progress),
    /// The call is over.
    End(EndReason),
}

/// How the connection fares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The call can speak, in a new voice session.
    Connected,
    /// The voice session goes on; nothing was lost.
    Resumed,
    /// The websocket was lost; it is being resumed, and the audio plays on.
    Resuming(Cause),
    /// The voice session was lost; a new one is being made, and the tracks wait.
    Reconnecting(Cause),
}

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
    /// The main gateway session was replaced.
    #[error("the main gateway began a new session")]
    SessionReplaced,
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
    /// Too many failures in a row.
    #[error("gave up after {failures} failures within a minute; the last: {last}")]
    GaveUp {
        /// How many failures there were.
        failures: usize,
        /// The last of them.
        last: Cause,
    },
    /// The bot is no longer in the guild, or the guild is unavailable.
    #[error("the guild is gone or unavailable; join again when it is back")]
    GuildGone,
    /// libopus did not take the encoder settings.
    #[error("the encoder settings cannot be used: {0}")]
    NoEncoder(String),
    /// The manager was stopped.
    #[error("the voice manager was stopped")]
    Stopped,
}

/// The machine of one call.
#[derive(Debug)]
pub struct Recovery {
    state: State,
    credentials: Option<Credentials>,
    failures: VecDeque<Instant>,
    last_chance: Option<CloseCode>,
    mode: Option<String>,
    refused_modes: Vec<String>,
    parting: Option<(Instant, EndReason)>,
    jitter: f32,
    orders: VecDeque<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Joining(First),
    Connecting(Awaited),
    Live,
    Resuming { tried: u32 },
    Pausing { until: Instant, then: Step },
    Awaiting { until: Instant, cause: Cause },
    Ended,
}

/// What a new voice session still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Both,
    Transport,
    /// Others are in the call, and the group is not formed yet: what is said before is heard by nobody.
    Encryption { until: Instant },
}

/// Whether the call has ever been live: the first join fails to the user, later ones are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Resume { tried: u32 },
    Rejoin,
}

impl Recovery {
    /// A call whose credentials have been asked for. `jitter` in 0..1 spreads the pauses of many calls.
    pub fn new(jitter: f32) -> Self {
        Self {
            state: State::Joining(First::Yes),
            credentials: None,
            failures: VecDeque::with_capacity(LIMIT),
            last_chance: None,
            mode: None,
            refused_modes: Vec::new(),
            parting: None,
            jitter: jitter.clamp(0.0, 1.0),
            orders: VecDeque::new(),
        }
    }

    /// Fresh credentials came: whatever was there is replaced by a new voice session.
    pub fn credentials(&mut self, credentials: Credentials) {
        if self.state == State::Ended {
            return;
        }
        if matches!(self.state, State::Live | State::Resuming { .. }) {
            self.report(Progress::Reconnecting(Cause::ServerChanged));
        }
        self.credentials = Some(credentials.clone());
        self.state = State::Connecting(Awaited::Both);
        self.orders.push_back(Action::Identify(credentials));
    }

    /// The voice server is gone; Discord promises another.
    pub fn endpoint_lost(&mut self) {
        if self.state != State::Ended {
            self.state = State::Joining(First::No);
            self.orders.push_back(Action::Disconnect);
            self.report(Progress::Reconnecting(Cause::EndpointLost));
        }
    }

    /// The channel of the call changed.
    pub fn moved(&mut self, channel: ChannelId) {
        if let Some(credentials) = &mut self.credentials {
            credentials.channel = channel;
        }
    }

    /// The main gateway says that the bot is in no voice channel of the guild.
    pub fn disconnected(&mut self) {
        self.end(EndReason::Kicked);
    }

    /// The main gateway began a new session: what was connected is void, and the bridge is asking for more.
    pub fn session_replaced(&mut self) {
        if self.state != State::Ended && self.state != State::Joining(First::Yes) {
            self.state = State::Joining(First::No);
            self.orders.push_back(Action::Disconnect);
            self.report(Progress::Reconnecting(Cause::SessionReplaced));
        }
    }

    /// No credentials came.
    pub fn join_failed(&mut self, failure: JoinFailure, now: Instant) {
        match self.state {
            State::Ended => {}
            State::Joining(First::Yes) => self.end(EndReason::NotJoined(failure)),
            _ => self.step(Step::Rejoin, Cause::Join(failure), now),
        }
    }

    /// The voice server offers these encryption modes, best first as the session sees it.
    pub fn offered(&mut self, modes: &[String]) {
        self.mode = choose_mode(modes, &self.refused_modes).map(str::to_owned);
    }

    /// Encryption modes that the voice server offered and then refused.
    pub fn refused_modes(&self) -> &[String] {
        &self.refused_modes
    }

    /// The transport has a key; frames can be sent once the end-to-end encryption is settled too.
    pub fn opened(&mut self, now: Instant) {
        match self.state {
            State::Connecting(Awaited::Both) => {
                self.state = State::Connecting(Awaited::Encryption { until: now + PATIENCE });
            }
            State::Connecting(Awaited::Transport) => self.live(),
            _ => {}
        }
    }

    /// The end-to-end encryption has a key, or needs none, or there is nobody to hear us.
    pub fn settled(&mut self) {
        match self.state {
            State::Connecting(Awaited::Both) => self.state = State::Connecting(Awaited::Transport),
            State::Connecting(Awaited::Encryption { .. }) => self.live(),
            _ => {}
        }
    }

    /// The old voice session goes on.
    pub fn resumed(&mut self) {
        if matches!(self.state, State::Resuming { .. }) {
            self.state = State::Live;
            self.report(Progress::Resumed);
        }
    }

    /// The websocket is gone.
    pub fn gateway_lost(&mut self, cause: Cause, now: Instant) {
        self.forget(now);
        let verdict = match &cause {
            Cause::Closed(code) if matches!(self.state, State::Resuming { .. }) => {
                code.verdict_while_resuming()
            }
            Cause::Closed(code) => code.verdict(),
            Cause::Handshake(error) => error.verdict(),
            _ => verdict_of_loss(),
        };
        match (verdict, &self.state) {
            (_, State::Ended | State::Awaiting { .. } | State::Pausing { .. } | State::Joining(_)) => {}
            (Verdict::Stop, _) => self.stop(cause),
            (Verdict::AwaitMove, _) => self.await_move(cause, now),
            (Verdict::OtherMode, _) => {
                self.refused_modes.extend(self.mode.take());
                self.rejoin_once(cause, now);
            }
            (Verdict::RejoinOnce, _) => self.rejoin_once(cause, now),
            // A session that was never established, or that was refused on resume, cannot be resumed.
            (Verdict::Resume, State::Live) => self.step(Step::Resume { tried: 0 }, cause, now),
            (Verdict::Resume, State::Resuming { tried }) if *tried < RESUMES => {
                let tried = *tried + 1;
                self.step(Step::Resume { tried }, cause, now);
            }
            (Verdict::Resume | Verdict::Rejoin, _) => self.step(Step::Rejoin, cause, now),
        }
    }

    /// The UDP side is gone, and with it the key, the counters and the nonces: a new session is due.
    pub fn transport_lost(&mut self, cause: Cause, now: Instant) {
        if matches!(self.state, State::Connecting(_) | State::Live | State::Resuming { .. }) {
            self.step(Step::Rejoin, cause, now);
        }
    }

    /// The speaker is gone, and with it the tracks; the connection is not touched.
    pub fn speaker_lost(&mut self, now: Instant) {
        if self.state == State::Ended {
            return;
        }
        match self.failed(&Cause::Panicked("Speaker"), now) {
            Some(end) => self.end(end),
            None => self.orders.push_back(Action::ReplaceSpeaker),
        }
    }

    /// The user leaves: the tracks are stopped, the silence that ends speech is sent, and then the call ends.
    pub fn leave(&mut self, reason: EndReason, now: Instant) {
        if self.state == State::Ended || self.parting.is_some() {
            return;
        }
        self.orders.push_back(Action::Hush);
        self.parting = Some((now + FAREWELL, reason));
    }

    /// The bot no longer speaks, and Discord was told.
    pub fn silent(&mut self) {
        if let Some((_, reason)) = self.parting.take() {
            self.orders.push_back(Action::Leave);
            self.end(reason);
        }
    }

    /// The encoder cannot be made, so there is nothing to be said in this call.
    pub fn cannot_speak(&mut self, why: String) {
        self.orders.push_back(Action::Leave);
        self.end(EndReason::NoEncoder(why));
    }

    /// The guild is gone.
    pub fn guild_gone(&mut self) {
        self.end(EndReason::GuildGone);
    }

    /// The next order, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.orders.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        self.orders.pop_front()
    }

    /// When to poll again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        let parting = self.parting.as_ref().map(|(until, _)| *until);
        let waiting = match &self.state {
            State::Pausing { until, .. }
            | State::Awaiting { until, .. }
            | State::Connecting(Awaited::Encryption { until }) => Some(*until),
            _ => None,
        };
        parting.into_iter().chain(waiting).min()
    }

    /// Whether frames can be sent: also while only the websocket is being resumed.
    pub fn is_live(&self) -> bool {
        match &self.state {
            State::Live | State::Resuming { .. } => true,
            State::Pausing { then, .. } => matches!(then, Step::Resume { .. }),
            _ => false,
        }
    }

    /// The channel of the voice session.
    pub fn channel(&self) -> Option<ChannelId> {
        self.credentials.as_ref().map(|credentials| credentials.channel)
    }

    /// Whether the call is over.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    fn expire(&mut self, now: Instant) {
        if self.parting.as_ref().is_some_and(|(until, _)| *until <= now) {
            return self.silent();
        }
        match self.state.clone() {
            State::Pausing { then: Step::Resume { tried }, .. } => match self.credentials.clone() {
                Some(credentials) => {
                    self.state = State::Resuming { tried };
                    self.orders.push_back(Action::Resume(credentials));
                }
                None => self.rejoin(),
            },
            State::Pausing { then: Step::Rejoin, .. } => self.rejoin(),
            // Frames are withheld until a key comes; the rest of the call need not wait for it.
            State::Connecting(Awaited::Encryption { .. }) => self.live(),
            // Neither a move nor a kick: the main gateway lost its session, or the user's bot dropped the event.
            State::Awaiting { cause, .. } => self.step(Step::Rejoin, cause, now),
            _ => {}
        }
    }

    fn live(&mut self) {
        self.state = State::Live;
        self.report(Progress::Connected);
    }

    fn rejoin(&mut self) {
        self.state = State::Joining(First::No);
        self.orders.push_back(Action::Rejoin);
    }

    fn await_move(&mut self, cause: Cause, now: Instant) {
        self.orders.push_back(Action::Disconnect);
        self.report(Progress::Reconnecting(cause.clone()));
        self.state = State::Awaiting { until: now + GRACE, cause };
    }

    fn rejoin_once(&mut self, cause: Cause, now: Instant) {
        let Cause::Closed(code) = cause else { return self.step(Step::Rejoin, cause, now) };
        if self.last_chance.replace(code) == Some(code) {
            return self.stop(cause);
        }
        self.step(Step::Rejoin, cause, now);
    }

    fn stop(&mut self, cause: Cause) {
        let reason = match cause {
            Cause::Closed(code) => EndReason::Refused(code),
            last => EndReason::GaveUp { failures: self.failures.len() + 1, last },
        };
        self.orders.push_back(Action::Leave);
        self.end(reason);
    }

    /// Takes the next step after a pause that grows with the failures of the last minute.
    fn step(&mut self, then: Step, cause: Cause, now: Instant) {
        if let Some(end) = self.failed(&cause, now) {
            self.orders.push_back(Action::Leave);
            return self.end(end);
        }
        let pause = match then {
            Step::Resume { tried: 0 } => Duration::ZERO,
            _ => self.pause(),
        };
        match then {
            Step::Resume { .. } => self.report(Progress::Resuming(cause)),
            Step::Rejoin => {
                self.orders.push_back(Action::Disconnect);
                self.report(Progress::Reconnecting(cause));
            }
        }
        self.state = State::Pausing { until: now + pause, then };
    }

    /// Counts a failure; five within a minute are the end.
    fn failed(&mut self, cause: &Cause, now: Instant) -> Option<EndReason> {
        self.forget(now);
        self.failures.push_back(now);
        let failures = self.failures.len();
        (failures >= LIMIT).then(|| EndReason::GaveUp { failures, last: cause.clone() })
    }

    /// Failures of more than a minute ago no longer count.
    fn forget(&mut self, now: Instant) {
        while self.failures.front().is_some_and(|&at| now.duration_since(at) > MINUTE) {
            self.failures.pop_front();
        }
        if self.failures.is_empty() {
            self.last_chance = None;
        }
    }

    fn pause(&self) -> Duration {
        let doublings = u32::try_from(self.failures.len().saturating_sub(1)).unwrap_or(u32::MAX).min(5);
        let pause = (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE);
        pause.mul_f32(1.0 + 0.25 * self.jitter)
    }

    fn report(&mut self, progress: Progress) {
        self.orders.push_back(Action::Report(progress));
    }

    fn end(&mut self, reason: EndReason) {
        if self.state != State::Ended {
            self.state = State::Ended;
            self.parting = None;
            self.orders.push_back(Action::Disconnect);
            self.orders.push_back(Action::End(reason));
        }
    }
}

/// Failures within [`MINUTE`] after which a call gives up.
const LIMIT: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// Resumes that may fail by loss before the session is given up.
const RESUMES: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How long after 4014 or 4022 the main gateway may take to say whether it was a move or a kick.
const GRACE: Duration = Duration::from_secs(5);
/// How long the first keys of a call may take before it is used without.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long five silence frames and Speaking 0 may take before the call leaves without them.
const FAREWELL: Duration = Duration::from_millis(500);
