//! Encrypted calls: who joins and leaves in the middle of speech, and what that costs the others: nothing.

use std::time::Duration;

use actix_voice::hearing::Preset;
use actix_voice_loopback::{
    Discord, Event,
    dave::{DaveSettings, Execution, ExternalSenderKey, Pacing, Packing, SenderKey, Winner},
};

use crate::support::{
    bot::BotOnDiscord,
    dave::{NONE_MISSING, add_listeners, numbered_packet, wait_millis},
    recording::SILENCE_FRAMES,
    story,
};

#[test]
fn alone_a_bot_says_nothing_and_the_second_member_hears_all_there_is() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("empty");
        bot.request_join(&room).await.expect("the bot joins");
        bot.speak_numbers().await;
        wait_millis(1_000).await;
        assert!(bot.discord.relay().recording_in(room.id, bot.account.user_id).is_none(), "nobody is there");
        let second = room.listener("second");
        bot.until_one_group(&room, &[&second]).await;
        wait_millis(2_000).await;
        let stats = bot.disconnect_and_drain().await;

        let heard = bot.assert_no_holes(&second);
        assert_eq!((heard.undecryptable, heard.lost, heard.packets), (0, 0, stats.packets));
        let (first, _) = heard.span().unwrap();
        assert_eq!(
            u64::from(first),
            stats.transport.withheld,
            "what was withheld, and nothing else, is missing"
        );
        assert!((45..60).contains(&first), "{first} frames were withheld");
        bot.assert_no_violations();
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
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, members - 1);
        let everyone: Vec<_> = stayers.iter().collect();
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &everyone).await;
        bot.speak_numbers().await;
        wait_millis(1_000).await;
        let newcomer = room.listener("newcomer");
        let with_newcomer: Vec<_> = stayers.iter().chain([&newcomer]).collect();
        let inside = bot.until_one_group(&room, &with_newcomer).await;
        wait_millis(2_000).await;
        newcomer.leave();
        let outside = bot.until_one_group(&room, &everyone).await;
        assert_ne!(inside, outside);
        wait_millis(1_000).await;
        let stats = bot.disconnect_and_drain().await;

        if members > 1 {
            bot.assert_heard_by(&stayers, &stats);
            assert_eq!(bot.decrypted_by(&stayers[0]).span().unwrap().0, 0, "from the first frame on");
        }
        let (first, last) = bot.assert_no_holes(&newcomer).span().unwrap();
        assert!((40..70).contains(&first) && last - first > 95, "it understood {first} to {last}");
        bot.assert_no_violations();
    });
}

#[test]
fn the_bot_loses_the_races_to_commit_and_nobody_loses_a_frame() {
    let bot = members_join_and_leave(DaveSettings::default(), |_| {});
    assert_eq!(bot.commits_chosen(), 0);
    assert!(!bot.binary_from_bot(28).is_empty(), "it took part in them");
}

#[test]
fn the_bot_wins_the_races_to_commit_and_nobody_loses_a_frame() {
    let bot = members_join_and_leave(DaveSettings::default(), |bot| {
        let bot_id = bot.account.user_id;
        bot.discord.turn_dave(&bot.guild.channel("room"), |settings| settings.winner = Winner::User(bot_id));
    });
    assert!(bot.commits_chosen() >= 4, "it won {} races", bot.commits_chosen());
}

#[test]
fn the_last_commit_may_count() {
    members_join_and_leave(DaveSettings { winner: Winner::Last, ..DaveSettings::default() }, |_| {});
}

#[test]
fn the_first_transition_may_have_a_number() {
    let settings = DaveSettings { first_transition_id_zero: false, ..DaveSettings::default() };
    let bot = members_join_and_leave(settings, |_| {});
    assert!(bot.binary_to_bot(30).iter().all(|welcome| welcome[..2] != [0, 0]));
}

#[test]
fn losers_of_the_first_race_may_be_sent_the_commit_too() {
    members_join_and_leave(DaveSettings { losers_get_commit: true, ..DaveSettings::default() }, |_| {});
}

#[test]
fn who_waits_for_a_welcome_may_be_sent_proposals() {
    members_join_and_leave(DaveSettings { pending_get_proposals: true, ..DaveSettings::default() }, |_| {});
}

#[test]
fn proposals_may_come_late_and_one_by_one() {
    let (batch_window, packing) = (Duration::from_millis(300), Packing::OneEach);
    members_join_and_leave(DaveSettings { batch_window, packing, ..DaveSettings::default() }, |_| {});
}

#[test]
fn all_calls_may_share_one_external_sender() {
    let sender_key = SenderKey::Shared(ExternalSenderKey::generate());
    members_join_and_leave(DaveSettings { sender_key, ..DaveSettings::default() }, |_| {});
}

#[test]
fn op_22_may_be_late() {
    let execution = Execution::After(Duration::from_millis(2_500));
    members_join_and_leave(DaveSettings { execution, ..DaveSettings::default() }, |_| {});
}

#[test]
fn several_transitions_may_be_open() {
    members_join_and_leave(DaveSettings { pacing: Pacing::Overlapping, ..DaveSettings::default() }, |_| {});
}

#[test]
fn several_transitions_may_be_open_for_long() {
    let execution = Execution::After(Duration::from_millis(2_500));
    let bot = members_join_and_leave(
        DaveSettings { pacing: Pacing::Overlapping, execution, ..DaveSettings::default() },
        |_| {},
    );
    assert!(most_open_transitions(&bot) >= 3, "{} were open at a time", most_open_transitions(&bot));
}

/// The most transitions that were prepared and not yet executed at a time.
fn most_open_transitions(bot: &BotOnDiscord) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for entry in bot.discord.log().into_iter().filter(|entry| entry.user == Some(bot.account.user_id)) {
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
fn members_join_and_leave(settings: DaveSettings, adjust: impl FnOnce(&BotOnDiscord)) -> BotOnDiscord {
    let mut finished = None;
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().dave_settings(settings)).await;
        let _heard = bot.listen(Preset::Agent).await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, 2);
        adjust(&bot);
        wait_millis(3_000).await;
        let call = bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&stayers[0], &stayers[1]]).await;
        // The others may still be on their way into this epoch.
        wait_millis(3_000).await;
        bot.speak_numbers().await;
        let speech = stayers[0].speak((0..500).map(numbered_packet));
        let (first, second, third) = {
            let comings = async {
                wait_millis(500).await;
                let first = room.listener("first");
                wait_millis(300).await;
                let second = room.listener("second");
                wait_millis(300).await;
                let third = room.listener("third");
                wait_millis(300).await;
                first.leave();
                wait_millis(4_000).await;
                second.leave();
                (first, second, third)
            };
            tokio::join!(speech, comings).1
        };
        bot.until_one_group(&room, &[&stayers[0], &stayers[1], &third]).await;
        wait_millis(3_000).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        let stats = bot.disconnect_and_drain().await;

        bot.assert_heard_by(&stayers, &stats);
        bot.assert_no_holes(&third);
        for short in [&first, &second] {
            assert_eq!(bot.decrypted_by(short).missing(), NONE_MISSING);
        }
        assert_eq!(
            (heard.opened, heard.unopened, heard.unmapped),
            (500 + SILENCE_FRAMES as u64, 0, 0),
            "what the bot heard"
        );
        assert_eq!(stats.transport.withheld, 0);
        bot.assert_fresh_nonces(&bot.packets_at_server(&[&room]));
        bot.assert_no_violations();
        finished = Some(bot);
    });
    finished.expect("the story was told")
}
