//! The state behind both gateways: users, guilds, channels, voice states, and who is connected.
//!
//! Everything that decides is a method of [`State`] and takes the time; sockets only carry frames in and orders out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::builder::Settings;
use crate::delivery::{Delivery, SharedParticipant};
use crate::faults::Faults;
use crate::log::{Closer, Entry, Event, Log, Side, redacted};
use crate::main_session::MainSession;
use crate::rate::Rate;
use crate::relay::Relay;
use crate::rule::Rule;
use crate::socket::{Listener, OpenedSocket, SocketAction, SocketEnd};
use crate::token::Token;
use crate::voice_session::VoiceSession;

/// The whole of Discord.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) random: fastrand::Rng,
    pub(crate) log: Log,
    pub(crate) relay: Relay,
    /// The `host:port` of each voice region.
    pub(crate) endpoints: Vec<String>,
    pub(crate) gateway_url: String,
    pub(crate) users: BTreeMap<u64, UserRecord>,
    pub(crate) guilds: BTreeMap<u64, GuildRecord>,
    pub(crate) channels: BTreeMap<u64, ChannelRecord>,
    /// By guild and user.
    pub(crate) voice_states: BTreeMap<(u64, u64), VoiceState>,
    /// By token.
    pub(crate) grants: BTreeMap<Token, Grant>,
    /// The tokens of spent grants, oldest first; only the last few are remembered.
    pub(crate) spent: VecDeque<Token>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) main_sessions: BTreeMap<String, MainSession>,
    /// By SSRC.
    pub(crate) voice_sessions: BTreeMap<u32, VoiceSession>,
    /// By channel.
    pub(crate) deliveries: BTreeMap<u64, Delivery>,
    /// Of simulated members, by SSRC.
    pub(crate) participants: BTreeMap<u32, SharedParticipant>,
    /// What key packages hashed to, over all calls: each may be used once.
    pub(crate) key_packages: VecDeque<[u8; 32]>,
    pub(crate) faults: Faults,
    next_id: u64,
    next_connection: u64,
    next_ssrc: u32,
}

/// A user, bot or not.
#[derive(Debug)]
pub(crate) struct UserRecord {
    pub(crate) name: String,
    /// Simulated members have none.
    pub(crate) token: Option<Token>,
}

/// A guild.
#[derive(Debug)]
pub(crate) struct GuildRecord {
    pub(crate) name: String,
    pub(crate) region: usize,
    pub(crate) endpoint_withheld: bool,
    /// It has an outage.
    pub(crate) unavailable: bool,
}

/// A voice or stage channel.
#[derive(Debug)]
pub(crate) struct ChannelRecord {
    pub(crate) guild: u64,
    pub(crate) name: String,
    pub(crate) kind: ChannelKind,
    pub(crate) bitrate: u32,
    pub(crate) user_limit: u32,
    pub(crate) forbidden: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    Voice,
    Stage,
}

impl ChannelKind {
    /// <https://docs.discord.com/developers/resources/channel#channel-object-channel-types>
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Voice => 2,
            Self::Stage => 13,
        }
    }
}

/// A user's place in a guild's voice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VoiceState {
    /// `None` only in the event that tells of leaving.
    pub(crate) channel: Option<u64>,
    pub(crate) session_id: String,
    pub(crate) self_mute: bool,
    pub(crate) self_deaf: bool,
    pub(crate) suppress: bool,
}

/// What a voice token is good for.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) guild: u64,
    pub(crate) user: u64,
    pub(crate) state: GrantState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrantState {
    Fresh,
    /// Used up or superseded.
    Spent,
}

/// A websocket, seen from the state.
pub(crate) struct Connection {
    pub(crate) actions: mpsc::Sender<SocketAction>,
    pub(crate) listener: Listener,
    pub(crate) version: u8,
    pub(crate) role: Role,
    /// When silence has lasted too long.
    pub(crate) heartbeat_due: Option<Instant>,
    pub(crate) user: Option<u64>,
    /// What the gateway limits: any payload at the main gateway, Speaking at the voice gateway.
    pub(crate) rate: Rate,
}

/// What a websocket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Nobody,
    Main(String),
    Voice(u32),
    /// The server closed it; nothing that still comes counts.
    Closed,
}

impl State {
    pub(crate) fn new(settings: Settings, relay: Relay, gateway_url: String, endpoints: Vec<String>) -> Self {
        Self {
            random: fastrand::Rng::with_seed(settings.seed),
            log: Log::new(settings.log_entries),
            settings,
            relay,
            endpoints,
            gateway_url,
            users: BTreeMap::new(),
            guilds: BTreeMap::new(),
            channels: BTreeMap::new(),
            voice_states: BTreeMap::new(),
            grants: BTreeMap::new(),
            spent: VecDeque::new(),
            connections: BTreeMap::new(),
            main_sessions: BTreeMap::new(),
            voice_sessions: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            participants: BTreeMap::new(),
            key_packages: VecDeque::new(),
            faults: Faults::default(),
            next_id: FIRST_ID,
            next_connection: 1,
            next_ssrc: FIRST_SSRC,
        }
    }

    /// Takes in a new websocket and says its number.
    pub(crate) fn opened(&mut self, opening: OpenedSocket, now: Instant) -> u64 {
        let OpenedSocket { listener, version, actions } = opening;
        let id = self.next_connection;
        self.next_connection += 1;
        let connection = Connection {
            actions,
            listener,
            version,
            role: Role::Nobody,
            heartbeat_due: None,
            user: None,
            rate: Rate::default(),
        };
        self.connections.insert(id, connection);
        self.log_event(id, now, Event::Opened { version });
        match listener {
            Listener::Main => self.main_opened(id, now),
            Listener::Voice(_) => self.voice_opened(id, now),
        }
        id
    }

    /// Takes in a text frame.
    pub(crate) fn text(&mut self, id: u64, text: &str, now: Instant) {
        match self.open_listener(id) {
            Some(Listener::Main) => self.main_text(id, text, now),
            Some(Listener::Voice(_)) => self.voice_text(id, text, now),
            None => {}
        }
    }

    /// Takes in a binary frame.
    pub(crate) fn binary(&mut self, id: u64, frame: &[u8], now: Instant) {
        match self.open_listener(id) {
            Some(Listener::Main) => self.close(id, 4002, "Error while decoding payload.", now),
            Some(Listener::Voice(_)) => self.voice_binary(id, frame, now),
            None => {}
        }
    }

    /// Takes note that a websocket is gone.
    pub(crate) fn ended(&mut self, id: u64, ended: SocketEnd, now: Instant) {
        let Some(connection) = self.connections.get(&id) else { return };
        let role = connection.role.clone();
        if role != Role::Closed {
            let code = match ended {
                SocketEnd::Closed(code) => code,
                SocketEnd::Lost => None,
            };
            self.log_event(id, now, Event::Closed { by: Closer::Client, code });
        }
        self.connections.remove(&id);
        let leaves = matches!(ended, SocketEnd::Closed(Some(1000 | 1001)));
        match role {
            Role::Main(session) if leaves => {
                self.audit_leaves(&session, now);
                self.lose_main_session(&session, now);
            }
            Role::Main(session) => self.detach_main(&session, now),
            Role::Voice(ssrc) if leaves => {
                self.audit_leave(ssrc, now);
                self.end_voice_session(ssrc, now);
            }
            Role::Voice(ssrc) => self.detach_voice(ssrc, now),
            Role::Nobody | Role::Closed => {}
        }
    }

    /// Closes a websocket from the server's side; 1006 resets the TCP connection instead.
    pub(crate) fn close(&mut self, id: u64, code: u16, reason: &str, now: Instant) {
        let Some(role) = self.mark_closed(id) else { return };
        let action = match code {
            1006 => SocketAction::Reset,
            code => SocketAction::Close { code, reason: reason.to_owned() },
        };
        self.queue_action(id, action);
        let shown = (code != 1006).then_some(code);
        self.log_event(id, now, Event::Closed { by: Closer::Server, code: shown });
        match role {
            Role::Main(session) if matches!(code, 4004 | 4007 | 4009..=4014) => {
                self.lose_main_session(&session, now);
            }
            Role::Main(session) => self.detach_main(&session, now),
            Role::Voice(ssrc) if ends_voice_session(code) => self.end_voice_session(ssrc, now),
            Role::Voice(ssrc) => self.detach_voice(ssrc, now),
            Role::Nobody | Role::Closed => {}
        }
    }

    /// Unbinds a websocket that is about to be closed; `None` when it already was.
    fn mark_closed(&mut self, id: u64) -> Option<Role> {
        let connection = self.connections.get_mut(&id)?;
        connection.heartbeat_due = None;
        let role = std::mem::replace(&mut connection.role, Role::Closed);
        (role != Role::Closed).then_some(role)
    }

    /// Binds a websocket to a session of a user.
    pub(crate) fn bind(&mut self, id: u64, role: Role, user: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.role = role;
            connection.user = Some(user);
        }
    }

    /// Lets a replaced or stalled websocket go without a word.
    pub(crate) fn reset(&mut self, id: u64) {
        if self.mark_closed(id).is_some() {
            self.queue_action(id, SocketAction::Reset);
        }
    }

    /// Queues an order; a client that lets thousands pile up is reset.
    pub(crate) fn queue_action(&mut self, id: u64, action: SocketAction) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.actions.try_send(action).is_err() {
            tracing::debug!(connection = id, "does not read: dropped");
            // Dropping the only sender ends the websocket's task.
            connection.actions = mpsc::channel(1).0;
        }
    }

    /// Sends `{op, d}` without a number.
    pub(crate) fn send_plain(&mut self, id: u64, op: u8, d: Value, now: Instant) {
        self.queue_action(id, SocketAction::Text(json!({"op": op, "d": d}).to_string()));
        self.log_event(id, now, Event::Sent { op, name: None, seq: None, d: redacted(d) });
    }

    /// Writes into the log.
    pub(crate) fn log_event(&mut self, id: u64, now: Instant, event: Event) {
        let Some(connection) = self.connections.get(&id) else { return };
        let side = match connection.listener {
            Listener::Main => Side::Main,
            Listener::Voice(_) => Side::Voice,
        };
        self.log.push(Entry { at: now, side, connection: id, user: connection.user, event });
    }

    /// Counts what the gateway limits; says whether it came too often.
    pub(crate) fn exceeds_rate(&mut self, id: u64, now: Instant) -> bool {
        self.connections.get_mut(&id).is_some_and(|connection| connection.rate.is_exceeded(now))
    }

    /// Records a broken rule.
    pub(crate) fn violation(&mut self, id: u64, rule: Rule, now: Instant) {
        let user = self.connections.get(&id).and_then(|connection| connection.user);
        self.log.violation(now, user, rule);
    }

    fn open_listener(&self, id: u64) -> Option<Listener> {
        let connection = self.connections.get(&id)?;
        (connection.role != Role::Closed).then_some(connection.listener)
    }

    /// When [`Self::elapse`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let beats = self.connections.values().filter_map(|connection| connection.heartbeat_due);
        let mains = self.main_sessions.values().filter_map(|session| session.expires);
        let voices = self.voice_sessions.values().filter_map(VoiceSession::deadline);
        let calls = self.deliveries.values().filter_map(Delivery::deadline);
        beats.chain(mains).chain(voices).chain(calls).min()
    }

    /// Carries out what is due.
    pub(crate) fn elapse(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let silent = self.connections.iter().filter(|(_, connection)| due(connection.heartbeat_due));
        let silent: Vec<_> = silent.map(|(id, connection)| (*id, connection.listener)).collect();
        for (id, listener) in silent {
            let code = if listener == Listener::Main { 4000 } else { 4009 };
            self.close(id, code, "Session timed out.", now);
        }
        let mains = self.main_sessions.iter().filter(|(_, session)| due(session.expires));
        for session in mains.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.lose_main_session(&session, now);
        }
        let voices = self.voice_sessions.iter().filter(|(_, session)| due(session.deadline()));
        for ssrc in voices.map(|(ssrc, _)| *ssrc).collect::<Vec<_>>() {
            self.expire_voice(ssrc, now);
        }
        let calls = self.deliveries.iter().filter(|(_, delivery)| due(delivery.deadline()));
        for channel in calls.map(|(channel, _)| *channel).collect::<Vec<_>>() {
            self.poll_delivery(channel, now);
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        // Ids that JSON numbers in floating point would damage, as real snowflakes are.
        self.next_id += 4_194_305;
        self.next_id
    }

    pub(crate) fn next_ssrc(&mut self) -> u32 {
        self.next_ssrc += self.random.u32(1..100);
        self.next_ssrc
    }

    /// Random bytes as lower-case hexadecimal.
    pub(crate) fn hex(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.random.u8(..))).collect()
    }

    /// Whose turn it is when two events race.
    pub(crate) fn state_first(&mut self) -> bool {
        match self.settings.event_order {
            crate::EventOrder::StateFirst | crate::EventOrder::CloseLast => true,
            crate::EventOrder::ServerFirst => false,
            crate::EventOrder::Random => self.random.bool(),
        }
    }
}

/// Whether a session cannot be resumed after the server closed it with this code.
fn ends_voice_session(code: u16) -> bool {
    code >= 4000 && !matches!(code, 4013 | 4015)
}

/// How much longer than its interval a client may be silent.
pub(crate) fn tolerance(interval: Duration) -> Duration {
    interval.mul_f64(1.5)
}

const FIRST_ID: u64 = 1_100_000_000_000_000_000;
const FIRST_SSRC: u32 = 3_200;
