//! MediaPath: whether datagrams reach the voice server, and what is done once they do not.
//!
//! ```text
//!  AwaitAddress ── answer ──▶ Open ── an echo is missed, the websocket lost ──▶ Checking ── answer ──▶ Open
//!       │                      │                                                   │
//!       │                      └── sends fail ──▶ AwaitNewAddress ◀── no answer ───┘
//!       │                                                │    on a new socket
//!       │                                   same address │    another
//!       │                               Open ◀───────────┴──────────▶ AwaitDescription ── op 4 ──▶ Open
//!       ▼
//!    Failed ◀── no answer, no op 4, no other server, or dead again within half a minute
//! ```
//!
//! A path in doubt is asked first: every server answers discovery, so a path that answers is left as it is. Where an echo
//! does not come and discovery is answered, the server does not echo, and no more is expected of it. While the websocket is away no address can be told, and the
//! network may be away as a whole: the path waits for the websocket, and a path that is still dead then gets another
//! socket. Only while the websocket is heard does a path without an answer fail. `AwaitServer` stands beside these, from
//! when Discord takes a media server away until it names another.
//!
//! Audio is sent on the newest socket all the time; RTP, nonces and keys know nothing of sockets.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::action::{Action, Datagram, PathStatus, WebsocketLoss};
use super::discovery::{self, Discovery};
use super::error::{DESCRIPTION_TIMEOUT, LinkError, PathLoss, SERVER_TIMEOUT};
use super::keepalive::Keepalive;
use crate::id::Ssrc;

/// The UDP path of one voice session, over all its sockets.
#[derive(Debug)]
pub(super) struct MediaPath {
    ssrc: Ssrc,
    state: State,
    socket: Socket,
    websocket: Websocket,
    /// Our address as the voice gateway was last told it.
    told: Option<SocketAddr>,
    keepalive: Keepalive,
    refusals: Refusals,
    /// When the path was last restored.
    restored: Option<Instant>,
    actions: VecDeque<Action>,
}

/// What the path waits for; drawn above.
#[derive(Debug)]
enum State {
    AwaitAddress(Discovery),
    Open,
    Checking { discovery: Discovery, loss: PathLoss },
    AwaitNewAddress(Discovery),
    AwaitDescription { until: Option<Instant> },
    AwaitServer { until: Instant },
    Failed,
}

/// Whether there is a socket; if not, it is asked for with the next request.
#[derive(Debug)]
enum Socket {
    Bound,
    Missing,
}

/// Whether the voice gateway can be told of an address.
#[derive(Debug)]
enum Websocket {
    Up,
    /// Something came over it since the path died: the network is there.
    Heard,
    Down,
}

impl MediaPath {
    /// Asks for a socket and begins discovery.
    pub(super) fn new(ssrc: Ssrc, now: Instant) -> Self {
        Self {
            ssrc,
            state: State::AwaitAddress(Discovery::new(ssrc, now)),
            socket: Socket::Missing,
            websocket: Websocket::Up,
            told: None,
            keepalive: Keepalive::new(now),
            refusals: Refusals::default(),
            restored: None,
            actions: VecDeque::new(),
        }
    }

    /// Takes an answer to discovery; `None` unless one is awaited.
    pub(super) fn answer(&mut self, datagram: &[u8], now: Instant) -> Option<SocketAddr> {
        let discovery = match &mut self.state {
            State::AwaitAddress(discovery)
            | State::AwaitNewAddress(discovery)
            | State::Checking { discovery, .. } => discovery,
            _ => return None,
        };
        let address = discovery.datagram(datagram).ok()?;
        let known = self.told == Some(address);
        match self.state {
            State::AwaitAddress(_) => {
                self.told = Some(address);
                self.actions.push_back(Action::SelectProtocol(address));
                self.keepalive.next_after_interval(now);
                self.state = State::Open;
            }
            State::Checking { loss, .. } if known => {
                if loss == PathLoss::EchoesStopped {
                    self.keepalive.expect_no_echo();
                }
                self.state = State::Open;
            }
            State::Checking { .. } => {
                if self.lose(PathLoss::AddressChanged, now) {
                    self.select(address, now);
                }
            }
            _ if known => self.restore(now),
            _ => self.select(address, now),
        }
        Some(address)
    }

    /// Takes the echo of a keepalive and returns the round trip; `None` unless it is awaited.
    pub(super) fn echoed(&mut self, counter: u32, now: Instant) -> Option<Duration> {
        self.keepalive.echoed(counter, now)
    }

    /// A Session Description came: the voice gateway knows our address.
    pub(super) fn described(&mut self, now: Instant) {
        if let State::AwaitDescription { .. } = self.state {
            self.restore(now);
        }
    }

    /// The system did not take a datagram, or reports that an earlier one came back.
    pub(super) fn refused(&mut self, kind: ErrorKind, now: Instant) {
        let in_use = matches!(self.state, State::Open | State::Checking { .. });
        if in_use && self.refusals.are_too_many(now) {
            self.renew(PathLoss::SendsFailed(kind), now);
        }
    }

    /// No socket could be had.
    pub(super) fn bind_failed(&mut self, kind: ErrorKind) {
        self.socket = Socket::Missing;
        if let State::AwaitAddress(_) = self.state {
            self.fail(LinkError::NoSocket(kind));
        }
    }

    /// The websocket is gone.
    pub(super) fn websocket_lost(&mut self, loss: WebsocketLoss, now: Instant) {
        self.websocket = Websocket::Down;
        match &mut self.state {
            State::Open if loss == WebsocketLoss::Network => self.check(PathLoss::WebsocketLost, now),
            State::AwaitDescription { until } => *until = None,
            _ => {}
        }
    }

    /// Something came over the websocket.
    pub(super) fn websocket_heard(&mut self) {
        if let Websocket::Up = self.websocket {
            self.websocket = Websocket::Heard;
        }
    }

    /// The voice session goes on over another websocket.
    pub(super) fn websocket_resumed(&mut self, now: Instant) {
        self.websocket = Websocket::Up;
        match (&self.state, self.told) {
            (State::AwaitNewAddress(_), _) => self.rebind(now),
            (State::AwaitDescription { .. }, Some(address)) => self.select(address, now),
            _ => {}
        }
    }

    /// The voice session goes on at another media server.
    pub(super) fn server_changed(&mut self, now: Instant) {
        match self.state {
            State::Failed => {}
            State::AwaitAddress(_) => {
                self.socket = Socket::Missing;
                self.state = State::AwaitAddress(Discovery::new(self.ssrc, now));
            }
            _ => {
                self.report_dead(PathLoss::ServerChanged);
                self.told = None;
                self.rebind(now);
            }
        }
    }

    /// The media server is gone; another is to be named.
    pub(super) fn server_lost(&mut self, now: Instant) {
        if let State::Failed = self.state {
            return;
        }
        self.report_dead(PathLoss::ServerChanged);
        self.actions.push_back(Action::Unbind);
        self.state = State::AwaitServer { until: now + SERVER_TIMEOUT };
    }

    /// Says what is due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Action> {
        while self.actions.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.elapse(now);
        }
        self.actions.pop_front()
    }

    /// Says when to poll again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::AwaitAddress(discovery)
            | State::AwaitNewAddress(discovery)
            | State::Checking { discovery, .. } => discovery.deadline(),
            State::Open => Some(self.keepalive.deadline()),
            State::AwaitDescription { until } => *until,
            State::AwaitServer { until } => Some(*until),
            State::Failed => None,
        }
    }

    fn elapse(&mut self, now: Instant) {
        match &mut self.state {
            State::AwaitAddress(discovery)
            | State::AwaitNewAddress(discovery)
            | State::Checking { discovery, .. } => match discovery.poll(now) {
                Some(discovery::Action::Send(request)) => self.request(request),
                Some(discovery::Action::Failed) => self.unanswered(now),
                None => {}
            },
            State::Open if self.keepalive.missed(now) => self.check(PathLoss::EchoesStopped, now),
            State::Open => {
                let keepalive = self.keepalive.poll(now).map(Datagram::Keepalive);
                self.actions.extend(keepalive.map(Action::Send));
            }
            State::AwaitDescription { .. } => self.fail(LinkError::NoDescription),
            State::AwaitServer { .. } => self.fail(LinkError::NoServer),
            State::Failed => {}
        }
    }

    fn request(&mut self, request: [u8; discovery::LENGTH]) {
        if let Socket::Missing = self.socket {
            self.socket = Socket::Bound;
            self.actions.push_back(Action::Bind);
        }
        self.actions.push_back(Action::Send(Datagram::Discovery(request)));
    }

    fn unanswered(&mut self, now: Instant) {
        match (&self.state, &self.websocket) {
            (State::Checking { loss, .. }, _) => self.renew(*loss, now),
            // The whole network may be away; when the websocket is back, or given up, so is this.
            (State::AwaitNewAddress(_), Websocket::Up | Websocket::Down) => self.rebind(now),
            _ => self.fail(LinkError::NoDiscovery),
        }
    }

    fn check(&mut self, loss: PathLoss, now: Instant) {
        self.keepalive.forget_unanswered();
        self.state = State::Checking { discovery: Discovery::check(self.ssrc, now), loss };
    }

    fn renew(&mut self, loss: PathLoss, now: Instant) {
        if self.lose(loss, now) {
            self.rebind(now);
        }
    }

    /// Reports that the path is dead; says whether it may be mended, which is not so when it just was.
    fn lose(&mut self, loss: PathLoss, now: Instant) -> bool {
        if self.restored.is_some_and(|restored| now < restored + PROBATION) {
            self.fail(LinkError::LostAgain(loss));
            return false;
        }
        self.report_dead(loss);
        true
    }

    fn report_dead(&mut self, loss: PathLoss) {
        if let State::Open | State::Checking { .. } = self.state {
            if let Websocket::Heard = self.websocket {
                self.websocket = Websocket::Up;
            }
            self.actions.push_back(Action::Report(PathStatus::Dead(loss)));
        }
    }

    fn rebind(&mut self, now: Instant) {
        self.socket = Socket::Missing;
        self.state = State::AwaitNewAddress(Discovery::new(self.ssrc, now));
    }

    fn select(&mut self, address: SocketAddr, now: Instant) {
        self.told = Some(address);
        let until = match self.websocket {
            Websocket::Up | Websocket::Heard => {
                self.actions.push_back(Action::SelectProtocol(address));
                Some(now + DESCRIPTION_TIMEOUT)
            }
            Websocket::Down => None,
        };
        self.state = State::AwaitDescription { until };
    }

    fn restore(&mut self, now: Instant) {
        self.restored = Some(now);
        self.keepalive.next_at_once(now);
        self.state = State::Open;
        self.actions.push_back(Action::Report(PathStatus::Restored));
    }

    fn fail(&mut self, error: LinkError) {
        self.state = State::Failed;
        self.actions.push_back(Action::Fail(error));
    }
}

/// Datagrams of late that the system did not take.
#[derive(Debug, Default)]
struct Refusals {
    first: Option<Instant>,
    count: u32,
}

impl Refusals {
    /// Counts one more, and says whether they are too many; then they are forgotten.
    fn are_too_many(&mut self, now: Instant) -> bool {
        if self.first.is_none_or(|first| now.saturating_duration_since(first) > REFUSAL_WINDOW) {
            *self = Self { first: Some(now), count: 0 };
        }
        self.count += 1;
        let too_many = self.count >= MAX_REFUSALS;
        if too_many {
            *self = Self::default();
        }
        too_many
    }
}

/// A path that dies this soon after it was restored is not mended again.
const PROBATION: Duration = Duration::from_secs(30);
/// So many datagrams refused within [`REFUSAL_WINDOW`] are a dead path. A refusal that the system learns from the network
/// alternates with sends that it takes.
const MAX_REFUSALS: u32 = 10;
const REFUSAL_WINDOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
