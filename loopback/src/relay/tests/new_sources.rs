//! Audio from a source that the connection was not set up with.

use tokio::net::UdpSocket;

use super::{Client, V4, broken_rules, until};
use crate::builder::NewSource;
use crate::cipher::Mode;
use crate::relay::Relay;

const MODE: Mode = Mode::Aes256GcmRtpsize;
const AUDIO: [u8; 3] = [0xFC, 1, 2];

/// A client that has said one packet from one socket and one from another; and how many of them counted.
async fn said_from_two_sockets(new_source: NewSource) -> (Relay, Client, u64) {
    let relay = Relay::start(V4, 1).unwrap();
    relay.take_new_source(new_source);
    let mut client = Client::join(&relay, 7, 70, MODE).await;
    client.say(&AUDIO).await;
    client.socket = UdpSocket::bind((V4, 0)).await.unwrap();
    let discoveries = relay.counters().discoveries;
    client.ask_for_address().await;
    client.say(&AUDIO).await;
    until(&relay, |relay| relay.counters().received == 4).await;
    let answered = relay.counters().discoveries > discoveries;
    assert_eq!(answered, new_source != NewSource::Pinned);
    let counted = heard(&relay);
    (relay, client, counted)
}

fn heard(relay: &Relay) -> u64 {
    relay.recording(70).unwrap().packets
}

#[tokio::test]
async fn a_relay_follows_a_new_source() {
    let (relay, client, counted) = said_from_two_sockets(NewSource::Follow).await;
    assert_eq!((counted, relay.address_of(7)), (2, client.socket.local_addr().ok()));
}

#[tokio::test]
async fn a_relay_drops_audio_from_a_new_source_until_it_is_selected() {
    let (relay, mut client, counted) = said_from_two_sockets(NewSource::Select).await;
    assert_eq!(counted, 1);
    relay.describe(7, MODE, [8; 32]);
    // What was sealed with the old key before the new one came still counts.
    client.say(&AUDIO).await;
    until(&relay, |relay| heard(relay) == 2).await;
    client.rekey(MODE, [8; 32]);
    client.say(&AUDIO).await;
    until(&relay, |relay| heard(relay) == 3).await;
    client.rekey(MODE, [7; 32]);
    client.say(&AUDIO).await;
    until(&relay, |relay| !relay.violations().is_empty()).await;
    assert_eq!(
        broken_rules(&relay),
        [crate::rule::MediaRule::Undecryptable],
        "the old key is over, nothing else"
    );
    assert_eq!(relay.address_of(7), client.socket.local_addr().ok());
}

#[tokio::test]
async fn a_pinned_relay_never_takes_a_new_source() {
    let (relay, mut client, _) = said_from_two_sockets(NewSource::Pinned).await;
    relay.describe(7, MODE, [8; 32]);
    client.rekey(MODE, [8; 32]);
    client.say(&AUDIO).await;
    until(&relay, |relay| relay.counters().received == 5).await;
    assert_eq!(heard(&relay), 1);
    assert_ne!(relay.address_of(7), client.socket.local_addr().ok());
    assert_eq!(broken_rules(&relay), []);
}
