//! Faults: one line each, aimed at a user's connections.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::dave::{DaveSettings, DeliveryService, Fault};
use crate::netem::Netem;
use crate::server::{EventDelivery, GuildLoss, HandshakeStep, NumberedMessage, SocketAction};
use crate::{Channel, Discord, Guild};

/// The faults of the voice gateway and of the relay.
impl Discord {
    /// Closes a user's voice websockets; with 1006 as with [`Self::reset_voice`].
    pub fn close_voice(&self, user: u64, code: u16, reason: &str) {
        self.shared.with(|state, now| state.close_voice(user, code, reason, now));
    }

    /// Closes the next voice connection that comes to this stage; call again for one more.
    pub fn close_voice_at(&self, step: HandshakeStep, code: u16) {
        self.shared.with(|state, _| state.close_voice_at(step, code));
    }

    /// Ends a user's voice websockets with a TCP reset.
    pub fn reset_voice(&self, user: u64) {
        self.close_voice(user, 1006, "");
    }

    /// Stops reading from and writing to a user's voice websockets, without closing them; the server is stuck, and misses no
    /// heartbeat. [`Self::freeze_voice`] is the fault of a network.
    pub fn stall_voice(&self, user: u64) {
        self.shared.with(|state, _| state.stall_voice(user));
    }

    /// Makes a user's voice websockets half-open: what either side writes does not arrive, and neither is told.
    ///
    /// The server ends the session once the next heartbeat is overdue, which the client does not see. New connections
    /// work.
    pub fn freeze_voice(&self, user: u64) {
        self.shared.with(|state, _| state.freeze_voice(user));
    }

    /// Makes everything half-open that a user has: [`Self::freeze_main`], [`Self::freeze_voice`] and
    /// [`Self::kill_media_path`], as after sleep or a change of network.
    pub fn freeze_network(&self, user: u64) {
        self.freeze_main(user);
        self.freeze_voice(user);
        self.kill_media_path(user);
    }

    /// Kills the UDP paths of a user's present connections: the relay ignores what comes from their sockets, discovery
    /// included, and sends nothing to them.
    ///
    /// A client that comes from another port is answered; whether its audio counts is said by
    /// [`Builder::new_source`](crate::Builder::new_source).
    pub fn kill_media_path(&self, user: u64) {
        self.shared.relay.kill_path(user);
    }

    /// Moves the UDP paths of a user's present connections, as a NAT that has forgotten them: the relay sees the same
    /// sockets at other addresses (of 198.18.0.0/16), and reaches them only there.
    pub fn move_media_path(&self, user: u64) {
        self.shared.relay.move_path(user);
    }

    /// Stops echoing the keepalives of a user, on these and later connections.
    pub fn mute_echoes(&self, user: u64) {
        self.shared.relay.mute_echoes(user);
    }

    /// Leaves the next `beats` voice heartbeats of a user unanswered.
    pub fn mute_acks(&self, user: u64, beats: u32) {
        self.shared.with(|state, _| state.mute_acks(user, beats));
    }

    /// Refuses the next voice resume of a user with 4006.
    pub fn refuse_resume(&self, user: u64) {
        self.shared.with(|state, _| state.refuse_resume(user));
    }

    /// Sends a text frame to a user's voice websockets as it is.
    pub fn send_raw_text(&self, user: u64, text: impl Into<String>) {
        let action = SocketAction::Text(text.into());
        self.shared.with(|state, _| state.send_raw(user, &action));
    }

    /// Sends a binary frame to a user's voice websockets as it is.
    pub fn send_raw_binary(&self, user: u64, frame: impl Into<Vec<u8>>) {
        let action = SocketAction::Binary(frame.into());
        self.shared.with(|state, _| state.send_raw(user, &action));
    }

    /// Sends a binary message to a user's voice sessions, numbered and held for a resume like Discord's own.
    pub fn send_numbered(&self, user: u64, op: u8, payload: impl Into<Bytes>) {
        let message = NumberedMessage::Binary { op, payload: payload.into() };
        self.shared.with(|state, now| state.send_numbered_to(user, &message, now));
    }

    /// Sends a datagram from the relay to a user as it is.
    pub fn send_datagram(&self, user: u64, datagram: impl Into<Vec<u8>>) {
        self.shared.relay.send_raw(user, datagram.into());
    }

    /// Leaves the next discovery requests unanswered.
    pub fn drop_discovery(&self, requests: u32) {
        self.shared.relay.drop_discovery(requests);
    }

    /// Makes something of DAVE go wrong once in a channel's call.
    ///
    /// # Panics
    ///
    /// As [`Self::turn_dave`].
    #[track_caller]
    pub fn dave_fault(&self, channel: &Channel, fault: Fault) {
        self.with_service(channel, |service| service.fault(fault));
    }

    /// Turns the switches of the delivery service of a channel's call; for those of calls to come there is
    /// [`Builder::dave_settings`](crate::Builder::dave_settings).
    ///
    /// # Panics
    ///
    /// While nobody is in the channel, or DAVE is off: there is no delivery service then.
    #[track_caller]
    pub fn turn_dave(&self, channel: &Channel, turn: impl FnOnce(&mut DaveSettings)) {
        self.with_service(channel, |service| turn(service.settings_mut()));
    }

    #[track_caller]
    fn with_service(&self, channel: &Channel, act: impl FnOnce(&mut DeliveryService)) {
        let found = self.shared.with(|state, now| state.with_service(channel.id, act, now));
        assert!(
            found,
            "there is no delivery service: nobody is in channel {} yet, or DAVE is off",
            channel.id
        );
    }

    /// Makes the path between the relay and every client lossy, slow or disorderly.
    pub fn netem(&self, netem: Netem) {
        self.shared.relay.netem(netem);
    }
}

/// The faults of the main gateway.
impl Discord {
    /// Closes a user's main websockets; 1006 resets the TCP connection.
    pub fn close_main(&self, user: u64, code: u16) {
        self.shared.with(|state, now| state.close_main(user, code, now));
    }

    /// Ends a user's main websockets with a TCP reset.
    pub fn reset_main(&self, user: u64) {
        self.close_main(user, 1006);
    }

    /// Makes a user's main websockets half-open: what either side writes does not arrive, and neither is told.
    ///
    /// The server keeps the session for a resume once the next heartbeat is overdue. New connections work.
    pub fn freeze_main(&self, user: u64) {
        self.shared.with(|state, _| state.freeze_main(user));
    }

    /// Delays each VOICE_STATE_UPDATE, VOICE_SERVER_UPDATE, GUILD_CREATE and GUILD_DELETE to each client of the main
    /// gateway by a random time out of this range, by the seed; an empty range ends that.
    ///
    /// Events are numbered as they leave. Those under way when a websocket is lost are held for the resume.
    pub fn main_latency(&self, latency: Range<Duration>, delivery: EventDelivery) {
        self.shared.with(|state, _| state.delay_main_events(latency, delivery));
    }

    /// Sends each of the events of [`Self::main_latency`] twice with this probability (0 to 1), under two numbers.
    pub fn double_main_events(&self, probability: f64) {
        self.shared.with(|state, _| state.double_main_events(probability));
    }

    /// Leaves the next `beats` heartbeats of a user at the main gateway unanswered.
    pub fn mute_main_acks(&self, user: u64, beats: u32) {
        self.shared.with(|state, _| state.mute_main_acks(user, beats));
    }

    /// Tells a user that its main session can be resumed, or that it is lost (op 9).
    pub fn invalid_session(&self, user: u64, session: Invalid) {
        let resumable = session == Invalid::Resumable;
        self.shared.with(|state, now| state.invalidate_main_sessions(user, resumable, now));
    }

    /// Asks a user to reconnect and resume (op 7).
    pub fn reconnect(&self, user: u64) {
        self.shared.with(|state, now| state.ask_to_reconnect(user, now));
    }

    /// Closes every Identify with fewer shards with 4011, and recommends as many.
    pub fn require_shards(&self, count: u64) {
        self.shared.with(|state, _| state.require_shards(count));
    }

    /// Answers the next requests for the gateway (`GET /gateway/bot`) with this HTTP status.
    pub fn fail_rest(&self, requests: usize, status: u16) {
        self.shared.with(|state, _| state.fail_rest(requests, status));
    }

    /// Ends the TCP connection of one shard of a user.
    pub fn reset_shard(&self, user: u64, shard: u64) {
        self.shared.with(|state, now| state.close_shard(user, shard, 1006, now));
    }

    /// Forgets the main session of one shard of a user, as [`Self::lose_main_session`] does of all.
    pub fn lose_shard_session(&self, user: u64, shard: u64) {
        self.shared.with(|state, now| state.lose_shard_session(user, shard, now));
    }

    /// Forgets a user's main sessions, so that a resume is answered with op 9 and `false`.
    ///
    /// The voice states they own go, and their voice connections are closed with 4014.
    pub fn lose_main_session(&self, user: u64) {
        self.shared.with(|state, now| state.lose_main_sessions(user, now));
    }
}

/// What op 9 says of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// It may be resumed.
    Resumable,
    /// It is lost.
    Lost,
}

/// What moderators and Discord's own operations do.
impl Discord {
    /// Disconnects a user from a guild's voice, as a moderator does.
    ///
    /// The voice connection is closed with 4014, or with 4022 when the user was alone. Which of the voice state and
    /// the close comes first follows [`Builder::event_order`](crate::Builder::event_order).
    pub fn kick(&self, user: u64, guild: &Guild) {
        self.shared.with(|state, now| state.kick(guild.id, user, now));
    }

    /// Moves a user to another channel of the same guild, as a moderator does; to its own, nothing happens.
    pub fn move_to(&self, user: u64, channel: &Channel) {
        self.shared.with(|state, now| state.move_user(user, channel.id, now));
    }

    /// Lets a user speak on the stages it is on, as a moderator does; until then what it says there goes nowhere.
    pub fn unsuppress(&self, user: u64) {
        self.shared.with(|state, now| state.unsuppress(user, now));
    }

    /// Deletes a channel; the voice connections in it are closed with 4022.
    pub fn delete_channel(&self, channel: &Channel) {
        self.shared.with(|state, now| state.delete_channel(channel.id, now));
    }

    /// Deletes a guild (GUILD_DELETE): everyone in its voice is out, and no voice event says so.
    ///
    /// Voice connections cannot be resumed from then on, and those still there after five seconds are closed with 4014.
    pub fn delete_guild(&self, guild: &Guild) {
        self.shared.with(|state, now| state.lose_guild(guild.id, GuildLoss::Deleted, now));
    }

    /// Lets a guild have an outage (GUILD_DELETE with `unavailable`): the bots in its voice are out, and no voice event
    /// says so.
    ///
    /// Voice connections cannot be resumed from then on, and those still there after five seconds are closed with 4014.
    /// Simulated members stay. Joins are met with silence until [`Self::restore_guild`].
    pub fn make_guild_unavailable(&self, guild: &Guild) {
        self.shared.with(|state, now| state.lose_guild(guild.id, GuildLoss::Outage, now));
    }

    /// Ends the outage of a guild (GUILD_CREATE).
    pub fn restore_guild(&self, guild: &Guild) {
        self.shared.with(|state, now| state.restore_guild(guild.id, now));
    }

    /// Moves a guild's voice to another server: everyone in it gets another VOICE_SERVER_UPDATE.
    pub fn change_region(&self, guild: &Guild) {
        self.shared.with(|state, now| state.change_region(guild.id, now));
    }

    /// Withholds the endpoint in every guild: joins get `endpoint: null` until [`Self::give_endpoint`].
    pub fn null_endpoint_first(&self) {
        self.shared.with(|state, _| state.withhold_endpoints());
    }

    /// Takes a guild's voice server away: everyone in it gets `endpoint: null`.
    pub fn take_endpoint(&self, guild: &Guild) {
        self.withhold(guild, true);
    }

    /// Gives a guild its voice server: everyone in it gets the endpoint and a token.
    pub fn give_endpoint(&self, guild: &Guild) {
        self.withhold(guild, false);
    }

    fn withhold(&self, guild: &Guild, withheld: bool) {
        self.shared.with(|state, now| state.withhold_endpoint(guild.id, withheld, now));
    }

    /// Answers every join of this channel with silence, as for a missing permission.
    pub fn refuse_silently(&self, channel: &Channel) {
        self.shared.with(|state, _| state.forbid_channel(channel.id));
    }
}
