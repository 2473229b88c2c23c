//! The link as its owner sees it, and what the tests of its parts share.

use std::sync::OnceLock;

use super::*;

mod hostile;

const SSRC: Ssrc = Ssrc(0x0708_090a);
const GCM: &str = "aead_aes256_gcm_rtpsize";
const XCHACHA: &str = "aead_xchacha20_poly1305_rtpsize";
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
const ANSWER: &str = "000200460708090a3230332e302e3131332e37";

/// An instant to count from.
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
pub(in crate::transport) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Reads hexadecimal digits.
pub(in crate::transport) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{text} is not hexadecimal");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The key of the vectors.
pub(in crate::transport) fn key() -> SecretKey {
    SecretKey(std::array::from_fn(|at| at as u8))
}

/// A link whose next packet is that of the vectors, if 960 samples pass until then.
fn link() -> Link {
    Link::new(SSRC, RtpStart { sequence: 0x0102, timestamp: 0x0304_0506 - 960, counter: 1 }, start())
}

fn described(mode: &str) -> Link {
    let mut link = link();
    link.described(mode, &key(), start()).unwrap();
    link
}

fn answer() -> Vec<u8> {
    let mut answer = unhex(ANSWER);
    answer.resize(72, 0);
    answer.extend_from_slice(&50_004u16.to_be_bytes());
    answer
}

/// Where the link's counters stand.
fn counters(link: &Link) -> RtpStart {
    let counter = link.cipher.as_ref().map_or(link.first_counter, Cipher::counter);
    RtpStart { sequence: link.sequence.0, timestamp: link.timestamp.0, counter }
}

/// A link that has found its address.
fn open() -> Link {
    let mut link = described(GCM);
    assert_eq!(link.poll(start()), Some(Action::Bind));
    assert!(matches!(link.poll(start()), Some(Action::Send(Datagram::Discovery(_)))));
    let external = "203.0.113.7:50004".parse().unwrap();
    assert_eq!(link.datagram(&mut answer(), start()), Received::Discovered(external));
    assert_eq!(link.poll(start()), Some(Action::SelectProtocol(external)));
    link
}

/// What a server sends that writes any header it likes: `clear` stays readable, `plain` is encrypted.
fn packet(clear: &str, plain: &str) -> Vec<u8> {
    let mut packet = unhex(&[clear, plain].concat());
    Cipher::new(Mode::Aes256GcmRtpsize, &key(), 77).seal(&mut packet, clear.len() / 2).unwrap();
    packet
}

fn seal(link: &mut Link, elapsed: u32) -> Vec<u8> {
    let mut out = Vec::new();
    link.seal(elapsed, &mut out, written(&SILENCE)).unwrap();
    link.voice_sent(out.len());
    out
}

/// Gives the link a datagram and returns why it ignored it; `None` if it did not.
fn why_ignored(link: &mut Link, mut datagram: Vec<u8>, now: Instant) -> Option<Ignored> {
    match link.datagram(&mut datagram, now) {
        Received::Ignored(reason) => Some(reason),
        _ => None,
    }
}

#[test]
fn a_frame_becomes_the_packet_of_the_vector() {
    for (mode, packet) in [
        (GCM, "80780102030405060708090abcc93366230adb18a21518dcc81d22e4a9cb5000000001"),
        (XCHACHA, "80780102030405060708090af158afc25503a236d98e15b92ce8fc41529cbf00000001"),
    ] {
        assert_eq!(seal(&mut described(mode), 960), unhex(packet), "{mode}");
    }
}

#[test]
fn packets_of_the_vectors_become_frames() {
    for (mode, packet) in [
        (GCM, "80780102030405060708090abcc93366230adb18a21518dcc81d22e4a9cb5000000001"),
        (GCM, "90780102030405060708090abede000154c95da8f4a50a236392fc8e46c2d7ef022da1c4c122d600000001"),
        (
            GCM,
            "b0780102030405060708090abede000154c95da8f4a50aa85f3c61d5399d4501e5334ca6f807f38141b89200000001",
        ),
        (XCHACHA, "80780102030405060708090af158afc25503a236d98e15b92ce8fc41529cbf00000001"),
        (XCHACHA, "90780102030405060708090abede00011958c12297ff6f2ef75eced68981a974c092e2860a7c5100000001"),
    ] {
        let mut link = described(mode);
        let mut packet = unhex(packet);
        let voice =
            Received::Voice { ssrc: SSRC, sequence: 0x0102, timestamp: 0x0304_0506, payload: &SILENCE };
        assert_eq!(link.datagram(&mut packet, start()), voice, "{mode}");
        assert_eq!(link.counts().voice_packets, 1);
    }
}

#[test]
fn every_mode_carries_a_frame_from_one_link_to_another() {
    for mode in Mode::ALL {
        let mut sent = seal(&mut described(mode.name()), 960);
        let mut received = described(mode.name());
        let Received::Voice { payload, .. } = received.datagram(&mut sent, start()) else { panic!("{mode}") };
        assert_eq!(payload, SILENCE, "{mode}");
    }
}

#[test]
fn sealing_into_a_buffer_with_room_never_moves_or_grows_it() {
    for mode in Mode::ALL {
        let mut link = described(mode.name());
        let mut out = Vec::with_capacity(MAX_DATAGRAM);
        let before = (out.as_ptr(), out.capacity());
        let longest = MAX_DATAGRAM - FIXED_HEADER - mode.overhead();
        for length in [3, 160, 320, longest] {
            link.seal(960, &mut out, written(&vec![0x5a; length])).unwrap();
            link.voice_sent(out.len());
            assert_eq!((out.as_ptr(), out.capacity()), before, "{mode}, {length} bytes");
        }
        assert_eq!(out.len(), MAX_DATAGRAM, "{mode}");
    }
}

#[test]
fn opening_hands_out_a_part_of_the_datagram_itself() {
    let mut datagram = packet("90780102030405060708090abede0001", "10ff9002f8fffe");
    let whole = datagram.as_ptr_range();
    let Received::Voice { payload, .. } = described(GCM).datagram(&mut datagram, start()) else { panic!() };
    assert!(whole.contains(&payload.as_ptr()));
}

#[test]
fn sequence_and_timestamp_wrap_and_a_pause_moves_only_the_timestamp() {
    let begin = RtpStart { sequence: 65_535, timestamp: u32::MAX - 1_919, counter: 0 };
    let mut link = Link::new(SSRC, begin, start());
    link.described(GCM, &key(), start()).unwrap();
    let sent: Vec<_> = [960, 960, 48_000].map(|elapsed| seal(&mut link, elapsed)).to_vec();
    let headers: Vec<_> = sent.iter().map(|packet| packet[2..8].to_vec()).collect();
    assert_eq!(headers[0], unhex("fffffffffc40"));
    assert_eq!(headers[1], unhex("000000000000"));
    assert_eq!(headers[2], unhex("00010000bb80"));
    assert_eq!(counters(&link), RtpStart { sequence: 2, timestamp: 48_000, counter: 3 });
    let bytes: usize = sent.iter().map(Vec::len).sum();
    assert_eq!((link.counts().sent_packets, link.counts().sent_bytes), (3, bytes as u64));
}

#[test]
fn a_new_session_goes_on_counting_and_repeats_no_nonce() {
    let mut link = described(GCM);
    let nonce = |packet: Vec<u8>| packet[packet.len() - 4..].to_vec();
    assert_eq!(nonce(seal(&mut link, 960)), [0, 0, 0, 1]);
    link.described(GCM, &key(), start()).unwrap();
    assert_eq!(nonce(seal(&mut link, 960)), [0, 0, 0, 2], "the same key again");
    link.described(XCHACHA, &SecretKey([7; 32]), start()).unwrap();
    let sent = seal(&mut link, 960);
    assert_eq!(sent[2..4], [1, 4], "RTP is one stream across sessions");
    assert_eq!(nonce(sent), [0, 0, 0, 3]);
    link.described(GCM, &key(), start()).unwrap();
    assert_eq!(nonce(seal(&mut link, 960)), [0, 0, 0, 4], "an old key again");
}

#[test]
fn what_the_system_refused_is_not_sent_and_only_its_nonce_is_spent() {
    let mut link = described(GCM);
    let mut refused = Vec::new();
    link.seal(960, &mut refused, written(&SILENCE)).unwrap();
    link.refused(ErrorKind::NetworkUnreachable, start());
    assert_eq!((link.counts().sent_packets, link.counts().sent_bytes), (0, 0));
    let sent = seal(&mut link, 1_920);
    assert_eq!(sent[2..4], refused[2..4], "the sequence number is the next packet's");
    assert_ne!(sent[sent.len() - 4..], refused[refused.len() - 4..], "the nonce is not");
    assert_eq!(counters(&link), RtpStart { sequence: 0x0103, timestamp: 0x0304_0506 + 960, counter: 3 });
    link.voice_sent(sent.len());
    assert_eq!(link.counts().sent_packets, 1, "a packet is sent once");
}

#[test]
fn when_the_nonces_are_spent_nothing_is_sent_and_the_error_says_what_to_do() {
    let mut link = Link::new(SSRC, RtpStart { counter: u32::MAX - 1, ..RtpStart::default() }, start());
    link.described(GCM, &key(), start()).unwrap();
    seal(&mut link, 960);
    let state = counters(&link);
    let mut out = b"old".to_vec();
    let error = link.seal(960, &mut out, written(&SILENCE)).unwrap_err();
    assert_eq!((&error, &out[..]), (&LinkError::Exhausted, &[][..]));
    assert!(error.to_string().contains("make a new session"), "{error}");
    assert_eq!((counters(&link), link.counts().sent_packets), (state, 1));
    link.described(GCM, &SecretKey([7; 32]), start()).unwrap();
    seal(&mut link, 960);
}

#[test]
fn what_cannot_be_sealed_leaves_no_plaintext_behind() {
    let mut out = b"old".to_vec();
    assert_eq!(link().seal(960, &mut out, written(&SILENCE)), Err(LinkError::NotDescribed));
    assert_eq!(out, b"");
    let mut link = described(GCM);
    let error = link.seal(960, &mut out, written(&[0; 1_429])).unwrap_err();
    assert_eq!(error, LinkError::FrameTooLong { length: 1_429, most: 1_428 });
    assert_eq!((out, counters(&link).sequence), (vec![], 0x0102));
}

#[test]
fn an_unknown_mode_is_an_error_and_the_key_before_stays() {
    let mut link = described(GCM);
    let error = link.described("aead_rot13", &SecretKey([7; 32]), start()).unwrap_err();
    assert_eq!(error, LinkError::Mode(cipher::UnknownMode("aead_rot13".to_owned())));
    assert_eq!(link.mode(), Some(Mode::Aes256GcmRtpsize));
    assert!(matches!(
        link.datagram(&mut packet("80780102030405060708090a", "f8fffe"), start()),
        Received::Voice { .. }
    ));
}

#[test]
fn without_an_answer_the_link_fails_after_six_seconds_and_says_what_to_do() {
    let mut link = link();
    let mut now = start();
    let mut requests = 0;
    let error = loop {
        match link.poll(now) {
            Some(Action::Bind) => {}
            Some(Action::Send(Datagram::Discovery(_))) => requests += 1,
            Some(Action::Fail(error)) => break error,
            Some(other) => panic!("{other:?}"),
            None => now = link.deadline().expect("a link that waits has a deadline"),
        }
    };
    assert_eq!((requests, now - start()), (6, Duration::from_secs(6)));
    assert_eq!(error, LinkError::NoDiscovery);
    assert!(error.to_string().contains("allow outgoing UDP"), "{error}");
    assert_eq!((link.poll(now + Duration::from_secs(60)), link.deadline()), (None, None));
    assert_eq!(link.datagram(&mut answer(), now), Received::Ignored(Ignored::StrayDiscovery));
}

#[test]
fn a_lost_request_is_followed_by_another() {
    let mut link = link();
    assert_eq!(link.poll(start()), Some(Action::Bind));
    assert!(matches!(link.poll(start()), Some(Action::Send(Datagram::Discovery(_)))));
    assert_eq!(link.poll(start()), None);
    let later = link.deadline().unwrap();
    assert_eq!(later - start(), Duration::from_secs(1));
    assert!(matches!(link.poll(later), Some(Action::Send(Datagram::Discovery(_)))));
    assert!(matches!(link.datagram(&mut answer(), later), Received::Discovered(_)));
    assert_eq!(link.datagram(&mut answer(), later), Received::Ignored(Ignored::StrayDiscovery));
}

#[test]
fn a_keepalive_goes_out_every_five_seconds_and_its_echo_tells_the_round_trip() {
    let mut link = open();
    let mut now = start();
    let trip = Duration::from_millis(31);
    for (ping, pong) in [("1337cafe00000001", "1337f00d00000001"), ("1337cafe00000002", "1337cafe00000002")] {
        now += Duration::from_secs(5);
        let before = link.poll(now - Duration::from_millis(1));
        assert_eq!((link.deadline(), before), (Some(now), None));
        let Some(Action::Send(sent)) = link.poll(now) else { panic!("no keepalive") };
        assert_eq!(sent[..], unhex(ping));
        link.datagram_sent(&sent);
        assert_eq!(link.poll(now), None);
        assert_eq!(link.datagram(&mut unhex(pong), now + trip), Received::Pong(trip));
        assert_eq!(
            why_ignored(&mut link, unhex(pong), now),
            Some(Ignored::StrayKeepalive),
            "an echo of an echo"
        );
    }
    assert_eq!(link.counts().keepalives, 2);
}

#[test]
fn after_a_stall_one_keepalive_goes_out_and_not_all_that_were_missed() {
    let mut link = open();
    let late = start() + Duration::from_secs(600);
    assert!(link.poll(late).is_some());
    assert_eq!(link.poll(late), None);
    assert!(link.deadline().unwrap() > late);
}

#[test]
fn a_late_echo_is_not_a_round_trip() {
    let mut link = open();
    let trip = Duration::from_millis(500);
    let (first, second) = (start() + Duration::from_secs(5), start() + Duration::from_secs(10));
    assert!(link.poll(first).is_some());
    let echo = "1337f00d00000001";
    assert_eq!(link.datagram(&mut unhex(echo), first + trip), Received::Pong(trip));
    assert!(link.poll(second).is_some());
    assert_eq!(why_ignored(&mut link, unhex(echo), second + trip), Some(Ignored::StrayKeepalive));
    let newest = &mut unhex("1337f00d00000002");
    assert_eq!(link.datagram(newest, second + trip), Received::Pong(trip));
}

#[test]
fn a_recorded_datagram_is_heard_once() {
    for mode in Mode::ALL {
        let (mut sender, mut receiver) = (described(mode.name()), described(mode.name()));
        let recorded = seal(&mut sender, 960);
        assert_eq!(why_ignored(&mut receiver, recorded.clone(), start()), None);
        for _ in 0..37 {
            assert_eq!(why_ignored(&mut receiver, recorded.clone(), start()), Some(Ignored::Replayed));
        }
        assert_eq!((receiver.counts().replayed, receiver.counts().voice_packets), (37, 1));
        assert_eq!(why_ignored(&mut receiver, seal(&mut sender, 960), start()), None, "the stream goes on");
    }
}

#[test]
fn a_forged_packet_marks_nothing_as_heard_and_moves_no_window() {
    let mut link = described(GCM);
    for sequence in ["0102", "0103", "09ff", "f000", "f001"] {
        let mut forged = packet(&format!("8078{sequence}030405060708090a"), "f8fffe");
        forged[13] ^= 1;
        assert_eq!(why_ignored(&mut link, forged, start()), Some(Ignored::WrongKey), "{sequence}");
    }
    for sequence in ["0102", "0103"] {
        let good = packet(&format!("8078{sequence}030405060708090a"), "f8fffe");
        assert_eq!(why_ignored(&mut link, good, start()), None, "{sequence}");
    }
}

#[test]
fn under_another_key_everyone_may_count_anew_but_not_under_the_same() {
    let (mut sender, mut receiver) = (described(GCM), described(GCM));
    let first = seal(&mut sender, 960);
    assert_eq!(why_ignored(&mut receiver, first.clone(), start()), None);
    receiver.described(GCM, &key(), start()).unwrap();
    assert_eq!(why_ignored(&mut receiver, first, start()), Some(Ignored::Replayed));
    let mut restarted = link();
    for link in [&mut restarted, &mut receiver] {
        link.described(GCM, &SecretKey([7; 32]), start()).unwrap();
    }
    assert_eq!(why_ignored(&mut receiver, seal(&mut restarted, 960), start()), None);
}

#[test]
fn voice_before_the_key_is_counted_and_voice_after_it_is_heard() {
    let mut link = link();
    let voice = packet("80780102030405060708090a", "f8fffe");
    assert_eq!(link.datagram(&mut voice.clone(), start()), Received::Ignored(Ignored::NotYet));
    link.described(GCM, &key(), start()).unwrap();
    assert!(matches!(link.datagram(&mut voice.clone(), start()), Received::Voice { .. }));
    assert_eq!(link.counts().not_yet, 1);
}

/// Writes this frame.
fn written(frame: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> bool + use<'_> {
    |out| {
        out.extend_from_slice(frame);
        true
    }
}
