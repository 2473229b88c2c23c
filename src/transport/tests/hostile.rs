//! The link against datagrams that are broken, foreign, random, or legal but odd.

use proptest::prelude::*;

use super::*;

#[test]
fn every_reason_to_ignore_a_datagram_has_its_count() {
    let mut tampered = packet("80780102030405060708090a", "f8fffe");
    tampered[13] ^= 1;
    for (mut datagram, reason) in [
        (vec![], Ignored::TooShort),
        (unhex("80780102030405060708090a"), Ignored::TooShort),
        (unhex("9f780102030405060708090abcc93366230adb18a21518dcc81d22e4a9cb5000000001"), Ignored::TooShort),
        (unhex("c90000000000000000"), Ignored::NotRtp),
        (unhex("07080900"), Ignored::NotRtp),
        (answer()[..73].to_vec(), Ignored::NotRtp),
        (unhex("1337f00d0000000100"), Ignored::NotRtp),
        (unhex("80c80006070809"), Ignored::Rtcp),
        (packet("81c9000107080900", "0000000000000000"), Ignored::Rtcp),
        (packet("80650102030405060708090a", "f8fffe"), Ignored::ForeignPayloadType),
        (tampered, Ignored::WrongKey),
        (packet("90780102030405060708090abede0002", "10ff9002f8fffe"), Ignored::BadExtension),
        (packet("a0780102030405060708090a", "f8fffe00"), Ignored::BadPadding),
        (packet("a0780102030405060708090a", "f8fffe05"), Ignored::BadPadding),
        (packet("a0780102030405060708090a", "00000004"), Ignored::Empty),
        (packet("90780102030405060708090abede0001", "10ff9002"), Ignored::Empty),
        (packet("80780102030405060708090a", ""), Ignored::Empty),
        (unhex("1337f00d00000001"), Ignored::StrayKeepalive),
    ] {
        let mut link = described(GCM);
        let shown = format!("{datagram:02x?}");
        let length = datagram.len() as u64;
        let received = link.datagram(&mut datagram, start());
        assert_eq!(received, Received::Ignored(reason), "{shown}");
        assert_eq!((link.counts().of(reason), ignored(link.counts())), (1, 1), "{shown}");
        assert_eq!((link.counts().received_packets, link.counts().received_bytes), (1, length));
    }
}

#[test]
fn a_packet_without_sound_is_replayed_like_any_other() {
    let mut link = described(GCM);
    let empty = packet("a0780102030405060708090a", "00000004");
    assert_eq!(why_ignored(&mut link, empty.clone(), start()), Some(Ignored::Empty));
    assert_eq!(why_ignored(&mut link, empty, start()), Some(Ignored::Replayed));
    assert_eq!((link.counts().replayed, ignored(link.counts())), (1, 2));
}

#[test]
fn every_prefix_of_every_kind_of_datagram_is_ignored_and_counted() {
    for datagram in [
        packet("b2780102030405060708090a0000000a0000000bbede0001", "10ff9002f8fffe00000004"),
        packet("80780102030405060708090a", "f8fffe"),
        unhex("1337f00d00000001"),
        answer(),
    ] {
        let mut link = open();
        let before = link.counts().clone();
        for length in 0..datagram.len() {
            assert_ne!(why_ignored(&mut link, datagram[..length].to_vec(), start()), None, "{length} bytes");
        }
        assert_eq!(ignored(link.counts()) - ignored(&before), datagram.len() as u64);
        seal(&mut link, 960);
    }
}

proptest! {
    #[test]
    fn random_bytes_are_counted_and_never_fatal(
        datagrams in prop::collection::vec((0u8..4, prop::collection::vec(any::<u8>(), 0..160)), 1..20),
        mode in prop::sample::select(Mode::ALL),
    ) {
        let mut link = described(mode.name());
        for (kind, datagram) in &datagrams {
            let front: &[u8] = match kind {
                0 => &[],
                1 => &[0x90, 0x78],
                2 => &[0x80, 0x78],
                _ => &[0xbf, 0x78],
            };
            prop_assert_ne!(why_ignored(&mut link, [front, datagram].concat(), start()), None);
        }
        prop_assert_eq!(link.counts().received_packets, datagrams.len() as u64);
        prop_assert_eq!(ignored(link.counts()), datagrams.len() as u64);
    }

    #[test]
    fn anything_a_server_may_encrypt_is_heard_or_counted(
        flags in 0x80u8..=0xbf,
        rest in prop::collection::vec(any::<u8>(), 74),
        plain in prop::collection::vec(0u8..12, 0..64),
    ) {
        let header = [&[flags, 0x78][..], &rest].concat();
        let clear = Header::parse(&header).unwrap().rtpsize();
        let mut datagram = [&header[..clear], &plain].concat();
        Cipher::new(Mode::Aes256GcmRtpsize, &key(), 5).seal(&mut datagram, clear).unwrap();
        let mut link = described(GCM);
        let heard = match link.datagram(&mut datagram, start()) {
            Received::Voice { payload, .. } => {
                prop_assert!(!payload.is_empty() && payload.len() <= plain.len());
                1
            }
            Received::Ignored(Ignored::BadExtension | Ignored::BadPadding | Ignored::Empty) => 0,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(link.counts().voice_packets, heard);
        prop_assert_eq!(ignored(link.counts()), 1 - heard);
    }

    #[test]
    fn a_frame_survives_padding_extension_and_csrcs(
        frame in prop::collection::vec(any::<u8>(), 1..300),
        csrcs in 0u8..16,
        words in 0u8..5,
        padding in 1u8..=255,
    ) {
        let mut datagram = vec![0xb0 | csrcs, 0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        datagram.resize(12 + 4 * usize::from(csrcs), 0xcc);
        datagram.extend_from_slice(&[0xbe, 0xde, 0, words]);
        let clear = datagram.len();
        datagram.resize(clear + 4 * usize::from(words), 0xee);
        datagram.extend_from_slice(&frame);
        datagram.resize(datagram.len() + usize::from(padding) - 1, 0);
        datagram.push(padding);
        Cipher::new(Mode::XChaCha20Poly1305Rtpsize, &key(), 5).seal(&mut datagram, clear).unwrap();
        let mut link = described(XCHACHA);
        let Received::Voice { payload, .. } = link.datagram(&mut datagram, start()) else { panic!("not heard") };
        prop_assert_eq!(payload, frame);
    }
}

/// Everything that was ignored, whatever the reason.
fn ignored(counts: &Counts) -> u64 {
    REASONS.iter().map(|&reason| counts.of(reason)).sum()
}

const REASONS: [Ignored; 12] = [
    Ignored::TooShort,
    Ignored::NotRtp,
    Ignored::Rtcp,
    Ignored::ForeignPayloadType,
    Ignored::NotYet,
    Ignored::WrongKey,
    Ignored::Replayed,
    Ignored::BadExtension,
    Ignored::BadPadding,
    Ignored::Empty,
    Ignored::StrayDiscovery,
    Ignored::StrayKeepalive,
];
