//! The websockets of both gateways, as the state sees them: a channel for what is to be sent, and what they stand for.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::rate::Rate;
use crate::log::Side;

/// What the state wants done with one websocket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SocketAction {
    Text(String),
    Binary(Vec<u8>),
    Close {
        code: u16,
        reason: String,
    },
    /// Ends the TCP connection with RST.
    Reset,
    /// Neither reads nor writes any more.
    Stall,
}

/// Which gateway a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    Main,
    /// The voice gateway of a region; every region listens on its own port.
    Voice(usize),
}

/// A websocket that was opened, and what the client asked for in the URL.
#[derive(Debug)]
pub(crate) struct OpenedSocket {
    pub(crate) listener: Listener,
    pub(crate) version: u8,
    pub(crate) actions: mpsc::Sender<SocketAction>,
}

/// How a websocket came to its end, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketEnd {
    /// The socket was lost, or this server closed it.
    Lost,
    /// The client closed it.
    Closed(Option<u16>),
}

/// What a websocket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// No session yet.
    Unidentified,
    /// A main session, by its id.
    Main(String),
    /// A voice session, by its SSRC.
    Voice(u32),
    /// The server closed it; nothing that still comes counts.
    Closed,
}

/// A websocket.
struct Connection {
    actions: mpsc::Sender<SocketAction>,
    listener: Listener,
    version: u8,
    role: Role,
    /// By when the client has to send a heartbeat.
    heartbeat_due: Option<Instant>,
    user: Option<u64>,
    /// What the gateway limits: any payload at the main gateway, Speaking at the voice gateway.
    rate: Rate,
}

/// The owner of the websockets, by number.
#[derive(Default)]
pub(super) struct Connections {
    by_number: BTreeMap<u64, Connection>,
    last_number: u64,
}

impl Connections {
    /// Takes in a new websocket and says its number.
    pub(super) fn open(&mut self, opened: OpenedSocket) -> u64 {
        let OpenedSocket { listener, version, actions } = opened;
        let (role, rate) = (Role::Unidentified, Rate::default());
        let connection =
            Connection { actions, listener, version, role, heartbeat_due: None, user: None, rate };
        self.last_number += 1;
        self.by_number.insert(self.last_number, connection);
        self.last_number
    }

    /// Forgets a websocket that is gone.
    pub(super) fn remove(&mut self, id: u64) {
        self.by_number.remove(&id);
    }

    /// The gateway version that the client asked for; 0 where there is no such websocket.
    pub(super) fn version(&self, id: u64) -> u8 {
        self.by_number.get(&id).map_or(0, |connection| connection.version)
    }

    pub(super) fn role(&self, id: u64) -> Option<&Role> {
        self.by_number.get(&id).map(|connection| &connection.role)
    }

    pub(super) fn user(&self, id: u64) -> Option<u64> {
        self.by_number.get(&id)?.user
    }

    pub(super) fn listener(&self, id: u64) -> Option<Listener> {
        self.by_number.get(&id).map(|connection| connection.listener)
    }

    /// The listener of a websocket that the server has not closed.
    pub(super) fn open_listener(&self, id: u64) -> Option<Listener> {
        let connection = self.by_number.get(&id)?;
        (connection.role != Role::Closed).then_some(connection.listener)
    }

    /// Which gateway a websocket is at.
    pub(super) fn side(&self, id: u64) -> Option<Side> {
        Some(match self.listener(id)? {
            Listener::Main => Side::Main,
            Listener::Voice(_) => Side::Voice,
        })
    }

    /// Binds a websocket to a session of a user.
    pub(super) fn bind(&mut self, id: u64, role: Role, user: u64) {
        if let Some(connection) = self.by_number.get_mut(&id) {
            connection.role = role;
            connection.user = Some(user);
        }
    }

    /// Takes its session from a websocket that stays open.
    pub(super) fn unbind(&mut self, id: u64) {
        if let Some(connection) = self.by_number.get_mut(&id) {
            connection.role = Role::Unidentified;
        }
    }

    /// Unbinds a websocket that is about to be closed; `None` when it already was.
    pub(super) fn mark_closed(&mut self, id: u64) -> Option<Role> {
        let connection = self.by_number.get_mut(&id)?;
        connection.heartbeat_due = None;
        let role = std::mem::replace(&mut connection.role, Role::Closed);
        (role != Role::Closed).then_some(role)
    }

    /// Ends the TCP connection of a replaced or stalled websocket.
    pub(super) fn reset(&mut self, id: u64) {
        if self.mark_closed(id).is_some() {
            self.queue_action(id, SocketAction::Reset);
        }
    }

    /// Queues an action; a client that lets thousands pile up is reset.
    pub(super) fn queue_action(&mut self, id: u64, action: SocketAction) {
        let Some(connection) = self.by_number.get_mut(&id) else { return };
        if connection.actions.try_send(action).is_err() {
            tracing::debug!(connection = id, "does not read: dropped");
            // Dropping the only sender ends the websocket's task.
            connection.actions = mpsc::channel(1).0;
        }
    }

    /// Counts what the gateway limits; says whether it came too often.
    pub(super) fn exceeds_rate(&mut self, id: u64, now: Instant) -> bool {
        self.by_number.get_mut(&id).is_some_and(|connection| connection.rate.is_exceeded(now))
    }

    /// Gives the client until then to send a heartbeat.
    pub(super) fn expect_heartbeat(&mut self, id: u64, due: Instant) {
        if let Some(connection) = self.by_number.get_mut(&id) {
            connection.heartbeat_due = Some(due);
        }
    }

    /// Excuses a stalled websocket from heartbeats, which nobody would read.
    pub(super) fn excuse_from_heartbeats(&mut self, id: u64) {
        if let Some(connection) = self.by_number.get_mut(&id) {
            connection.heartbeat_due = None;
        }
    }

    /// Whether the client has to send heartbeats: the websocket was greeted and is not stalled, closed or gone.
    pub(super) fn owes_heartbeat(&self, id: u64) -> bool {
        self.by_number.get(&id).is_some_and(|connection| connection.heartbeat_due.is_some())
    }

    /// The websockets whose heartbeat is overdue.
    pub(super) fn silent(&self, now: Instant) -> Vec<(u64, Listener)> {
        let overdue = |connection: &Connection| connection.heartbeat_due.is_some_and(|due| due <= now);
        let silent = self.by_number.iter().filter(|(_, connection)| overdue(connection));
        silent.map(|(id, connection)| (*id, connection.listener)).collect()
    }

    /// When the next heartbeat is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_number.values().filter_map(|connection| connection.heartbeat_due).min()
    }
}
