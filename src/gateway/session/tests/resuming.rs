//! Stories of sequence numbers and of sessions that are resumed.

use super::*;

#[test]
fn a_beat_acknowledges_the_last_sequence_across_its_wrap() {
    let mut story = Story::established();
    let beat = |seq_ack| [text(&format!(r#"{{"op":3,"d":{{"t":7,"seq_ack":{seq_ack}}}}}"#))];
    assert_eq!(story.beat(7), beat(-1));
    story.hear(r#"{"op":11,"d":{"user_ids":[]},"seq":0}"#);
    assert_eq!(story.beat(7), beat(0));
    story.hear_binary(&[0xFF, 0xFF, 0x19, 1]);
    assert_eq!(story.beat(7), beat(65_535));
    story.hear(r#"{"op":13,"d":{"user_id":"901"},"seq":0}"#);
    assert_eq!(story.beat(7), beat(0));
    story.hear_binary(&[0, 1, 99]);
    assert_eq!(story.beat(7), beat(1));
    story.hear(HELLO);
    assert_eq!(story.beat(7), beat(1));
    assert_eq!(story.session.last_seq(), Some(1));
}

#[test]
fn a_numbered_message_that_cannot_be_read_is_acknowledged_all_the_same() {
    let mut story = Story::established();
    let damaged: [(&str, u16); 3] = [
        (r#"{"op":13,"d":{"user_id":"somebody"},"seq":5}"#, 5),
        (r#"{"d":{},"seq":6}"#, 6),
        (r#"{"op":24,"d":null,"seq":7}"#, 7),
    ];
    for (message, seq) in damaged {
        assert_eq!(story.hear(message), []);
        assert_eq!(story.session.last_seq(), Some(seq), "{message}");
    }
    for (frame, seq) in [(&[0, 8, 0x1D, 0][..], 8), (&[0, 9, 0x19], 9), (&[0, 10], 10)] {
        assert_eq!(story.hear_binary(frame), []);
        assert_eq!(story.session.last_seq(), Some(seq), "{frame:?}");
    }
    assert_eq!(story.session.malformed(), 6);
}

#[test]
fn a_resumed_session_takes_the_replay_text_and_binary() {
    let mut story = Story::resume(Some(65_534));
    assert_eq!(
        story.actions(),
        [text(r#"{"op":7,"d":{"server_id":"111","session_id":"5f0c","token":"hush","seq_ack":65534}}"#)]
    );
    assert_eq!(story.beat(1), [text(r#"{"op":3,"d":{"t":1,"seq_ack":65534}}"#)]);
    assert_eq!(story.hear(HELLO), [Action::Beat(Duration::from_millis(13_750))]);
    // Even what comes before Resumed counts.
    let sender = Action::Dave(DaveEvent::ExternalSender(Bytes::from_static(&[1])));
    assert_eq!(story.hear_binary(&[0xFF, 0xFF, 0x19, 1]), [sender]);
    story.session.speaking(SpeakingFlags::MICROPHONE);
    assert_eq!(story.actions(), []);
    assert_eq!(story.hear(RESUMED), [Action::Resumed, text(SPEAKING)]);
    assert!(story.session.is_established());
    let proposals = Action::Dave(DaveEvent::Proposals(Bytes::from_static(&[0, 9])));
    assert_eq!(story.hear_binary(&[0, 0, 0x1B, 0, 9]), [proposals]);
    let left = Action::ClientDisconnect(UserId(901));
    assert_eq!(story.hear(r#"{"op":13,"d":{"user_id":"901"},"seq":1}"#), [left]);
    assert_eq!(story.session.last_seq(), Some(1));
}

#[test]
fn a_resume_without_hello_beats_all_the_same() {
    let mut story = Story::resume(None);
    story.actions();
    let beat = Action::Beat(Duration::from_secs(5));
    assert_eq!(story.hear(RESUMED), [Action::Resumed, beat, text(SILENT)]);
}
