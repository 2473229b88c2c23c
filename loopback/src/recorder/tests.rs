//! Recordings of constructed streams.

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use ogg::PacketReader;
use tokio::time::Instant;

use super::{Holes, Recorder};
use crate::opus::{SILENCE, encode};
use crate::recorder::Keep;

fn tone(seconds: usize) -> Vec<f32> {
    (0..seconds * 48_000)
        .flat_map(|n| {
            let swing = 1.0 + 0.5 * (n as f32 / 9_000.0).sin();
            let value = 0.3 * (n as f32 / 48_000.0 * 330.0 * swing * std::f32::consts::TAU).sin();
            [value, 0.7 * value]
        })
        .collect()
}

/// Feeds packets of one stream; `fate` gives each its delay, or none if it is lost.
fn stream(packets: &[Bytes], fate: impl Fn(u64) -> Option<Duration>) -> Recorder {
    let start = Instant::now();
    let mut recorder = Recorder::new(Keep::Audio);
    let mut arrivals: Vec<_> = (0..packets.len() as u64)
        .filter_map(|n| Some((start + Duration::from_millis(20 * n) + fate(n)?, n)))
        .collect();
    arrivals.sort();
    for (arrival, n) in arrivals {
        let (sequence, timestamp) = (65_500_u64.wrapping_add(n) as u16, (4_294_960_000 + n * 960) as u32);
        recorder.packet(arrival, 7, sequence, timestamp, Some(packets[n as usize].clone()));
    }
    recorder
}

fn on_time(_: u64) -> Option<Duration> {
    Some(Duration::ZERO)
}

#[test]
fn a_perfect_stream_has_20_ms_spacing_and_no_lateness() {
    let hearing = stream(&encode(&tone(4), 64_000).unwrap(), on_time).hearing();
    assert_eq!((hearing.packets, hearing.lost, hearing.out_of_order, hearing.duplicates), (200, 0, 0, 0));
    assert_eq!(hearing.spacing.count(), 199);
    assert_eq!(hearing.longest_gap, Duration::from_millis(20));
    assert!(hearing.spacing.p99().abs_diff(Duration::from_millis(20)) < Duration::from_micros(30));
    assert_eq!((hearing.lateness.count(), hearing.lateness.max()), (200, Duration::ZERO));
    assert_eq!(hearing.audio.len(), 200);
    assert_eq!((hearing.audio[40].sequence, hearing.audio[40].position), (4, 38_400));
}

#[test]
fn losses_delays_and_disorder_are_counted() {
    let packets = encode(&tone(4), 64_000).unwrap();
    let fate = |n| match n {
        50..=52 => None,
        100 => Some(Duration::from_millis(35)),
        _ => on_time(n),
    };
    let mut recorder = stream(&packets, fate);
    let again = recorder.hearing().audio[30].clone();
    recorder.packet(again.arrival, 7, again.sequence, again.timestamp, Some(again.opus));
    let hearing = recorder.hearing();
    assert_eq!((hearing.packets, hearing.lost, hearing.out_of_order, hearing.duplicates), (197, 3, 1, 1));
    assert_eq!(hearing.longest_gap, Duration::from_millis(80));
    assert!(hearing.lateness.max().abs_diff(Duration::from_millis(35)) < Duration::from_micros(50));
    assert_eq!(hearing.lateness.p95(), Duration::ZERO);
}

#[test]
fn a_pause_after_five_silence_frames_is_no_gap() {
    let mut packets = encode(&tone(1), 64_000).unwrap();
    packets.extend(std::iter::repeat_n(Bytes::from_static(&SILENCE), 5));
    packets.extend(packets.clone());
    let paused = |n| Some(Duration::from_secs(if n < 55 { 0 } else { 30 }));
    let hearing = stream(&packets, paused).hearing();
    assert_eq!((hearing.longest_gap, hearing.lateness.max()), (Duration::from_millis(20), Duration::ZERO));
    let cut = stream(&packets[3..], |n| Some(Duration::from_secs(if n < 45 { 0 } else { 3 }))).hearing();
    assert_eq!(cut.longest_gap, Duration::from_millis(3_020), "two silence frames too few");
}

#[test]
fn a_reconnection_in_mid_word_is_a_gap_and_one_after_silence_is_none() {
    let audio = encode(&tone(1), 64_000).unwrap();
    let silent: Vec<_> = audio.iter().cloned().chain(vec![Bytes::from_static(&SILENCE); 5]).collect();
    for (before, gap) in [(&audio, 5_000), (&silent, 20)] {
        let mut recorder = stream(before, on_time);
        let again = recorder.hearing().audio.last().unwrap().arrival + Duration::from_secs(5);
        recorder.packet(again, 8, 40_000, 7, Some(audio[0].clone()));
        assert_eq!(recorder.hearing().longest_gap, Duration::from_millis(gap));
    }
}

#[test]
fn what_was_not_decrypted_is_counted_and_missing() {
    let mut recorder = Recorder::new(Keep::Audio);
    let now = Instant::now();
    recorder.packet(now, 1, 1, 0, Some(Bytes::from_static(&SILENCE)));
    recorder.packet(now, 1, 2, 960, None);
    let hearing = recorder.hearing();
    assert_eq!((hearing.packets, hearing.undecryptable, hearing.lost, hearing.audio.len()), (2, 1, 0, 1));
}

#[test]
fn counting_only_keeps_no_audio() {
    let mut recorder = Recorder::new(Keep::Counts);
    recorder.packet(Instant::now(), 1, 1, 0, Some(Bytes::from_static(&SILENCE)));
    let hearing = recorder.hearing();
    assert_eq!((hearing.packets, hearing.unkept, hearing.audio.len()), (1, 1, 0));
}

#[test]
fn the_ogg_file_reads_back_with_granules_that_span_the_losses() {
    let packets = encode(&tone(4), 64_000).unwrap();
    let hearing = stream(&packets, |n| if (50..53).contains(&n) { None } else { on_time(n) }).hearing();
    let file = hearing.ogg();
    let mut reader = PacketReader::new(Cursor::new(file));
    let head = reader.read_packet_expected().unwrap();
    assert_eq!(head.data, b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0");
    let tags = reader.read_packet_expected().unwrap();
    assert!(tags.data.starts_with(b"OpusTags") && tags.last_in_page());
    let mut read = vec![];
    while let Some(packet) = reader.read_packet().unwrap() {
        read.push(packet);
    }
    assert_eq!(read.len(), 200);
    assert!(read[50..53].iter().all(|packet| packet.data.len() == 1));
    assert_eq!((&read[49].data[..], &read[53].data[..]), (&packets[49][..], &packets[53][..]));
    assert_eq!(read[99].absgp_page(), 100 * 960);
    assert_eq!((read[199].absgp_page(), read[199].last_in_stream()), (200 * 960, true));
}

#[test]
fn a_recording_of_nothing_is_a_file_of_headers() {
    let file = Recorder::new(Keep::Audio).hearing().ogg();
    let mut reader = PacketReader::new(Cursor::new(file));
    assert!(reader.read_packet().unwrap().is_some());
    assert!(reader.read_packet().unwrap().is_some_and(|packet| packet.last_in_stream()));
    assert!(reader.read_packet().unwrap().is_none());
}

#[test]
fn a_recording_scores_as_what_was_heard() {
    let audio = tone(6);
    let packets = encode(&audio, 96_000).unwrap();
    let whole = stream(&packets, on_time).hearing();
    let score = whole.score(&audio).unwrap();
    assert!(score.is_faithful() && score.heard_fraction > 0.99, "{score}");
    let holed = stream(&packets, |n| if (50..53).contains(&n) { None } else { on_time(n) }).hearing();
    let score = holed.score(&audio).unwrap();
    assert!(!score.is_faithful() && score.longest_hole >= Duration::from_millis(40), "{score}");
    assert_eq!(holed.decode(Holes::Concealed).unwrap().len(), 6 * 96_000);
}

#[test]
fn packets_passed_on_untouched_score_as_exact() {
    let packets = encode(&tone(3), 96_000).unwrap();
    let original = stream(&packets, on_time).hearing().decode(Holes::Silent).unwrap();
    let jittery = |n| Some(Duration::from_millis(n * 7 % 45));
    let score = stream(&packets, jittery).hearing().score(&original).unwrap();
    assert_eq!((score.offset, score.heard_fraction), (0, 1.0));
    assert!(score.snr_db > 100.0, "{score}");
}

#[test]
fn junk_in_place_of_opus_leaves_a_hole() {
    let mut packets = encode(&tone(1), 64_000).unwrap();
    packets[10] = Bytes::from_static(&[0xFF, 0xFF, 0xFF]);
    packets[20] = Bytes::new();
    let hearing = stream(&packets, on_time).hearing();
    assert_eq!(hearing.decode(Holes::Silent).unwrap().len(), 96_000);
}
