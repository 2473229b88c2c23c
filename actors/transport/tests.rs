//! What leaves the bot's socket, seen from the voice server's.

use std::{collections::HashSet, time::Duration};

use actix::{Addr, Recipient};
use bytes::Bytes;
use tokio::{net::UdpSocket, sync::mpsc};

use super::*;
use crate::{audio::frame::SILENCE, id::SecretKey, speaker::VoiceFrame, transport::dave::SenderKey};

/// Passes on what the transport reports.
struct Owner(mpsc::UnboundedSender<Report>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<FromTransport> for Owner {
    type Result = ();

    fn handle(&mut self, FromTransport { report, .. }: FromTransport, _: &mut Context<Self>) {
        self.0.send(report).expect("the test listens");
    }
}

/// A voice server and the transport that talks to it.
struct Session {
    server: UdpSocket,
    transport: Addr<Transport>,
    sender: VoiceSender,
    reports: mpsc::UnboundedReceiver<Report>,
    _owner: Recipient<FromTransport>,
}

impl Session {
    /// A session with a key, but nothing yet to encrypt with end to end.
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(adjust: impl FnOnce(&VoiceSender)) -> Self {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let (to, reports) = mpsc::unbounded_channel();
        let owner = Owner(to).start().recipient();
        let address = server.local_addr().expect("an address");
        let sender = Transport::voice_sender(SSRC);
        adjust(&sender);
        let transport = Transport::new(1, address, sender.clone(), owner.downgrade());
        let mut session = Self { server, transport: transport.start(), sender, reports, _owner: owner };
        session.answer_discovery().await;
        assert!(matches!(session.report().await, Report::Discovered(_)));
        let mode = "aead_aes256_gcm_rtpsize".into();
        let secret_key = SecretKey([7; 32]);
        session.transport.do_send(SessionDescription { mode, secret_key, dave_protocol_version: 1 });
        assert!(matches!(session.report().await, Report::Opened));
        session
    }

    async fn answer_discovery(&self) {
        let mut datagram = [0; 100];
        let (length, from) = self.server.recv_from(&mut datagram).await.expect("a request");
        let mut answer = datagram[..length].to_vec();
        answer[1] = 2;
        answer[8..17].copy_from_slice(b"127.0.0.1");
        answer[72..].copy_from_slice(&from.port().to_be_bytes());
        self.server.send_to(&answer, from).await.expect("an answer");
    }

    async fn report(&mut self) -> Report {
        let report = tokio::time::timeout(Duration::from_secs(5), self.reports.recv()).await;
        report.expect("a report in time").expect("the transport lives")
    }

    async fn speak_plainly(&self) {
        self.install(SenderKey::Plain).await;
    }

    async fn install(&self, key: SenderKey) {
        self.transport.send(KeyChange::Sender(key)).await.expect("it lives");
    }

    fn say(&self, frames: u32) {
        for _ in 0..frames {
            self.send(Bytes::from_static(&SILENCE));
        }
    }

    fn send(&self, opus: Bytes) {
        assert!(self.sender.send(&VoiceFrame { opus, elapsed: 960, due: now() }), "the transport is no more");
    }

    /// Sequence number and timestamp of the next RTP packet.
    async fn packet(&self) -> (u16, u32) {
        let mut datagram = [0; 100];
        loop {
            let received = tokio::time::timeout(Duration::from_secs(5), self.server.recv(&mut datagram));
            received.await.expect("a packet in time").expect("a packet");
            if datagram[..2] == [0x80, 0x78] {
                let number = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
                return (number(2), (u32::from(number(4)) << 16) | u32::from(number(6)));
            }
        }
    }
}

#[actix::test]
async fn every_session_starts_rtp_at_a_place_of_its_own() {
    let (mut sequences, mut timestamps) = (HashSet::new(), HashSet::new());
    for _ in 0..4 {
        let session = Session::start().await;
        session.speak_plainly().await;
        session.say(1);
        let (sequence, timestamp) = session.packet().await;
        sequences.insert(sequence);
        timestamps.insert(timestamp);
    }
    assert!(sequences.len() > 1, "all start with number {sequences:?}");
    assert!(timestamps.len() > 1, "all start at {timestamps:?}");
}

#[actix::test]
async fn the_time_in_which_nothing_was_sent_is_in_the_timestamp_and_not_in_the_sequence() {
    let session = Session::start().await;
    session.speak_plainly().await;
    session.say(1);
    let (sequence, timestamp) = session.packet().await;
    session.install(SenderKey::Withhold).await;
    session.say(10);
    session.speak_plainly().await;
    session.say(2);
    let after = (sequence.wrapping_add(1), timestamp.wrapping_add(11 * 960));
    assert_eq!(session.packet().await, after);
    assert_eq!(session.packet().await, (after.0.wrapping_add(1), after.1.wrapping_add(960)));
    let stats = session.transport.send(GetStats).await.expect("it lives");
    assert_eq!((stats.withheld, stats.lateness.len()), (10, 3));
}

#[actix::test]
async fn a_session_whose_nonces_are_spent_ends_and_says_what_to_do() {
    let spent = |sender: &VoiceSender| {
        let start = RtpStart { sequence: 0, timestamp: 0, counter: u32::MAX };
        sender.session().link = Link::new(SSRC, start, now());
    };
    let mut session = Session::start_with(spent).await;
    session.speak_plainly().await;
    session.say(3);
    let Report::Exited { cause, stats } = session.report().await else { panic!("it goes on") };
    let Some(Cause::Transport(why)) = cause else { panic!("{cause:?}") };
    assert!(why.contains("make a new session"), "{why}");
    assert!(stats.unsent > 0);
}

#[actix::test]
async fn a_frame_too_long_for_a_datagram_is_counted_and_the_next_is_heard() {
    let session = Session::start().await;
    session.speak_plainly().await;
    session.send(vec![0; 2_000].into());
    session.say(1);
    session.packet().await;
    let stats = session.transport.send(GetStats).await.expect("it lives");
    assert_eq!(stats.unsent, 1);
}

#[actix::test]
async fn a_transport_that_is_told_to_stop_says_what_it_sent_and_sends_no_more() {
    let mut session = Session::start().await;
    session.speak_plainly().await;
    session.say(3);
    session.transport.do_send(Stop);
    let Report::Exited { cause: None, stats } = session.report().await else { panic!("it goes on") };
    assert_eq!(stats.lateness.len(), 3);
    assert!(session.transport.send(GetStats).await.is_err(), "it lives on");
    assert!(
        session.sender.session().socket.is_none(),
        "its socket is closed, though others hold the way out"
    );
    let frame = VoiceFrame { opus: Bytes::from_static(&SILENCE), elapsed: 960, due: now() };
    assert!(!session.sender.send(&frame));
}

const SSRC: Ssrc = Ssrc(0x0708_090a);
