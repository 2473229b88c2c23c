//! What the voice of a guild does when its session, the main gateway, or the guild itself is gone, and when it is back.

use std::time::{Duration, Instant};

use super::{
    GuildVoice,
    events::VoiceState,
    state::{Asked, Move, ServerState, State},
};

impl GuildVoice {
    /// The bot is no longer in the guild: there is nothing to leave, and nowhere to be.
    pub fn guild_deleted(&mut self) {
        self.state = State::Idle { goal: None };
        self.suppression = None;
        self.outage = None;
        self.unanswered.forget();
        self.cancel_op_4();
    }

    /// The guild has an outage. Voice often plays on, so nothing is given up; but nothing is answered either.
    pub fn guild_unavailable(&mut self, now: Instant) {
        self.outage.get_or_insert(now + OUTAGE_TIMEOUT);
    }

    /// The outage is over, and Discord sees the bot in this state, or in no channel.
    pub fn guild_available(&mut self, own: Option<&VoiceState>, now: Instant) {
        if self.outage.take().is_none() {
            return;
        }
        match own.filter(|state| state.channel.is_some()) {
            Some(state) => {
                self.voice_state(state, now);
                self.main_gateway_restored(now);
            }
            // The outage took the bot out of its channel, which is no kick. What was asked before may still be answered.
            None => self.join_again(now),
        }
    }

    /// The voice session is of no use any more: leave, and join again, for fresh credentials.
    ///
    /// What ended it may be a kick or a move that the main gateway has still to tell, and that leaving would hide. So where its
    /// answers are slow, they are waited for first.
    pub fn rejoin(&mut self, now: Instant) {
        let told = self.unanswered.longest_latency().saturating_sub(USUAL_LATENCY);
        match &mut self.state {
            // Fresh credentials are asked for already, or soon will be.
            State::AwaitLeft { .. }
            | State::AwaitEvents { asked: Asked::No, .. }
            | State::Joined { server: ServerState::Useless { .. }, .. } => {}
            State::Joined { server: server @ ServerState::Connected { .. }, .. } if !told.is_zero() => {
                *server = ServerState::Useless { until: now + told };
            }
            _ => self.leave_to_rejoin(now),
        }
    }

    pub(super) fn leave_to_rejoin(&mut self, now: Instant) {
        if let Some(goal) = self.goal() {
            self.request_leave(Some(goal), now);
        }
    }

    /// The main gateway began a new session, which is in no voice channel: join again.
    pub fn main_session_replaced(&mut self, now: Instant) {
        self.unanswered.forget();
        self.join_again(now);
    }

    /// The bot is in no channel, and nobody took it out.
    fn join_again(&mut self, now: Instant) {
        match self.goal() {
            Some(goal) => self.request_join(goal, now),
            None => self.state = State::Idle { goal: None },
        }
    }

    /// The main gateway is back and its session goes on. What was asked while it was away may not have arrived.
    pub fn main_gateway_restored(&mut self, now: Instant) {
        let answer = now + self.join_timeout;
        self.unanswered.restored(now);
        match &mut self.state {
            State::Idle { .. } => {}
            State::AwaitLeft { goal, .. } => {
                let goal = *goal;
                self.request_leave(goal, now);
            }
            State::AwaitEvents { goal, arriving, until, .. } => {
                let channel = goal.channel;
                *until = answer.max(*until);
                *arriving = Some(answer);
                self.send_op_4(Some(channel));
            }
            State::Joined { server, moving, .. } => {
                if let ServerState::Awaited { until, .. } = server {
                    *until = answer.max(*until);
                }
                if let Some(Move { to, until }) = moving {
                    let to = *to;
                    *until = answer;
                    self.send_op_4(Some(to));
                }
            }
        }
    }
}

/// How long a guild may be unavailable before its call ends.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(600);
/// What a main gateway tells within this time is told before a call joins again: it pauses for half a second.
const USUAL_LATENCY: Duration = Duration::from_millis(500);
