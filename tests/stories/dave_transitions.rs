//! Encrypted calls: transitions that go astray, groups that end and begin, versions that change, and resumes in between.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, JoinError},
    bridge::Suppression,
    call::{ConnectionStatus, EndReason},
    hearing::Preset,
};
use actix_voice_loopback::{
    Channel, Dave, Discord, MediaRule, Member, Rule,
    dave::{DaveSettings, Execution, Fault, Pacing, Winner},
};

use crate::support::{
    bot::BotOnDiscord,
    dave::{NONE_MISSING, add_listeners, numbered_packet, wait_millis},
    recording::SILENCE_FRAMES,
    story,
};

/// The bot speaks to two, and two more come, one after the other; what is up with op 22 is seen to in between.
fn two_newcomers(settings: DaveSettings, comings: impl AsyncFnOnce(&BotOnDiscord, &Channel) -> [Member; 2]) {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().dave_settings(settings)).await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, 2);
        wait_millis(1_000).await;
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&stayers[0], &stayers[1]]).await;
        bot.speak_numbers().await;
        wait_millis(500).await;
        let [first, second] = comings(&bot, &room).await;
        bot.until_one_group(&room, &[&stayers[0], &stayers[1], &first, &second]).await;
        wait_millis(3_000).await;
        let stats = bot.disconnect_and_drain().await;

        bot.assert_heard_by(&stayers, &stats);
        bot.assert_no_holes(&first);
        bot.assert_no_holes(&second);
        bot.assert_no_violations();
    });
}

#[test]
fn an_op_22_that_never_comes_is_made_up_for_by_the_next() {
    two_newcomers(DaveSettings::default(), async |bot, room| {
        bot.discord.turn_dave(room, |settings| settings.execution = Execution::Never);
        let first = room.listener("first");
        // The others keep the keys of the epoch before for ten seconds.
        wait_millis(8_000).await;
        bot.discord.turn_dave(room, |settings| settings.execution = Execution::Prompt);
        [first, room.listener("second")]
    });
}

#[test]
fn a_late_op_22_executes_its_own_epoch_and_not_a_newer_one() {
    let overlapping = DaveSettings { pacing: Pacing::Overlapping, ..DaveSettings::default() };
    two_newcomers(overlapping, async |bot, room| {
        bot.discord.turn_dave(room, |settings| {
            settings.execution = Execution::After(Duration::from_secs(3));
        });
        let first = room.listener("first");
        wait_millis(1_500).await;
        let second = room.listener("second");
        // Op 22 of the first transition has come, that of the second has not.
        wait_millis(2_500).await;
        assert_eq!(bot.decrypted_by(&second).numbers, NONE_MISSING, "the second's keys are not in use yet");
        assert!(bot.decrypted_by(&first).numbers.len() > 40, "the first's are");
        [first, second]
    });
}

#[test]
fn left_alone_the_bot_is_silent_until_the_next_group() {
    alone_and_together_again(1);
}

#[test]
fn left_alone_at_version_0_the_bot_is_silent_all_the_same() {
    alone_and_together_again(0);
}

fn alone_and_together_again(sole_member_op21_version: u16) {
    story(async {
        let settings = DaveSettings { sole_member_op21_version, ..DaveSettings::default() };
        let bot = BotOnDiscord::start_on(Discord::builder().dave_settings(settings)).await;
        let room = bot.guild.channel("room");
        let first = room.listener("first");
        bot.request_join(&room).await.expect("the bot joins");
        let before = bot.until_one_group(&room, &[&first]).await;
        bot.speak_numbers().await;
        wait_millis(1_000).await;
        first.leave();
        bot.until_one_group(&room, &[]).await;
        wait_millis(1_000).await;
        let second = room.listener("second");
        let after = bot.until_one_group(&room, &[&second]).await;
        assert_ne!(before, after, "it is another group");
        wait_millis(2_000).await;
        let stats = bot.disconnect_and_drain().await;

        let heard = [&first, &second].map(|member| bot.assert_no_holes(member));
        // The last words to the first may have been said to nobody.
        let [(_, last), (next, _)] = [heard[0].span().unwrap(), heard[1].span().unwrap()];
        assert!(
            u64::from(next - last) >= stats.transport.withheld,
            "{next} {last} {}",
            stats.transport.withheld
        );
        assert!(
            (45..60).contains(&stats.transport.withheld),
            "{} frames were withheld",
            stats.transport.withheld
        );
        assert_eq!(heard[1].undecryptable, 0, "from its first epoch on");
        bot.assert_encrypted(&[&room], &stats, (0..1_000).map(numbered_packet));
        bot.assert_no_violations();
    });
}

#[test]
fn who_joins_an_empty_channel_may_be_told_of_epoch_1_twice() {
    story(async {
        let settings = DaveSettings { op24_on_empty_join: true, ..DaveSettings::default() };
        let bot = BotOnDiscord::start_on(Discord::builder().dave_settings(settings)).await;
        let room = bot.guild.channel("room");
        bot.request_join(&room).await.expect("the bot joins");
        bot.speak_numbers().await;
        wait_millis(500).await;
        let packages = bot.binary_from_bot(26);
        assert_eq!(packages.len(), 2, "one for op 4, one for op 24");
        assert_ne!(packages[0], packages[1]);
        let second = room.listener("second");
        bot.until_one_group(&room, &[&second]).await;
        wait_millis(1_000).await;
        let stats = bot.disconnect_and_drain().await;
        assert_eq!(bot.assert_no_holes(&second).undecryptable, 0);
        bot.assert_encrypted(&[&room], &stats, (0..1_000).map(numbered_packet));
        bot.assert_no_violations();
    });
}

#[test]
fn a_member_without_dave_downgrades_the_call_and_its_leaving_upgrades_it() {
    story(async {
        let discord = Discord::builder().dave(Dave::Allowed);
        let bot = BotOnDiscord::start_with(discord, |config| config.require_e2ee = false).await;
        let _heard = bot.listen(Preset::Agent).await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, 2);
        let call = bot.request_join(&room).await.expect("the bot joins");
        let before = bot.until_one_group(&room, &[&stayers[0], &stayers[1]]).await;
        wait_millis(3_000).await;
        bot.speak_numbers().await;
        let old = {
            let speech = stayers[0].speak((0..300).map(numbered_packet));
            let comings = async {
                wait_millis(1_000).await;
                let old = room.old_listener("old");
                bot.next_event(
                    "the downgrade",
                    |event| matches!(event, CallEventKind::E2ee(state) if state.version == 0),
                )
                .await;
                wait_millis(2_000).await;
                old.leave();
                old
            };
            tokio::join!(speech, comings).1
        };
        let after = bot.until_one_group(&room, &[&stayers[0], &stayers[1]]).await;
        assert_ne!(before, after);
        wait_millis(2_000).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        let stats = bot.disconnect_and_drain().await;

        bot.assert_heard_by(&stayers, &stats);
        // What was on its way before op 22 is ciphertext to it.
        let plain: Vec<_> = old.heard(bot.account.user_id).expect("heard").audio;
        let plain = plain.into_iter().filter(|packet| !packet.opus.ends_with(&[0xFA, 0xFA])).count();
        assert!(plain > 95, "the old client understood {plain} packets");
        assert_eq!((heard.opened, heard.unopened), (300 + SILENCE_FRAMES as u64, 0), "what the bot heard");
        let wire = bot.packets_at_server(&[&room]);
        let last = wire.last().expect("packets");
        assert!(last.opus.ends_with(&[0xFA, 0xFA]), "the call is encrypted again");
        bot.assert_no_violations();
    });
}

#[test]
fn a_bot_that_must_be_encrypted_ends_a_call_that_is_not_any_more_and_says_nothing_in_it() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().dave(Dave::Allowed)).await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, 1);
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&stayers[0]]).await;
        bot.speak_numbers().await;
        wait_millis(1_000).await;
        let old = room.old_listener("old");
        bot.next_event("the end", |event| *event == CallEventKind::Ended(EndReason::NotEncrypted)).await;
        wait_millis(20_000).await;
        assert_eq!(bot.discord.members_of(&room), [stayers[0].user_id, old.user_id], "the bot has left");
        let wire = bot.packets_at_server(&[&room]);
        let plain = wire.iter().filter(|packet| !packet.opus.ends_with(&[0xFA, 0xFA])).count();
        assert!(wire.len() > 45 && plain == 0, "{plain} of {} packets are plain", wire.len());
        // The silence after speech would have been plain, too.
        let rules: Vec<_> = bot.discord.violations().into_iter().map(|violation| violation.rule).collect();
        assert_eq!(rules, [Rule::Media(MediaRule::SilenceMissing { frames: 0 })]);
    });
}

#[test]
fn a_call_that_was_never_encrypted_is_no_call_for_a_bot_that_must_be() {
    story(async {
        let bot = BotOnDiscord::start_on(Discord::builder().dave(Dave::Off)).await;
        // It hears of the others just before, or just after it has joined.
        match bot.request_join(&bot.channel).await {
            Ok(_) => {
                bot.play("demo.opus").await;
            }
            Err(error) => assert_eq!(error, JoinError::Ended(EndReason::NotEncrypted)),
        }
        bot.next_event("the end", |event| *event == CallEventKind::Ended(EndReason::NotEncrypted)).await;
        assert_eq!(bot.packets_at_server(&[&bot.channel]).len(), 0);
    });
}

#[test]
fn on_a_stage_nothing_is_encrypted_end_to_end() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Agent).await;
        let podium = bot.guild.stage("podium");
        let listener = podium.listener("ear");
        let call = bot.request_join(&podium).await.expect("the bot joins");
        bot.next_event("it is in the audience", |event| {
            *event == CallEventKind::Suppression(Some(Suppression::Suppressed))
        })
        .await;
        bot.discord.unsuppress(bot.account.user_id);
        bot.discord.unsuppress(listener.user_id);
        bot.next_event("it may speak", |event| *event == CallEventKind::Suppression(None)).await;
        bot.speak_numbers().await;
        listener.speak((0..50).map(numbered_packet)).await;
        wait_millis(100).await;
        let heard = call.stats().await.expect("the call goes on");
        let stats = bot.disconnect_and_drain().await;

        bot.assert_heard_by(std::slice::from_ref(&listener), &stats);
        assert_eq!(heard.e2ee.version, 0);
        assert_eq!(
            (heard.transport.opened, heard.transport.unopened),
            (50 + SILENCE_FRAMES as u64, 0),
            "what the bot heard"
        );
        assert_eq!(bot.binary_from_bot(26).len(), 0, "no key package");
        let first = &bot.packets_at_server(&[&podium])[0];
        assert_eq!(first.opus, numbered_packet(0));
        bot.assert_no_violations();
    });
}

#[test]
fn a_move_begins_a_new_group() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let rooms = ["here", "there"].map(|name| bot.guild.channel(name));
        let listeners = rooms.each_ref().map(|room| add_listeners(room, 2));
        bot.request_join(&rooms[0]).await.expect("the bot joins");
        let mut codes = vec![bot.until_one_group(&rooms[0], &[&listeners[0][0], &listeners[0][1]]).await];
        bot.speak_numbers().await;
        wait_millis(1_000).await;
        bot.request_join(&rooms[1]).await.expect("the bot moves");
        codes.push(bot.until_one_group(&rooms[1], &[&listeners[1][0], &listeners[1][1]]).await);
        wait_millis(1_000).await;
        // A moderator does it this time.
        bot.discord.move_to(bot.account.user_id, &rooms[0]);
        bot.next_event("the move", |event| {
            matches!(event, CallEventKind::Connection(ConnectionStatus::Connected))
        })
        .await;
        codes.push(bot.until_one_group(&rooms[0], &[&listeners[0][0], &listeners[0][1]]).await);
        wait_millis(1_000).await;
        let stats = bot.disconnect_and_drain().await;

        let packages = bot.binary_from_bot(26);
        assert_eq!(packages.len(), 3);
        for (index, package) in packages.iter().enumerate() {
            assert!(!packages[..index].contains(package), "a key package serves once");
        }
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), 3, "each group has its own code");
        for listener in listeners.iter().flatten() {
            assert_eq!(bot.decrypted_by(listener).undecryptable, 0);
        }
        let [here, there] = listeners.each_ref().map(|listeners| bot.decrypted_by(&listeners[0]).numbers);
        let all = here.len() + there.len();
        let gap = bot.decrypted_by(&listeners[0][0]).missing();
        assert!(there.iter().all(|number| gap.contains(number)), "nothing was said twice");
        let unheard = (gap.len() - there.len()) as u64;
        let lost = stats.transport.withheld + bot.discord.relay().counters().unknown_ssrc;
        assert_eq!(unheard, lost, "{all} numbers were heard");
        bot.assert_encrypted(&[&rooms[0], &rooms[1]], &stats, (0..1_000).map(numbered_packet));
        bot.assert_no_violations();
    });
}

/// The bot and two others; something happens to the websocket around the joining of a third.
fn a_resume(cut_around: impl AsyncFnOnce(&BotOnDiscord) -> Member) -> BotOnDiscord {
    let mut finished = None;
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, 2);
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&stayers[0], &stayers[1]]).await;
        bot.speak_numbers().await;
        wait_millis(1_000).await;
        let newcomer = cut_around(&bot).await;
        bot.next_status(ConnectionStatus::Resumed).await;
        bot.until_one_group(&room, &[&stayers[0], &stayers[1], &newcomer]).await;
        wait_millis(2_000).await;
        let stats = bot.disconnect_and_drain().await;

        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        bot.assert_heard_by(&stayers, &stats);
        bot.assert_no_holes(&newcomer);
        bot.assert_encrypted(&[&room], &stats, (0..2_000).map(numbered_packet));
        bot.assert_no_violations();
        finished = Some(bot);
    });
    finished.expect("the story was told")
}

fn bot_wins_after(bot: &BotOnDiscord, commit_window: Duration) {
    let bot_id = bot.account.user_id;
    bot.discord.turn_dave(&bot.guild.channel("room"), |settings| {
        settings.winner = Winner::User(bot_id);
        settings.commit_window = commit_window;
    });
}

fn cut(bot: &BotOnDiscord) {
    bot.discord.close_voice(bot.account.user_id, 4015, "");
}

async fn until(bot: &BotOnDiscord, condition: impl Fn(&BotOnDiscord) -> bool) {
    let limit = Duration::from_secs(5);
    bot.discord.until(|_| condition(bot), limit).await.expect("the moment to cut");
}

#[test]
fn a_transition_during_the_loss_of_the_websocket_is_replayed() {
    let bot = a_resume(async |bot| {
        cut(bot);
        bot.guild.channel("room").listener("newcomer")
    });
    assert!(!bot.binary_to_bot(29).is_empty());
}

#[test]
fn a_websocket_may_be_lost_right_after_op_29() {
    a_resume(async |bot| {
        let newcomer = bot.guild.channel("room").listener("newcomer");
        cut(bot);
        newcomer
    });
}

#[test]
fn a_websocket_may_be_lost_between_op_23_and_op_22() {
    a_resume(async |bot| {
        let room = bot.guild.channel("room");
        bot.discord.turn_dave(&room, |settings| {
            settings.execution = Execution::After(Duration::from_millis(500));
        });
        let before = bot.texts_sent(23);
        let newcomer = room.listener("newcomer");
        until(bot, |bot| bot.texts_sent(23) > before).await;
        cut(bot);
        newcomer
    });
}

#[test]
fn a_websocket_may_be_lost_between_op_28_and_op_29() {
    let bot = a_resume(async |bot| {
        bot_wins_after(bot, Duration::from_secs(30));
        let before = bot.binary_from_bot(28).len();
        let newcomer = bot.guild.channel("room").listener("newcomer");
        until(bot, |bot| bot.binary_from_bot(28).len() > before).await;
        cut(bot);
        newcomer
    });
    assert_eq!(bot.commits_chosen(), 1);
}

#[test]
fn a_commit_that_was_lost_with_the_websocket_is_sent_again() {
    let bot = a_resume(async |bot| {
        bot_wins_after(bot, Duration::from_secs(30));
        let newcomer = bot.guild.channel("room").listener("newcomer");
        cut(bot);
        newcomer
    });
    assert_eq!(bot.commits_chosen(), 1);
}

#[test]
fn a_plea_to_be_added_anew_that_was_lost_with_the_websocket_is_sent_again() {
    let bot = a_resume(async |bot| {
        let room = bot.guild.channel("room");
        bot.discord.dave_fault(&room, Fault::CorruptCommit { to: bot.account.user_id });
        let newcomer = room.listener("newcomer");
        cut(bot);
        newcomer
    });
    assert!(bot.texts_sent(31) >= 1);
}
