//! Stories of how tracks end.

use super::*;

fn ended(log: &[Action]) -> Vec<(TrackId, TrackEnd)> {
    let ended = |action: &Action| match action {
        Action::Ended(id, end) => Some((*id, end.clone())),
        _ => None,
    };
    log.iter().filter_map(ended).collect()
}

#[test]
fn a_track_that_is_finished_plays_what_is_queued() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    for number in 0..5 {
        story.supply(MUSIC, opus(number));
    }
    story.end(MUSIC, TrackEnd::Failed("torn tape".into()));
    story.pass(SECOND);
    let log = story.log();
    assert_eq!(ended(&log), [(MUSIC, TrackEnd::Failed("torn tape".into()))]);
    assert_eq!(
        log.iter().filter(|action| matches!(action, Action::Demand(..))).count(),
        1,
        "none after the end"
    );
    story.log = log;
    assert_eq!(story.heard()[..6], [packets(0..5), vec![silence()]].concat());
}

#[test]
fn the_first_end_counts_and_nothing_is_taken_after_it() {
    let mut story = Story::linked();
    story.attach(MUSIC, MICROPHONE, 1.0);
    story.supply(MUSIC, opus(0));
    story.supply(MUSIC, opus(1));
    story.finish(MUSIC);
    story.playout.source_lost(MUSIC);
    story.supply(MUSIC, opus(2));
    story.pass(SECOND);
    let log = story.log();
    assert_eq!(ended(&log), [(MUSIC, TrackEnd::Finished)]);
    story.log = log;
    assert_eq!(story.heard()[..3], [packet(0), packet(1), silence()]);
    story.supply(MUSIC, opus(3));
    story.finish(MUSIC);
    assert_eq!(story.log(), [], "a track that is over is unknown");
    assert_eq!(story.playout.deadline(), None);
}

#[test]
fn an_empty_track_ends_without_a_word() {
    let mut story = Story::linked();
    story.play(MUSIC, source(0));
    assert_eq!(story.outside(), [Action::Ended(MUSIC, TrackEnd::Finished)]);
    assert_eq!(story.playout.deadline(), None);
}

#[test]
fn stopping_one_track_leaves_the_other() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.play(SPEECH, source(1000));
    story.pass(FRAME * 3);
    story.log();
    story.stop(Some(SPEECH));
    assert_eq!(story.outside(), [Action::Ended(SPEECH, TrackEnd::Stopped)]);
    let before = story.playout.counts().passed_through;
    story.pass(FRAME * 10);
    let passed = story.playout.counts().passed_through - before;
    assert_eq!(
        passed, 4,
        "once the other has faded and its own packets come out right, the music passes untouched"
    );
    assert!(!story.heard().contains(&silence()));
}

#[test]
fn stopping_all_falls_silent_after_five_silence_frames() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.play(SPEECH, source(1000));
    story.pass(FRAME * 3);
    story.log();
    story.stop(None);
    // What was mixed fades.
    story.pass(FRAME);
    let mut log = story.outside();
    story.pass(FRAME * 6);
    assert_eq!(log.iter().filter(|action| matches!(action, Action::Voice(_))).count(), 1);
    log.retain(|action| !matches!(action, Action::Voice(_)));
    log.extend(story.outside());
    assert_eq!(ended(&log), [(MUSIC, TrackEnd::Stopped), (SPEECH, TrackEnd::Stopped)]);
    assert_eq!(log.last(), Some(&Action::Speaking(SpeakingFlags::NONE)));
    story.log = log;
    assert_eq!(story.heard(), vec![silence(); 5]);
    assert_eq!(story.playout.deadline(), None);
}

#[test]
fn stopping_what_is_not_there_stops_nothing() {
    let mut story = Story::linked();
    story.stop(None);
    story.stop(Some(MUSIC));
    assert_eq!(story.log(), []);
    story.play(MUSIC, source(1000));
    story.pass(FRAME);
    story.stop(Some(SPEECH));
    story.pass(FRAME);
    assert_eq!(story.heard(), packets(0..3));
}

#[test]
fn stopping_before_speaking_was_sent_sends_nothing() {
    let mut story = Story::linked();
    story.gateway = Gateway::Slow;
    story.play(MUSIC, source(1000));
    story.stop(None);
    let expected = [
        Action::Speaking(MICROPHONE),
        Action::Ended(MUSIC, TrackEnd::Stopped),
        Action::Speaking(SpeakingFlags::NONE),
    ];
    assert_eq!(story.outside(), expected);
    story.speaking_sent();
    story.pass(SECOND);
    assert_eq!(story.log(), [], "no silence for what was never heard");
    assert_eq!(story.playout.deadline(), None);
}

#[test]
fn stopping_the_only_track_that_is_ready_lets_the_other_begin_later() {
    let mut story = Story::linked();
    story.gateway = Gateway::Slow;
    story.play(MUSIC, source(1000));
    story.attach(SPEECH, MICROPHONE, 1.0);
    story.stop(Some(MUSIC));
    story.gateway = Gateway::Prompt;
    story.pass(SECOND);
    story.log();
    story.supply(SPEECH, opus(7));
    story.pass(FRAME);
    assert_eq!(story.outside()[0], Action::Speaking(MICROPHONE));
}

#[test]
fn tracks_end_without_a_link_too() {
    let mut story = Story::begin();
    story.play(MUSIC, source(1000));
    story.attach(SPEECH, MICROPHONE, 1.0);
    story.log();
    story.finish(SPEECH);
    story.stop(None);
    let expected = [Action::Ended(SPEECH, TrackEnd::Finished), Action::Ended(MUSIC, TrackEnd::Stopped)];
    assert_eq!(story.log(), expected);
    story.link_up();
    assert_eq!((story.log(), story.playout.deadline()), (vec![], None));
}

#[test]
fn a_finished_track_that_is_stopped_is_stopped() {
    let mut story = Story::linked();
    story.play(MUSIC, source(4));
    story.pass(FRAME);
    story.log();
    story.stop(None);
    assert_eq!(ended(&story.log()), [(MUSIC, TrackEnd::Stopped)]);
}
