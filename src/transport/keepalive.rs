//! Keepalive: a small datagram every five seconds keeps the NAT's mapping alive, and its echo is a clock.
//!
//! The voice server answers `13 37 CA FE` and a counter with `13 37 F0 0D` and the same counter; some servers
//! send back what they got. Either tells the round trip. <https://docs.discord.food/topics/voice-connections>

use std::time::{Duration, Instant};

/// The time between two keepalives.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// How long an echo may take, from a server that echoes.
pub(super) const ECHO_TIMEOUT: Duration = Duration::from_secs(1);

/// The keepalives of one path.
#[derive(Debug)]
pub(super) struct Keepalive {
    next: Instant,
    counter: u32,
    /// The newest keepalive, until its echo comes.
    unanswered: Option<(u32, Instant)>,
    echoes: Echoes,
}

/// Whether the server echoes. It is taken to, until it answers something else and not a keepalive: some never echo.
#[derive(Debug, PartialEq, Eq)]
enum Echoes {
    NotExpected,
    Expected,
}

impl Keepalive {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now + INTERVAL, counter: 0, unanswered: None, echoes: Echoes::Expected }
    }

    /// Returns the keepalive that is due. After a stall one is sent, not all that were missed.
    pub(super) fn poll(&mut self, now: Instant) -> Option<[u8; 8]> {
        if now < self.next {
            return None;
        }
        self.next = (self.next + INTERVAL).max(now + INTERVAL / 2);
        self.counter = self.counter.wrapping_add(1);
        self.unanswered = Some((self.counter, now));
        let [c0, c1, c2, c3] = self.counter.to_be_bytes();
        let [p0, p1, p2, p3] = PING;
        Some([p0, p1, p2, p3, c0, c1, c2, c3])
    }

    /// When a keepalive is due, or an expected echo overdue.
    pub(super) fn deadline(&self) -> Instant {
        self.echo_deadline().into_iter().chain([self.next]).min().unwrap_or(self.next)
    }

    /// Whether an expected echo is overdue.
    pub(super) fn missed(&self, now: Instant) -> bool {
        self.echo_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Takes an echo and returns the round trip; `None` unless it is the first echo of the newest keepalive.
    pub(super) fn echoed(&mut self, counter: u32, now: Instant) -> Option<Duration> {
        let (_, sent) = self.unanswered.take_if(|(sent, _)| *sent == counter)?;
        self.echoes = Echoes::Expected;
        Some(now.saturating_duration_since(sent))
    }

    /// The server does not echo; should it echo again, it is expected to again.
    pub(super) fn expect_no_echo(&mut self) {
        self.echoes = Echoes::NotExpected;
    }

    /// The echo that was awaited is not awaited any more.
    pub(super) fn forget_unanswered(&mut self) {
        self.unanswered = None;
    }

    /// Sends the next keepalive five seconds from now.
    pub(super) fn next_after_interval(&mut self, now: Instant) {
        self.next = now + INTERVAL;
    }

    /// Sends the next keepalive at once, as on a new path.
    pub(super) fn next_at_once(&mut self, now: Instant) {
        self.unanswered = None;
        self.next = now;
    }

    fn echo_deadline(&self) -> Option<Instant> {
        let (_, sent) = self.unanswered.filter(|_| self.echoes == Echoes::Expected)?;
        Some(sent + ECHO_TIMEOUT)
    }
}

/// Reads the counter of an echo; `None` for any other datagram.
pub(super) fn read_echo(datagram: &[u8]) -> Option<u32> {
    let (&magic, counter) = datagram.split_first_chunk()?;
    if magic != PONG && magic != PING {
        return None;
    }
    counter.try_into().ok().map(u32::from_be_bytes)
}

const PING: [u8; 4] = [0x13, 0x37, 0xca, 0xfe];
const PONG: [u8; 4] = [0x13, 0x37, 0xf0, 0x0d];
