//! Tests of the packet layout against RFC 6716 and against libopus, and of the codec by ear's measure.

use proptest::prelude::*;

use super::*;
use crate::audio::frame::{FRAME, SILENCE};

fn tone(start: usize) -> Pcm {
    let mut pcm = Pcm::default();
    for (at, pair) in pcm.chunks_exact_mut(2).enumerate() {
        let turn = (start + at) as f32 * 440.0 / 48_000.0 * std::f32::consts::TAU;
        pair.copy_from_slice(&[0.5 * turn.sin(), 0.25 * turn.cos()]);
    }
    pcm
}

fn encoded(settings: &EncoderSettings, frames: usize) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(settings).unwrap();
    let mut out = [0; MAX_PACKET];
    let mut encode = |frame| {
        let length = encoder.encode(&tone(frame * FRAME_SAMPLES), &mut out).unwrap();
        out[..length].to_vec()
    };
    (0..frames).map(&mut encode).collect()
}

#[test]
fn every_configuration_has_the_duration_of_table_2() {
    let table = [
        [10_000, 20_000, 40_000, 60_000].repeat(3),
        [10_000, 20_000].repeat(2),
        [2_500, 5_000, 10_000, 20_000].repeat(4),
    ]
    .concat();
    assert_eq!(table.len(), 32);
    for (config, &micros) in table.iter().enumerate() {
        for stereo in [0, 0b100] {
            let packet = [(config << 3) as u8 | stereo, 0];
            assert_eq!(duration(&packet), Ok(Duration::from_micros(micros)), "configuration {config}");
        }
    }
}

#[test]
fn packets_of_every_code_are_measured() {
    let celt_20 = 0xF8;
    assert_eq!(samples(&SILENCE), Ok(960));
    assert_eq!(samples(&[celt_20]), Ok(960), "a lost frame has no bytes");
    assert_eq!(samples(&[celt_20 | 1, 1, 2]), Ok(1920));
    assert_eq!(samples(&[celt_20 | 2, 1, 2, 3]), Ok(1920));
    assert_eq!(samples(&[celt_20 | 3, 3, 1, 2, 3]), Ok(2880));
    assert_eq!(samples(&[celt_20 | 3, 0x80 | 3, 1, 0, 9]), Ok(2880), "lengths 1, 0 and the rest");
    assert_eq!(samples(&[celt_20 | 3, 0x40 | 1, 2, 9, 0, 0]), Ok(960), "two bytes of padding");
    assert_eq!(samples(&[&[celt_20 | 3, 0x40 | 1, 255, 1][..], &[0; 255]].concat()), Ok(960));
    assert_eq!(samples(&[celt_20 | 3, 6]), Ok(5760), "120 ms is the most");
}

#[test]
fn packets_that_break_a_rule_are_malformed() {
    let celt_20 = 0xF8;
    let broken: [(&str, Vec<u8>); 13] = [
        ("R1: no byte", vec![]),
        ("R2: a frame beyond 1275 bytes", [vec![celt_20], vec![0; 1276]].concat()),
        ("R3: two equal frames in an odd number of bytes", vec![celt_20 | 1, 0]),
        ("R4: no length", vec![celt_20 | 2]),
        ("R4: half a length", vec![celt_20 | 2, 252]),
        ("R4: a first frame longer than the packet", vec![celt_20 | 2, 3, 0, 0]),
        ("R5: no count", vec![celt_20 | 3]),
        ("R5: no frame", vec![celt_20 | 3, 0]),
        ("R5: 140 ms", vec![celt_20 | 3, 7]),
        ("R6: unequal frames", vec![celt_20 | 3, 2, 0]),
        ("R6: more padding than bytes", vec![celt_20 | 3, 0x40 | 1, 3, 0, 0]),
        ("R6: padding without end", vec![celt_20 | 3, 0x40 | 1, 255]),
        ("R7: lengths beyond the packet", vec![celt_20 | 3, 0x80 | 2, 2, 0]),
    ];
    for (rule, packet) in broken {
        assert!(matches!(samples(&packet), Err(OpusError::Malformed(_))), "{rule}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// libopus is the oracle: what it decodes is well-formed and as long as it says, what it refuses is not.
    #[test]
    fn layouts_are_judged_as_libopus_judges_them(
        toc: u8,
        count in prop_oneof![any::<u8>(), 0_u8..8, 0x80_u8..0x88, 0x40_u8..0x48, 0xC0_u8..0xC8],
        body in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>(), Just(255)], 0..40),
    ) {
        let packet = [&[toc, count][..], &body].concat();
        let mut out = vec![0.0; 5760 * 2];
        let lib = Decoder::new().unwrap().run(Some(&packet), &mut out, Redundancy::Ignore);
        prop_assert_eq!(samples(&packet).ok(), lib.ok().map(|samples| samples as u32));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_decoder_panic(packets: Vec<Vec<u8>>) {
        let mut decoder = Decoder::new().unwrap();
        let (mut out, mut pcm) = (Vec::new(), Pcm::default());
        for packet in &packets {
            let before = out.len();
            match decoder.decode(Some(packet), &mut out) {
                Ok(decoded) => prop_assert_eq!(out.len(), before + 2 * decoded),
                Err(_) => prop_assert_eq!(out.len(), before),
            }
            let _: Result<(), OpusError> = decoder.decode_frame(Some(packet), &mut pcm);
            let _: Result<(), OpusError> = decoder.decode_lost(packet, &mut pcm);
        }
    }
}

#[test]
fn a_tone_survives_encoding_and_decoding() {
    let mut decoder = Decoder::new().unwrap();
    let mut out = Vec::new();
    for packet in encoded(&EncoderSettings::default(), 50) {
        assert_eq!(duration(&packet), Ok(FRAME));
        assert_eq!(decoder.decode(Some(&packet), &mut out), Ok(960));
    }
    // The encoder looks 6.5 ms ahead: 312 samples.
    let (decoded, original) = (&out[2 * (9600 + 312)..2 * 40_000], tone(9600));
    let error: f32 = original.iter().zip(decoded).map(|(a, b)| (a - b).powi(2)).sum();
    let signal: f32 = original.iter().map(|a| a.powi(2)).sum();
    assert!(error < signal / 100.0, "less than 20 dB: {}", signal / error);
}

#[test]
fn the_bitrate_holds_and_can_be_changed() {
    let settings = EncoderSettings { bitrate: 64_000, ..EncoderSettings::default() };
    let rate = |packets: &[Vec<u8>]| packets.iter().map(Vec::len).sum::<usize>() * 8 * 50 / packets.len();
    let at_64 = rate(&encoded(&settings, 100));
    let at_24 = rate(&encoded(&EncoderSettings { bitrate: 24_000, ..settings.clone() }, 100));
    assert!(at_24 < at_64 && at_64 < 90_000, "{at_24} and {at_64} bit/s");

    let mut encoder = Encoder::new(&settings).unwrap();
    let mut out = [0; MAX_PACKET];
    let before = encoder.encode(&tone(0), &mut out).unwrap();
    encoder.set_bitrate(8_000).unwrap();
    let after = encoder.encode(&tone(960), &mut out).unwrap();
    assert!(after < before, "{after} bytes after {before}");
}

#[test]
fn settings_out_of_range_are_refused_with_their_name() {
    let complexity = EncoderSettings { complexity: 11, ..EncoderSettings::default() };
    let error = Encoder::new(&complexity).unwrap_err().to_string();
    assert!(error.contains("complexity (0 to 10)"), "{error}");
    let loss = EncoderSettings { expected_loss: 101, ..EncoderSettings::default() };
    let error = Encoder::new(&loss).unwrap_err().to_string();
    assert!(error.contains("expected loss"), "{error}");
}

#[test]
fn a_lost_packet_is_concealed_and_better_so_with_redundancy() {
    let settings = EncoderSettings {
        bitrate: 32_000,
        fec: true,
        expected_loss: 25,
        signal: Signal::Voice,
        application: Application::Voip,
        ..EncoderSettings::default()
    };
    let packets = encoded(&settings, 20);
    let mut decoder = Decoder::new().unwrap();
    let mut pcm = Pcm::default();
    for packet in &packets[..10] {
        decoder.decode_frame(Some(packet), &mut pcm).unwrap();
    }
    decoder.decode_lost(&packets[11], &mut pcm).unwrap();
    assert!(pcm.peak() > 0.2, "the tone goes on: {pcm:?}");
    decoder.decode_frame(Some(&packets[11]), &mut pcm).unwrap();
    decoder.decode_frame(None, &mut pcm).unwrap();
    assert!(pcm.peak() > 0.1, "so it does without redundancy: {pcm:?}");
}

#[test]
fn a_packet_of_another_duration_is_no_frame() {
    let mut pcm = Pcm::default();
    let sixty = [0xFB, 3, 1, 2, 3];
    let error = Decoder::new().unwrap().decode_frame(Some(&sixty), &mut pcm);
    assert_eq!(error, Err(OpusError::NotOneFrame { samples: 2880 }));
}

#[test]
fn codecs_may_move_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Encoder>();
    assert_send::<Decoder>();
}
