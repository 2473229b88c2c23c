//! What Discord's two events do to the voice of a guild.

use std::time::Instant;

use super::{
    ALLOCATION_TIMEOUT, GuildVoice, MOVE_STATE_LATEST, MOVE_STATE_TIMEOUT,
    action::Action,
    events::{VoiceServer, VoiceState},
    reason::{JoinFailure, Suppression},
    state::{Endpoint, PendingEvents, Server, ServerState, State},
};
use crate::id::{ChannelId, SessionId};

impl GuildVoice {
    /// VOICE_STATE_UPDATE of any user; others than the bot itself, and other guilds, are ignored.
    pub fn voice_state(&mut self, event: &VoiceState, now: Instant) {
        if event.user != self.user || event.guild != Some(self.guild) {
            return;
        }
        if self.main_session.as_ref().is_some_and(|session| *session != event.session_id) {
            return self.other_session(event);
        }
        match event.channel {
            Some(channel) => {
                if event.suppress {
                    self.stages.insert(channel);
                }
                self.in_channel(channel, event.session_id.clone(), now);
                self.update_suppression(event);
            }
            None => self.out_of_voice(now),
        }
    }

    /// Another program with the same token: where it is in voice, this one no longer is. It is not fought for the bot.
    fn other_session(&mut self, event: &VoiceState) {
        if let (State::Joined { .. }, Some(_)) = (&self.state, event.channel) {
            self.state = State::Idle { goal: None };
            self.cancel_op_4();
            self.actions.push_back(Action::TakenOver);
        }
    }

    fn update_suppression(&mut self, event: &VoiceState) {
        let suppression = match event {
            VoiceState { suppress: true, .. } => Some(Suppression::Suppressed),
            VoiceState { mute: true, .. } => Some(Suppression::Muted),
            _ => None,
        };
        if std::mem::replace(&mut self.suppression, suppression) != suppression {
            self.actions.push_back(Action::Suppression(suppression));
        }
    }

    /// VOICE_SERVER_UPDATE.
    pub fn voice_server(&mut self, event: &VoiceServer, now: Instant) {
        if event.guild != self.guild {
            return;
        }
        let endpoint = event.endpoint.clone().filter(|endpoint| !endpoint.is_empty());
        let offered = endpoint.map(|endpoint| Server { token: event.token.clone(), endpoint });
        match (&mut self.state, offered) {
            (State::AwaitEvents { pending, until, .. }, None) => {
                pending.server = None;
                pending.null_endpoint = Endpoint::Null;
                if pending.state.is_some() {
                    *until = now + ALLOCATION_TIMEOUT;
                }
            }
            (State::AwaitEvents { pending, .. }, server) => {
                pending.server = server;
                self.try_complete();
            }
            (State::Joined { server, .. }, None) => {
                *server = ServerState::Awaited {
                    until: now + ALLOCATION_TIMEOUT,
                    without: JoinFailure::NoEndpoint,
                };
                self.actions.push_back(Action::EndpointLost);
            }
            (State::Joined { server: known, .. }, Some(server)) => match known {
                ServerState::Awaited { .. } => self.connect(server, None),
                ServerState::Held { until, .. } => *known = ServerState::Held { server, until: *until },
                // Discord repeats itself; a voice session that runs is not made anew for it.
                ServerState::Connected { server: Some(known), .. } if *known == server => {}
                ServerState::Connected { .. } | ServerState::Useless { .. } => {
                    *known = ServerState::Held { server, until: now + MOVE_STATE_TIMEOUT }
                }
            },
            (State::Idle { .. } | State::AwaitLeft { .. }, _) => {}
        }
    }

    fn in_channel(&mut self, now_in: ChannelId, id: SessionId, now: Instant) {
        self.unanswered.answered(now_in, now);
        match &mut self.state {
            State::AwaitEvents { goal, arriving, pending, until, .. } => {
                let first = pending.state.replace((id, now_in)).is_none();
                if first && pending.null_endpoint == Endpoint::Null && pending.server.is_none() {
                    *until = now + ALLOCATION_TIMEOUT;
                }
                // The bot is where the user wants it; or else somebody moved it, unless it has not been there yet.
                if goal.channel == now_in {
                    *arriving = None;
                } else if arriving.is_none() && std::mem::replace(&mut goal.channel, now_in) != now_in {
                    self.actions.push_back(Action::Redirected(now_in));
                }
                self.try_complete();
            }
            State::Joined { session_id, channel, moving, .. } => {
                *session_id = id;
                if moving.is_some_and(|moving| moving.to == now_in) {
                    *moving = None;
                }
                if std::mem::replace(channel, now_in) != now_in {
                    self.actions.push_back(Action::Moved(now_in));
                    self.await_new_server(now);
                }
            }
            State::Idle { .. } | State::AwaitLeft { .. } => {}
        }
    }

    /// After a move there is another voice server, which may have been told just before.
    fn await_new_server(&mut self, now: Instant) {
        let State::Joined { server, .. } = &mut self.state else { return };
        match server {
            ServerState::Held { server, .. } => {
                let server = server.clone();
                self.connect(server, None);
            }
            ServerState::Awaited { without: JoinFailure::NoEndpoint, .. } => {}
            // It was of the new channel, and is spent on the old one: only joining anew brings another.
            ServerState::Connected { assumed: Some(at), .. }
                if now.duration_since(*at) < MOVE_STATE_LATEST =>
            {
                *server = ServerState::Awaited { until: now, without: JoinFailure::NoServer };
            }
            ServerState::Connected { .. } | ServerState::Awaited { .. } | ServerState::Useless { .. } => {
                let until = now + self.join_timeout;
                *server = ServerState::Awaited { until, without: JoinFailure::NoServer };
            }
        }
    }

    fn out_of_voice(&mut self, now: Instant) {
        self.unanswered.out();
        match &self.state {
            State::AwaitLeft { .. } => self.left(now),
            // Before its own voice state, a null state belongs to the session before.
            State::AwaitEvents { pending: PendingEvents { state: None, .. }, .. } | State::Idle { .. } => {}
            _ if self.unanswered.explain_null(now) => {}
            State::AwaitEvents { .. } | State::Joined { .. } => {
                self.state = State::Idle { goal: None };
                // A move that is still to be asked for would bring the bot back.
                self.cancel_op_4();
                self.actions.push_back(Action::Kicked);
            }
        }
    }
}
