//! The window, packet by packet.

use proptest::prelude::*;

use super::*;

const SPEAKER: Ssrc = Ssrc(7);

struct Ear(Replay);

impl Ear {
    /// An ear that has heard one packet.
    fn after(first: u16) -> Self {
        let mut ear = Self(Replay::default());
        assert!(ear.takes(first), "the first packet may be any");
        ear
    }

    fn takes(&mut self, sequence: u16) -> bool {
        self.0.packet(SPEAKER, Sequence(sequence)) == Verdict::New
    }
}

#[test]
fn a_packet_is_taken_once_and_so_is_every_other_in_the_window() {
    for first in [1_000, 0, 63, 64, 65_535, 32_768] {
        let mut ear = Ear::after(first);
        for behind in 1..64 {
            assert!(ear.takes(first.wrapping_sub(behind)), "{behind} before {first}");
        }
        for behind in 0..64 {
            assert!(!ear.takes(first.wrapping_sub(behind)), "{behind} before {first}, again");
        }
    }
}

#[test]
fn the_sixty_fifth_newest_packet_is_too_old_to_tell() {
    let mut ear = Ear::after(1_000);
    assert!(!ear.takes(936));
    assert!(ear.takes(937));
    let mut ear = Ear::after(20);
    assert!(!ear.takes(65_492), "64 before, across the wrap");
    assert!(ear.takes(65_493));
}

#[test]
fn a_stream_is_taken_whole_over_several_wraps_and_every_packet_of_it_only_once() {
    let mut ear = Ear::after(0);
    for packet in 1..200_000_u32 {
        let sequence = packet as u16;
        assert!(ear.takes(sequence), "packet {packet}");
        assert!(!ear.takes(sequence), "packet {packet}, again");
        assert!(packet < 40 || !ear.takes(sequence.wrapping_sub(40)), "the one 40 before packet {packet}");
    }
}

proptest! {
    // Within a batch of 64, none is further behind the newest than the window reaches.
    #[test]
    fn packets_that_overtake_each_other_are_all_taken_once(
        first in any::<u16>(),
        batches in prop::collection::vec(Just((1..=64).collect::<Vec<u16>>()).prop_shuffle(), 1..20),
    ) {
        let mut ear = Ear::after(first);
        for (batch, order) in (0_u16..).zip(&batches) {
            let order: Vec<_> = order.iter().map(|at| first.wrapping_add(64 * batch + at)).collect();
            prop_assert!(order.iter().all(|&sequence| ear.takes(sequence)), "batch {}", batch);
            prop_assert!(!order.iter().any(|&sequence| ear.takes(sequence)), "batch {}, again", batch);
        }
    }
}

#[test]
fn a_gap_of_any_length_leaves_the_right_packets_seen() {
    for gap in 1..=130_u16 {
        let mut ear = Ear::after(65_500);
        let newest = 65_500_u16.wrapping_add(gap);
        assert!(ear.takes(newest));
        for behind in 1..64 {
            let seen = behind == gap;
            assert_eq!(
                ear.takes(newest.wrapping_sub(behind)),
                !seen,
                "{behind} before, after a gap of {gap}"
            );
        }
    }
}

#[test]
fn three_thousand_packets_may_be_lost_at_once() {
    let mut ear = Ear::after(65_000);
    assert!(ear.takes(65_000_u16.wrapping_add(3_000)));
    let mut ear = Ear::after(65_000);
    assert!(!ear.takes(65_000_u16.wrapping_add(3_001)), "alone it shows nothing");
}

#[test]
fn a_sender_who_starts_anew_is_heard_from_the_second_packet_on() {
    for distance in [3_001, 20_000, 32_768, 45_000, 65_400] {
        let mut ear = Ear::after(1_000);
        let start = 1_000_u16.wrapping_add(distance);
        assert!(!ear.takes(start), "{distance} ahead");
        for packet in 1..100 {
            assert!(ear.takes(start.wrapping_add(packet)), "packet {packet}, {distance} ahead");
        }
        assert!(!ear.takes(start.wrapping_add(40)), "the new window knows what it has seen");
    }
}

#[test]
fn what_was_judged_before_the_new_start_is_not_taken_after_it() {
    let mut ear = Ear::after(1_000);
    assert!(!ear.takes(40_000));
    assert!(ear.takes(40_001));
    assert!(!ear.takes(40_000));
    assert!(!ear.takes(40_001));
    assert!(ear.takes(39_999), "and what was not seen is");
}

#[test]
fn an_old_packet_sent_over_and_over_moves_nothing() {
    let mut ear = Ear::after(1_000);
    for _ in 0..100 {
        assert!(!ear.takes(500));
    }
    assert!(ear.takes(1_001));
}

#[test]
fn old_packets_that_do_not_follow_one_another_move_nothing() {
    let mut ear = Ear::after(40_000);
    for packet in 0..1_000 {
        assert!(!ear.takes(1_000 + 2 * packet));
        assert!(ear.takes(40_001 + packet), "the stream goes on");
    }
}

#[test]
fn a_recorded_run_does_not_silence_the_stream() {
    let mut ear = Ear::after(40_000);
    for packet in 0..10 {
        ear.takes(1_000 + packet);
    }
    assert!(!ear.takes(40_001));
    for packet in 2..100 {
        assert!(ear.takes(40_000 + packet));
    }
}

#[test]
fn every_sender_has_a_window_of_its_own() {
    let mut replay = Replay::default();
    for ssrc in 0..50 {
        assert_eq!(replay.packet(Ssrc(ssrc), Sequence(9)), Verdict::New);
    }
    for ssrc in 0..50 {
        assert_eq!(replay.packet(Ssrc(ssrc), Sequence(9)), Verdict::Replayed);
    }
}

#[test]
fn the_table_is_bounded_and_forgets_the_sender_longest_unused() {
    let mut replay = Replay::default();
    let senders = MAX_SENDERS as u32;
    for ssrc in 0..senders {
        replay.packet(Ssrc(ssrc), Sequence(9));
    }
    // The first has spoken again; now it is the second that is longest unused.
    replay.packet(Ssrc(0), Sequence(10));
    replay.packet(Ssrc(senders), Sequence(9));
    assert_eq!(replay.windows.len(), MAX_SENDERS);
    let forgotten = (0..=senders).filter(|&ssrc| !replay.windows.contains_key(&Ssrc(ssrc)));
    assert_eq!(forgotten.collect::<Vec<_>>(), [1]);
    for ssrc in 0..10 * senders {
        replay.packet(Ssrc(ssrc), Sequence(11));
        assert!(replay.windows.len() <= MAX_SENDERS);
    }
}

#[test]
fn the_table_does_not_grow_while_the_senders_stay_the_same() {
    let mut replay = Replay::default();
    for ssrc in 0..100 {
        replay.packet(Ssrc(ssrc), Sequence(0));
    }
    let capacity = replay.windows.capacity();
    for sequence in 1..1_000 {
        for ssrc in 0..100 {
            replay.packet(Ssrc(ssrc), Sequence(sequence));
        }
    }
    assert_eq!((replay.windows.len(), replay.windows.capacity()), (100, capacity));
}
