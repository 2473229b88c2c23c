//! The state behind both gateways: who is connected, and what is due.
//!
//! Everything that decides is a method of [`State`] and takes the time; sockets only carry frames in and actions out.
//! Each part of the state is owned by a struct in a file of its own:
//!
//! * `connections`, `rate`: websockets and what is sent on them
//! * `main_sessions`, `voice_sessions`, `buffer`: what outlives a websocket
//! * `sharding`: how many main sessions a bot is told to have
//! * `late_events`: events of the main gateway that are delayed or doubled
//! * `directory`, `voice_states`, `grants`, `addresses`: guilds, who is in which channel, and with which token
//! * `deliveries`, `plain_audio`, `participants`: end-to-end encryption of each call
//! * `pending_faults`, `random`: faults that wait for their moment, and what follows from the seed
//!
//! What concerns several parts is a method of [`State`], in a file for each occasion:
//!
//! * `main_gateway`, `voice_gateway`, `voice_credentials`: what clients send
//! * `joins`, `calls`, `dave_calls`: coming into a channel, being in its call, and encrypting there
//! * `setup`, `faults`, `queries`: what tests ask for

mod addresses;
mod buffer;
mod calls;
mod connections;
mod dave_calls;
mod deliveries;
mod directory;
mod faults;
mod grants;
mod joins;
mod late_events;
mod main_gateway;
mod main_sessions;
mod participants;
mod payload;
mod pending_faults;
mod plain_audio;
mod queries;
mod random;
mod rate;
mod setup;
mod sharding;
mod voice_credentials;
mod voice_gateway;
mod voice_sessions;
mod voice_states;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) use buffer::NumberedMessage;
pub(crate) use connections::{Listener, OpenedSocket, SocketAction, SocketEnd};
#[cfg(test)]
pub(crate) use directory::UserRecord;
pub(crate) use directory::{ChannelKind, ChannelRecord};
pub(crate) use joins::GuildLoss;
pub use late_events::EventDelivery;
pub(crate) use participants::SharedParticipant;
pub use pending_faults::HandshakeStep;
pub(crate) use setup::SimulatedMember;

use addresses::Addresses;
use connections::{Connections, Role};
use deliveries::Deliveries;
use directory::Directory;
use grants::Grants;
use late_events::LateEvents;
use main_sessions::MainSessions;
use participants::Participants;
use pending_faults::PendingFaults;
use random::RandomSource;
use sharding::Sharding;
use voice_sessions::VoiceSessions;
use voice_states::VoiceStates;

use crate::builder::{Settings, UnannouncedAudio};
use crate::log::{Closer, Entry, Event, Log, Side, redacted};
use crate::relay::{Relay, RelayEvent};
use crate::rule::{MediaRule, Rule};

/// The whole of Discord.
pub(crate) struct State {
    settings: Settings,
    addresses: Addresses,
    random: RandomSource,
    log: Log,
    relay: Relay,
    directory: Directory,
    voice_states: VoiceStates,
    grants: Grants,
    connections: Connections,
    main_sessions: MainSessions,
    sharding: Sharding,
    late_events: LateEvents,
    voice_sessions: VoiceSessions,
    deliveries: Deliveries,
    participants: Participants,
    faults: PendingFaults,
}

impl State {
    pub(crate) fn new(settings: Settings, relay: Relay, gateway_url: String, endpoints: Vec<String>) -> Self {
        Self {
            addresses: Addresses::new(gateway_url, endpoints),
            random: RandomSource::new(settings.seed),
            late_events: LateEvents::new(settings.seed),
            log: Log::new(settings.log_entries),
            voice_states: VoiceStates::new(relay.clone()),
            relay,
            directory: Directory::default(),
            grants: Grants::default(),
            connections: Connections::default(),
            main_sessions: MainSessions::default(),
            sharding: Sharding::new(settings.shards),
            voice_sessions: VoiceSessions::default(),
            deliveries: Deliveries::default(),
            participants: Participants::default(),
            faults: PendingFaults::default(),
            settings,
        }
    }

    /// Takes in a new websocket and says its number.
    pub(crate) fn opened(&mut self, opened: OpenedSocket, now: Instant) -> u64 {
        let (listener, version) = (opened.listener, opened.version);
        let id = self.connections.open(opened);
        self.log_event(id, now, Event::Opened { version });
        match listener {
            Listener::Main => self.main_opened(id, now),
            Listener::Voice(_) => self.voice_opened(id, now),
        }
        id
    }

    /// Takes in a text frame.
    pub(crate) fn text(&mut self, id: u64, text: &str, now: Instant) {
        match self.connections.open_listener(id) {
            Some(Listener::Main) => self.main_text(id, text, now),
            Some(Listener::Voice(_)) => self.voice_text(id, text, now),
            None => {}
        }
    }

    /// Takes in a binary frame.
    pub(crate) fn binary(&mut self, id: u64, frame: &[u8], now: Instant) {
        match self.connections.open_listener(id) {
            Some(Listener::Main) => self.close(id, 4002, "Error while decoding payload.", now),
            Some(Listener::Voice(_)) => self.voice_binary(id, frame, now),
            None => {}
        }
    }

    /// Takes note that a websocket is gone.
    pub(crate) fn ended(&mut self, id: u64, ended: SocketEnd, now: Instant) {
        let Some(role) = self.connections.role(id).cloned() else { return };
        if role != Role::Closed {
            let code = match ended {
                SocketEnd::Closed(code) => code,
                SocketEnd::Lost => None,
            };
            self.log_event(id, now, Event::Closed { by: Closer::Client, code });
        }
        self.connections.remove(id);
        let leaves = matches!(ended, SocketEnd::Closed(Some(1000 | 1001)));
        match role {
            Role::Main(session) if leaves => {
                for (guild, user) in self.voice_states.of_session(&session) {
                    self.audit_leaves(guild, user, now);
                }
                self.lose_main_session(&session, now);
            }
            Role::Main(session) => self.detach_main(&session, now),
            Role::Voice(ssrc) if leaves => {
                self.audit_leave(ssrc, now);
                self.end_voice_session(ssrc, now);
            }
            Role::Voice(ssrc) => self.detach_voice(ssrc, now),
            Role::Unidentified | Role::Closed => {}
        }
    }

    /// Takes in what the relay reports.
    pub(crate) fn relay_event(&mut self, event: RelayEvent, now: Instant) {
        match event {
            RelayEvent::Discovered { peer, from } => {
                let Some(session) = self.voice_sessions.get_mut(peer.ssrc) else { return };
                session.set_discovered(from);
                let (user, event) = (Some(peer.user), Event::Discovered);
                self.log.push(Entry { at: now, side: Side::Media, connection: 0, user, event });
            }
            RelayEvent::Violated { peer, violation } if violation.rule == UNANNOUNCED_AUDIO => {
                if self.settings.unannounced_audio == UnannouncedAudio::Close {
                    self.close_unannounced_audio(peer.ssrc, now);
                }
            }
            RelayEvent::Violated { .. } => {}
        }
    }

    /// Closes a websocket from the server's side; 1006 resets the TCP connection instead.
    fn close(&mut self, id: u64, code: u16, reason: &str, now: Instant) {
        let Some(role) = self.connections.mark_closed(id) else { return };
        let action = match code {
            1006 => SocketAction::Reset,
            code => SocketAction::Close { code, reason: reason.to_owned() },
        };
        self.connections.queue_action(id, action);
        let shown = (code != 1006).then_some(code);
        self.log_event(id, now, Event::Closed { by: Closer::Server, code: shown });
        match role {
            Role::Main(session) if matches!(code, 4004 | 4007 | 4009..=4014) => {
                self.lose_main_session(&session, now);
            }
            Role::Main(session) => self.detach_main(&session, now),
            Role::Voice(ssrc) if ends_voice_session(code) => self.end_voice_session(ssrc, now),
            Role::Voice(ssrc) => self.detach_voice(ssrc, now),
            Role::Unidentified | Role::Closed => {}
        }
    }

    /// Sends `{op, d}` without a number.
    fn send_plain(&mut self, id: u64, op: u8, d: Value, now: Instant) {
        self.connections.queue_action(id, SocketAction::Text(json!({"op": op, "d": d}).to_string()));
        self.log_event(id, now, Event::Sent { op, name: None, seq: None, d: redacted(d) });
    }

    /// Writes into the log what happened on a websocket.
    fn log_event(&mut self, id: u64, now: Instant, event: Event) {
        let Some(side) = self.connections.side(id) else { return };
        let user = self.connections.user(id);
        self.log.push(Entry { at: now, side, connection: id, user, event });
    }

    /// Records a rule that the client of a websocket broke.
    fn violation(&mut self, id: u64, rule: Rule, now: Instant) {
        self.log.violation(now, self.connections.user(id), rule);
    }

    /// When [`Self::elapse`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (heartbeats, calls) = (self.connections.deadline(), self.deliveries.deadline());
        let (mains, voices) = (self.main_sessions.deadline(), self.voice_sessions.deadline());
        [heartbeats, mains, self.late_events.deadline(), voices, calls].into_iter().flatten().min()
    }

    /// Carries out what is due.
    pub(crate) fn elapse(&mut self, now: Instant) {
        for (id, listener) in self.connections.silent(now) {
            let code = if listener == Listener::Main { 4000 } else { 4009 };
            self.close(id, code, "Session timed out.", now);
        }
        self.send_late_events(now);
        for session in self.main_sessions.expired(now) {
            self.lose_main_session(&session, now);
        }
        for ssrc in self.voice_sessions.expired(now) {
            self.expire_voice(ssrc, now);
        }
        for channel in self.deliveries.due(now) {
            self.poll_delivery(channel, now);
        }
    }
}

/// Whether a session cannot be resumed after the server closed it with this code.
fn ends_voice_session(code: u16) -> bool {
    code >= 4000 && !matches!(code, 4013 | 4015)
}

/// How much longer than its interval a client may be silent.
fn tolerance(interval: Duration) -> Duration {
    interval.mul_f64(1.5)
}

const UNANNOUNCED_AUDIO: Rule = Rule::Media(MediaRule::AudioWithoutSpeaking);
