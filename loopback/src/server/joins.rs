//! How users come into voice channels and leave them: op 4, its two events, and what moderators do.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::State;
use super::payload::{self, VoiceStateRequest};
use super::voice_sessions::VoiceSession;
use super::voice_states::VoiceState;
use crate::EventOrder;
use crate::log::{Event, Refusal};
use crate::token::Token;

impl State {
    /// Answers an op 4, or refuses it with silence.
    pub(super) fn update_voice_state(
        &mut self,
        id: u64,
        session: &str,
        request: VoiceStateRequest,
        now: Instant,
    ) {
        let Some(main) = self.main_sessions.get(session) else { return };
        let user = main.user();
        let VoiceStateRequest { guild, channel, self_mute, self_deaf } = request;
        if !main.shard().has(guild) {
            return self.log_event(id, now, Event::Refused(Refusal::OtherShard));
        }
        let Some(channel) = channel else { return self.leave(guild, user, now) };
        if let Some(refusal) = self.refusal(guild, channel, user) {
            return self.log_event(id, now, Event::Refused(refusal));
        }
        self.log.rejoined(guild, user, now);
        let stays = self.voice_states.get(guild, user).is_some_and(|state| {
            state.channel == Some(channel) && state.session_id == session && self.can_connect(guild, user)
        });
        let state = VoiceState {
            channel: Some(channel),
            session_id: session.to_owned(),
            self_mute,
            self_deaf,
            suppress: self.is_suppressed(guild, user, channel),
        };
        self.voice_states.put(guild, user, state);
        if stays {
            self.send_voice_state(guild, user, now);
        } else {
            self.send_join_events(guild, user, now);
        }
    }

    /// Takes a user that leaves of its own accord out of a guild's voice.
    fn leave(&mut self, guild: u64, user: u64, now: Instant) {
        self.audit_leaves(guild, user, now);
        if self.remove_voice_state(guild, user, now) {
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        }
    }

    /// Whether a user that joins a channel is suppressed. On a stage it is, until a moderator unsuppresses it.
    fn is_suppressed(&self, guild: u64, user: u64, channel: u64) -> bool {
        let known = self.voice_states.get(guild, user).filter(|state| state.channel == Some(channel));
        known.map_or_else(|| self.directory.is_stage(channel), |state| state.suppress)
    }

    /// Lets a user speak wherever it is suppressed, and tells everyone.
    pub(crate) fn unsuppress(&mut self, user: u64, now: Instant) {
        for (guild, user) in self.voice_states.suppressed(user) {
            let Some(state) = self.voice_states.get(guild, user).cloned() else { continue };
            self.voice_states.put(guild, user, VoiceState { suppress: false, ..state });
            self.send_voice_state(guild, user, now);
        }
    }

    fn refusal(&self, guild: u64, channel: u64, user: u64) -> Option<Refusal> {
        let Some(record) = self.directory.channel(channel).filter(|record| record.guild == guild) else {
            return Some(Refusal::UnknownChannel);
        };
        if self.directory.guild(guild).is_none_or(|guild| guild.unavailable) {
            return Some(Refusal::Unavailable);
        }
        if record.forbidden {
            return Some(Refusal::Forbidden);
        }
        let limit = usize::try_from(record.user_limit).unwrap_or(usize::MAX);
        (limit > 0 && self.voice_states.others_in(channel, user) >= limit).then_some(Refusal::Full)
    }

    /// Whether a connected voice session exists, or a token from which one can still be made.
    fn can_connect(&self, guild: u64, user: u64) -> bool {
        let alive = |session: &VoiceSession| !session.is_detached() && !session.is_superseded();
        let connected = self.voice_sessions.of(guild, user).any(|(_, session)| alive(session));
        connected || self.grants.has_fresh(guild, user)
    }

    /// Whether VOICE_STATE_UPDATE comes before the event that it races with.
    fn voice_state_first(&mut self) -> bool {
        match self.settings.event_order {
            EventOrder::StateFirst | EventOrder::CloseLast => true,
            EventOrder::ServerFirst => false,
            EventOrder::Random => self.random.bool(),
        }
    }

    /// Sends both events of a join or a move, and closes the connection to the channel left behind.
    fn send_join_events(&mut self, guild: u64, user: u64, now: Instant) {
        let close_last = self.settings.event_order == EventOrder::CloseLast;
        let state_first = self.voice_state_first();
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

    /// Sends a user's voice state to everyone.
    pub(super) fn send_voice_state(&mut self, guild: u64, user: u64, now: Instant) {
        let Some(state) = self.voice_states.get(guild, user) else { return };
        let event = payload::voice_state(Some(guild), user, state);
        self.broadcast(guild, "VOICE_STATE_UPDATE", &event, now);
    }

    /// Gives the user a token and the endpoint, or a null endpoint while there is none.
    pub(super) fn send_voice_server(&mut self, guild: u64, user: u64, now: Instant) {
        let Some(state) = self.voice_states.get(guild, user) else { return };
        let session = state.session_id.clone();
        // A simulated member has no main session, and stays on its server.
        if self.main_sessions.get(&session).is_none() {
            return;
        }
        let Some(record) = self.directory.guild(guild) else { return };
        let endpoint = if record.endpoint_withheld {
            None
        } else {
            self.addresses.endpoint(record.region).map(str::to_owned)
        };
        let token = Token(self.random.hex(8));
        self.grants.give(token.clone(), guild, user);
        self.supersede(guild, user, now);
        if endpoint.is_none() {
            self.grants.spend(&token);
        }
        let event = json!({"token": token.0, "guild_id": guild.to_string(), "endpoint": endpoint});
        self.dispatch(&session, "VOICE_SERVER_UPDATE", event, now);
        if endpoint.is_none() {
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
        }
    }

    /// Takes a user out of a guild's voice and tells everyone; says whether it was in.
    pub(super) fn remove_voice_state(&mut self, guild: u64, user: u64, now: Instant) -> bool {
        let Some(mut state) = self.voice_states.take(guild, user) else { return false };
        self.grants.spend_all(guild, user);
        state.channel = None;
        let event: Value = payload::voice_state(Some(guild), user, &state);
        self.broadcast(guild, "VOICE_STATE_UPDATE", &event, now);
        true
    }

    /// Disconnects a user as a moderator does. The close code is 4022 if the user was alone: the call has ended.
    pub(crate) fn kick(&mut self, guild: u64, user: u64, now: Instant) {
        let code = if self.is_alone(guild, user) { 4022 } else { 4014 };
        if self.voice_state_first() {
            self.remove_voice_state(guild, user, now);
            self.close_voice_of(guild, user, code, "Disconnected.", now);
        } else {
            self.close_voice_of(guild, user, code, "Disconnected.", now);
            self.remove_voice_state(guild, user, now);
        }
    }

    fn is_alone(&self, guild: u64, user: u64) -> bool {
        let channel = self.voice_states.channel_of(guild, user);
        channel.is_none_or(|channel| self.voice_states.others_in(channel, user) == 0)
    }

    /// Moves a user to another channel of the same guild as a moderator does.
    pub(crate) fn move_user(&mut self, user: u64, channel: u64, now: Instant) {
        let Some(record) = self.directory.channel(channel) else { return };
        let guild = record.guild;
        let suppress = self.is_suppressed(guild, user, channel);
        let Some(state) = self.voice_states.get(guild, user).cloned() else { return };
        if state.channel == Some(channel) {
            return;
        }
        self.voice_states.put(guild, user, VoiceState { channel: Some(channel), suppress, ..state });
        self.send_join_events(guild, user, now);
    }

    /// Deletes a channel: everyone in it is out, and the call has ended.
    pub(crate) fn delete_channel(&mut self, channel: u64, now: Instant) {
        let Some(record) = self.directory.remove_channel(channel) else { return };
        for (guild, user) in self.voice_states.in_channel(channel) {
            self.remove_voice_state(guild, user, now);
            self.close_voice_of(guild, user, 4022, "Call terminated.", now);
        }
        self.broadcast(record.guild, "CHANNEL_DELETE", &payload::channel(channel, &record), now);
    }

    /// Takes a guild away from everyone. Users in its voice get no voice event.
    pub(crate) fn lose_guild(&mut self, guild: u64, loss: GuildLoss, now: Instant) {
        if self.directory.set_unavailable(guild, true).is_none() {
            return;
        }
        let inside: Vec<u64> = self.voice_states.in_guild(guild).map(|(user, _)| user).collect();
        for user in inside {
            self.lose_guild_of(guild, user, loss, now);
        }
        let mut event = json!({"id": guild.to_string()});
        match loss {
            GuildLoss::Outage => event["unavailable"] = Value::Bool(true),
            GuildLoss::Deleted => self.directory.remove_guild(guild),
        }
        self.broadcast(guild, "GUILD_DELETE", &event, now);
    }

    /// Takes a user out of the voice of a guild that goes away; simulated members stay through an outage.
    fn lose_guild_of(&mut self, guild: u64, user: u64, loss: GuildLoss, now: Instant) {
        let sessions = self.voice_sessions.of(guild, user);
        let simulated = sessions.filter(|(_, session)| session.is_simulated());
        let simulated: Vec<u32> = simulated.map(|(ssrc, _)| ssrc).collect();
        if !simulated.is_empty() && loss == GuildLoss::Outage {
            return;
        }
        self.voice_states.take(guild, user);
        self.grants.spend_all(guild, user);
        if simulated.is_empty() {
            self.supersede(guild, user, now);
        }
        for ssrc in simulated {
            self.end_voice_session(ssrc, now);
        }
    }

    /// Gives a guild back after an outage.
    pub(crate) fn restore_guild(&mut self, guild: u64, now: Instant) {
        if self.directory.set_unavailable(guild, false) != Some(true) {
            return;
        }
        let create = self.guild_create(guild);
        self.broadcast(guild, "GUILD_CREATE", &create, now);
    }

    /// Gives everyone in a guild's voice another server, or none for now.
    pub(super) fn send_voice_server_to_all(&mut self, guild: u64, now: Instant) {
        let inside: Vec<u64> = self.voice_states.in_guild(guild).map(|(user, _)| user).collect();
        for user in inside {
            self.send_voice_server(guild, user, now);
        }
    }
}

/// Why a guild went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuildLoss {
    /// It does not exist any more, or not for the bots.
    Deleted,
    /// It will be back.
    Outage,
}
