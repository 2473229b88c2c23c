//! Stories of frames that make no sense.

use proptest::prelude::*;

use super::*;

#[test]
fn what_cannot_be_understood_is_counted_and_skipped() {
    let mut story = Story::ready();
    for text in ["", "{}", r#"{"op":-1}"#, r#"{"op":0,"t":"VOICE_STATE_UPDATE","d":{}}"#, RESUMED, READY] {
        assert_eq!(story.hear(text), [], "{text}");
    }
    assert_eq!(story.shard.malformed(), 6);
    assert_eq!(story.hear(r#"{"op":99,"d":{}}"#), []);
    assert_eq!(story.hear(r#"{"op":0,"t":"SOMETHING_NEW","d":null,"s":9}"#), []);
    assert_eq!(story.shard.malformed(), 6);
    assert!(story.shard.is_ready());
}

#[test]
fn no_prefix_of_a_message_is_taken_for_one() {
    for text in [HELLO, READY, RESUMED] {
        for length in 0..text.len() {
            assert!(decode(&text.as_bytes()[..length]).is_err(), "{text} {length}");
        }
    }
}

proptest! {
    #[test]
    fn random_and_damaged_messages_never_break_the_shard(
        noise in proptest::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut story = Story::ready();
        story.shard.text(&noise, story.now);
        prop_assert_eq!(story.shard.malformed(), 1);
        let mut damaged = READY.as_bytes().to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        story.shard.text(&damaged, story.now);
        story.actions();
        prop_assert!(story.shard.deadline().is_some());
    }
}
