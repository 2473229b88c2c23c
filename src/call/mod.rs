//! Recovery: what a call does after every failure, so that it either lives on or ends with a reason.
//!
//! ```text
//!  AwaitFirstCredentials ── credentials ──┐
//!                                         ▼            established
//!  AwaitCredentials ── credentials ─▶ AwaitSession ──────────────▶ Live ◀──── resumed ──── Resuming
//!     ▲                                   │                         │                        │ ▲
//!     │ rejoin, after a pause             ▼                         ▼ Reaction               ▼ │ attempt, after a pause
//!  Backoff ◀──────────────────────────────┴──── Rejoin ─────────────┴───── Resume ──────▶ Backoff
//!                                                                   └─ AwaitMove ─▶ credentials, kick, or rejoin
//! any ── GiveUp, kick, disconnect, five failures in a minute or in a row ─▶ Ended
//! ```
//!
//! The reactions, pauses and limits are in [`Supervision`]; this machine remembers what was tried. A call that is to end
//! mends nothing any more: it ends when the bot has ended its speech, or half a second later.

mod action;
mod failures;
mod reason;
mod state;
pub mod supervision;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::{
    action::{Action, ConnectionStatus},
    reason::{Cause, EndReason},
    supervision::Supervision,
};
use self::{
    failures::Failures,
    state::{Connection, EndingSpeech, Missing, State, Step},
    supervision::{Progress, Reaction},
};
#[cfg(feature = "dave")]
use crate::transport::dave::DaveError;
use crate::{bridge::JoinFailure, gateway::session::Credentials, id::ChannelId};

/// The machine of one call.
#[derive(Debug)]
pub struct Recovery {
    policy: Supervision,
    state: State,
    failures: Failures,
    /// The encryption modes that no server has refused, best first.
    modes: Vec<String>,
    /// The mode of the newest session.
    mode: Option<String>,
    /// Whether the main gateway is away, so that the bridge cannot bring anything.
    main_gateway_lost: bool,
    /// Whether the guild is unavailable, so that Discord answers nothing in it.
    guild_unavailable: bool,
    actions: VecDeque<Action>,
}

impl Recovery {
    /// A call whose credentials have been asked for. `modes` are the encryption modes that may be used, best first;
    /// `jitter` in 0..1 spreads the pauses of many calls.
    pub fn new(policy: Supervision, modes: Vec<String>, jitter: f32, now: Instant) -> Self {
        Self {
            state: State::AwaitFirstCredentials { until: now + policy.queue_timeout, moved: None },
            failures: Failures::new(jitter),
            policy,
            modes,
            mode: None,
            main_gateway_lost: false,
            guild_unavailable: false,
            actions: VecDeque::from([Action::StartSpeaker]),
        }
    }

    /// Fresh credentials came: whatever was there is replaced by a new voice session.
    pub fn credentials(&mut self, credentials: Credentials) {
        if self.is_over() {
            return;
        }
        self.moved(credentials.channel);
        if self.is_live() {
            self.report(ConnectionStatus::Reconnecting(Cause::ServerChanged));
        }
        self.actions.push_back(Action::Identify(credentials.clone()));
        let connection = Connection::AwaitSession(Missing::Both);
        self.state = State::InVoice { credentials, connection, ending: None };
    }

    /// The voice server is gone; Discord promises another.
    pub fn endpoint_lost(&mut self, now: Instant) {
        if !self.is_over() {
            self.wait_for_credentials(Cause::EndpointLost, now + self.policy.credentials_timeout);
        }
    }

    /// The channel of the call changed.
    pub fn moved(&mut self, channel: ChannelId) {
        let told = match &mut self.state {
            State::InVoice { credentials, .. } => Some(&mut credentials.channel),
            // Until the call has connected, it is where it was asked to be, unless something else was told.
            State::AwaitFirstCredentials { moved, .. } => moved.as_mut(),
            State::Ended { .. } => None,
        };
        if told.is_some_and(|told| std::mem::replace(told, channel) != channel) {
            self.actions.push_back(Action::Moved(channel));
        }
    }

    /// The bot was moved to this channel before it could connect. A call that was in voice before is told so by the
    /// credentials.
    pub fn redirected(&mut self, channel: ChannelId) {
        if let State::AwaitFirstCredentials { moved, .. } = &mut self.state
            && moved.replace(channel) != Some(channel)
        {
            self.actions.push_back(Action::Moved(channel));
        }
    }

    /// The main gateway says that the bot is in no voice channel of the guild.
    pub fn kicked(&mut self) {
        self.end(EndReason::Kicked);
    }

    /// The main gateway began a new session: what was connected is void, and the bridge is asking for more.
    pub fn main_session_replaced(&mut self, now: Instant) {
        if !self.is_over() && self.has_been_in_voice() {
            self.wait_for_credentials(Cause::MainSessionReplaced, now + self.policy.queue_timeout);
        }
    }

    /// No credentials came.
    pub fn join_failed(&mut self, failure: JoinFailure, now: Instant) {
        match &self.state {
            _ if self.is_over() => {}
            // Half a join leaves the bot in the channel, and Discord's answer may only be late.
            State::AwaitFirstCredentials { .. } => self.leave(EndReason::NotJoined(failure)),
            State::InVoice { connection: Connection::Backoff { then: Step::Rejoin, .. }, .. } => {}
            _ => self.step(Step::Rejoin, Cause::Join(failure), now),
        }
    }

    /// The session chose this encryption mode.
    pub fn mode_chosen(&mut self, mode: String) {
        self.mode = Some(mode);
    }

    /// The encryption modes that may be used, best first.
    pub fn modes(&self) -> &[String] {
        &self.modes
    }

    /// The transport has a key; frames can be sent once the end-to-end encryption is settled too.
    pub fn opened(&mut self, now: Instant) {
        match self.state.connection() {
            Some(Connection::AwaitSession(Missing::Both)) => {
                let until = now + self.policy.encryption_timeout;
                self.set(Connection::AwaitSession(Missing::Encryption { until }));
            }
            Some(Connection::AwaitSession(Missing::Transport)) => self.go_live(ConnectionStatus::Connected),
            _ => {}
        }
    }

    /// The end-to-end encryption has a key, or needs none, or there is nobody to hear us.
    pub fn settled(&mut self) {
        match self.state.connection() {
            Some(Connection::AwaitSession(Missing::Both)) => {
                self.set(Connection::AwaitSession(Missing::Transport));
            }
            Some(Connection::AwaitSession(Missing::Encryption { .. })) => {
                self.go_live(ConnectionStatus::Connected);
            }
            _ => {}
        }
    }

    /// The old voice session goes on.
    pub fn resumed(&mut self) {
        if let Some(Connection::Resuming { .. }) = self.state.connection() {
            self.go_live(ConnectionStatus::Resumed);
        }
    }

    /// The websocket is gone.
    pub fn gateway_lost(&mut self, cause: Cause, now: Instant) {
        self.failures.forget(&self.policy, now);
        let attempt = match self.state.connection() {
            _ if self.is_over() => return,
            Some(Connection::AwaitSession(_)) | Some(Connection::Live) => 0,
            Some(Connection::Resuming { attempt }) => *attempt,
            _ => return,
        };
        if cause == Cause::Zombie {
            self.actions.push_back(Action::DoubtMainGateway);
        }
        match self.policy.reaction(&cause, self.progress()) {
            Reaction::GiveUp => self.stop(cause, now),
            Reaction::AwaitMove => self.await_move(cause, now),
            Reaction::OtherMode => {
                let refused = self.mode.take();
                self.modes.retain(|mode| Some(mode) != refused.as_ref());
                self.rejoin_once(cause, now);
            }
            Reaction::RejoinOnce => self.rejoin_once(cause, now),
            Reaction::Resume => self.step(Step::Resume { attempt: attempt + 1 }, cause, now),
            Reaction::Rejoin | Reaction::Restart => self.step(Step::Rejoin, cause, now),
        }
    }

    /// The UDP side is gone, and with it the key, the counters and the nonces: a new session is due.
    pub fn transport_lost(&mut self, cause: Cause, now: Instant) {
        let connecting = matches!(self.state.connection(), Some(Connection::AwaitSession(_)));
        if self.is_over() || !(self.is_live() || connecting) {
            return;
        }
        // No frame leaves any more, also none that would end speech.
        self.set(Connection::AwaitSession(Missing::Both));
        match self.policy.reaction(&cause, self.progress()) {
            Reaction::GiveUp => self.stop(cause, now),
            _ => self.step(Step::Rejoin, cause, now),
        }
    }

    /// The speaker is gone, and with it the tracks; the connection is not touched.
    pub fn speaker_lost(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        match self.failures.failed(&Cause::Panicked("Speaker"), &self.policy, now) {
            Some(end) => self.leave(end),
            None => self.actions.push_back(Action::StartSpeaker),
        }
    }

    /// The listener panicked; another takes its place, unless that has happened too often.
    pub fn listener_lost(&mut self, now: Instant) {
        if !self.is_over()
            && let Some(end) = self.failures.failed(&Cause::Panicked("Listener"), &self.policy, now)
        {
            self.leave(end);
        }
    }

    /// The user ends the call: the tracks are stopped, the silence that ends speech is sent, and then the call ends.
    pub fn disconnect(&mut self, reason: EndReason, now: Instant) {
        if !self.is_over() {
            self.give_up(reason, now);
        }
    }

    /// The voice gateway has just been told that the bot no longer speaks. The main gateway is told by another
    /// connection that it leaves, which must not overtake that.
    pub fn speaking_ended(&mut self, now: Instant) {
        if let State::InVoice { ending: Some(ending), .. } = &mut self.state {
            ending.until = ending.until.min(now + SPEAKING_LEAD);
        }
    }

    /// The bot does not speak.
    pub fn speech_ended(&mut self) {
        if let Some(ending) = self.state.ending() {
            self.leave(ending.reason.clone());
        }
    }

    /// The encoder cannot be made, so there is nothing to be said in this call.
    pub fn cannot_speak(&mut self, why: String) {
        self.leave(EndReason::NoEncoder(why));
    }

    /// The main gateway is away. What it is asked for is waited for until it is back; a first join only for so long.
    pub fn main_gateway_lost(&mut self, now: Instant) {
        self.main_gateway_lost = true;
        self.failures.forgive(now);
        self.await_credentials_until(now + self.policy.credentials_timeout);
    }

    /// The guild has an outage: as when the main gateway is away.
    pub fn guild_unavailable(&mut self, now: Instant) {
        self.guild_unavailable = true;
        self.await_credentials_until(now + self.policy.credentials_timeout);
    }

    /// The outage is over.
    pub fn guild_available(&mut self, now: Instant) {
        self.guild_unavailable = false;
        self.await_credentials_until(now + self.policy.queue_timeout);
    }

    /// The main gateway is back.
    pub fn main_gateway_restored(&mut self, now: Instant) {
        self.main_gateway_lost = false;
        self.await_credentials_until(now + self.policy.queue_timeout);
    }

    /// The main gateway has been asked for credentials: its answer is awaited from now on.
    pub fn requested(&mut self, now: Instant) {
        self.await_credentials_until(now + self.policy.credentials_timeout);
    }

    /// The last credentials that came.
    pub fn last_credentials(&self) -> Option<&Credentials> {
        self.state.credentials()
    }

    /// Whether credentials are awaited.
    pub fn is_joining(&self) -> bool {
        match &self.state {
            State::AwaitFirstCredentials { .. } => true,
            State::InVoice { connection, .. } => matches!(connection, Connection::AwaitCredentials { .. }),
            State::Ended { .. } => false,
        }
    }

    /// Another program with the bot's token is in voice in this guild; it is not fought for the bot.
    pub fn taken_over(&mut self) {
        self.end(EndReason::TakenOver);
    }

    /// The guild is gone.
    pub fn guild_deleted(&mut self) {
        self.end(EndReason::GuildDeleted);
    }

    /// The next action, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        while self.actions.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        self.actions.pop_front()
    }

    /// When to poll again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::AwaitFirstCredentials { until, .. } => Some(*until),
            State::InVoice { connection, ending, .. } => {
                let unanswerable =
                    self.discord_is_away() && matches!(connection, Connection::AwaitCredentials { .. });
                let connection = connection.deadline().filter(|_| !unanswerable);
                ending.as_ref().map(|ending| ending.until).into_iter().chain(connection).min()
            }
            State::Ended { .. } => None,
        }
    }

    /// Whether frames can be sent: also while only the websocket is being resumed.
    pub fn is_live(&self) -> bool {
        self.state.connection().is_some_and(Connection::is_live)
    }

    /// The channel of the voice session.
    pub fn channel(&self) -> Option<ChannelId> {
        self.state.credentials().map(|credentials| credentials.channel)
    }

    fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// Whether the call is over, or ending its speech: nothing is worth mending any more.
    pub fn is_over(&self) -> bool {
        self.is_ended() || self.state.ending().is_some()
    }

    /// Whether the path to Discord, or Discord itself, is known to be broken: what fails meanwhile fails for that.
    fn discord_is_away(&self) -> bool {
        self.main_gateway_lost || self.guild_unavailable
    }

    fn has_been_in_voice(&self) -> bool {
        self.state.credentials().is_some()
    }

    fn progress(&self) -> Progress {
        match self.state.connection() {
            Some(Connection::Live) => Progress::Established,
            Some(Connection::Resuming { attempt }) if *attempt < self.policy.resume_attempts => {
                Progress::Resuming
            }
            Some(Connection::Resuming { .. }) => Progress::LastResume,
            _ => Progress::New,
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.state.ending().is_some_and(|ending| ending.until <= now) {
            return self.speech_ended();
        }
        match self.state.connection().cloned() {
            // The bridge has deadlines of its own, and answers before this unless it is gone.
            None if self.main_gateway_lost => self.join_failed(JoinFailure::NoGateway, now),
            None if self.guild_unavailable => self.join_failed(JoinFailure::GuildUnavailable, now),
            None | Some(Connection::AwaitCredentials { .. }) => self.join_failed(JoinFailure::NoAnswer, now),
            Some(Connection::Backoff { then: Step::Resume { attempt }, .. }) => self.resume(attempt),
            Some(Connection::Backoff { then: Step::Rejoin, .. }) => self.rejoin(now),
            // Frames are withheld until a key comes; the rest of the call need not wait for it.
            Some(Connection::AwaitSession(_)) => self.go_live(ConnectionStatus::Connected),
            // Neither a move nor a kick: the main gateway lost its session, or the user's bot dropped the event.
            Some(Connection::AwaitMove { cause, .. }) => self.step(Step::Rejoin, cause, now),
            Some(Connection::Live | Connection::Resuming { .. }) => {}
        }
    }

    fn await_credentials_until(&mut self, deadline: Instant) {
        match &mut self.state {
            State::AwaitFirstCredentials { until, .. }
            | State::InVoice { connection: Connection::AwaitCredentials { until }, .. } => *until = deadline,
            State::InVoice { .. } | State::Ended { .. } => {}
        }
    }

    fn set(&mut self, next: Connection) {
        if let State::InVoice { connection, .. } = &mut self.state {
            *connection = next;
        }
    }

    fn go_live(&mut self, status: ConnectionStatus) {
        self.set(Connection::Live);
        self.failures.live();
        self.report(status);
    }

    fn resume(&mut self, attempt: u32) {
        if let State::InVoice { credentials, connection, .. } = &mut self.state {
            *connection = Connection::Resuming { attempt };
            self.actions.push_back(Action::Resume(credentials.clone()));
        }
    }

    fn rejoin(&mut self, now: Instant) {
        self.set(Connection::AwaitCredentials { until: now + self.policy.queue_timeout });
        self.actions.push_back(Action::Rejoin);
    }

    /// What was connected is void, and the bridge brings more, or says that there is none.
    fn wait_for_credentials(&mut self, cause: Cause, until: Instant) {
        match &mut self.state {
            State::AwaitFirstCredentials { until: first, .. } => *first = until,
            _ => self.set(Connection::AwaitCredentials { until }),
        }
        self.actions.push_back(Action::Close);
        self.report(ConnectionStatus::Reconnecting(cause));
    }

    fn await_move(&mut self, cause: Cause, now: Instant) {
        self.actions.push_back(Action::Close);
        self.report(ConnectionStatus::Reconnecting(cause.clone()));
        self.set(Connection::AwaitMove { until: now + self.policy.move_timeout, cause });
    }

    fn rejoin_once(&mut self, cause: Cause, now: Instant) {
        match cause {
            Cause::Closed(code) if !self.failures.first_time(code, now) => self.stop(cause, now),
            _ => self.step(Step::Rejoin, cause, now),
        }
    }

    fn stop(&mut self, cause: Cause, now: Instant) {
        let reason = match cause {
            Cause::Closed(code) => EndReason::Refused(code),
            Cause::Handshake(error) => EndReason::Incompatible(error),
            #[cfg(feature = "dave")]
            Cause::E2ee(DaveError::NotEncrypted) => EndReason::NotEncrypted,
            last => EndReason::GaveUp { failures: self.failures.count() + 1, last },
        };
        self.give_up(reason, now);
    }

    /// Takes the next step after a pause that grows with what failed of late.
    fn step(&mut self, then: Step, cause: Cause, now: Instant) {
        if let Step::Resume { attempt: 2.. } = then {
            // Still the failure that the first attempt was for.
            self.failures.resume_lost();
        } else if !self.discord_is_away()
            && let Some(end) = self.failures.connection_lost(&cause, &self.policy, now)
        {
            return self.give_up(end, now);
        }
        let pause = match then {
            Step::Resume { attempt: 1 } => Duration::ZERO,
            _ => self.failures.pause(&self.policy),
        };
        match then {
            Step::Resume { .. } => self.report(ConnectionStatus::Resuming(cause)),
            Step::Rejoin => {
                self.actions.push_back(Action::Close);
                self.report(ConnectionStatus::Reconnecting(cause));
            }
        }
        self.set(Connection::Backoff { until: now + pause, then });
    }

    fn report(&mut self, status: ConnectionStatus) {
        self.actions.push_back(Action::Report(status));
    }

    /// Ends. Where frames can be sent, also while only the websocket is away, the bot ends its speech before.
    fn give_up(&mut self, reason: EndReason, now: Instant) {
        let until = now + self.policy.end_speech_timeout;
        match &mut self.state {
            State::InVoice { connection, ending, .. } if connection.is_live() => {
                *ending = Some(EndingSpeech { until, reason });
                self.actions.push_back(Action::StopTracks);
            }
            _ => self.leave(reason),
        }
    }

    /// Ends, and takes the bot out of the channel.
    fn leave(&mut self, reason: EndReason) {
        if !self.is_ended() {
            self.actions.push_back(Action::Leave);
            self.end(reason);
        }
    }

    fn end(&mut self, reason: EndReason) {
        if !self.is_ended() {
            self.state = State::Ended { credentials: self.state.credentials().cloned() };
            self.actions.push_back(Action::Close);
            self.actions.push_back(Action::End(reason));
        }
    }
}

/// How far what is said on one connection may lag behind what is said on another.
const SPEAKING_LEAD: Duration = Duration::from_millis(20);
