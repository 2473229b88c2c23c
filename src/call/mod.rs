//! Recovery: what a call does after every failure, so that it either lives on or ends with a reason.
//!
//! ```text
//!            credentials             established
//!  Joining ───────────────▶ Connecting ──────────▶ Live ◀──── resumed ──── Resuming
//!     ▲                        │                     │                        │ ▲
//!     │ rejoin, after a pause  ▼                     ▼ Verdict                ▼ │ attempt, after a pause
//!  Pausing ◀───────────────────┴──── Rejoin ─────────┴───── Resume ──────▶ Pausing
//!                                                    └─ AwaitMove ▶ Awaiting ─▶ credentials, kick, or rejoin
//! any ── Stop, kick, leave, five failures in a minute or in a row ─▶ Ended
//! ```
//!
//! The reaction to each close code is in [`crate::gateway::close`]; this machine remembers what was tried. A call that
//! says goodbye mends nothing any more: it ends when the bot has fallen silent, or half a second later.

mod action;
mod failures;
mod reason;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::{
    action::{Action, ConnectionStatus},
    reason::{Cause, EndReason},
};
use self::{
    failures::Failures,
    state::{Awaited, First, State, Step},
};
use crate::{
    bridge::JoinFailure,
    gateway::{
        close::{Verdict, verdict_of_loss},
        session::{Credentials, choose_mode},
    },
    id::ChannelId,
};

/// The machine of one call.
#[derive(Debug)]
pub struct Recovery {
    state: State,
    credentials: Option<Credentials>,
    failures: Failures,
    mode: Option<String>,
    refused_modes: Vec<String>,
    parting: Option<(Instant, EndReason)>,
    /// Whether the main gateway is away, so that the bridge cannot bring anything.
    cut_off: bool,
    orders: VecDeque<Action>,
}

impl Recovery {
    /// A call whose credentials have been asked for. `jitter` in 0..1 spreads the pauses of many calls.
    pub fn new(jitter: f32, now: Instant) -> Self {
        Self {
            state: State::Joining { first: First::Yes, until: now + LONG_STOP },
            credentials: None,
            failures: Failures::new(jitter),
            mode: None,
            refused_modes: Vec::new(),
            parting: None,
            cut_off: false,
            orders: VecDeque::from([Action::StartSpeaker]),
        }
    }

    /// Fresh credentials came: whatever was there is replaced by a new voice session.
    pub fn credentials(&mut self, credentials: Credentials) {
        if self.is_over() {
            return;
        }
        if self.is_live() {
            self.report(ConnectionStatus::Reconnecting(Cause::ServerChanged));
        }
        self.credentials = Some(credentials.clone());
        self.state = State::Connecting(Awaited::Both);
        self.orders.push_back(Action::Identify(credentials));
    }

    /// The voice server is gone; Discord promises another.
    pub fn endpoint_lost(&mut self, now: Instant) {
        if !self.is_over() {
            self.wait_for_credentials(Cause::EndpointLost, now);
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
    pub fn session_replaced(&mut self, now: Instant) {
        if !self.is_over() && !matches!(self.state, State::Joining { first: First::Yes, .. }) {
            self.wait_for_credentials(Cause::MainSessionReplaced, now);
        }
    }

    /// No credentials came.
    pub fn join_failed(&mut self, failure: JoinFailure, now: Instant) {
        match self.state {
            _ if self.is_over() => {}
            // Half a join leaves the bot in the channel, and Discord's answer may only be late.
            State::Joining { first: First::Yes, .. } => self.give_up(EndReason::NotJoined(failure)),
            State::Pausing { then: Step::Rejoin, .. } => {}
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
            State::Connecting(Awaited::Transport) => self.go_live(ConnectionStatus::Connected),
            _ => {}
        }
    }

    /// The end-to-end encryption has a key, or needs none, or there is nobody to hear us.
    pub fn settled(&mut self) {
        match self.state {
            State::Connecting(Awaited::Both) => self.state = State::Connecting(Awaited::Transport),
            State::Connecting(Awaited::Encryption { .. }) => self.go_live(ConnectionStatus::Connected),
            _ => {}
        }
    }

    /// The old voice session goes on.
    pub fn resumed(&mut self) {
        if matches!(self.state, State::Resuming { .. }) {
            self.go_live(ConnectionStatus::Resumed);
        }
    }

    /// The websocket is gone.
    pub fn gateway_lost(&mut self, cause: Cause, now: Instant) {
        self.failures.forget(now);
        let verdict = match &cause {
            Cause::Closed(code) if matches!(self.state, State::Resuming { .. }) => {
                code.verdict_while_resuming()
            }
            Cause::Closed(code) => code.verdict(),
            Cause::Handshake(error) => error.verdict(),
            _ => verdict_of_loss(),
        };
        match (verdict, &self.state) {
            _ if self.is_over() => {}
            (_, State::Ended | State::Awaiting { .. } | State::Pausing { .. } | State::Joining { .. }) => {}
            (Verdict::Stop, _) => self.stop(cause),
            (Verdict::AwaitMove, _) => self.await_move(cause, now),
            (Verdict::OtherMode, _) => {
                self.refused_modes.extend(self.mode.take());
                self.rejoin_once(cause, now);
            }
            (Verdict::RejoinOnce, _) => self.rejoin_once(cause, now),
            // A session that was never established, or whose resume was refused, cannot be resumed.
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
        if !self.is_over() && (self.is_live() || matches!(self.state, State::Connecting(_))) {
            self.step(Step::Rejoin, cause, now);
        }
    }

    /// The speaker is gone, and with it the tracks; the connection is not touched.
    pub fn speaker_lost(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        match self.failures.failed(&Cause::Panicked("Speaker"), now) {
            Some(end) => self.give_up(end),
            None => self.orders.push_back(Action::StartSpeaker),
        }
    }

    /// The user leaves: the tracks are stopped, the silence that ends speech is sent, and then the call ends.
    pub fn leave(&mut self, reason: EndReason, now: Instant) {
        if self.is_over() {
            return;
        }
        if !self.is_live() {
            return self.give_up(reason);
        }
        self.orders.push_back(Action::Hush);
        self.parting = Some((now + FAREWELL, reason));
    }

    /// The voice gateway has just been told that the bot no longer speaks. The main gateway is told by another
    /// connection that it leaves, which must not overtake that.
    pub fn hushed(&mut self, now: Instant) {
        if let Some((until, _)) = &mut self.parting {
            *until = (*until).min(now + LAST_WORD);
        }
    }

    /// The bot does not speak.
    pub fn silent(&mut self) {
        if let Some((_, reason)) = self.parting.take() {
            self.give_up(reason);
        }
    }

    /// The encoder cannot be made, so there is nothing to be said in this call.
    pub fn cannot_speak(&mut self, why: String) {
        self.give_up(EndReason::NoEncoder(why));
    }

    /// The main gateway is away. What it is asked for is waited for until it is back; only a first join is not.
    pub fn cut_off(&mut self) {
        self.cut_off = true;
    }

    /// The main gateway is back.
    pub fn back(&mut self, now: Instant) {
        self.cut_off = false;
        if let State::Joining { until, .. } = &mut self.state {
            *until = now + LONG_STOP;
        }
    }

    /// The last credentials that came.
    pub fn last_credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Whether credentials are awaited.
    pub fn is_joining(&self) -> bool {
        matches!(self.state, State::Joining { .. })
    }

    /// The guild is gone.
    pub fn guild_deleted(&mut self) {
        self.end(EndReason::GuildDeleted);
    }

    /// The next order, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        while self.orders.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        self.orders.pop_front()
    }

    /// When to poll again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        let parting = self.parting.as_ref().map(|(until, _)| *until);
        let waiting = match &self.state {
            State::Joining { first: First::No, .. } if self.cut_off => None,
            State::Joining { until, .. }
            | State::Pausing { until, .. }
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

    fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the call is over, or saying goodbye: nothing is worth mending any more.
    pub fn is_over(&self) -> bool {
        self.is_ended() || self.parting.is_some()
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
                None => self.rejoin(now),
            },
            State::Pausing { then: Step::Rejoin, .. } => self.rejoin(now),
            // The bridge has deadlines of its own, and answers before this unless it is gone.
            State::Joining { .. } if self.cut_off => self.join_failed(JoinFailure::NoGateway, now),
            State::Joining { .. } => self.join_failed(JoinFailure::NoAnswer, now),
            // Frames are withheld until a key comes; the rest of the call need not wait for it.
            State::Connecting(Awaited::Encryption { .. }) => self.go_live(ConnectionStatus::Connected),
            // Neither a move nor a kick: the main gateway lost its session, or the user's bot dropped the event.
            State::Awaiting { cause, .. } => self.step(Step::Rejoin, cause, now),
            _ => {}
        }
    }

    fn go_live(&mut self, progress: ConnectionStatus) {
        self.state = State::Live;
        self.failures.live();
        self.report(progress);
    }

    /// What was connected is void, and the bridge brings more, or says that there is none.
    fn wait_for_credentials(&mut self, cause: Cause, now: Instant) {
        self.state = State::Joining { first: First::No, until: now + LONG_STOP };
        self.orders.push_back(Action::Disconnect);
        self.report(ConnectionStatus::Reconnecting(cause));
    }

    fn rejoin(&mut self, now: Instant) {
        self.state = State::Joining { first: First::No, until: now + LONG_STOP };
        self.orders.push_back(Action::Rejoin);
    }

    fn await_move(&mut self, cause: Cause, now: Instant) {
        self.orders.push_back(Action::Disconnect);
        self.report(ConnectionStatus::Reconnecting(cause.clone()));
        self.state = State::Awaiting { until: now + GRACE, cause };
    }

    fn rejoin_once(&mut self, cause: Cause, now: Instant) {
        match cause {
            Cause::Closed(code) if !self.failures.first_time(code, now) => self.stop(cause),
            _ => self.step(Step::Rejoin, cause, now),
        }
    }

    fn stop(&mut self, cause: Cause) {
        let reason = match cause {
            Cause::Closed(code) => EndReason::Refused(code),
            Cause::Handshake(error) => EndReason::Incompatible(error),
            last => EndReason::GaveUp { failures: self.failures.count() + 1, last },
        };
        self.give_up(reason);
    }

    /// Takes the next step after a pause that grows with what failed of late.
    fn step(&mut self, then: Step, cause: Cause, now: Instant) {
        if let Step::Resume { tried: 1.. } = then {
            // Still the failure that the first attempt was for.
            self.failures.resume_lost();
        } else if let Some(end) = self.failures.connection_lost(&cause, now) {
            return self.give_up(end);
        }
        let pause = match then {
            Step::Resume { tried: 0 } => Duration::ZERO,
            _ => self.failures.pause(),
        };
        match then {
            Step::Resume { .. } => self.report(ConnectionStatus::Resuming(cause)),
            Step::Rejoin => {
                self.orders.push_back(Action::Disconnect);
                self.report(ConnectionStatus::Reconnecting(cause));
            }
        }
        self.state = State::Pausing { until: now + pause, then };
    }

    fn report(&mut self, progress: ConnectionStatus) {
        self.orders.push_back(Action::Report(progress));
    }

    /// Ends, and takes the bot out of the channel.
    fn give_up(&mut self, reason: EndReason) {
        if !self.is_ended() {
            self.orders.push_back(Action::Leave);
            self.end(reason);
        }
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

/// How long the bridge may take for credentials: longer than any of its own deadlines.
const LONG_STOP: Duration = Duration::from_secs(90);
/// Further attempts to resume, when one is lost on the way, before the session is given up.
const RESUMES: u32 = 2;
/// How long after 4014 or 4022 the main gateway may take to say whether it was a move or a kick.
const GRACE: Duration = Duration::from_secs(5);
/// How long the first keys of a call may take before it is used without.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far what is said on one connection may lag behind what is said on another.
const LAST_WORD: Duration = Duration::from_millis(20);
/// How long five silence frames and Speaking 0 may take before the call leaves without them.
const FAREWELL: Duration = Duration::from_millis(500);
