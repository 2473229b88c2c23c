//! GuildVoice: makes of one guild's VOICE_STATE_UPDATE and VOICE_SERVER_UPDATE the credentials of a voice session.
//!
//! ```text
//!           join                     both events, an endpoint                leave
//!   Idle ─────────▶ AwaitEvents ───────────────────────────────▶ Joined ───────────────▶ AwaitLeft
//!                    │  ▲    10 s without ▶ Failed, Idle           │  null state ▶ Kicked, Idle
//!                    ▼  │ own null state, or 1 s (10 s without     │  null endpoint ▶ EndpointLost, wait
//!                 AwaitLeft ◀──────── rejoin ──────────────────────┤  another channel ▶ Moved
//!                       │ ... and nowhere to be   anywhere to be)  │  join elsewhere ▶ Moved, or 10 s ▶ NotMoved
//!                       ▼                                          ▼
//!                      Idle                                      Joined
//! ```
//!
//! Discord never answers op 4 with an error: silence is the refusal, so every wait has a deadline. A refused move
//! leaves the bot where it is, and so does this machine. While the guild is unavailable no silence is an answer.
//! See <https://docs.discord.com/developers/topics/voice-connections#retrieving-voice-server-information>.

mod action;
mod answers;
mod doubt;
pub mod events;
mod incoming;
mod queue;
mod reason;
mod report;
mod restoring;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

pub use self::{
    action::Action,
    doubt::Doubt,
    queue::{SendLimit, VoiceUpdateQueue},
    reason::{JoinFailure, Suppression},
    report::{CallRequest, Report, Request},
};
use self::{
    answers::Unanswered,
    events::{SelfFlags, UpdateVoiceState},
    state::{Asked, Goal, Move, Op4, PendingEvents, Server, ServerState, State},
};
use crate::{
    gateway::session::{ChannelKind, Credentials},
    id::{ChannelId, GuildId, SessionId, UserId},
};

/// The machine of one guild.
#[derive(Debug)]
pub struct GuildVoice {
    guild: GuildId,
    user: UserId,
    /// The main session's name, as far as it is known: states of others are of other programs with the bot's token.
    main_session: Option<SessionId>,
    /// How long Discord may take to answer an op 4.
    join_timeout: Duration,
    flags: SelfFlags,
    suppression: Option<Suppression>,
    /// The channels that are known to be stages.
    stages: HashSet<ChannelId>,
    op_4: Op4,
    /// While the guild is unavailable: until when it has to be back.
    outage: Option<Instant>,
    /// The channel of the last op 4.
    asked_for: Option<ChannelId>,
    unanswered: Unanswered,
    state: State,
    actions: VecDeque<Action>,
}

impl GuildVoice {
    /// A bot that is in no channel of this guild. `join_timeout` is how long Discord may take to answer an op 4.
    pub fn new(guild: GuildId, user: UserId, join_timeout: Duration) -> Self {
        Self {
            guild,
            user,
            main_session: None,
            join_timeout,
            flags: SelfFlags::default(),
            suppression: None,
            stages: HashSet::new(),
            op_4: Op4::Sent,
            outage: None,
            asked_for: None,
            unanswered: Unanswered::default(),
            state: State::Idle { goal: None },
            actions: VecDeque::new(),
        }
    }

    /// The user wants to be in this channel; in another one already, it is a move.
    pub fn join(&mut self, channel: ChannelId, now: Instant) {
        let answer = now + self.join_timeout;
        let wanted = self.goal().map(|goal| goal.channel);
        match &mut self.state {
            // Discord would answer with half of what it takes to join, or not at all.
            State::AwaitEvents { .. } | State::Joined { .. } if wanted == Some(channel) => {}
            State::Joined { moving, .. } => {
                *moving = Some(Move { to: channel, until: answer });
                self.send_op_4(Some(channel));
            }
            State::AwaitEvents { goal, arriving, until, .. } => {
                goal.channel = channel;
                *until = answer;
                *arriving = Some(answer);
                self.send_op_4(Some(channel));
            }
            State::AwaitLeft { goal, until } => {
                *goal = Some(Goal::after(*goal, channel));
                *until = (*until).min(now + LEAVE_TIMEOUT);
            }
            State::Idle { goal } => {
                let goal = Goal::after(*goal, channel);
                self.request_join(goal, now);
            }
        }
    }

    /// The user wants the bot to appear like this; where it is in voice already, Discord is told at once.
    pub fn appear(&mut self, flags: SelfFlags) {
        if std::mem::replace(&mut self.flags, flags) == flags {
            return;
        }
        if let State::AwaitEvents { asked: Asked::Yes, .. } | State::Joined { .. } = &self.state {
            self.send_op_4(self.goal().map(|goal| goal.channel));
        }
    }

    /// These channels are stages. Where the bot finds itself in an audience is one too.
    pub fn stages(&mut self, channels: impl IntoIterator<Item = ChannelId>) {
        self.stages.extend(channels);
    }

    /// Another call wants to be in this channel, and knows nothing of what the one before was told.
    pub fn take_over(&mut self, channel: ChannelId, now: Instant) {
        self.suppression = None;
        let goal = Goal::after(self.goal(), channel);
        match &mut self.state {
            State::AwaitEvents { .. } | State::Joined { .. } => self.request_leave(Some(goal), now),
            State::AwaitLeft { goal: next, until } => {
                *next = Some(goal);
                *until = (*until).min(now + LEAVE_TIMEOUT);
            }
            State::Idle { .. } => self.request_join(goal, now),
        }
    }

    /// The bot is in voice already, with these credentials: the machine before this one was lost.
    pub fn adopt(&mut self, credentials: &Credentials) {
        let Credentials { channel, channel_kind, session_id, .. } = credentials.clone();
        if channel_kind == ChannelKind::Stage {
            self.stages.insert(channel);
        }
        let server = ServerState::Connected { server: None, assumed: None };
        self.state = State::Joined { session_id, channel, server, moving: None };
    }

    /// The user wants to leave. A join that Discord does not know of yet is taken back.
    pub fn leave(&mut self, now: Instant) {
        match &self.state {
            State::AwaitEvents { asked: Asked::No, pending: PendingEvents { state: None, .. }, .. } => {
                self.cancel_op_4();
                self.state = State::Idle { goal: None };
            }
            _ => self.request_leave(None, now),
        }
    }

    /// The last op 4 has left: its answer is awaited from now on.
    pub fn op_4_sent(&mut self, now: Instant) {
        if std::mem::replace(&mut self.op_4, Op4::Sent) == Op4::Sent {
            return;
        }
        let answer = now + self.join_timeout;
        if let Some(channel) = self.asked_for {
            self.unanswered.join(channel, now, answer);
        }
        match &mut self.state {
            State::Idle { .. } => {}
            State::AwaitLeft { goal, until } => {
                let answer = self.unanswered.longest_latency();
                *until = now + leave_timeout(*goal, answer, self.join_timeout);
            }
            State::AwaitEvents { arriving, asked, until, .. } => {
                *asked = Asked::Yes;
                *until = answer.max(*until);
                arriving.iter_mut().for_each(|arriving| *arriving = answer);
            }
            State::Joined { moving, .. } => moving.iter_mut().for_each(|moving| moving.until = answer),
        }
    }

    /// The main gateway has told the name of its session.
    pub fn main_session(&mut self, session: Option<SessionId>) {
        self.main_session = session;
    }

    /// Whether the bot is in no channel as far as is known, and wants to be in none.
    pub fn is_out(&self) -> bool {
        matches!(self.state, State::Idle { goal: None })
    }

    /// Whether nothing is asked for and nothing awaited.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    /// The next order, or nothing until the next fact or [`Self::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        while self.actions.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            if self.outage.take_if(|until| *until <= now).is_some() {
                self.guild_deleted();
                self.actions.push_back(Action::GuildLost);
            } else {
                self.expire(now);
            }
        }
        self.actions.pop_front()
    }

    /// When to poll again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle { .. } => None,
            // No silence is an answer.
            _ if self.outage.is_some() => self.outage,
            State::AwaitLeft { .. } | State::AwaitEvents { .. } if self.op_4 == Op4::Queued => None,
            State::AwaitLeft { until, .. } | State::AwaitEvents { until, .. } => Some(*until),
            State::Joined { server, moving, .. } => {
                let moving = moving.filter(|_| self.op_4 == Op4::Sent).map(|moving| moving.until);
                moving.into_iter().chain(server.until()).min()
            }
        }
    }

    /// Where the call wants to be, if anywhere.
    fn goal(&self) -> Option<Goal> {
        match &self.state {
            State::Idle { goal } | State::AwaitLeft { goal, .. } => *goal,
            State::AwaitEvents { goal, .. } => Some(*goal),
            State::Joined { channel, moving, .. } => {
                Some(Goal { channel: moving.map_or(*channel, |moving| moving.to), fallback: Some(*channel) })
            }
        }
    }

    fn send_op_4(&mut self, channel: Option<ChannelId>) {
        self.op_4 = Op4::Queued;
        self.asked_for = channel;
        self.actions.push_back(Action::UpdateVoiceState(UpdateVoiceState {
            guild: self.guild,
            channel,
            self_mute: self.flags.mute,
            self_deaf: self.flags.deaf,
        }));
    }

    /// Takes the last op 4 back if it has not left.
    fn cancel_op_4(&mut self) {
        if std::mem::replace(&mut self.op_4, Op4::Sent) == Op4::Queued {
            self.actions.push_back(Action::CancelVoiceUpdate);
        }
    }

    /// Joins, from no channel.
    fn request_join(&mut self, goal: Goal, now: Instant) {
        let until = now + self.join_timeout;
        self.send_op_4(Some(goal.channel));
        let pending = PendingEvents::default();
        self.state = State::AwaitEvents { goal, arriving: Some(until), asked: Asked::No, pending, until };
    }

    /// Leaves; what Discord still sends of the session before is of no interest until it has confirmed that.
    fn request_leave(&mut self, goal: Option<Goal>, now: Instant) {
        let answer = self.unanswered.longest_latency();
        let until = now + leave_timeout(goal, answer, self.join_timeout);
        self.state = State::AwaitLeft { goal, until };
        self.send_op_4(None);
    }

    /// The bot has left; it joins again if there is somewhere to be.
    fn left(&mut self, now: Instant) {
        match self.goal() {
            Some(goal) => self.request_join(goal, now),
            None => self.state = State::Idle { goal: None },
        }
    }

    /// Connects once both events are here.
    fn try_complete(&mut self) {
        let State::AwaitEvents { goal, arriving, pending, .. } = &mut self.state else { return };
        let Some(server) = pending.server.clone() else { return };
        let Some((session_id, channel)) = pending.state.take() else { return };
        let moving = arriving.map(|until| Move { to: goal.channel, until });
        let state = ServerState::Connected { server: None, assumed: None };
        self.state = State::Joined { session_id, channel, server: state, moving };
        self.connect(server, None);
    }

    fn connect(&mut self, offered: Server, assumed: Option<Instant>) {
        let State::Joined { session_id, channel, server, .. } = &mut self.state else { return };
        *server = ServerState::Connected { server: Some(offered.clone()), assumed };
        let Server { token, endpoint } = offered;
        let channel_kind =
            if self.stages.contains(channel) { ChannelKind::Stage } else { ChannelKind::Voice };
        self.actions.push_back(Action::Credentials(Credentials {
            guild: self.guild,
            channel: *channel,
            channel_kind,
            user: self.user,
            session_id: session_id.clone(),
            token,
            endpoint,
        }));
    }

    fn expire(&mut self, now: Instant) {
        match &mut self.state {
            State::AwaitLeft { .. } => {
                self.unanswered.leave();
                self.left(now);
            }
            State::AwaitEvents { pending, .. } => {
                let failure = pending.missing();
                self.fail(failure);
            }
            State::Joined { server: ServerState::Held { server, until }, .. } if *until <= now => {
                let server = server.clone();
                self.connect(server, Some(now));
            }
            State::Joined { server: ServerState::Useless { until }, .. } if *until <= now => {
                self.leave_to_rejoin(now);
            }
            State::Joined { server: ServerState::Awaited { until, without }, .. } if *until <= now => {
                let failure = *without;
                self.fail(failure);
            }
            // The move was refused: the bot stays where it is.
            State::Joined { channel, moving, .. } => {
                if moving.take().is_some_and(|moving| moving.to != *channel) {
                    self.actions.push_back(Action::NotMoved(JoinFailure::NoAnswer));
                }
            }
            State::Idle { .. } => {}
        }
    }

    /// The voice session cannot be made. A channel that is out of reach is no goal any more if there was one before.
    fn fail(&mut self, failure: JoinFailure) {
        let mut goal = self.goal();
        if let Some(Goal { channel, fallback: Some(before) }) = &mut goal
            && *channel != *before
        {
            *channel = *before;
            self.actions.push_back(Action::NotMoved(failure));
        }
        self.state = State::Idle { goal };
        self.cancel_op_4();
        self.actions.push_back(Action::Failed(failure));
    }
}

/// How long Discord may take to allocate another voice server after a null endpoint.
pub const ALLOCATION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait for the null state before joining again.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait for the null state, where answers take this long. A bot that has nowhere else to be can wait until it is
/// certain that it was heard.
fn leave_timeout(goal: Option<Goal>, answer: Duration, join_timeout: Duration) -> Duration {
    if goal.is_some() { answer.clamp(LEAVE_TIMEOUT, LEAVE_TIMEOUT.max(join_timeout)) } else { join_timeout }
}

/// How much later than the server half the state half of a move may come. They are two messages on one websocket.
/// Little enough for another server without a move, and enough for bots that pass their events on by detours.
const MOVE_STATE_TIMEOUT: Duration = Duration::from_millis(500);
/// How much later it is still taken for the other half of that move.
const MOVE_STATE_LATEST: Duration = Duration::from_secs(2);
