//! Session: one websocket to the voice gateway, from its opening to its end.
//!
//! ```text
//!  Identify ─▶ AwaitHello ─▶ AwaitReady ─▶ AwaitDiscovery ─▶ AwaitDescription ─▶ Established
//!                  └─── Ready may come first ───▲ ▲ Select Protocol ──▲              │ ▲
//!                       Ready without an endpoint: AwaitEndpoint ── op 33 ─▲         │ │
//!  Resume ───▶ AwaitResumed ─────────────────────────────────────────────────────────┼─┘
//!                                                                                    ▼
//!  from every state: a missed deadline, a message out of order ──────────────────▶ Closed
//! ```
//!
//! Every state but Established has a deadline of ten seconds. Hello may come at any time and (re)starts the
//! heartbeats; a session that is established without it beats on its own.

mod action;
mod start;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use self::action::{Action, SessionError};
pub use self::start::{BadEndpoint, ChannelKind, Credentials, Endpoints, Scheme, Start};

use self::start::choose_mode;
use super::heartbeat::VOICE_INTERVAL_MAX;
use super::payload::{
    Command, Event, MediaServer, PayloadError, Ready, SelectProtocol, SessionDescription, SpeakingFlags,
    decode_binary, decode_text,
};
use crate::id::Ssrc;

/// One websocket to the voice gateway. Its owner brings facts, and after each polls until there is no action left.
#[derive(Debug)]
pub struct Session {
    modes: Vec<String>,
    state: State,
    /// Survives the states: a later websocket resumes with it.
    ssrc: Option<Ssrc>,
    /// The encryption mode, once there is a media server to use it with.
    mode: Option<String>,
    last_seq: Option<u16>,
    speaking: SpeakingFlags,
    heartbeats: Heartbeats,
    actions: VecDeque<Action>,
    /// Commands that must wait for Established; bounded by [`MAX_QUEUED_COMMANDS`], beyond it the oldest is dropped.
    waiting: VecDeque<Command>,
    dropped: u64,
    malformed: u64,
    last_malformed: Option<PayloadError>,
}

/// What the session waits for; drawn above.
#[derive(Debug)]
enum State {
    AwaitHello { until: Instant },
    AwaitReady { until: Instant },
    AwaitEndpoint { until: Instant },
    AwaitDiscovery { until: Instant },
    AwaitDescription { until: Instant },
    AwaitResumed { until: Instant },
    Established { ssrc: Ssrc },
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
enum Heartbeats {
    NotYet,
    Running,
}

impl Session {
    /// Begins on a websocket that has just opened; the first action sends Identify or Resume.
    #[must_use]
    pub fn new(credentials: Credentials, start: Start, now: Instant) -> Self {
        let until = now + STATE_TIMEOUT;
        let (state, opening) = match &start {
            Start::Identify { max_dave_protocol_version, .. } => {
                (State::AwaitHello { until }, credentials.identify(*max_dave_protocol_version))
            }
            Start::Resume { seq_ack, .. } => (State::AwaitResumed { until }, credentials.resume(*seq_ack)),
        };
        let (ssrc, mode, last_seq, modes) = match start {
            Start::Identify { modes, .. } => (None, None, None, modes),
            Start::Resume { seq_ack, ssrc, mode } => (Some(ssrc), Some(mode), seq_ack, Vec::new()),
        };
        Self {
            modes,
            state,
            ssrc,
            mode,
            last_seq,
            speaking: SpeakingFlags::NONE,
            heartbeats: Heartbeats::NotYet,
            actions: VecDeque::from([Action::Send(opening.encode())]),
            waiting: VecDeque::new(),
            dropped: 0,
            malformed: 0,
            last_malformed: None,
        }
    }

    /// Takes a text frame.
    pub fn text(&mut self, text: &[u8], now: Instant) {
        self.frame(decode_text(text), now);
    }

    /// Takes a binary frame.
    pub fn binary(&mut self, frame: &[u8], now: Instant) {
        self.frame(decode_binary(frame), now);
    }

    /// Takes our external address from IP discovery, and tells it: in the handshake, and once the session is established
    /// whenever it changes. Without meaning at other times.
    pub fn discovered(&mut self, external: SocketAddr, now: Instant) {
        if !matches!(self.state, State::AwaitDiscovery { .. } | State::Established { .. }) {
            return;
        }
        let Some(mode) = self.mode.clone() else { return };
        self.send(&Command::SelectProtocol(SelectProtocol { address: external, mode }));
        if let State::AwaitDiscovery { .. } = self.state {
            self.state = State::AwaitDescription { until: now + STATE_TIMEOUT };
        }
    }

    /// Takes a heartbeat's due time and sends it with the current sequence number.
    pub fn beat(&mut self, nonce: u64) {
        let seq_ack = self.last_seq.map_or(-1, i32::from);
        self.send(&Command::Heartbeat { nonce, seq_ack });
    }

    /// Says how we speak from now on: sent if it changes, and again whenever the session is established or resumed.
    pub fn speaking(&mut self, flags: SpeakingFlags) {
        let changed = self.speaking != flags;
        self.speaking = flags;
        if changed && let State::Established { ssrc } = self.state {
            self.send(&Command::Speaking(flags, ssrc));
        }
    }

    /// Sends a DAVE message, or keeps it until the session is established.
    pub fn command(&mut self, command: Command) {
        match self.state {
            State::Established { .. } => self.send(&command),
            State::Closed => {}
            _ => {
                if self.waiting.len() == MAX_QUEUED_COMMANDS {
                    self.waiting.pop_front();
                    self.dropped += 1;
                }
                self.waiting.push_back(command);
            }
        }
    }

    /// Says what to do now; ask until it returns none.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.deadline().is_some_and(|until| now >= until) {
            self.fail(SessionError::Timeout { awaited: self.awaited() });
        }
        self.actions.pop_front()
    }

    /// Says when to [`poll`](Self::poll) again at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::AwaitHello { until }
            | State::AwaitReady { until }
            | State::AwaitEndpoint { until }
            | State::AwaitDiscovery { until }
            | State::AwaitDescription { until }
            | State::AwaitResumed { until } => Some(until),
            State::Established { .. } | State::Closed => None,
        }
    }

    /// The last sequence number received, for a resume.
    #[must_use]
    pub fn last_seq(&self) -> Option<u16> {
        self.last_seq
    }

    /// How many frames could not be understood and were skipped.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Why the last such frame could not be understood.
    #[must_use]
    pub fn last_malformed(&self) -> Option<PayloadError> {
        self.last_malformed
    }

    /// Takes back the commands that waited in vain.
    pub fn take_waiting(&mut self) -> Vec<Command> {
        self.waiting.drain(..).collect()
    }

    /// How many commands were dropped because too many waited for the session.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether audio may flow.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    fn frame(&mut self, (seq, event): (Option<u16>, Result<Event, PayloadError>), now: Instant) {
        if matches!(self.state, State::Closed) {
            return;
        }
        // Messages come in order and the number wraps, so the last one counts, whatever came before. What cannot be read
        // would not be readable in a replay either.
        self.last_seq = seq.or(self.last_seq);
        match event {
            Ok(event) => self.event(event, now),
            Err(error) => {
                self.malformed += 1;
                self.last_malformed = Some(error);
            }
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        let action = match event {
            Event::Hello(hello) => return self.hello(hello.interval, now),
            Event::Ready(ready) => return self.ready(ready, now),
            Event::MediaServer(server) => return self.media_server(server, now),
            Event::SessionDescription(description) => return self.described(description),
            Event::Resumed => return self.resumed(),
            Event::Speaking { user, ssrc, flags } => Action::Speaking { user, ssrc, flags },
            Event::HeartbeatAck { nonce } => Action::Acknowledged { nonce },
            Event::HeartbeatRequest => Action::BeatNow,
            Event::ClientsConnect(users) => Action::ClientsConnect(users),
            Event::ClientDisconnect(user) => Action::ClientDisconnect(user),
            Event::Video { user, audio_ssrc: Some(ssrc) } => Action::SsrcAssigned { user, ssrc },
            Event::Dave(event) => Action::Dave(event),
            Event::Video { .. } | Event::Ignored(_) => return,
        };
        self.actions.push_back(action);
    }

    fn hello(&mut self, interval: Duration, now: Instant) {
        if matches!(self.state, State::AwaitHello { .. }) {
            self.state = State::AwaitReady { until: now + STATE_TIMEOUT };
        }
        self.heartbeats = Heartbeats::Running;
        self.actions.push_back(Action::Beat(interval));
    }

    fn ready(&mut self, ready: Ready, now: Instant) {
        if !matches!(self.state, State::AwaitHello { .. } | State::AwaitReady { .. }) {
            return self.out_of_order("Ready");
        }
        self.ssrc = Some(ready.ssrc);
        self.connect(ready.ssrc, ready.server, now);
    }

    /// Begins discovery at a media server, or waits until one is named.
    fn connect(&mut self, ssrc: Ssrc, server: Option<MediaServer>, now: Instant) {
        let until = now + STATE_TIMEOUT;
        let Some(MediaServer { address, modes }) = server else {
            self.state = State::AwaitEndpoint { until };
            return;
        };
        let Some(mode) = choose_mode(&modes, &self.modes).map(str::to_owned) else {
            return self.fail(SessionError::NoMode { offered: modes });
        };
        self.mode = Some(mode.clone());
        self.state = State::AwaitDiscovery { until };
        self.actions.push_back(Action::Ready { ssrc, server: address, mode });
    }

    /// Op 33: in the handshake it does what Ready did; an established session moves.
    fn media_server(&mut self, server: Option<MediaServer>, now: Instant) {
        match (&self.state, self.ssrc) {
            (
                State::AwaitEndpoint { .. } | State::AwaitDiscovery { .. } | State::AwaitDescription { .. },
                Some(ssrc),
            ) => self.connect(ssrc, server, now),
            (State::Established { .. }, _) => {
                let lacks = |server: &MediaServer| {
                    self.mode.as_ref().is_some_and(|mode| !server.modes.contains(mode))
                };
                if server.as_ref().is_some_and(lacks) {
                    return self.fail(SessionError::ModeWithdrawn);
                }
                self.actions.push_back(Action::MediaServer(server.map(|server| server.address)));
            }
            _ => {}
        }
    }

    fn described(&mut self, description: SessionDescription) {
        match (&self.state, self.ssrc) {
            (State::AwaitDescription { .. } | State::Established { .. }, Some(ssrc)) => {
                self.actions.push_back(Action::Established(description));
                self.establish(ssrc);
            }
            _ => self.out_of_order("Session Description"),
        }
    }

    fn resumed(&mut self) {
        match (&self.state, self.ssrc) {
            (State::AwaitResumed { .. }, Some(ssrc)) => {
                self.actions.push_back(Action::Resumed);
                self.establish(ssrc);
            }
            _ => self.out_of_order("Resumed"),
        }
    }

    /// Sends what Discord wants at once, then what had to wait.
    fn establish(&mut self, ssrc: Ssrc) {
        self.state = State::Established { ssrc };
        if self.heartbeats == Heartbeats::NotYet {
            self.heartbeats = Heartbeats::Running;
            self.actions.push_back(Action::Beat(VOICE_INTERVAL_MAX));
        }
        self.send(&Command::Speaking(self.speaking, ssrc));
        while let Some(command) = self.waiting.pop_front() {
            self.send(&command);
        }
    }

    fn out_of_order(&mut self, came: &'static str) {
        self.fail(SessionError::OutOfOrder { awaited: self.awaited(), came });
    }

    fn fail(&mut self, error: SessionError) {
        self.state = State::Closed;
        self.actions.push_back(Action::Fail(error));
    }

    fn send(&mut self, command: &Command) {
        if !matches!(self.state, State::Closed) {
            self.actions.push_back(Action::Send(command.encode()));
        }
    }

    fn awaited(&self) -> &'static str {
        match self.state {
            State::AwaitHello { .. } => "Hello",
            State::AwaitReady { .. } => "Ready",
            State::AwaitEndpoint { .. } => "the address of a media server",
            State::AwaitDiscovery { .. } => "the answer to our IP discovery",
            State::AwaitDescription { .. } => "Session Description",
            State::AwaitResumed { .. } => "Resumed",
            State::Established { .. } | State::Closed => "nothing more of the handshake",
        }
    }
}

/// How long any state but Established may last; the middle of what other libraries allow.
const STATE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many commands may wait for a session to be established: more than a DAVE transition sends.
pub const MAX_QUEUED_COMMANDS: usize = 32;
