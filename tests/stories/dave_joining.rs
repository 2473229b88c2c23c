//! Encrypted calls: who joins and leaves in the middle of speech, and what that costs the others: nothing.

use std::time::Duration;

use actix_voice_loopback::{
    Discord, Event,
    dave::{DaveSettings, Execution, ExternalSenderKey, Pacing, Packing, SenderKey, Winner},
};

use crate::support::{
    bot::Stage,
    dave::{NOTHING, crowd, numbered, pass},
    story,
};

#[test]
fn alone_a_bot_says_nothing_and_the_second_member_hears_all_there_is() {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("empty");
        stage.try_join(&room).await.expect("the bot joins");
        stage.speak_numbers().await;
        pass(1_000).await;
        assert!(stage.discord.relay().recording_in(room.id, stage.bot.user_id).is_none(), "nobody is there");
        let second = room.listener("second");
        stage.agreed(&room, &[&second]).await;
        pass(2_000).await;
        let stats = stage.part().await;

        let heard = stage.heard_whole(&second);
        assert_eq!((heard.undecryptable, heard.lost, heard.packets), (0, 0, stats.packets));
        let (first, _) = heard.span().unwrap();
        assert_eq!(
            u64::from(first),
            stats.transport.withheld,
            "what was withheld, and nothing else, is missing"
        );
        assert!((45..60).contains(&first), "{first} frames were withheld");
        stage.no_violations();
    });
}

#[test]
fn a_newcomer_finds_the_bot_alone() {
    a_newcomer_comes_and_goes(1);
}

#[test]
fn a_newcomer_costs_one_listener_no_frame() {
    a_newcomer_comes_and_goes(2);
}

#[test]
fn a_newcomer_costs_two_listeners_no_frame() {
    a_newcomer_comes_and_goes(3);
}

#[test]
fn a_newcomer_costs_twenty_four_listeners_no_frame() {
    a_newcomer_comes_and_goes(25);
}

fn a_newcomer_comes_and_goes(members: usize) {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, members - 1);
        let everyone: Vec<_> = stayers.iter().collect();
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &everyone).await;
        stage.speak_numbers().await;
        pass(1_000).await;
        let newcomer = room.listener("newcomer");
        let with_newcomer: Vec<_> = stayers.iter().chain([&newcomer]).collect();
        let inside = stage.agreed(&room, &with_newcomer).await;
        pass(2_000).await;
        newcomer.leave();
        let outside = stage.agreed(&room, &everyone).await;
        assert_ne!(inside, outside);
        pass(1_000).await;
        let stats = stage.part().await;

        if members > 1 {
            stage.heard_everything(&stayers, &stats);
            assert_eq!(stage.understood(&stayers[0]).span().unwrap().0, 0, "from the first frame on");
        }
        let (first, last) = stage.heard_whole(&newcomer).span().unwrap();
        assert!((40..70).contains(&first) && last - first > 95, "it understood {first} to {last}");
        stage.no_violations();
    });
}

#[test]
fn the_bot_loses_the_races_to_commit_and_nobody_loses_a_frame() {
    let stage = a_lively_call(DaveSettings::default(), |_| {});
    assert_eq!(stage.races_won(), 0);
    assert!(!stage.binary_from_bot(28).is_empty(), "it took part in them");
}

#[test]
fn the_bot_wins_the_races_to_commit_and_nobody_loses_a_frame() {
    let stage = a_lively_call(DaveSettings::default(), |stage| {
        let bot = stage.bot.user_id;
        stage.discord.turn_dave(&stage.guild.channel("room"), |settings| settings.winner = Winner::User(bot));
    });
    assert!(stage.races_won() >= 4, "it won {} races", stage.races_won());
}

#[test]
fn the_last_commit_may_count() {
    a_lively_call(DaveSettings { winner: Winner::Last, ..DaveSettings::default() }, |_| {});
}

#[test]
fn the_first_transition_may_have_a_number() {
    let settings = DaveSettings { first_transition_id_zero: false, ..DaveSettings::default() };
    let stage = a_lively_call(settings, |_| {});
    assert!(stage.binary_to_bot(30).iter().all(|welcome| welcome[..2] != [0, 0]));
}

#[test]
fn losers_of_the_first_race_may_be_sent_the_commit_too() {
    a_lively_call(DaveSettings { losers_get_commit: true, ..DaveSettings::default() }, |_| {});
}

#[test]
fn who_waits_for_a_welcome_may_be_sent_proposals() {
    a_lively_call(DaveSettings { pending_get_proposals: true, ..DaveSettings::default() }, |_| {});
}

#[test]
fn proposals_may_come_late_and_one_by_one() {
    let (batch_window, packing) = (Duration::from_millis(300), Packing::OneEach);
    a_lively_call(DaveSettings { batch_window, packing, ..DaveSettings::default() }, |_| {});
}

#[test]
fn all_calls_may_share_one_external_sender() {
    let sender_key = SenderKey::Shared(ExternalSenderKey::generate());
    a_lively_call(DaveSettings { sender_key, ..DaveSettings::default() }, |_| {});
}

#[test]
fn op_22_may_be_late() {
    let execution = Execution::After(Duration::from_millis(2_500));
    a_lively_call(DaveSettings { execution, ..DaveSettings::default() }, |_| {});
}

#[test]
fn several_transitions_may_be_open() {
    a_lively_call(DaveSettings { pacing: Pacing::Overlapping, ..DaveSettings::default() }, |_| {});
}

#[test]
fn several_transitions_may_be_open_for_long() {
    let execution = Execution::After(Duration::from_millis(2_500));
    let stage = a_lively_call(
        DaveSettings { pacing: Pacing::Overlapping, execution, ..DaveSettings::default() },
        |_| {},
    );
    assert!(most_open(&stage) >= 3, "{} were open at a time", most_open(&stage));
}

/// The most transitions that were prepared and not yet executed at a time.
fn most_open(stage: &Stage) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for entry in stage.discord.log().into_iter().filter(|entry| entry.user == Some(stage.bot.user_id)) {
        match entry.event {
            Event::Received { op: 23, .. } => open += 1,
            Event::Sent { op: 22, .. } => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Bot and two others; three more come, and two of them go, while the bot speaks and one of the others does.
fn a_lively_call(settings: DaveSettings, turn: impl FnOnce(&Stage)) -> Stage {
    let mut told = None;
    story(async {
        let stage = Stage::on(Discord::builder().dave_settings(settings)).await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, 2);
        turn(&stage);
        pass(3_000).await;
        let call = stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &[&stayers[0], &stayers[1]]).await;
        // The others may still be on their way into this epoch.
        pass(3_000).await;
        stage.speak_numbers().await;
        let mouth = stayers[0].speak((0..500).map(numbered));
        let (first, second, third) = {
            let comings = async {
                pass(500).await;
                let first = room.listener("first");
                pass(300).await;
                let second = room.listener("second");
                pass(300).await;
                let third = room.listener("third");
                pass(300).await;
                first.leave();
                pass(4_000).await;
                second.leave();
                (first, second, third)
            };
            tokio::join!(mouth, comings).1
        };
        stage.agreed(&room, &[&stayers[0], &stayers[1], &third]).await;
        pass(3_000).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        let stats = stage.part().await;

        stage.heard_everything(&stayers, &stats);
        stage.heard_whole(&third);
        for short in [&first, &second] {
            assert_eq!(stage.understood(short).missing(), NOTHING);
        }
        assert_eq!((heard.opened, heard.unopened, heard.unmapped), (505, 0, 0), "what the bot heard");
        assert_eq!(stats.transport.withheld, 0);
        stage.nonces_are_fresh(&stage.wire(&[&room]));
        stage.no_violations();
        told = Some(stage);
    });
    told.expect("the story was told")
}
