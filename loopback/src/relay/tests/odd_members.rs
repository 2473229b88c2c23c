//! Members whose packets look, come or go other than most.

use super::*;
use crate::netem::Trace;

const CALL: u64 = 5;
const MEMBER: u64 = 9;
const SSRC: u32 = 90;

async fn listener(relay: &Relay) -> Client {
    Client::join(relay, 1, 1, Mode::Aes256GcmRtpsize).await
}

#[tokio::test]
async fn the_packets_of_one_member_look_as_is_asked_for_and_hold_what_they_should() {
    let relay = Relay::start(V4, 1).unwrap();
    relay.shape_packets(PacketShape::Plain);
    let client = listener(&relay).await;
    for (shape, extension, padding, sources) in [
        (PacketShape::Padded(0), false, true, 0),
        (PacketShape::Padded(255), false, true, 0),
        (PacketShape::Extended(0), true, false, 0),
        (PacketShape::Extended(40), true, false, 0),
        (PacketShape::Sources(15), false, false, 15),
        (PacketShape::Full, true, true, 2),
    ] {
        relay.shape_packets_of(SSRC, shape);
        relay.send_opus(CALL, MEMBER, SSRC, Bytes::from_static(&[0xFC, 7]));
        let (header, payload) = client.hear().await.unwrap();
        assert_eq!((header.extension, header.padding, header.csrc_count), (extension, padding, sources));
        assert_eq!(payload, [0xFC, 7], "{shape:?}");
        relay.send_opus(CALL, 8, 80, Bytes::from_static(&[0xFC, 8]));
        assert!(!client.hear().await.unwrap().0.padding, "the others' are as they were");
    }
    relay.send_malformed(CALL, MEMBER, SSRC, MalformedPacket::ZeroFilled);
    assert_eq!(client.receive().await.unwrap(), [0; 120]);
}

#[tokio::test(start_paused = true)]
async fn a_trace_loses_and_delays_what_one_member_says() {
    let relay = Relay::start(V4, 1).unwrap();
    let client = listener(&relay).await;
    let delays = [100, 0, 0, 5].map(Duration::from_millis);
    relay.trace(SSRC, Trace::lost([1]).delayed(delays));
    let start = Instant::now();
    for n in 0..4 {
        relay.send_opus(CALL, MEMBER, SSRC, Bytes::copy_from_slice(&[0xFC, n]));
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        let number = client.hear().await.unwrap().1[1];
        heard.push((number, start.elapsed().as_millis() / 5 * 5));
    }
    assert_eq!(heard, [(2, 0), (3, 5), (0, 100)]);
    assert_eq!(relay.counters().lost, 1);
    assert_eq!(relay.recording(MEMBER).unwrap().packets, 3);
}

#[tokio::test]
async fn media_time_goes_on_over_what_is_not_sent_and_another_ssrc_begins_elsewhere() {
    let relay = Relay::start(V4, 1).unwrap();
    let client = listener(&relay).await;
    let say = |ssrc| relay.send_opus(CALL, MEMBER, ssrc, Bytes::from_static(&[0xFC, 1]));
    say(SSRC);
    let (first, _) = client.hear().await.unwrap();
    relay.skip(SSRC, 1_920);
    say(SSRC);
    let (second, _) = client.hear().await.unwrap();
    assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 3 * 960);
    assert_eq!(second.sequence.wrapping_sub(first.sequence), 1);
    relay.shape_packets_of(SSRC, PacketShape::Padded(9));
    relay.replace_stream(SSRC, 91);
    say(91);
    let (third, _) = client.hear().await.unwrap();
    assert!(third.ssrc == 91 && third.padding, "it looks as before");
    assert!(third.sequence.wrapping_sub(second.sequence) > 1 && third.timestamp != second.timestamp);
}
