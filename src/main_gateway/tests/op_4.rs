//! Stories of op 4: when it goes out, how fast, and when again.

use super::*;

#[test]
fn op_4_waits_for_the_session_and_keeps_its_order() {
    let mut story = Story::identified();
    story.shard.update_voice_state(update(111));
    story.shard.update_voice_state(UpdateVoiceState { channel: None, ..update(112) });
    assert_eq!(story.actions(), []);
    let actions = story.hear(READY);
    let join = r#"{"op":4,"d":{"guild_id":"111","channel_id":"222","self_mute":false,"self_deaf":false}}"#;
    let leave = r#"{"op":4,"d":{"guild_id":"112","channel_id":null,"self_mute":false,"self_deaf":false}}"#;
    assert_eq!(actions[1..], [send(join), send(leave)]);
}

/// What is sent as soon as the session is resumed.
fn sent_again(story: &mut Story) -> Vec<Action> {
    story.lose(None);
    story.shard.opened(story.now);
    assert_eq!(ops(&story.hear(HELLO)), ["6"]);
    let mut actions = story.hear(RESUMED);
    assert_eq!(actions.remove(0), Action::Dispatch(Dispatch::Resumed));
    actions
}

#[test]
fn op_4_is_sent_again_after_a_resume_until_it_is_answered() {
    let mut story = Story::ready();
    story.shard.update_voice_state(update(111));
    story.shard.update_voice_state(UpdateVoiceState { channel: None, ..update(112) });
    let [first, second] = &story.actions()[..] else { panic!("both are sent") };
    let (first, second) = (first.clone(), second.clone());
    // Of somebody else, of another guild, and of another channel: none is the answer.
    for (guild, user, channel) in [(111, 901, 222), (110, 900, 222), (111, 900, 223)] {
        story.hear(&voice_state(guild, user, channel));
    }
    assert_eq!(sent_again(&mut story), [first.clone(), second.clone()]);
    story.hear(&voice_state(111, 900, 222));
    assert_eq!(sent_again(&mut story), [second]);
}

#[test]
fn op_4_is_not_sent_again_when_it_is_old_or_a_later_one_waits() {
    let mut story = Story::ready();
    story.shard.update_voice_state(update(111));
    assert_eq!(ops(&story.actions()), ["4"]);
    story.now += seconds(10);
    assert_eq!(sent_again(&mut story), []);

    story.shard.update_voice_state(update(111));
    assert_eq!(ops(&story.actions()), ["4"]);
    story.lose(None);
    let later = UpdateVoiceState { channel: None, ..update(111) };
    story.shard.update_voice_state(later);
    story.shard.opened(story.now);
    story.hear(HELLO);
    let [_, Action::Send(frame)] = &story.hear(RESUMED)[..] else { panic!("one op 4") };
    assert!(frame.contains(r#""channel_id":null"#), "{frame}");
}

fn voice_state(guild: u64, user: u64, channel: u64) -> String {
    format!(
        r#"{{"op":0,"s":2,"t":"VOICE_STATE_UPDATE","d":{{"guild_id":"{guild}","channel_id":"{channel}","user_id":"{user}","session_id":"5f0c"}}}}"#
    )
}

#[test]
fn op_4_stays_below_the_limit_and_leaves_room_for_beats() {
    let mut story = Story::ready();
    for guild in 0..300 {
        story.shard.update_voice_state(update(guild));
    }
    // Identify counts too.
    assert_eq!(ops(&story.actions()).len(), 109);
    let mut sent: Vec<Instant> = vec![story.now; 110];
    while sent.len() < 300 {
        let actions = story.until_deadline();
        if ops(&actions).contains(&"1".to_owned()) {
            assert_eq!(ops(&actions)[0], "1");
            story.hear(ACK);
        }
        sent.extend(ops(&actions).iter().map(|_| story.now));
        let latest = sent.iter().filter(|at| story.now - **at < seconds(60)).count();
        assert!(latest <= 120, "{latest}");
    }
    assert_eq!(story.shard.dropped(), 0);
}

#[test]
fn where_the_gateway_has_no_limit_op_4_leaves_at_once() {
    let mut story = Story::ready();
    story.shard = story.shard.send_limit(SendLimit::None);
    for guild in 0..300 {
        story.shard.update_voice_state(update(guild));
    }
    assert_eq!(ops(&story.actions()).len(), 300);
}

#[test]
fn of_too_many_op_4_the_oldest_are_dropped_and_counted() {
    let mut story = Story::identified();
    for guild in 0..5000 {
        story.shard.update_voice_state(update(guild));
    }
    assert_eq!(story.shard.dropped(), 5000 - 4096);
    let actions = story.hear(READY);
    assert!(
        matches!(&actions[1], Action::Send(frame) if frame.contains(r#""guild_id":"904""#)),
        "{actions:?}"
    );
}
