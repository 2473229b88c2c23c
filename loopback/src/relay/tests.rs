//! The relay between real sockets.

mod measuring;
mod new_sources;
mod odd_members;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::{MalformedPacket, PacketShape, Peer, Relay, RelayEvent};
use crate::cipher::{Cipher, Mode};
use crate::netem::{Direction, Netem};
use crate::opus::SILENCE;
use crate::rtp::Header;
use crate::rule::{MediaRule, Rule, Violation};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Client {
    socket: UdpSocket,
    relay: SocketAddr,
    cipher: Cipher,
    ssrc: u32,
    sent: u32,
}

impl Client {
    /// Connects as far as a Session Description would bring it.
    async fn join(relay: &Relay, ssrc: u32, user: u64, mode: Mode) -> Self {
        let key = [ssrc as u8; 32];
        relay.open(Peer { ssrc, user, call: 5 });
        let socket = UdpSocket::bind((relay.address().ip(), 0)).await.unwrap();
        let mut client =
            Self { socket, relay: relay.address(), cipher: Cipher::new(mode, &key), ssrc, sent: 0 };
        client.discover().await.unwrap();
        relay.describe(ssrc, mode, key);
        client.sent = 0;
        client
    }

    async fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.relay).await.unwrap();
    }

    async fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        let len = timeout(Duration::from_secs(2), self.socket.recv(&mut buffer)).await.ok()?.unwrap();
        Some(buffer[..len].to_vec())
    }

    async fn discover(&self) -> Option<Vec<u8>> {
        self.ask_for_address().await;
        self.receive().await
    }

    async fn ask_for_address(&self) {
        let mut request = [0; 74];
        request[..4].copy_from_slice(&[0, 1, 0, 70]);
        request[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        self.send(&request).await;
    }

    async fn say(&mut self, payload: &[u8]) {
        let sealed = self.seal(payload);
        self.send(&sealed).await;
    }

    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = Header::opus(self.ssrc, 65_535_u16.wrapping_add(self.sent as u16), self.sent * 960);
        let packet = [&header.bytes()[..], payload].concat();
        let sealed = self.cipher.seal(&packet, self.sent).unwrap();
        self.sent += 1;
        sealed
    }

    fn rekey(&mut self, mode: Mode, key: [u8; 32]) {
        self.cipher = Cipher::new(mode, &key);
    }

    async fn hear(&self) -> Option<(Header, Vec<u8>)> {
        let packet = self.receive().await?;
        let opened = self.cipher.open(&packet).unwrap();
        let payload = self.cipher.payload(&packet, &opened).unwrap().to_vec();
        Some((Header::parse(&packet).unwrap(), payload))
    }
}

/// Waits until the relay is as asked for; paused time or a broken relay ends the wait.
async fn until(relay: &Relay, condition: impl Fn(&Relay) -> bool) {
    let mut activity = relay.activity();
    let met = async {
        while !condition(relay) {
            activity.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(5), met).await.expect("the relay never came to be as asked for");
}

fn broken_rules(relay: &Relay) -> Vec<MediaRule> {
    let media = |violation: Violation| match violation.rule {
        Rule::Media(rule) => rule,
        other => panic!("{other} is no rule of the relay's"),
    };
    relay.violations().into_iter().map(media).collect()
}

#[tokio::test]
async fn two_members_hear_each_other_in_different_modes_with_the_stream_unchanged() {
    let relay = Relay::start(V4, 1).unwrap();
    let mut gcm = Client::join(&relay, 11, 1, Mode::Aes256GcmRtpsize).await;
    let mut chacha = Client::join(&relay, 22, 2, Mode::XChaCha20Poly1305Rtpsize).await;
    for shape in [PacketShape::Plain, PacketShape::Discord, PacketShape::Full] {
        relay.shape_packets(shape);
        for n in 0..30_u8 {
            gcm.say(&[0xFC, n, 1, 2, 3]).await;
            let (header, payload) = chacha.hear().await.unwrap();
            assert_eq!(payload, [0xFC, n, 1, 2, 3]);
            let last = gcm.sent - 1;
            assert_eq!(
                (header.ssrc, header.sequence, header.timestamp),
                (11, 65_535_u16.wrapping_add(last as u16), last * 960)
            );
        }
    }
    chacha.say(&[0xFC, 9]).await;
    assert_eq!(gcm.hear().await.unwrap().1, [0xFC, 9]);
    assert_eq!(relay.recording(1).unwrap().packets, 90);
}

#[tokio::test]
async fn each_receiver_has_its_own_packet_counter_that_goes_up_by_one() {
    let relay = Relay::start(V4, 1).unwrap();
    let early = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
    let counter = |packet: &[u8]| u32::from_be_bytes(*packet.last_chunk().unwrap());
    relay.send_opus(5, 9, 90, Bytes::from_static(&SILENCE));
    let first = counter(&early.receive().await.unwrap());
    let late = Client::join(&relay, 2, 2, Mode::Aes256GcmRtpsize).await;
    let mut seen = vec![];
    for _ in 0..2 {
        relay.send_opus(5, 9, 90, Bytes::from_static(&SILENCE));
        seen.push([&early, &late].map(|client| client.receive()));
    }
    let mut counters = vec![];
    for [early, late] in seen {
        counters.push((counter(&early.await.unwrap()), counter(&late.await.unwrap())));
    }
    assert_eq!([counters[0].0, counters[1].0], [first.wrapping_add(1), first.wrapping_add(2)]);
    assert_eq!(counters[1].1, counters[0].1.wrapping_add(1));
    assert_ne!(counters[0].0, counters[0].1);
}

#[tokio::test]
async fn audio_stays_in_its_call() {
    let relay = Relay::start(V4, 1).unwrap();
    let mut speaker = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
    let listener = Client::join(&relay, 2, 2, Mode::Aes256GcmRtpsize).await;
    relay.open(Peer { ssrc: 3, user: 3, call: 6 });
    let elsewhere = relay.tap(6, 9);
    let here = relay.tap(5, 9);
    speaker.say(&[0xFC, 1]).await;
    assert_eq!(listener.hear().await.unwrap().1, [0xFC, 1]);
    until(&relay, |_| here.heard(1).is_some()).await;
    assert!(elsewhere.speakers().is_empty());
}

#[tokio::test]
async fn a_bot_that_speaks_in_two_calls_has_two_recordings() {
    let relay = Relay::start(V4, 1).unwrap();
    for n in 1..=10 {
        relay.send_opus(5, 1, 51, Bytes::from_static(&SILENCE));
        relay.send_opus(6, 1, 61, Bytes::from_static(&SILENCE));
        let hearing = relay.recording_in(5, 1).unwrap();
        assert_eq!((hearing.packets, hearing.lost), (n, 0));
    }
    assert_eq!(relay.recording(1).unwrap().audio[0].ssrc, 61);
    assert!(relay.recording_in(7, 1).is_none() && relay.recording(2).is_none());
}

#[tokio::test]
async fn discovery_tells_the_seen_address_after_the_first_requests_are_dropped() {
    let loopbacks = [V4, IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for ip in loopbacks {
        let Ok(relay) = Relay::start(ip, 1) else { continue };
        let mut events = relay.events();
        let client = Client::join(&relay, 7, 70, Mode::Aes256GcmRtpsize).await;
        relay.drop_discovery(2);
        for dropped in 1..=2 {
            let mut request = [0; 74];
            request[..8].copy_from_slice(&[0, 1, 0, 70, 0, 0, 0, 7]);
            client.send(&request).await;
            until(&relay, |relay| relay.counters().discoveries_dropped == dropped).await;
        }
        let answer = client.discover().await.unwrap();
        let own = client.socket.local_addr().unwrap();
        assert_eq!(answer[..8], [0, 2, 0, 70, 0, 0, 0, 7]);
        let text = answer[8..72].split(|byte| *byte == 0).next().unwrap();
        assert_eq!(std::str::from_utf8(text).unwrap(), own.ip().to_string());
        assert_eq!(answer[72..], own.port().to_be_bytes());
        let peer = Peer { ssrc: 7, user: 70, call: 5 };
        assert_eq!(events.recv().await, Some(RelayEvent::Discovered { peer, from: own }));
    }
}

#[tokio::test]
async fn malformed_and_foreign_discovery_requests_are_not_answered() {
    let relay = Relay::start(V4, 1).unwrap();
    let client = Client::join(&relay, 7, 70, Mode::Aes256GcmRtpsize).await;
    let mut request = [0; 74];
    request[..8].copy_from_slice(&[0, 1, 0, 70, 0, 0, 0, 8]);
    client.send(&request).await;
    request[..8].copy_from_slice(&[0, 1, 0, 74, 0, 0, 0, 7]);
    client.send(&request).await;
    client.send(&request[..70]).await;
    client.send(&[0x13, 0x37, 0xCA, 0xFE, 1, 2, 3, 4]).await;
    client.send(&[0xC9, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert_eq!(client.receive().await.unwrap(), [0x13, 0x37, 0xF0, 0x0D, 1, 2, 3, 4]);
    assert_eq!(client.receive().await.unwrap(), [0xC9, 0, 0, 0, 0, 0, 0, 0, 0]);
    let counters = relay.counters();
    assert_eq!((counters.unknown, counters.unknown_ssrc, counters.discoveries), (2, 1, 1));
}

#[tokio::test]
async fn packets_that_do_not_open_are_a_breach_and_go_nowhere() {
    let relay = Relay::start(V4, 1).unwrap();
    let mut liar = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
    liar.cipher = Cipher::new(Mode::Aes256GcmRtpsize, &[99; 32]);
    let ear = relay.tap(5, 9);
    liar.say(&[0xFC, 1]).await;
    liar.send(&[0x80, 0x78, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 5]).await;
    until(&relay, |relay| relay.violations().len() == 2).await;
    assert_eq!(broken_rules(&relay), [MediaRule::Undecryptable; 2]);
    assert!(ear.speakers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn audio_without_speaking_is_reported_100_ms_after_it_came() {
    let relay = Relay::start(V4, 1).unwrap();
    let mut events = relay.events();
    let mut client = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
    assert!(matches!(events.recv().await, Some(RelayEvent::Discovered { .. })));
    let start = Instant::now();
    client.say(&[0xFC, 1]).await;
    let Some(RelayEvent::Violated { violation, .. }) = events.recv().await else { panic!("no violation") };
    assert_eq!(violation.rule, Rule::Media(MediaRule::AudioWithoutSpeaking));
    let waited = violation.at - start;
    assert!((100..=102).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_spurt_that_is_announced_and_ended_breaks_no_rule() {
    let relay = Relay::start(V4, 1).unwrap();
    let mut client = Client::join(&relay, 1, 1, Mode::XChaCha20Poly1305Rtpsize).await;
    relay.speaking(1, 1);
    for n in 0..50 {
        client.say(if n < 45 { &[0xFC, 1] } else { &SILENCE }).await;
        sleep(Duration::from_millis(20)).await;
    }
    relay.speaking(1, 0);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(broken_rules(&relay), []);
    client.sent -= 1;
    client.say(&SILENCE).await;
    until(&relay, |relay| relay.violations().len() == 2).await;
    assert!(matches!(broken_rules(&relay)[..], [MediaRule::NonceRepeated, MediaRule::SequenceJump { .. }]));
}

#[tokio::test(start_paused = true)]
async fn a_simulated_member_is_heard_by_sockets_and_ears_and_its_pauses_show() {
    let relay = Relay::start(V4, 1).unwrap();
    let client = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
    let (ear, own) = (relay.tap(5, 8), relay.tap(5, 9));
    relay.encrypt_with(90, Box::new(|opus| Some([opus, b"+"].concat())));
    ear.decrypt_with(Box::new(|_, frame| frame.strip_suffix(b"+").map(<[u8]>::to_vec)));
    relay.send_opus(5, 9, 90, Bytes::from_static(&[0xFC, 1]));
    let (first, payload) = client.hear().await.unwrap();
    assert_eq!(payload, [0xFC, 1, b'+']);
    sleep(Duration::from_millis(20)).await;
    relay.send_opus(5, 9, 90, Bytes::from_static(&[0xFC, 2]));
    let (second, _) = client.hear().await.unwrap();
    assert_eq!(second.sequence, first.sequence.wrapping_add(1));
    assert_eq!(second.timestamp, first.timestamp.wrapping_add(960));
    sleep(Duration::from_secs(1)).await;
    relay.send_opus(5, 9, 90, Bytes::from_static(&[0xFC, 3]));
    let (third, _) = client.hear().await.unwrap();
    assert_eq!(third.sequence, first.sequence.wrapping_add(2));
    let step = third.timestamp.wrapping_sub(second.timestamp);
    assert!((49..=51).contains(&(step / 960)) && step % 960 == 0, "{step}");
    until(&relay, |_| ear.heard(9).is_some_and(|hearing| hearing.packets == 3)).await;
    assert_eq!(ear.heard(9).unwrap().audio[2].opus[..], [0xFC, 3]);
    assert!(own.speakers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_lose_delay_and_repeat_the_same_packets() {
    async fn received(seed: u64, netem: Netem) -> Vec<u16> {
        let relay = Relay::start(V4, seed).unwrap();
        let mut speaker = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
        relay.netem(netem);
        let ear = relay.tap(5, 9);
        for n in 0..200 {
            speaker.say(&[0xFC, 1]).await;
            until(&relay, |relay| relay.counters().received == n + 2).await;
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_secs(1)).await;
        ear.heard(1).unwrap().audio.iter().map(|packet| packet.sequence).collect()
    }
    let bad = Netem {
        loss: 0.1,
        reorder: 0.1,
        duplicate: 0.1,
        delay: Duration::from_millis(50),
        ..Netem::default()
    };
    let first = received(7, bad).await;
    assert!((150..200).contains(&first.len()), "{} of 200 came", first.len());
    assert!(first.windows(2).any(|pair| pair[1] == pair[0].wrapping_sub(1)), "nothing was overtaken");
    assert_eq!(first, received(7, bad).await);
    assert_ne!(first, received(8, bad).await);
    assert_eq!(received(7, Netem { direction: Direction::Down, ..bad }).await.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_seen_by_the_receiving_member() {
    let relay = Relay::start(V4, 1).unwrap();
    let client = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
    relay.netem_of(1, Netem { delay: Duration::from_millis(300), ..Netem::default() });
    let start = Instant::now();
    relay.send_opus(5, 9, 90, Bytes::from_static(&SILENCE));
    client.hear().await.unwrap();
    let waited = start.elapsed();
    assert!((300..=302).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test]
async fn oddities_reach_the_members_as_they_are() {
    let relay = Relay::start(V4, 1).unwrap();
    relay.shape_packets(PacketShape::Plain);
    let client = Client::join(&relay, 1, 1, Mode::Aes256GcmRtpsize).await;
    relay.send_opus(5, 9, 90, Bytes::from_static(&SILENCE));
    let (first, _) = client.hear().await.unwrap();
    relay.send_malformed(5, 9, 90, MalformedPacket::AllPadding);
    let (padding, payload) = client.hear().await.unwrap();
    assert_eq!((padding.sequence, payload.len()), (first.sequence.wrapping_add(1), 0));
    relay.send_malformed(5, 9, 90, MalformedPacket::Forged);
    let forged = client.receive().await.unwrap();
    assert!(client.cipher.open(&forged).is_err());
    relay.send_malformed(5, 9, 90, MalformedPacket::Short);
    assert_eq!(client.receive().await.unwrap().len(), 13);
    relay.send_malformed(5, 9, 90, MalformedPacket::Rtcp);
    let report = client.receive().await.unwrap();
    assert_eq!((report[1], client.cipher.open(&report).unwrap().plain.len()), (200, 20));
    relay.send_malformed(5, 9, 90, MalformedPacket::OtherPayloadType);
    assert_eq!(client.hear().await.unwrap().0.payload_type, 101);
    relay.send_opus(5, 9, 90, Bytes::from_static(&SILENCE));
    assert_eq!(client.hear().await.unwrap().0.sequence, first.sequence.wrapping_add(3));
}

#[tokio::test]
async fn what_was_sent_before_a_connection_closed_is_heard() {
    let relay = Relay::start(V4, 1).unwrap();
    let mut client = Client::join(&relay, 1, 10, Mode::Aes256GcmRtpsize).await;
    relay.speaking(1, 1);
    client.say(&[0xFC, 1]).await;
    client.say(&SILENCE).await;
    relay.close(1);
    until(&relay, |relay| relay.recording(10).is_some_and(|hearing| hearing.packets == 2)).await;
}

#[tokio::test]
async fn a_raw_datagram_reaches_the_user_and_a_closed_connection_nothing() {
    let relay = Relay::start(V4, 1).unwrap();
    let client = Client::join(&relay, 1, 10, Mode::Aes256GcmRtpsize).await;
    relay.send_raw(10, vec![1, 2, 3]);
    assert_eq!(client.receive().await.unwrap(), [1, 2, 3]);
    relay.close(1);
    relay.send_raw(10, vec![4]);
    client.send(&[0x13, 0x37, 0xCA, 0xFE, 0, 0, 0, 1]).await;
    assert_eq!(client.receive().await.unwrap()[..4], [0x13, 0x37, 0xF0, 0x0D]);
}
