//! Stories of frames that make no sense, in any order.

use proptest::prelude::*;

use super::*;

#[test]
fn a_malformed_frame_is_counted_and_skipped() {
    let mut story = Story::identify();
    story.actions();
    assert_eq!(story.hear("not json"), []);
    assert_eq!(story.hear(r#"{"op":2,"d":{"ssrc":1,"port":"none"}}"#), []);
    assert_eq!(story.hear_binary(&[0, 9]), []);
    assert_eq!(story.session.malformed(), 3);
    assert_eq!(story.session.last_malformed(), Some(PayloadError::TooShort { length: 2 }));
    assert!(matches!(story.hear(READY)[..], [Action::Ready { .. }]));
}

proptest! {
    #[test]
    fn random_frames_never_break_the_session(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..20),
    ) {
        let mut story = Story::established();
        for frame in &frames {
            story.hear_binary(frame);
            story.session.text(frame, story.now);
        }
        prop_assert!(story.session.is_established());
        prop_assert!(story.session.malformed() >= frames.len() as u64);
    }

    #[test]
    fn any_order_of_messages_ends_or_goes_on(order in proptest::collection::vec(0_usize..6, 0..12)) {
        let mut story = Story::identify();
        story.actions();
        let mut failed = false;
        for message in order {
            let actions = match message {
                0 => story.hear(HELLO),
                1 => story.hear(READY),
                2 => story.hear(DESCRIPTION),
                3 => story.hear(RESUMED),
                4 => story.beat(1),
                _ => {
                    story.session.discovered(server(), story.now);
                    story.actions()
                }
            };
            failed |= actions.iter().any(|action| matches!(action, Action::Fail(_)));
            prop_assert_eq!(story.session.deadline().is_none(), failed || story.session.is_established());
        }
    }
}
