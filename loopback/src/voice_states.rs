//! Who is in which voice channel: op 4, its two events, and what moderators do.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::log::{Event, Refusal};
use crate::payload::{self, VoiceStateRequest};
use crate::server::{ChannelKind, Grant, Standing, State, VoiceState};
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
            if self.remove_voice_state(guild, user, now) {
                self.close_voice_of(guild, user, 4014, "Disconnected.", now);
            }
            return;
        };
        if let Some(refusal) = self.refusal(guild, channel, user) {
            return self.note(id, now, Event::Refused(refusal));
        }
        let stays = self.voice_states.get(&(guild, user)).is_some_and(|state| {
            state.channel == Some(channel) && state.session_id == session && self.voice_alive(guild, user)
        });
        let state = VoiceState {
            channel: Some(channel),
            session_id: session.to_owned(),
            self_mute,
            self_deaf,
            suppress: self.channels.get(&channel).is_some_and(|channel| channel.kind == ChannelKind::Stage),
        };
        self.voice_states.insert((guild, user), state);
        if stays {
            self.tell_voice_state(guild, user, now);
        } else {
            self.place(guild, user, now);
        }
    }

    fn refusal(&self, guild: u64, channel: u64, user: u64) -> Option<Refusal> {
        let Some(record) = self.channels.get(&channel).filter(|record| record.guild == guild) else {
            return Some(Refusal::UnknownChannel);
        };
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
    fn voice_alive(&self, guild: u64, user: u64) -> bool {
        let session = self.voice_sessions.values().any(|session| {
            session.guild == guild && session.user == user && !matches!(session.outlet, Outlet::Detached(_))
        });
        session || self.fresh_grants(guild, user) > 0
    }

    fn fresh_grants(&self, guild: u64, user: u64) -> usize {
        let grants = self.grants.values().filter(|grant| grant.guild == guild && grant.user == user);
        grants.filter(|grant| grant.standing == Standing::Fresh).count()
    }

    /// Sends both events of a join or a move, and closes the connection to the channel left behind.
    fn place(&mut self, guild: u64, user: u64, now: Instant) {
        if self.state_first() {
            self.tell_voice_state(guild, user, now);
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
            self.tell_voice_server(guild, user, now);
        } else {
            self.close_voice_of(guild, user, 4014, "Disconnected.", now);
            self.tell_voice_server(guild, user, now);
            self.tell_voice_state(guild, user, now);
        }
    }

    /// Tells everyone of a user's voice state.
    pub(crate) fn tell_voice_state(&mut self, guild: u64, user: u64, now: Instant) {
        let Some(state) = self.voice_states.get(&(guild, user)) else { return };
        let event = payload::voice_state(Some(guild), user, state);
        self.broadcast("VOICE_STATE_UPDATE", &event, now);
    }

    /// Gives the user a token and the endpoint, or a null endpoint while there is none.
    pub(crate) fn tell_voice_server(&mut self, guild: u64, user: u64, now: Instant) {
        let Some(state) = self.voice_states.get(&(guild, user)) else { return };
        let (session, token) = (state.session_id.clone(), self.hex(8));
        let Some(record) = self.guilds.get(&guild) else { return };
        let endpoint =
            if record.endpoint_withheld { None } else { self.endpoints.get(record.region).cloned() };
        let standing = if endpoint.is_some() { Standing::Fresh } else { Standing::Spent };
        for grant in self.grants.values_mut().filter(|grant| grant.guild == guild && grant.user == user) {
            grant.standing = Standing::Spent;
        }
        self.grants.insert(token.clone(), Grant { guild, user, standing });
        let event = json!({"token": token, "guild_id": guild.to_string(), "endpoint": endpoint});
        self.dispatch(&session, "VOICE_SERVER_UPDATE", event, now);
    }

    /// Takes a user out of a guild's voice and tells everyone; says whether it was in.
    pub(crate) fn remove_voice_state(&mut self, guild: u64, user: u64, now: Instant) -> bool {
        let Some(mut state) = self.voice_states.remove(&(guild, user)) else { return false };
        for grant in self.grants.values_mut().filter(|grant| grant.guild == guild && grant.user == user) {
            grant.standing = Standing::Spent;
        }
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
        let (guild, suppress) = (record.guild, record.kind == ChannelKind::Stage);
        let Some(state) = self.voice_states.get_mut(&(guild, user)) else { return };
        state.channel = Some(channel);
        state.suppress = suppress;
        self.place(guild, user, now);
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

    /// Gives everyone in a guild's voice another server, or none for now.
    pub(crate) fn tell_voice_server_all(&mut self, guild: u64, now: Instant) {
        let inside = self.voice_states.range((guild, 0)..=(guild, u64::MAX));
        for user in inside.map(|((_, user), _)| *user).collect::<Vec<_>>() {
            self.tell_voice_server(guild, user, now);
        }
    }
}
