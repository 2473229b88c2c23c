//! What a test sets up: bots, guilds, channels and simulated members.

use tokio::time::Instant;

use super::State;
use super::directory::{ChannelKind, ChannelRecord};
use super::payload;
use super::voice_sessions::{NUMBERED_SINCE, SessionIdentity, VoiceSession};
use super::voice_states::VoiceState;
use crate::token::Token;

impl State {
    /// The bot of this name, with its token; one that is created now gets this token.
    pub(crate) fn bot(&mut self, name: &str, token: Option<&str>) -> (u64, Token) {
        if let Some(known) = self.directory.bot(name) {
            return known;
        }
        let token = Token(token.map_or_else(|| self.random.hex(24), str::to_owned));
        let user = self.random.id();
        self.directory.add_user(user, name, Some(token.clone()));
        (user, token)
    }

    /// The guild of this name.
    pub(crate) fn guild(&mut self, name: &str, now: Instant) -> u64 {
        if let Some(known) = self.directory.guild_named(name) {
            return known;
        }
        let id = self.random.id();
        self.directory.add_guild(id, name);
        let create = self.guild_create(id);
        self.broadcast(id, "GUILD_CREATE", &create, now);
        id
    }

    /// The channel of this guild, kind and name.
    pub(crate) fn channel(&mut self, guild: u64, kind: ChannelKind, name: &str, now: Instant) -> u64 {
        if let Some(known) = self.directory.channel_named(guild, kind, name) {
            return known;
        }
        let id = self.random.id();
        self.directory.add_channel(id, guild, kind, name);
        if let Some(object) = self.directory.channel(id).map(|record| payload::channel(id, record)) {
            self.broadcast(guild, "CHANNEL_CREATE", &object, now);
        }
        id
    }

    /// Changes a channel and tells everyone.
    pub(crate) fn change_channel(
        &mut self,
        channel: u64,
        change: impl FnOnce(&mut ChannelRecord),
        now: Instant,
    ) {
        let Some(record) = self.directory.change_channel(channel, change) else { return };
        let (guild, object) = (record.guild, payload::channel(channel, record));
        self.broadcast(guild, "CHANNEL_UPDATE", &object, now);
    }

    /// Puts a new user into a channel without a client.
    pub(crate) fn simulate(
        &mut self,
        channel: u64,
        name: &str,
        max_dave: u16,
        now: Instant,
    ) -> SimulatedMember {
        let guild = self.directory.channel(channel).map_or(0, |record| record.guild);
        let user = self.random.id();
        self.directory.add_user(user, name, None);
        let (session_id, ssrc) = (self.random.hex(16), self.random.ssrc());
        let state = VoiceState {
            channel: Some(channel),
            session_id: session_id.clone(),
            self_mute: false,
            self_deaf: false,
            suppress: self.directory.is_stage(channel),
        };
        self.voice_states.put(guild, user, state);
        self.send_voice_state(guild, user, now);
        let (token, version) = (Token(String::new()), NUMBERED_SINCE);
        let identity =
            SessionIdentity { user, guild, channel, session_id, token, version, max_dave, region: 0 };
        self.voice_sessions.insert(ssrc, VoiceSession::simulated(identity));
        SimulatedMember { user, ssrc, guild }
    }

    /// Takes a simulated member out of its channel.
    pub(crate) fn remove_simulated(&mut self, member: SimulatedMember, now: Instant) {
        self.remove_voice_state(member.guild, member.user, now);
        self.end_voice_session(member.ssrc, now);
    }
}

/// The ids of a simulated member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimulatedMember {
    pub(crate) user: u64,
    pub(crate) ssrc: u32,
    pub(crate) guild: u64,
}
