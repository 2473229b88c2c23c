//! The packets of one speaker, in every order.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Counts, Forwarder, Packet, Step};

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A sender of 20 ms frames, shortly before both of its counters start over.
struct Sender {
    start: Instant,
}

const FIRST_SEQUENCE: u16 = u16::MAX - 2;
const FIRST_TIMESTAMP: u32 = u32::MAX - 3 * 960;

impl Sender {
    fn new() -> Self {
        Self { start: start() }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + ms(milliseconds)
    }

    /// The nth packet, as it comes without any delay.
    fn packet(&self, nth: u32) -> Packet {
        Packet {
            sequence: FIRST_SEQUENCE.wrapping_add(nth as u16),
            timestamp: FIRST_TIMESTAMP.wrapping_add(960 * nth),
            arrived: self.at(20 * u64::from(nth)),
            opus: speech(nth),
        }
    }
}

fn speech(nth: u32) -> Bytes {
    Bytes::copy_from_slice(&[&[0xf8, 7][..], &nth.to_be_bytes()].concat())
}

fn silence() -> Bytes {
    Bytes::from_static(&crate::audio::frame::SILENCE)
}

/// What comes at each millisecond, and what is handed on when: `4@80` is packet 4 after 80 ms, `-2:960@..` two that are lost and lasted 960.
fn run(mut playback: Forwarder, sender: &Sender, mut packets: Vec<(u64, Packet)>) -> (Vec<String>, Counts) {
    packets.sort_by_key(|(at, _)| *at);
    let last = packets.last().map_or(0, |(at, _)| *at) + 3_000;
    let (mut told, mut packets) = (Vec::new(), packets.into_iter().peekable());
    for millisecond in 0..last {
        let now = sender.at(millisecond);
        while let Some((_, packet)) = packets.next_if(|(at, _)| *at == millisecond) {
            playback.packet(packet, now);
        }
        while let Some(step) = playback.poll(now) {
            told.push(format!("{}@{millisecond}", name(&step)));
        }
    }
    (told, playback.counts())
}

fn name(step: &Step) -> String {
    match step {
        Step::Packet { opus, .. } if *opus == silence() => "silence".into(),
        Step::Packet { opus, .. } => u32::from_be_bytes(opus[2..6].try_into().unwrap()).to_string(),
        Step::Lost { packets, samples, successor, .. } => {
            format!("-{packets}:{samples}{}", if successor.is_some() { "+" } else { "" })
        }
    }
}

fn on_time(sender: &Sender, numbers: impl IntoIterator<Item = u32>) -> Vec<(u64, Packet)> {
    numbers.into_iter().map(|nth| (u64::from(nth) * 20, sender.packet(nth))).collect()
}

fn timeline(playback: &mut Forwarder, packets: Vec<Packet>, now: Instant) -> Vec<(u64, u64, u32)> {
    packets.into_iter().for_each(|packet| playback.packet(packet, now));
    std::iter::from_fn(|| playback.flush())
        .map(|step| match step {
            Step::Packet { line, time, samples, .. } | Step::Lost { line, time, samples, .. } => {
                (line, time, samples)
            }
        })
        .collect()
}

#[test]
fn what_comes_in_order_is_handed_on_at_once_also_where_the_counters_start_over() {
    let sender = Sender::new();
    let (told, counts) = run(Forwarder::for_agent(), &sender, on_time(&sender, 0..6));
    assert_eq!(told, ["0@0", "1@20", "2@40", "3@60", "4@80", "5@100"]);
    assert_eq!(counts, Counts { received: 6, ..Counts::default() });
    let packets = (0..6).map(|nth| sender.packet(nth)).collect();
    let times = timeline(&mut Forwarder::for_agent(), packets, sender.start);
    assert!(times.windows(2).all(|pair| pair[1] == (pair[0].0, pair[0].1 + 960, 960)), "{times:?}");
}

#[test]
fn what_is_overtaken_is_waited_for() {
    let sender = Sender::new();
    let mut packets = on_time(&sender, [0, 2, 4]);
    packets.extend([(65, sender.packet(1)), (90, sender.packet(3))]);
    let (told, counts) = run(Forwarder::for_agent(), &sender, packets);
    assert_eq!(told, ["0@0", "1@65", "2@65", "3@90", "4@90"]);
    assert_eq!((counts.lost, counts.late), (0, 0));
}

#[test]
fn an_agent_waits_thirty_milliseconds_for_what_is_missing_and_has_its_successor_then() {
    let sender = Sender::new();
    let mut packets = on_time(&sender, [0, 3, 4, 5]);
    packets.push((95, sender.packet(2)));
    packets.push((100, sender.packet(5)));
    let (told, counts) = run(Forwarder::for_agent(), &sender, packets);
    assert_eq!(told, ["0@0", "-2:1920+@90", "3@90", "4@90", "5@100"]);
    assert_eq!(counts, Counts { received: 6, lost: 2, late: 1, duplicates: 1, ..Counts::default() });
}

#[test]
fn a_recording_waits_a_second_for_what_is_missing() {
    let sender = Sender::new();
    let mut packets = on_time(&sender, [0, 2, 4]);
    packets.push((1_030, sender.packet(1)));
    let (told, counts) = run(Forwarder::for_record(), &sender, packets);
    assert_eq!(told, ["0@200", "1@1030", "2@1030", "-1:960+@1080", "4@1080"]);
    assert_eq!((counts.lost, counts.late), (1, 0));
}

#[test]
fn a_recording_begins_with_the_packet_that_was_sent_first_and_not_with_that_which_came_first() {
    let sender = Sender::new();
    let packets = vec![(0, sender.packet(2)), (90, sender.packet(1)), (150, sender.packet(0))];
    assert_eq!(run(Forwarder::for_record(), &sender, packets).0, ["0@200", "1@200", "2@200"]);
    let packets = [2, 1, 0].map(|nth| sender.packet(nth)).to_vec();
    let times = timeline(&mut Forwarder::for_record(), packets, sender.start);
    assert!(times.windows(2).all(|pair| pair[1] == (pair[0].0, pair[0].1 + 960, 960)), "{times:?}");
}

#[test]
fn a_pause_that_the_timestamps_tell_of_is_no_loss_and_media_time_goes_on_by_it() {
    let sender = Sender::new();
    let mut after = sender.packet(1);
    after.timestamp = sender.packet(500).timestamp;
    after.arrived = sender.at(10_000);
    let times = timeline(&mut Forwarder::for_agent(), vec![sender.packet(0), after], sender.at(10_000));
    assert_eq!(times[1], (times[0].0, times[0].1 + 500 * 960, 960));
}

#[test]
fn after_silence_what_is_lost_is_the_beginning_of_what_follows_and_else_the_end_of_what_was() {
    let sender = Sender::new();
    for (last, expected) in [(silence(), 98), (speech(0), 1)] {
        let before = Packet { opus: last, ..sender.packet(0) };
        let after = Packet { sequence: sender.packet(3).sequence, ..sender.packet(100) };
        let times = timeline(&mut Forwarder::for_agent(), vec![before, after], sender.at(2_000));
        let (line, first, _) = times[0];
        assert_eq!(times[1..], [(line, first + expected * 960, 1920), (line, first + 96_000, 960)]);
    }
}

#[test]
fn a_pause_that_the_timestamps_do_not_tell_of_begins_a_new_line_of_time() {
    let sender = Sender::new();
    for (last, pause, lines) in
        [(silence(), 140, 1), (silence(), 200, 2), (speech(0), 900, 1), (speech(0), 1_100, 2)]
    {
        let before = Packet { opus: last, ..sender.packet(0) };
        let after = Packet { arrived: sender.at(20 + pause), ..sender.packet(1) };
        let times = timeline(&mut Forwarder::for_agent(), vec![before, after], sender.at(2_000));
        assert_eq!(times[1].0, lines, "{pause} ms");
    }
}

#[test]
fn who_starts_anew_begins_a_new_line_and_nothing_is_lost() {
    let sender = Sender::new();
    for (sequence, timestamp) in
        [(30_000, 77), (FIRST_SEQUENCE.wrapping_add(1), FIRST_TIMESTAMP.wrapping_sub(960))]
    {
        let anew = |nth: u16| Packet {
            sequence: sequence.wrapping_add(nth),
            timestamp: timestamp.wrapping_add(960 * u32::from(nth)),
            ..sender.packet(1)
        };
        let mut playback = Forwarder::for_agent();
        let times = timeline(&mut playback, vec![sender.packet(0), anew(0), anew(1)], sender.start);
        let (line, first, _) = times[1];
        assert_eq!((times[0].0, line, times.len()), (1, 2, 3));
        assert_eq!(times[2], (2, first + 960, 960));
        assert_eq!(playback.counts().lost, 0);
    }
}

#[test]
fn of_a_new_start_too_what_was_overtaken_comes_first() {
    let sender = Sender::new();
    let anew = |nth: u32| Packet { sequence: 20_000 + nth as u16, timestamp: 960 * nth, ..sender.packet(1) };
    let packets = vec![sender.packet(0), anew(1), anew(0), anew(2)];
    let times = timeline(&mut Forwarder::for_agent(), packets, sender.start);
    let (line, first, _) = times[1];
    assert_eq!((times[0].0, line), (1, 2));
    assert_eq!(times[2..], [(2, first + 960, 960), (2, first + 1_920, 960)]);
}

#[test]
fn frames_of_any_length_follow_one_another_and_a_lost_one_counts_for_what_is_missing() {
    let sender = Sender::new();
    // 2.5, 10, 60 and 120 ms.
    let packets = [(0xe0, 120), (0xf0, 480), (0x58, 2_880), (0x59, 5_760), (0xe0, 120)];
    let mut timestamp = FIRST_TIMESTAMP;
    let mut sent = Vec::new();
    for (nth, (toc, samples)) in packets.into_iter().enumerate() {
        let opus = Bytes::copy_from_slice(&[toc, 1, 2, 3, 4]);
        sent.push(Packet { timestamp, opus, ..sender.packet(nth as u32) });
        timestamp = timestamp.wrapping_add(samples);
    }
    let lengths = |sent| timeline(&mut Forwarder::for_agent(), sent, sender.start);
    let whole: Vec<u32> = lengths(sent.clone()).into_iter().map(|(_, _, samples)| samples).collect();
    assert_eq!(whole, packets.map(|(_, samples)| samples));
    sent.remove(1);
    let gap = lengths(sent);
    // The packet before lasted 120, so that no more than that is known to be lost.
    assert_eq!(gap[1].2, 120);
}

#[test]
fn what_is_no_opus_is_counted_and_not_handed_on() {
    let sender = Sender::new();
    let bad = Packet { opus: Bytes::from_static(&[0xfb, 0, 1, 2]), ..sender.packet(0) };
    let (told, counts) = run(Forwarder::for_agent(), &sender, vec![(0, bad), (20, sender.packet(1))]);
    assert_eq!(told, ["1@20"]);
    assert_eq!((counts.malformed, counts.received), (1, 2));
}

fn any_packet() -> impl Strategy<Value = (u16, u32, u64, Bytes)> {
    let near = (0u16..40, 0u32..40).prop_map(|(sequence, frames)| (sequence, 960 * frames));
    let matching = (0u16..400).prop_map(|sequence| (sequence, 960 * u32::from(sequence)));
    let numbers = prop_oneof![4 => matching, 1 => near, 1 => any::<(u16, u32)>()];
    let opus = prop_oneof![
        4 => any::<u32>().prop_map(speech),
        1 => Just(silence()),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from),
    ];
    (numbers, 0u64..60, opus)
        .prop_map(|((sequence, timestamp), delay, opus)| (sequence, timestamp, delay, opus))
}

proptest! {
    #[test]
    fn in_any_order_each_packet_is_told_once_and_no_two_frames_lie_at_one_time(
        packets in prop::collection::vec(any_packet(), 0..600),
        record in any::<bool>(),
    ) {
        let mut playback = if record { Forwarder::for_record() } else { Forwarder::for_agent() };
        let mut now = start();
        let (mut told, mut end) = (0, (0, 0));
        let mut check = |step: Step| {
            let (line, time, samples, packet) = match step {
                Step::Packet { line, time, samples, .. } => (line, time, samples, 1),
                Step::Lost { line, time, samples, .. } => (line, time, samples, 0),
            };
            told += packet;
            assert!((line, time) >= end, "{:?} overlaps {end:?}", (line, time));
            end = (line, time + u64::from(samples));
        };
        for (sequence, timestamp, delay, opus) in packets {
            now += ms(delay);
            playback.packet(Packet { sequence, timestamp, arrived: now, opus }, now);
            while let Some(step) = playback.poll(now) {
                check(step);
            }
        }
        while let Some(step) = playback.flush() {
            check(step);
        }
        let counts = playback.counts();
        let overflowed = counts.received - told - counts.duplicates - counts.late - counts.malformed;
        prop_assert!(counts.received >= 256 || overflowed == 0, "{counts:?} {told}");
    }
}
