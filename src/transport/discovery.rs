//! IP discovery: asks the voice server under which address it sees us, because behind a NAT nobody else can
//! tell.
//!
//! ```text
//! AwaitAnswer ── answer ──▶ Ended        six requests, one a second; three to check a path, in half that time each
//!      └──────── a second after the sixth ──▶ Ended (Failed)
//!
//! | 1 or 2 | 70 | SSRC | address, NUL-padded | port |     74 bytes, big-endian
//! |   2    |  2 |  4   |         64          |  2   |
//! ```
//!
//! <https://docs.discord.com/developers/topics/voice-connections#ip-discovery>

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::id::Ssrc;

/// The length in bytes of a request and of an answer.
pub const LENGTH: usize = 74;

/// How many requests are sent before the path is given up.
pub const TRIES: u32 = 6;

/// How long each request waits for its answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How many requests are sent to see whether a path still carries, each for [`CHECK_TIMEOUT`].
pub const CHECK_TRIES: u32 = 3;

/// How long each of these requests waits for its answer.
pub const CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// The search for our own address.
#[derive(Debug)]
pub struct Discovery {
    ssrc: Ssrc,
    tries: u32,
    timeout: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitAnswer { sent: u32, next: Instant },
    Ended,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send this datagram to the voice server.
    Send([u8; LENGTH]),
    /// Give up: no request was answered.
    Failed,
}

impl Discovery {
    /// Starts a search; the first request is due at once.
    pub fn new(ssrc: Ssrc, now: Instant) -> Self {
        let state = State::AwaitAnswer { sent: 0, next: now };
        Self { ssrc, tries: TRIES, timeout: ANSWER_TIMEOUT, state }
    }

    /// Asks whether a path that was open still is; the first request is due at once.
    pub fn check(ssrc: Ssrc, now: Instant) -> Self {
        Self { tries: CHECK_TRIES, timeout: CHECK_TIMEOUT, ..Self::new(ssrc, now) }
    }

    /// Says what is due.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        let State::AwaitAnswer { sent, next } = &mut self.state else { return None };
        if now < *next {
            return None;
        }
        if *sent == self.tries {
            self.state = State::Ended;
            return Some(Action::Failed);
        }
        *sent += 1;
        *next = now + self.timeout;
        Some(Action::Send(request(self.ssrc)))
    }

    /// Says when to poll again; `None` once the search has ended.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::AwaitAnswer { next, .. } => Some(next),
            State::Ended => None,
        }
    }

    /// Takes an answer and returns our address as the server sees it.
    ///
    /// # Errors
    ///
    /// A [`DiscoveryError`] when the datagram is not the answer awaited; the search goes on as before.
    pub fn datagram(&mut self, datagram: &[u8]) -> Result<SocketAddr, DiscoveryError> {
        if matches!(self.state, State::Ended) {
            return Err(DiscoveryError::Late);
        }
        let address = read_answer(datagram, self.ssrc)?;
        self.state = State::Ended;
        Ok(address)
    }
}

/// Tells whether a datagram has the length and the first bytes of an answer.
pub fn is_answer(datagram: &[u8]) -> bool {
    datagram.len() == LENGTH && datagram.starts_with(&ANSWER)
}

/// Why a datagram is not the answer awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The datagram is not 74 bytes long or its type is not 2.
    #[error("not an answer to IP discovery")]
    NotAnAnswer,
    /// The answer is for another sender.
    #[error("the answer is for SSRC {0}")]
    OtherSsrc(Ssrc),
    /// The answer holds no address.
    #[error("the answer holds no IP address and port")]
    BadAddress,
    /// The search has ended.
    #[error("the answer came after the search had ended")]
    Late,
}

fn request(ssrc: Ssrc) -> [u8; LENGTH] {
    let mut datagram = [0; LENGTH];
    datagram[..4].copy_from_slice(&REQUEST);
    datagram[4..8].copy_from_slice(&ssrc.0.to_be_bytes());
    datagram
}

fn read_answer(datagram: &[u8], ours: Ssrc) -> Result<SocketAddr, DiscoveryError> {
    if !is_answer(datagram) {
        return Err(DiscoveryError::NotAnAnswer);
    }
    let (&ssrc, address) = datagram[4..].split_first_chunk().ok_or(DiscoveryError::NotAnAnswer)?;
    let (address, &port) = address.split_last_chunk().ok_or(DiscoveryError::NotAnAnswer)?;
    let ssrc = Ssrc(u32::from_be_bytes(ssrc));
    if ssrc != ours {
        return Err(DiscoveryError::OtherSsrc(ssrc));
    }
    let text = address.split(|&byte| byte == 0).next().unwrap_or_default();
    let ip = std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
    match (ip, u16::from_be_bytes(port)) {
        // An IPv4 address may come as `::ffff:203.0.113.7`.
        (Some(ip), port @ 1..) => Ok(SocketAddr::new(ip.to_canonical(), port)),
        _ => Err(DiscoveryError::BadAddress),
    }
}

/// Type 1 and length 70.
const REQUEST: [u8; 4] = [0, 1, 0, 70];

/// Type 2 and length 70.
const ANSWER: [u8; 4] = [0, 2, 0, 70];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::tests::{start, unhex};

    const SSRC: Ssrc = Ssrc(0x0708_090a);

    fn answer(address: &[u8], port: u16) -> Vec<u8> {
        let mut datagram = [&unhex("000200460708090a")[..], address].concat();
        datagram.resize(72, 0);
        datagram.extend_from_slice(&port.to_be_bytes());
        datagram
    }

    #[test]
    fn the_request_is_the_74_bytes_of_the_vector() {
        let Some(Action::Send(request)) = Discovery::new(SSRC, start()).poll(start()) else {
            panic!("no request")
        };
        let mut expected = unhex("000100460708090a");
        expected.resize(74, 0);
        assert_eq!(request[..], expected);
    }

    #[test]
    fn six_requests_go_out_a_second_apart_and_then_the_search_fails_once() {
        let mut discovery = Discovery::new(SSRC, start());
        let mut sent = Vec::new();
        let mut now = start();
        loop {
            match discovery.poll(now) {
                Some(Action::Send(_)) => sent.push(now - start()),
                Some(Action::Failed) => break,
                None => now = discovery.deadline().expect("a search that waits has a deadline"),
            }
        }
        assert_eq!(sent, [0, 1, 2, 3, 4, 5].map(Duration::from_secs));
        assert_eq!(now - start(), Duration::from_secs(6));
        assert_eq!(discovery.deadline(), None);
        assert_eq!(discovery.poll(now + ANSWER_TIMEOUT), None);
        assert_eq!(discovery.datagram(&answer(b"203.0.113.7", 5000)), Err(DiscoveryError::Late));
    }

    #[test]
    fn an_answer_ends_the_search_with_our_address() {
        let mut discovery = Discovery::new(SSRC, start());
        assert_eq!(
            discovery.datagram(&answer(b"203.0.113.7", 50_004)),
            Ok("203.0.113.7:50004".parse().unwrap())
        );
        assert_eq!((discovery.poll(start() + ANSWER_TIMEOUT), discovery.deadline()), (None, None));
    }

    #[test]
    fn an_ipv6_answer_is_read() {
        let mut discovery = Discovery::new(SSRC, start());
        let address = discovery.datagram(&answer(b"2001:db8::17", 50_004));
        assert_eq!(address, Ok("[2001:db8::17]:50004".parse().unwrap()));
    }

    #[test]
    fn an_ipv4_address_that_is_written_as_ipv6_is_made_plain() {
        let mut discovery = Discovery::new(SSRC, start());
        let address = discovery.datagram(&answer(b"::ffff:203.0.113.7", 50_004));
        assert_eq!(address, Ok("203.0.113.7:50004".parse().unwrap()));
    }

    #[test]
    fn wrong_answers_are_refused_and_the_search_goes_on() {
        let mut discovery = Discovery::new(SSRC, start());
        let good = answer(b"203.0.113.7", 50_004);
        let mut other = good.clone();
        other[7] = 0;
        let mut echo = good.clone();
        echo[1] = 1;
        for (datagram, why) in [
            (&good[..73], DiscoveryError::NotAnAnswer),
            (&echo, DiscoveryError::NotAnAnswer),
            (&other, DiscoveryError::OtherSsrc(Ssrc(0x0708_0900))),
            (&answer(b"203.0.113.7", 0), DiscoveryError::BadAddress),
            (&answer(b"", 50_004), DiscoveryError::BadAddress),
            (&answer(b"203.0.113.700", 50_004), DiscoveryError::BadAddress),
            (&answer(&[0xff; 64], 50_004), DiscoveryError::BadAddress),
        ] {
            assert_eq!(discovery.datagram(datagram), Err(why));
        }
        assert!(discovery.poll(start()).is_some());
        assert!(discovery.datagram(&good).is_ok());
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 66)) {
            let datagram = [&unhex("000200460708090a")[..], &body].concat();
            let _ = Discovery::new(SSRC, start()).datagram(&datagram);
        }
    }
}
