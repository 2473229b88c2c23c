//! Stories of what a source is asked for, and of what it owes.

use std::collections::HashSet;

use super::*;

#[test]
fn a_live_track_is_asked_for_five_frames_and_then_for_three_whenever_two_are_left() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    assert_eq!(story.log(), [Action::Demand(MUSIC, 5), Action::Probe(MUSIC)]);
    for number in 0..5 {
        story.supply(MUSIC, opus(number));
    }
    // Speaking is acknowledged at once, and the first slot is now.
    let due = story.now;
    assert_eq!(story.log(), [Action::Speaking(MICROPHONE), voice(packet(0), due), Action::Started(MUSIC)]);
    story.pass(FRAME);
    assert_eq!(story.log(), [voice(packet(1), due + FRAME)]);
    story.pass(FRAME);
    assert_eq!(story.log(), [voice(packet(2), due + FRAME * 2), Action::Demand(MUSIC, 3)]);
}

#[test]
fn half_a_second_of_what_is_stored_waits_and_is_refilled_every_twelfth_frame() {
    let mut story = Story::linked();
    story.attach_stored(source(1_000));
    story.pass(SECOND * 4);
    let demands: Vec<_> = story
        .log()
        .into_iter()
        .filter(|action| matches!(action, Action::Demand(..) | Action::Voice(_)))
        .map(|action| if let Action::Demand(_, frames) = action { frames } else { 0 })
        .collect();
    // What it starts with, and, as this is the slot of a refill, the first frame anew.
    assert_eq!(demands[..3], [25, 0, 1]);
    let refills: Vec<_> =
        demands[3..].chunks_exact(13).map(|turn| (turn[12], turn.iter().sum::<usize>())).collect();
    assert_eq!(refills[..14], [(12, 12); 14]);
}

#[test]
fn speakers_of_one_offset_ask_their_sources_in_the_same_slot_whenever_they_started() {
    let asked = |start: u32, offset: u64| {
        let mut story = Story::linked_at(Duration::from_millis(offset));
        story.pass(FRAME * start);
        story.attach_stored(source(1_000));
        story.log();
        let asks = |story: &mut Story| {
            story.pass(FRAME);
            story.log().iter().any(|action| matches!(action, Action::Demand(..)))
        };
        (start..start + 60).filter(|_| asks(&mut story)).map(|slot| slot % 12).collect::<HashSet<_>>()
    };
    for offset in [0, 3, 11, 12, 19] {
        let slots: HashSet<_> = (0..24).flat_map(|start| asked(start, offset)).collect();
        assert_eq!(slots.len(), 1, "{offset} ms: {slots:?}");
    }
    assert_ne!(asked(0, 0), asked(0, 3), "not all at once");
}

#[test]
fn no_stored_track_has_less_than_half_of_its_frames_whenever_it_starts() {
    for start in 0..24 {
        let mut story = Story::linked();
        story.pass(FRAME * start);
        story.attach_stored(source(1_000));
        let mut here = 0_usize;
        for action in {
            story.pass(SECOND * 4);
            story.log()
        } {
            match action {
                Action::Demand(_, frames) => here += frames,
                Action::Voice(_) => here -= 1,
                _ => {}
            }
            assert!((12..=25).contains(&here) || here == 0, "{here} frames");
        }
    }
}

#[test]
fn frames_that_nobody_asked_for_are_dropped_and_counted() {
    let mut story = Story::begin();
    story.attach(MUSIC, MICROPHONE, 1.0);
    for number in 0..1000 {
        story.supply(MUSIC, opus(number));
    }
    assert_eq!(story.playout.counts().over_credit, 995);
    story.link_up();
    story.pass(SECOND);
    assert_eq!(story.heard()[..6], [packets(0..5), vec![silence()]].concat());
}

#[test]
fn a_greedy_source_is_held_to_its_credit_for_as_long_as_it_plays() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    for number in 0..1000 {
        story.supply(MUSIC, opus(number));
        story.pass(FRAME / 10);
    }
    let counts = story.playout.counts();
    assert_eq!(counts.passed_through, 101);
    let queued = 1000 - counts.passed_through - counts.over_credit;
    assert!((2..=5).contains(&queued), "{queued} frames wait");
}

#[test]
fn a_slow_source_is_never_owed_more_than_five_frames() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    let (mut granted, mut supplied, mut taken) = (0, 0, 0);
    for number in 0..100 {
        story.supply(MUSIC, opus(number));
        supplied += 1;
        // Too slow by half.
        story.pass(FRAME * 2);
        for action in story.log() {
            match action {
                Action::Demand(_, frames) => granted += frames,
                Action::Voice(frame) if frame.opus != silence() => taken += 1,
                _ => {}
            }
        }
        assert!(granted - supplied <= 5 && supplied - taken <= 5);
    }
    assert_eq!(taken, 100, "and every frame is played");
}

#[test]
fn a_short_underrun_plays_silence_and_is_counted() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.supply(MUSIC, opus(0));
    story.pass(FRAME * 3);
    story.supply(MUSIC, opus(1));
    story.pass(FRAME);
    assert_eq!(story.heard(), [packet(0), silence(), silence(), silence(), packet(1)]);
    assert_eq!(story.playout.counts().underruns, 3);
    assert_eq!(story.playout.counts().frames, 5);
    assert!(!story.log.iter().any(|action| matches!(action, Action::Stalled(_) | Action::Speaking(_))));
}

#[test]
fn a_stalled_source_is_reported_once_and_then_looked_at_every_second() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.supply(MUSIC, opus(0));
    story.pass(SECOND * 10);
    let log = story.outside();
    let stalled: Vec<_> = log.iter().skip(3).collect();
    assert_eq!(stalled.len(), 7, "five silence frames, the report, Speaking 0: {stalled:?}");
    assert_eq!(stalled[5], &Action::Stalled(MUSIC), "with the fifth missing frame");
    assert_eq!(stalled[6], &Action::Speaking(SpeakingFlags::NONE));
    assert_eq!(story.playout.counts().underruns, 5, "in quiet nothing is due");

    story.pass(SECOND * 10);
    assert_eq!(story.log(), vec![Action::Probe(MUSIC); 10]);
    assert!(story.playout.deadline().is_some_and(|next| next - story.now <= SECOND));

    story.supply(MUSIC, opus(1));
    story.pass(FRAME);
    let log = story.outside();
    assert_eq!(log[0], Action::Speaking(MICROPHONE), "it has to be said anew");
    assert!(matches!(&log[1], Action::Voice(frame) if frame.opus == packet(1)));
    story.pass(SECOND);
    assert!(story.log().contains(&Action::Stalled(MUSIC)), "another stall is another report");
}

#[test]
fn a_source_that_stalls_beside_another_is_noticed_as_well() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.attach(SPEECH, MICROPHONE, 1.0);
    story.supply(SPEECH, opus(7));
    story.pass(FRAME * 2);
    story.log();
    story.pass(SECOND * 5);
    let log = story.log();
    let count = |wanted: &Action| log.iter().filter(|&action| action == wanted).count();
    assert_eq!(count(&Action::Stalled(SPEECH)), 1);
    assert_eq!(count(&Action::Probe(SPEECH)), 5);
    assert_eq!(count(&Action::Probe(MUSIC)), 0);
    assert!(story.playout.counts().underruns >= 250);
}

#[test]
fn a_track_that_has_not_begun_is_not_missed() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.attach(SPEECH, MICROPHONE, 1.0);
    story.pass(SECOND);
    assert_eq!(story.playout.counts().underruns, 0, "its file is still being opened");
    assert!(!story.log().contains(&Action::Stalled(SPEECH)));
}
