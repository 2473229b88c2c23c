//! Stories of Speaking: before the first packet, after the last, and with which flags.

use super::*;

#[test]
fn speaking_is_ordered_first_and_no_packet_goes_before_it_is_sent() {
    let mut story = Story::linked();
    story.gateway = Gateway::Slow;
    story.play(MUSIC, source(100));
    assert_eq!(story.outside(), [Action::Speaking(MICROPHONE)]);
    assert_eq!(story.playout.deadline(), None);
    story.pass(SECOND);
    assert_eq!(story.log(), [], "it waits for the answer");

    story.speaking_sent();
    story.pass(FRAME * 3);
    assert_eq!(story.heard(), packets(0..4), "and nothing is lost by waiting");
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut story = Story::linked();
    story.speaking_sent();
    assert_eq!(story.playout.deadline(), None);
    story.play(MUSIC, source(100));
    story.pass(SECOND / 2 - FRAME);
    story.speaking_sent();
    story.pass(FRAME);
    assert_eq!(story.heard(), packets(0..26));
}

#[test]
fn five_silence_frames_end_speech_and_then_speaking_is_taken_back() {
    let mut story = Story::linked();
    story.play(MUSIC, source(3));
    story.pass(SECOND);
    let at = |number| story.began + FRAME * number;
    let mut expected = vec![Action::Speaking(MICROPHONE), voice(packet(0), at(0)), Action::Started(MUSIC)];
    expected.extend([voice(packet(1), at(1)), voice(packet(2), at(2))]);
    expected.push(Action::Ended(MUSIC, TrackEnd::Finished));
    expected.extend((3..8).map(|number| voice(silence(), at(number))));
    expected.push(Action::Speaking(SpeakingFlags::NONE));
    assert_eq!(story.outside(), expected);
    assert_eq!(story.playout.deadline(), None, "nothing is left to do");
}

#[test]
fn the_next_track_within_the_silence_goes_on_without_asking_again() {
    let mut story = Story::linked();
    story.play(MUSIC, source(3));
    story.pass(FRAME * 4);
    story.log();
    story.play(SPEECH, source(100));
    story.pass(FRAME * 2);
    let at = |number| story.began + FRAME * number;
    let expected = [voice(packet(0), at(5)), Action::Started(SPEECH), voice(packet(1), at(6))];
    assert_eq!(story.outside(), expected);
}

#[test]
fn two_tracks_speak_with_the_flags_of_both() {
    let mut story = Story::linked();
    let both = MICROPHONE | SpeakingFlags::PRIORITY;
    story.play(MUSIC, source(1000));
    story.pass(FRAME);
    story.log();

    story.sources.insert(SPEECH, source(2));
    story.attach(SPEECH, both, 1.0);
    story.pass(FRAME * 3);
    let log = story.outside();
    assert_eq!(log[0], Action::Speaking(both), "before the first packet that needs it");
    assert!(matches!(log[1], Action::Voice(_)));
    let speaking: Vec<_> = log.iter().filter(|action| matches!(action, Action::Speaking(_))).collect();
    assert_eq!(speaking, [&Action::Speaking(both), &Action::Speaking(MICROPHONE)], "once each");
    let (ended, back) = (
        log.iter().position(|action| matches!(action, Action::Ended(..))),
        log.iter().position(|action| *action == Action::Speaking(MICROPHONE)),
    );
    assert!(ended < back);
}

#[test]
fn a_track_without_flags_speaks_through_the_microphone() {
    let mut story = Story::linked();
    story.sources.insert(MUSIC, source(10));
    story.attach(MUSIC, SpeakingFlags::NONE, 1.0);
    assert_eq!(story.outside()[0], Action::Speaking(MICROPHONE), "without it Discord takes no audio");
}
