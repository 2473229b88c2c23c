//! One speaker on a clock, with a decoder that makes of each packet a number, so that what is heard can be read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::audio::frame::SILENCE;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const LAYOUT: Layout = Layout { hertz: 8_000, channels: 1 };
/// What is made up, recovered, and silent.
const MADE_UP: f32 = -1.0;
const RECOVERED: f32 = -2.0;

/// A packet's samples are its number; music, so that nothing is stretched.
#[derive(Default)]
struct Numbers;

impl Decode for Numbers {
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) {
        let number =
            if packet == SILENCE { 0.0 } else { packet.get(1).map_or(9.0, |number| f32::from(*number)) };
        out.extend(std::iter::repeat_n(number, 160));
    }

    fn recover(&mut self, _: &[u8], lost: u32, out: &mut Vec<f32>) {
        out.extend(std::iter::repeat_n(RECOVERED, lost as usize / 6));
    }

    fn conceal(&mut self, lost: u32, out: &mut Vec<f32>) {
        out.extend(std::iter::repeat_n(MADE_UP, lost as usize / 6));
    }
}

struct Line {
    start: Instant,
    player: Player,
    out: Vec<f32>,
}

impl Line {
    fn new() -> Self {
        Self { start: start(), player: Player::new(LAYOUT), out: Vec::new() }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + ms(milliseconds)
    }

    /// The packet with this number, sent `20 * nth` ms after the first, comes then.
    fn comes(&mut self, nth: u16, number: u8, milliseconds: u64) {
        self.packet(nth, Bytes::from(vec![0xf8, number, 0, 0]), milliseconds);
    }

    fn packet(&mut self, nth: u16, opus: Bytes, milliseconds: u64) {
        let arrived = self.at(milliseconds);
        let packet = Packet { sequence: nth, timestamp: 960 * u32::from(nth), arrived, opus };
        self.player.packet(packet, arrived);
    }

    /// What is heard first in a tick.
    fn tick(&mut self, milliseconds: u64) -> Option<f32> {
        let now = self.at(milliseconds);
        let played = self.player.tick(now, &mut Numbers, &mut self.out)?;
        assert_eq!(self.out.len(), 160);
        assert!(played.delay <= ms(2_000), "{played:?}");
        self.out.first().copied()
    }

    /// What is heard in the ticks from one moment to another.
    fn ticks(&mut self, milliseconds: std::ops::Range<u64>) -> Vec<Option<f32>> {
        milliseconds.step_by(20).map(|at| self.tick(at)).collect()
    }
}

#[test]
fn it_begins_after_eighty_milliseconds_and_goes_on_in_order() {
    let mut line = Line::new();
    let mut heard = Vec::new();
    for nth in 0..10 {
        // Each second one is overtaken by its successor.
        let number = nth ^ 1;
        line.comes(number, number as u8 + 1, 20 * u64::from(nth) + 1);
        heard.push(line.tick(20 * u64::from(nth) + 2));
    }
    let begin = heard.iter().position(Option::is_some).expect("it begins");
    assert!((3..=6).contains(&begin), "{heard:?}");
    let numbers: Vec<f32> = heard.into_iter().flatten().collect();
    let expected: Vec<f32> = (1..).take(numbers.len()).map(|number| number as f32).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn what_is_lost_is_made_up_and_what_comes_too_late_is_counted() {
    let mut line = Line::new();
    for nth in [0, 1, 2, 4, 5, 6, 7, 8, 9] {
        line.comes(nth, nth as u8 + 1, 20 * u64::from(nth));
    }
    let heard = line.ticks(80..200);
    assert_eq!(heard, [1.0, 2.0, 3.0, MADE_UP, 5.0, 6.0].map(Some));
    line.comes(3, 4, 200);
    let counts = line.player.counts();
    assert_eq!((counts.lost, counts.concealed, counts.recovered, counts.late), (1, 1, 0, 1));
}

#[test]
fn when_nothing_comes_it_makes_up_a_little_and_pauses_and_goes_on_when_something_does() {
    let mut line = Line::new();
    (0..3).for_each(|nth| line.comes(nth, nth as u8 + 1, 20 * u64::from(nth)));
    let heard = line.ticks(80..400);
    let expected = [1.0, 2.0, 3.0, MADE_UP, MADE_UP, MADE_UP, MADE_UP, MADE_UP, MADE_UP].map(Some);
    assert_eq!(heard[..9], expected);
    assert!(heard[9..].iter().all(Option::is_none), "{heard:?}");
    assert!(line.player.is_idle());
    line.comes(3, 4, 400);
    assert_eq!(line.ticks(400..440), [4.0, MADE_UP].map(Some), "it has waited long enough");
}

#[test]
fn after_silence_nothing_is_made_up() {
    let mut line = Line::new();
    line.comes(0, 1, 0);
    line.packet(1, Bytes::from_static(&SILENCE), 20);
    assert_eq!(line.ticks(80..160), [Some(1.0), Some(0.0), None, None]);
    assert!(line.player.is_idle());
    // A second of pause, by the timestamps too.
    let (timestamp, arrived) = (50 * 960, line.at(1_000));
    let opus = Bytes::from(vec![0xf8, 9, 0, 0]);
    line.player.packet(Packet { sequence: 2, timestamp, arrived, opus }, arrived);
    assert_eq!(line.tick(1_010), None);
    assert_eq!(line.tick(1_020), Some(9.0), "no delay was seen so far");
}

#[test]
fn who_starts_anew_in_mid_word_is_heard_to_the_end_and_from_the_beginning() {
    let mut line = Line::new();
    (0..6).for_each(|nth| line.comes(nth, nth as u8 + 1, 20 * u64::from(nth)));
    let before = line.ticks(100..140);
    for nth in 0..6 {
        let opus = Bytes::from(vec![0xf8, 100 + nth as u8, 0, 0]);
        let arrived = line.at(140 + 20 * u64::from(nth));
        let packet = Packet { sequence: 30_000 + nth, timestamp: 77 + 960 * u32::from(nth), arrived, opus };
        line.player.packet(packet, arrived);
    }
    let after = line.ticks(140..500);
    let numbers: Vec<f32> =
        before.into_iter().chain(after).flatten().filter(|number| *number > 0.0).collect();
    assert_eq!(numbers, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0, 101.0, 102.0, 103.0, 104.0, 105.0]);
    assert_eq!(line.player.counts().lost, 0);
}

#[test]
fn a_burst_after_a_stall_is_caught_up_with() {
    // A tone of 200 Hz in SILK, whose periods can be taken out.
    struct Hum;
    impl Decode for Hum {
        fn decode(&mut self, _: &[u8], out: &mut Vec<f32>) {
            out.extend((0..160).map(|nth| (std::f32::consts::TAU * nth as f32 / 40.0).sin()));
        }
        fn recover(&mut self, _: &[u8], _: u32, _: &mut Vec<f32>) {}
        fn conceal(&mut self, lost: u32, out: &mut Vec<f32>) {
            out.extend(std::iter::repeat_n(0.0, lost as usize / 6));
        }
    }
    let mut line = Line::new();
    let mut delays = Vec::new();
    for nth in 0..400_u16 {
        let now = 20 * u64::from(nth);
        // From the 50th to the 65th packet nothing comes, and then all at once.
        let arrived = if (50..65).contains(&nth) { 1_300 } else { now };
        let due: Vec<u16> = if now == 1_300 { (50..=65).collect() } else { vec![nth] };
        if arrived == now || now == 1_300 {
            due.into_iter().for_each(|nth| line.packet(nth, Bytes::from(vec![0x48, 1, 2, 3]), now));
        }
        let at = line.at(now + 5);
        delays.extend(line.player.tick(at, &mut Hum, &mut line.out).map(|played| played.delay));
    }
    let longest = delays.iter().max().unwrap();
    let last = delays.last().unwrap();
    assert!(*longest > ms(200) && *last < ms(110), "{longest:?}, at last {last:?}");
}

fn any_packet() -> impl Strategy<Value = (u16, u32, u64, Vec<u8>)> {
    let matching = (0u16..600).prop_map(|sequence| (sequence, 960 * u32::from(sequence)));
    let numbers = prop_oneof![6 => matching, 1 => any::<(u16, u32)>()];
    let opus = prop_oneof![
        4 => any::<u8>().prop_map(|number| vec![0xf8, number, 0, 0]),
        2 => any::<u8>().prop_map(|number| vec![0x48, number, 0, 0]),
        1 => Just(SILENCE.to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    (numbers, 0u64..30, opus)
        .prop_map(|((sequence, timestamp), delay, opus)| (sequence, timestamp, delay, opus))
}

proptest! {
    #[test]
    fn in_any_order_what_waits_is_bounded_and_silence_falls_when_nothing_comes(
        packets in prop::collection::vec(any_packet(), 0..300),
    ) {
        let mut line = Line::new();
        let (mut now, mut next_tick) = (0, 0);
        for (sequence, timestamp, delay, opus) in packets {
            now += delay;
            while next_tick <= now {
                line.tick(next_tick);
                next_tick += 20;
            }
            let arrived = line.at(now);
            line.player.packet(Packet { sequence, timestamp, arrived, opus: opus.into() }, arrived);
            prop_assert!(line.player.pcm.len() < 8_000);
        }
        let silent = (0..1_000).position(|tick| {
            line.tick(next_tick + 20 * tick);
            line.player.is_idle()
        });
        prop_assert!(silent.is_some(), "it never ends");
    }
}
