//! Stories of what a source is asked for, and of what it owes.

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
fn half_a_second_of_what_is_stored_waits_and_is_refilled_when_half_of_it_is_played() {
    let mut story = Story::linked();
    story.sources.insert(MUSIC, source(1_000));
    story.playout.attach(MUSIC, MICROPHONE, 1.0, ReadAhead::Stored);
    story.drive();
    story.pass(SECOND * 4);
    let demands: Vec<_> = story
        .log()
        .into_iter()
        .filter(|action| matches!(action, Action::Demand(..) | Action::Voice(_)))
        .map(|action| if let Action::Demand(_, frames) = action { frames } else { 0 })
        .collect();
    assert_eq!(demands[0], 25);
    // 25 - 13 are left, and 13 more make 25 again.
    let refills: Vec<_> = demands[1..].chunks(14).map(|turn| turn.iter().sum::<usize>()).collect();
    assert_eq!(refills[..14], [13; 14]);
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
