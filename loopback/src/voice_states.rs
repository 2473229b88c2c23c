//! Who is in which voice channel: op 4, its two events, and what moderators do.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::EventOrder;
use crate::log::{Event, Refusal};
use crate::payload::{self, VoiceStateRequest};
use crate::server::{Grant, GrantState, State, VoiceState};
use crate::token::Token;
use crate::voice_session::Outlet;

impl State {
    /// Answers an op 4, or refuses it with silence.
    pub(crate) fn update_voice_state(
        &mut self,
        id: u64,
        session: &str,
        request: VoiceStateRequest,
        now: Instant,
    ) {
        let Some(user) = self.main_sessions.get(session).map(|session| session.user) else { return };
        let VoiceStateRequest { guild, channel, self_mute, self_deaf } = request;
        let Some(channel) = channel else {
            for ssrc in self.voice_sessions_of(guild, user) {
                self.audit_leave(ssrc, now);
            }
            if self.remove_voice_state(guild, user, now) {
                self.close_voice_of(guild, user, 4014, "Disconnected.", now);
            }
            return;
        };
        if let Some(refusal) = self.refusal(guild, channel, user) {
            return self.log_event(id, now, Event::Refused(refusal));
        }
        self.log.rejoined(guild, user, now);
        let stays = self.voice_states.get(&(guild, user)).is_some_and(|state| {
            state.channel == Some(channel) && state.session_id == session && self.can_connect(guild, user)
        });
        let state = VoiceState {
            channel: Some(channel),
            session_id: session.to_owned(),
            self_mute,
            self_deaf,
            suppress: self.is_suppressed(guild, user, channel),
        };
        self.put_voice_state(guild, user, state);
        if stays {
            self.send_voice_state(guild, user, now);
        } else {
            self.send_join_events(guild, user, now);
        }
    }

    /// Who comes to a stage is suppressed, until it is told otherwise.
    fn is_suppressed(&self, guild: u64, user: u64, channel: u64) -> bool {
        let known = self.voice_states.get(&(guild, user)).filter(|state| state.channel == Some(channel));
        known.map_or_else(|| self.is_stage(channel), |state| state.suppress)
    }

    /// Gives a user its place; the relay lets nobody hear who is suppressed.
    pub(crate) fn put_voice_state(&mut self, guild: u64, user: u64, state: VoiceState) {
        self.take_voice_state(guild, user);
        if let Some(channel) = state.channel.filter(|_| state.suppress) {
            self.relay.suppress(channel, user);
        }
        self.voice_states.insert((guild, user), state);
    }

    /// Takes a user's place away, without telling anyone.
    pub(crate) fn take_voice_state(&mut self, guild: u64, user: u64) -> Option<VoiceState> {
        let state = self.voice_states.remove(&(guild, user))?;
        if let Some(channel) = state.channel {
            self.relay.unsuppress(channel, user);
        }
        Some(state)
    }

    /// Lets a user speak wherever it is suppressed, and tells everyone.
    pub(crate) fn unsuppress(&mut self, user: u64, now: Instant) {
        let suppressed = self.voice_states.iter().filter(|((_, one), state)| *one == user && state.suppress);
        for (guild, state) in
            suppressed.map(|((guild, _), state)| (*guild, state.clone())).collect::<Vec<_>>()
        {
            self.put_voice_state(guild, user, VoiceState { suppress: false, ..state });
            self.send_voice_state(guild, user, now);
        }
    }

    fn refusal(&self, guild: u64, channel: u64, user: u64) -> Option<Refusal> {
        let Some(record) = self.channels.get(&channel).filter(|record| record.guild == guild) else {
            return Some(Refusal::UnknownChannel);
        };
        if self.guilds.get(&guild).is_none_or(|guild| guild.unavailable) {
            return Some(Refusal::Unavailable);
        }
        if record.forbidden {
            return Some(Refusal::Forbidden);
        }
        let others = self
            .voice_states
            .iter()
            .filter(|((_, other), state)| *other != user && state.channel == Some(channel));
        let limit = usize::try_from(record.user_limit).unwrap_or(usize::MAX);
        (limit > 0 && others.count() >= limit).then_some(Refusal::Full)
    }

    /// Whether a connected voice session exists, or a token from which one can still be made.
    fn can_connect(&self, guild: u64, user: u64) -> bool {
        let session = self.voice_sessions.values().any(|session| {
            let connected = !matches!(session.outlet, Outlet::Detached(_)) && session.superseded.is_none();
            session.guild == guild && session.user == user && connected
        });
        session || self.fresh_grants(guild, user) > 0
    }

    fn fresh_grants(&self, guild: u64, user: u64) -> usize {
        let grants = self.grants.values().filter(|grant| grant.guild == guild && grant.user == user);
        grants.filter(|grant| grant.state == GrantState::Fresh).count()
    }

    /// Sends both events of a join or a move, and closes the connection to the channel left behind.
    fn send_join_events(&mut self, guild: u64, user: u64, now: Instant) {
        let close_last = self.settings.event_order == EventOrder::CloseLast;
        let state_first = self.state_first();
        if state_first {
            self.send_voice_state(guild, user, now);
        }
        if !close_last {
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        }
        self.send_voice_server(guild, user, now);
        if close_last {
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        }
        if !state_first {
            self.send_voice_state(guild, user, now);
        }
    }

    /// Tells everyone of a user's voice state.
    pub(crate) fn send_voice_state(&mut self, guild: u64, user: u64, now: Instant) {
        let Some(state) = self.voice_states.get(&(guild, user)) else { return };
        let event = payload::voice_state(Some(guild), user, state);
        self.broadcast("VOICE_STATE_UPDATE", &event, now);
    }

    /// Gives the user a token and the endpoint, or a null endpoint while there is none.
    pub(crate) fn send_voice_server(&mut self, guild: u64, user: u64, now: Instant) {
        let Some(state) = self.voice_states.get(&(guild, user)) else { return };
        let session = state.session_id.clone();
        // A simulated member has no main session, and stays where it is.
        if !self.main_sessions.contains_key(&session) {
            return;
        }
        let Some(record) = self.guilds.get(&guild) else { return };
        let endpoint =
            if record.endpoint_withheld { None } else { self.endpoints.get(record.region).cloned() };
        let token = Token(self.hex(8));
        self.spend_grants(guild, user);
        self.supersede(guild, user, now);
        self.grants.insert(token.clone(), Grant { guild, user, state: GrantState::Fresh });
        if endpoint.is_none() {
            self.spend(&token);
        }
        let event = json!({"token": token.0, "guild_id": guild.to_string(), "endpoint": endpoint});
        self.dispatch(&session, "VOICE_SERVER_UPDATE", event, now);
        if endpoint.is_none() {
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        }
    }

    /// Uses up the tokens of a user in a guild.
    pub(crate) fn spend_grants(&mut self, guild: u64, user: u64) {
        let owned = self.grants.iter().filter(|(_, grant)| grant.guild == guild && grant.user == user);
        let fresh = owned.filter(|(_, grant)| grant.state == GrantState::Fresh);
        for token in fresh.map(|(token, _)| token.clone()).collect::<Vec<_>>() {
            self.spend(&token);
        }
    }

    /// Uses a token up. The last few are remembered, so that using them again is 4006 and not 4004.
    pub(crate) fn spend(&mut self, token: &Token) {
        let Some(grant) = self.grants.get_mut(token) else { return };
        if std::mem::replace(&mut grant.state, GrantState::Spent) == GrantState::Spent {
            return;
        }
        self.spent.push_back(token.clone());
        if self.spent.len() > SPENT_MAX
            && let Some(oldest) = self.spent.pop_front()
        {
            self.grants.remove(&oldest);
        }
    }

    /// Takes a user out of a guild's voice and tells everyone; says whether it was in.
    pub(crate) fn remove_voice_state(&mut self, guild: u64, user: u64, now: Instant) -> bool {
        let Some(mut state) = self.take_voice_state(guild, user) else { return false };
        self.spend_grants(guild, user);
        state.channel = None;
        let event: Value = payload::voice_state(Some(guild), user, &state);
        self.broadcast("VOICE_STATE_UPDATE", &event, now);
        true
    }

    /// Disconnects a user as a moderator does; a lone one is told that the call ended.
    pub(crate) fn kick(&mut self, guild: u64, user: u64, now: Instant) {
        let code = if self.is_alone(guild, user) { 4022 } else { 4014 };
        if self.state_first() {
            self.remove_voice_state(guild, user, now);
            self.close_voice_of(guild, user, code, "Disconnected.", now);
        } else {
            self.close_voice_of(guild, user, code, "Disconnected.", now);
            self.remove_voice_state(guild, user, now);
        }
    }

    fn is_alone(&self, guild: u64, user: u64) -> bool {
        let channel = self.voice_states.get(&(guild, user)).and_then(|state| state.channel);
        let others =
            self.voice_states.iter().filter(|((_, other), state)| *other != user && state.channel == channel);
        others.count() == 0
    }

    /// Moves a user to another channel of the same guild as a moderator does.
    pub(crate) fn move_user(&mut self, user: u64, channel: u64, now: Instant) {
        let Some(record) = self.channels.get(&channel) else { return };
        let guild = record.guild;
        let suppress = self.is_suppressed(guild, user, channel);
        let Some(state) = self.voice_states.get(&(guild, user)).cloned() else { return };
        self.put_voice_state(guild, user, VoiceState { channel: Some(channel), suppress, ..state });
        self.send_join_events(guild, user, now);
    }

    /// Deletes a channel: everyone in it is out, and the call has ended.
    pub(crate) fn delete_channel(&mut self, channel: u64, now: Instant) {
        let Some(record) = self.channels.remove(&channel) else { return };
        let inside = self.voice_states.iter().filter(|(_, state)| state.channel == Some(channel));
        for (guild, user) in inside.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.remove_voice_state(guild, user, now);
            self.close_voice_of(guild, user, 4022, "Call terminated.", now);
        }
        self.broadcast("CHANNEL_DELETE", &payload::channel(channel, &record), now);
    }

    /// Takes a guild away from everyone; those in its voice are not told.
    pub(crate) fn lose_guild(&mut self, guild: u64, loss: GuildLoss, now: Instant) {
        let Some(record) = self.guilds.get_mut(&guild) else { return };
        record.unavailable = true;
        let inside = self.voice_states.range((guild, 0)..=(guild, u64::MAX));
        for user in inside.map(|((_, user), _)| *user).collect::<Vec<_>>() {
            let sessions = self.voice_sessions_of(guild, user);
            let simulated = sessions.iter().any(|ssrc| self.participants.contains_key(ssrc));
            if simulated && loss == GuildLoss::Outage {
                continue;
            }
            self.take_voice_state(guild, user);
            self.spend_grants(guild, user);
            if simulated {
                sessions.into_iter().for_each(|ssrc| self.end_voice_session(ssrc, now));
            } else {
                self.supersede(guild, user, now);
            }
        }
        let mut event = json!({"id": guild.to_string()});
        match loss {
            GuildLoss::Outage => event["unavailable"] = Value::Bool(true),
            GuildLoss::Deleted => {
                self.channels.retain(|_, channel| channel.guild != guild);
                self.guilds.remove(&guild);
            }
        }
        self.broadcast("GUILD_DELETE", &event, now);
    }

    /// Gives a guild back after an outage.
    pub(crate) fn restore_guild(&mut self, guild: u64, now: Instant) {
        let Some(record) = self.guilds.get_mut(&guild).filter(|record| record.unavailable) else { return };
        record.unavailable = false;
        let create = self.guild_create(guild);
        self.broadcast("GUILD_CREATE", &create, now);
    }

    /// Gives everyone in a guild's voice another server, or none for now.
    pub(crate) fn send_voice_server_to_all(&mut self, guild: u64, now: Instant) {
        let inside = self.voice_states.range((guild, 0)..=(guild, u64::MAX));
        for user in inside.map(|((_, user), _)| *user).collect::<Vec<_>>() {
            self.send_voice_server(guild, user, now);
        }
    }
}

/// What became of a guild that went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuildLoss {
    /// It does not exist any more, or not for the bots.
    Deleted,
    /// It will be back.
    Outage,
}

/// How many used tokens are remembered.
const SPENT_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Discord;

    #[tokio::test(start_paused = true)]
    async fn of_the_spent_tokens_only_the_last_are_remembered() {
        let discord = Discord::start().await;
        discord.shared.with(|state, _| {
            for _ in 0..SPENT_MAX + 100 {
                let token = Token(state.hex(8));
                state.grants.insert(token.clone(), Grant { guild: 1, user: 2, state: GrantState::Fresh });
                state.spend_grants(1, 2);
                assert_eq!(state.grants.get(&token).map(|grant| grant.state), Some(GrantState::Spent));
            }
            assert_eq!((state.grants.len(), state.spent.len()), (SPENT_MAX, SPENT_MAX));
        });
    }
}
