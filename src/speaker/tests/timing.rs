//! Stories of when frames go out.

use super::*;

/// Packet by packet: when it was due, counted from the first, and the RTP timestamp, counted from the first.
fn timeline(sent: &[VoiceFrame]) -> Vec<(Duration, u64)> {
    let mut timestamp = 0;
    let first = sent[0].due;
    let mut line = vec![(Duration::ZERO, 0)];
    line.extend(sent[1..].iter().map(|frame| {
        timestamp += u64::from(frame.elapsed);
        (frame.due - first, timestamp)
    }));
    line
}

/// Every packet's timestamp says when it was due: 48 samples are a millisecond.
fn is_continuous(sent: &[VoiceFrame]) -> bool {
    timeline(sent).iter().all(|(due, timestamp)| due.as_nanos() * 48 == u128::from(*timestamp) * 1_000_000)
}

#[test]
fn timestamps_tell_the_truth_across_pauses_underruns_skips_and_lost_links() {
    let mut story = Story::linked();
    story.play(MUSIC, source(10));
    story.pass(SECOND);
    story.now += MILLI * 13;
    story.play(SPEECH, source(10_000));
    story.pass(SECOND);
    story.oversleep(MILLI * 517);
    story.pass(SECOND);
    story.link_down();
    story.now += MILLI * 4321;
    story.link_up();
    story.pass(SECOND);
    let sent = story.sent();
    assert!(is_continuous(&sent));
    assert!(sent.iter().all(|frame| frame.elapsed % 960 == 0 && frame.elapsed > 0));
    let jumps: Vec<_> =
        sent[1..].iter().map(|frame| frame.elapsed / 960).filter(|&frames| frames != 1).collect();
    assert_eq!(jumps.len(), 3, "the pause, the skip and the lost link: {jumps:?}");
}

#[test]
fn a_pause_moves_the_timestamp_by_its_length() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1));
    story.pass(SECOND);
    story.play(SPEECH, source(1));
    story.pass(SECOND);
    let sent = story.sent();
    assert_eq!(sent.len(), 12);
    // The last silence was due at 100 ms, the next packet at 1000 ms.
    assert_eq!(sent[6].elapsed, 45 * 960);
}

#[test]
fn up_to_a_hundred_milliseconds_late_every_due_frame_is_sent_at_once() {
    for late in [MILLI, MILLI * 40, MILLI * 60, MILLI * 99, MILLI * 100] {
        let mut story = Story::linked();
        story.play(MUSIC, source(1000));
        story.pass(FRAME * 10);
        story.log();
        story.oversleep(FRAME + late);
        let sent = story.sent();
        assert_eq!(sent.len() as u128, 1 + late.as_millis() / 20, "{late:?} late");
        assert!(sent.iter().all(|frame| frame.elapsed == 960));
        assert_eq!((story.playout.counts().skipped, story.playout.counts().underruns), (0, 0));

        story.pass(SECOND);
        let sent = story.sent();
        assert_eq!(sent.last().map(|frame| frame.opus.clone()), Some(packet(story.slots() - 1)));
    }
}

#[test]
fn more_than_a_hundred_milliseconds_late_the_time_is_skipped_and_counted() {
    for (late, skipped) in [(MILLI * 101, 5), (MILLI * 119, 5), (MILLI * 120, 6), (SECOND * 60, 3000)] {
        let mut story = Story::linked();
        story.play(MUSIC, source(1000));
        story.pass(FRAME * 10);
        story.log();
        story.oversleep(FRAME + late);
        let sent = story.sent();
        assert_eq!(sent.len(), 1, "{late:?} late");
        assert_eq!(sent[0].elapsed, (skipped + 1) * 960);
        assert_eq!(sent[0].opus, packet(11), "time is skipped, not the track");
        assert!(story.now - sent[0].due < FRAME);
        assert_eq!(story.playout.counts().skipped, u64::from(skipped));
        story.pass(SECOND);
        assert!(story.sent().iter().all(|frame| frame.elapsed == 960));
    }
}

#[test]
fn oversleeping_the_silence_skips_as_well() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1));
    story.pass(FRAME);
    story.log();
    story.oversleep(SECOND);
    story.pass(SECOND);
    let sent = story.sent();
    assert_eq!(sent.iter().map(|frame| frame.elapsed / 960).collect::<Vec<_>>(), [50, 1, 1, 1]);
}

#[test]
fn two_packets_never_share_a_slot() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1000));
    story.pass(FRAME * 5);
    // All of this happens at the very moment of the last packet.
    story.link_down();
    story.link_up();
    story.pass(FRAME * 5);
    let sent = story.sent();
    assert!(is_continuous(&sent));
    assert_eq!(sent.len(), 11);
}

#[test]
fn calls_are_spread_over_the_twenty_milliseconds() {
    let began = start();
    let mut dues = Vec::new();
    for offset in 0..20 {
        let phase = Phase { epoch: began, offset: MILLI * offset };
        let playout = Pacer::new(&EncoderSettings::default(), phase).unwrap();
        let now = began + SECOND * 3 + MILLI * 7;
        let mut story = Story { playout, now, began, ..Story::begin() };
        story.link_up();
        story.play(MUSIC, source(10));
        story.pass(SECOND);
        let sent = story.sent();
        assert!(sent[0].due >= now && sent[0].due < now + FRAME);
        assert!(is_continuous(&sent));
        let within: Vec<_> =
            sent.iter().map(|frame| story.since_start(frame.due).as_nanos() % FRAME.as_nanos()).collect();
        assert!(within.iter().all(|at| *at == u128::from(offset) * 1_000_000), "{within:?}");
        dues.push(within[0]);
    }
    dues.dedup();
    assert_eq!(dues.len(), 20);
}

#[test]
fn a_speaker_asked_before_its_phase_begins_waits_for_it() {
    let began = start();
    let phase = Phase { epoch: began, offset: MILLI * 19 };
    let mut story = Story {
        playout: Pacer::new(&EncoderSettings::default(), phase).unwrap(),
        now: began,
        began,
        ..Story::begin()
    };
    story.link_up();
    story.play(MUSIC, source(1));
    assert_eq!(story.playout.deadline(), Some(began + MILLI * 19));
}

#[test]
fn in_twenty_four_hours_no_frame_drifts() {
    let mut story = Story::linked();
    story.playout.attach(MUSIC, live(MICROPHONE, 1.0));
    let frames: u32 = 24 * 3600 * 50;
    let (frame, mut sent) = (packet(0), 0);
    while sent < frames {
        match story.playout.poll(story.now) {
            Some(Action::Voice(voice)) => {
                assert!(voice.due == story.began + FRAME * sent && voice.due == story.now);
                assert_eq!(voice.elapsed, 960);
                sent += 1;
            }
            Some(Action::Demand(id, wanted)) => {
                story.playout.supply(id, Run::default(), vec![Frame::Opus(frame.clone()); wanted], story.now);
            }
            Some(Action::Speaking(_)) => story.playout.speaking_sent(story.now),
            Some(_) => {}
            None => story.now = story.playout.deadline().expect("a track is playing"),
        }
    }
    let counts = story.playout.counts();
    assert_eq!((counts.frames, counts.passed_through), (u64::from(frames), u64::from(frames)));
    assert_eq!((counts.underruns, counts.skipped, counts.over_credit, counts.codec_errors), (0, 0, 0, 0));
}

#[test]
fn a_week_of_quiet_wraps_the_timestamp_as_rtp_does() {
    let mut story = Story::linked();
    story.play(MUSIC, source(1));
    story.pass(SECOND);
    let last = story.sent().last().unwrap().due;
    story.now += SECOND * 7 * 24 * 3600;
    story.play(SPEECH, source(1));
    story.pass(SECOND);
    let first = &story.sent()[0];
    let samples = (first.due - last).as_millis() as u64 * 48;
    assert!(samples > u64::from(u32::MAX));
    assert_eq!(u64::from(first.elapsed), samples % (1 << 32));
}

impl Story {
    /// How many slots have come since the first packet, which was due at once.
    fn slots(&self) -> u32 {
        (self.since_start(self.now).as_millis() / 20) as u32 + 1
    }
}
