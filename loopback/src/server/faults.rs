//! What a test makes go wrong at the gateways.

use std::ops::Range;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::State;
use super::buffer::NumberedMessage;
use super::connections::{Role, SocketAction};
use super::late_events::EventDelivery;
use super::main_sessions::MainSession;
use super::pending_faults::HandshakeStep;
use crate::dave::DeliveryService;
use crate::opcodes::main as op;

/// Faults of the voice gateway.
impl State {
    /// Closes a user's voice websockets.
    pub(crate) fn close_voice(&mut self, user: u64, code: u16, reason: &str, now: Instant) {
        for id in self.voice_connections(user) {
            self.close(id, code, reason, now);
        }
    }

    /// Closes the next voice connection that comes to this step.
    pub(crate) fn close_voice_at(&mut self, step: HandshakeStep, code: u16) {
        self.faults.close_at(step, code);
    }

    /// Closes a connection if a fault waits for this step; says whether it did.
    pub(super) fn apply_close_fault(&mut self, step: HandshakeStep, id: u64, now: Instant) -> bool {
        let Some(code) = self.faults.take_close(step) else { return false };
        self.close(id, code, "", now);
        true
    }

    /// Stops reading from and writing to a user's voice websockets. The server asks for no heartbeat on them, and for no
    /// Speaking after a resume, because it would not read them.
    pub(crate) fn stall_voice(&mut self, user: u64) {
        for id in self.voice_connections(user) {
            self.connections.queue_action(id, SocketAction::Stall);
            self.connections.excuse_from_heartbeats(id);
            if let Some(Role::Voice(ssrc)) = self.connections.role(id) {
                self.relay.detached(*ssrc);
            }
        }
    }

    /// Makes a user's voice websockets half-open. Nothing is read any more, so the server misses heartbeats in time; the
    /// client cannot announce Speaking.
    pub(crate) fn freeze_voice(&mut self, user: u64) {
        for id in self.voice_connections(user) {
            self.connections.queue_action(id, SocketAction::Stall);
            if let Some(Role::Voice(ssrc)) = self.connections.role(id) {
                self.relay.detached(*ssrc);
            }
        }
    }

    pub(crate) fn mute_acks(&mut self, user: u64, beats: u32) {
        self.faults.muted_acks.add(user, beats);
    }

    pub(crate) fn refuse_resume(&mut self, user: u64) {
        self.faults.refused_resumes.add(user, 1);
    }

    /// Sends a frame past the numbering to a user's voice websockets.
    pub(crate) fn send_raw(&mut self, user: u64, frame: &SocketAction) {
        for id in self.voice_connections(user) {
            self.connections.queue_action(id, frame.clone());
        }
    }

    /// Sends a numbered message to a user's voice sessions.
    pub(crate) fn send_numbered_to(&mut self, user: u64, message: &NumberedMessage, now: Instant) {
        let sessions: Vec<u32> = self.voice_sessions.of_user(user).map(|(ssrc, _)| ssrc).collect();
        for ssrc in sessions {
            self.send_numbered(ssrc, message.clone(), now);
        }
    }

    /// Does something with the delivery service of a call; says whether there is one.
    pub(crate) fn with_service(
        &mut self,
        channel: u64,
        act: impl FnOnce(&mut DeliveryService),
        now: Instant,
    ) -> bool {
        let found = self.deliveries.get_mut(channel).map(|delivery| act(&mut delivery.service));
        self.poll_delivery(channel, now);
        found.is_some()
    }
}

/// Faults of the main gateway.
impl State {
    /// Closes a user's main websockets.
    pub(crate) fn close_main(&mut self, user: u64, code: u16, now: Instant) {
        for id in self.main_connections(user) {
            self.close(id, code, "", now);
        }
    }

    /// Makes a user's main websockets half-open; the server misses heartbeats in time.
    pub(crate) fn freeze_main(&mut self, user: u64) {
        for id in self.main_connections(user) {
            self.connections.queue_action(id, SocketAction::Stall);
        }
    }

    /// Delays events to the present and coming clients of the main gateway.
    pub(crate) fn delay_main_events(&mut self, latency: Range<Duration>, delivery: EventDelivery) {
        self.late_events.delay(latency, delivery);
    }

    /// Doubles events to the clients of the main gateway with this probability.
    pub(crate) fn double_main_events(&mut self, probability: f64) {
        self.late_events.double(probability);
    }

    pub(crate) fn mute_main_acks(&mut self, user: u64, beats: u32) {
        self.faults.muted_main_acks.add(user, beats);
    }

    /// Sends op 9 to a user.
    pub(crate) fn invalidate_main_sessions(&mut self, user: u64, resumable: bool, now: Instant) {
        for session in self.main_sessions.of_user(user) {
            self.invalidate_main_session(&session, resumable, now);
        }
    }

    /// Sends op 7 to a user.
    pub(crate) fn ask_to_reconnect(&mut self, user: u64, now: Instant) {
        for id in self.main_connections(user) {
            self.send_plain(id, op::RECONNECT, Value::Null, now);
        }
    }

    /// Forgets a user's main sessions and resets their websockets.
    pub(crate) fn lose_main_sessions(&mut self, user: u64, now: Instant) {
        for session in self.main_sessions.of_user(user) {
            self.lose_and_reset(&session, now);
        }
    }

    /// Forgets the main session of a user's shard and resets its websocket.
    pub(crate) fn lose_shard_session(&mut self, user: u64, shard: u64, now: Instant) {
        for session in self.main_sessions.of_shard(user, shard) {
            self.lose_and_reset(&session, now);
        }
    }

    fn lose_and_reset(&mut self, session: &str, now: Instant) {
        let id = self.main_sessions.get(session).and_then(MainSession::connection);
        self.lose_main_session(session, now);
        if let Some(id) = id {
            self.close(id, 1006, "", now);
        }
    }

    /// Closes the main websocket of a user's shard.
    pub(crate) fn close_shard(&mut self, user: u64, shard: u64, code: u16, now: Instant) {
        let sessions = self.main_sessions.of_shard(user, shard).into_iter();
        let connections: Vec<u64> =
            sessions.filter_map(|session| self.main_sessions.get(&session)?.connection()).collect();
        for id in connections {
            self.close(id, code, "", now);
        }
    }

    /// The main websockets of a user.
    fn main_connections(&self, user: u64) -> Vec<u64> {
        let sessions = self.main_sessions.of_user(user).into_iter();
        sessions.filter_map(|session| self.main_sessions.get(&session)?.connection()).collect()
    }
}

/// Faults of guilds and channels.
impl State {
    /// Moves a guild's voice to another server.
    pub(crate) fn change_region(&mut self, guild: u64, now: Instant) {
        self.directory.change_region(guild, self.addresses.regions());
        self.send_voice_server_to_all(guild, now);
    }

    /// Withholds the endpoint of every guild.
    pub(crate) fn withhold_endpoints(&mut self) {
        self.directory.withhold_endpoints();
    }

    /// Takes a guild's voice server away, or gives it back.
    pub(crate) fn withhold_endpoint(&mut self, guild: u64, withheld: bool, now: Instant) {
        self.directory.withhold_endpoint(guild, withheld);
        self.send_voice_server_to_all(guild, now);
    }

    /// Refuses every join of a channel.
    pub(crate) fn forbid_channel(&mut self, channel: u64) {
        self.directory.change_channel(channel, |record| record.forbidden = true);
    }
}
