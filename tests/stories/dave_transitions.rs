//! Encrypted calls: transitions that go astray, groups that end and begin, versions that change, and resumes in between.

use std::time::Duration;

use actix_voice::{actors::CallEventKind, bridge::Suppression, call::ConnectionStatus};
use actix_voice_loopback::{
    Channel, Dave, Discord, Member,
    dave::{DaveSettings, Execution, Fault, Pacing, Winner},
};

use crate::support::{
    bot::Stage,
    dave::{NOTHING, crowd, numbered, pass},
    story,
};

/// The bot speaks to two, and two more come, one after the other; what is up with op 22 is seen to in between.
fn two_newcomers(settings: DaveSettings, comings: impl AsyncFnOnce(&Stage, &Channel) -> [Member; 2]) {
    story(async {
        let stage = Stage::on(Discord::builder().dave_settings(settings)).await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, 2);
        pass(1_000).await;
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &[&stayers[0], &stayers[1]]).await;
        stage.speak_numbers().await;
        pass(500).await;
        let [first, second] = comings(&stage, &room).await;
        stage.agreed(&room, &[&stayers[0], &stayers[1], &first, &second]).await;
        pass(3_000).await;
        let stats = stage.part().await;

        stage.heard_everything(&stayers, &stats);
        stage.heard_whole(&first);
        stage.heard_whole(&second);
        stage.no_violations();
    });
}

#[test]
fn an_op_22_that_never_comes_is_made_up_for_by_the_next() {
    two_newcomers(DaveSettings::default(), async |stage, room| {
        stage.discord.turn_dave(room, |settings| settings.execution = Execution::Never);
        let first = room.listener("first");
        // The others keep the keys of the epoch before for ten seconds.
        pass(8_000).await;
        stage.discord.turn_dave(room, |settings| settings.execution = Execution::Prompt);
        [first, room.listener("second")]
    });
}

#[test]
fn a_late_op_22_executes_its_own_epoch_and_not_a_newer_one() {
    let overlapping = DaveSettings { pacing: Pacing::Overlapping, ..DaveSettings::default() };
    two_newcomers(overlapping, async |stage, room| {
        stage.discord.turn_dave(room, |settings| {
            settings.execution = Execution::After(Duration::from_secs(3));
        });
        let first = room.listener("first");
        pass(1_500).await;
        let second = room.listener("second");
        // Op 22 of the first transition has come, that of the second has not.
        pass(2_500).await;
        assert_eq!(stage.understood(&second).numbers, NOTHING, "the second's keys are not in use yet");
        assert!(stage.understood(&first).numbers.len() > 40, "the first's are");
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
        let stage = Stage::on(Discord::builder().dave_settings(settings)).await;
        let room = stage.guild.channel("room");
        let first = room.listener("first");
        stage.try_join(&room).await.expect("the bot joins");
        let before = stage.agreed(&room, &[&first]).await;
        stage.speak_numbers().await;
        pass(1_000).await;
        first.leave();
        stage.agreed(&room, &[]).await;
        pass(1_000).await;
        let second = room.listener("second");
        let after = stage.agreed(&room, &[&second]).await;
        assert_ne!(before, after, "it is another group");
        pass(2_000).await;
        let stats = stage.part().await;

        let heard = [&first, &second].map(|member| stage.heard_whole(member));
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
        stage.nothing_plain(&[&room], &stats, (0..1_000).map(numbered));
        stage.no_violations();
    });
}

#[test]
fn who_joins_an_empty_channel_may_be_told_of_epoch_1_twice() {
    story(async {
        let settings = DaveSettings { op24_on_empty_join: true, ..DaveSettings::default() };
        let stage = Stage::on(Discord::builder().dave_settings(settings)).await;
        let room = stage.guild.channel("room");
        stage.try_join(&room).await.expect("the bot joins");
        stage.speak_numbers().await;
        pass(500).await;
        let packages = stage.binary_from_bot(26);
        assert_eq!(packages.len(), 2, "one for op 4, one for op 24");
        assert_ne!(packages[0], packages[1]);
        let second = room.listener("second");
        stage.agreed(&room, &[&second]).await;
        pass(1_000).await;
        let stats = stage.part().await;
        assert_eq!(stage.heard_whole(&second).undecryptable, 0);
        stage.nothing_plain(&[&room], &stats, (0..1_000).map(numbered));
        stage.no_violations();
    });
}

#[test]
fn a_member_without_dave_downgrades_the_call_and_its_leaving_upgrades_it() {
    story(async {
        let stage = Stage::on(Discord::builder().dave(Dave::Allowed)).await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, 2);
        let call = stage.try_join(&room).await.expect("the bot joins");
        let before = stage.agreed(&room, &[&stayers[0], &stayers[1]]).await;
        pass(3_000).await;
        stage.speak_numbers().await;
        let old = {
            let speech = stayers[0].speak((0..300).map(numbered));
            let comings = async {
                pass(1_000).await;
                let old = room.old_listener("old");
                stage
                    .what(
                        "the downgrade",
                        |what| matches!(what, CallEventKind::E2ee(state) if state.version == 0),
                    )
                    .await;
                pass(2_000).await;
                old.leave();
                old
            };
            tokio::join!(speech, comings).1
        };
        let after = stage.agreed(&room, &[&stayers[0], &stayers[1]]).await;
        assert_ne!(before, after);
        pass(2_000).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        let stats = stage.part().await;

        stage.heard_everything(&stayers, &stats);
        // What was on its way before op 22 is ciphertext to it.
        let plain: Vec<_> = old.heard(stage.bot.user_id).expect("heard").audio;
        let plain = plain.into_iter().filter(|packet| !packet.opus.ends_with(&[0xFA, 0xFA])).count();
        assert!(plain > 95, "the old client understood {plain} packets");
        assert_eq!((heard.opened, heard.unopened), (305, 0), "what the bot heard");
        let wire = stage.wire(&[&room]);
        let last = wire.last().expect("packets");
        assert!(last.opus.ends_with(&[0xFA, 0xFA]), "the call is encrypted again");
        stage.no_violations();
    });
}

#[test]
fn on_a_stage_nothing_is_encrypted_end_to_end() {
    story(async {
        let stage = Stage::set().await;
        let podium = stage.guild.stage("podium");
        let ear = podium.listener("ear");
        let call = stage.try_join(&podium).await.expect("the bot joins");
        stage
            .what("it is in the audience", |what| {
                *what == CallEventKind::Suppression(Some(Suppression::Suppressed))
            })
            .await;
        stage.discord.unsuppress(stage.bot.user_id);
        stage.discord.unsuppress(ear.user_id);
        stage.what("it may speak", |what| *what == CallEventKind::Suppression(None)).await;
        stage.speak_numbers().await;
        ear.speak((0..50).map(numbered)).await;
        pass(100).await;
        let heard = call.stats().await.expect("the call goes on");
        let stats = stage.part().await;

        stage.heard_everything(std::slice::from_ref(&ear), &stats);
        assert_eq!(heard.e2ee.version, 0);
        assert_eq!((heard.transport.opened, heard.transport.unopened), (55, 0), "what the bot heard");
        assert_eq!(stage.binary_from_bot(26).len(), 0, "no key package");
        let first = &stage.wire(&[&podium])[0];
        assert_eq!(first.opus, numbered(0));
        stage.no_violations();
    });
}

#[test]
fn a_move_begins_a_new_group() {
    story(async {
        let stage = Stage::set().await;
        let rooms = ["here", "there"].map(|name| stage.guild.channel(name));
        let ears = rooms.each_ref().map(|room| crowd(room, 2));
        stage.try_join(&rooms[0]).await.expect("the bot joins");
        let mut codes = vec![stage.agreed(&rooms[0], &[&ears[0][0], &ears[0][1]]).await];
        stage.speak_numbers().await;
        pass(1_000).await;
        stage.try_join(&rooms[1]).await.expect("the bot moves");
        codes.push(stage.agreed(&rooms[1], &[&ears[1][0], &ears[1][1]]).await);
        pass(1_000).await;
        // A moderator does it this time.
        stage.discord.move_to(stage.bot.user_id, &rooms[0]);
        stage
            .what("the move", |what| matches!(what, CallEventKind::Connection(ConnectionStatus::Connected)))
            .await;
        codes.push(stage.agreed(&rooms[0], &[&ears[0][0], &ears[0][1]]).await);
        pass(1_000).await;
        let stats = stage.part().await;

        let packages = stage.binary_from_bot(26);
        assert_eq!(packages.len(), 3);
        for (index, package) in packages.iter().enumerate() {
            assert!(!packages[..index].contains(package), "a key package serves once");
        }
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), 3, "each group has its own code");
        for ear in ears.iter().flatten() {
            assert_eq!(stage.understood(ear).undecryptable, 0);
        }
        let [here, there] = ears.each_ref().map(|ears| stage.understood(&ears[0]).numbers);
        let all = here.len() + there.len();
        let gap = stage.understood(&ears[0][0]).missing();
        assert!(there.iter().all(|number| gap.contains(number)), "nothing was said twice");
        let unheard = (gap.len() - there.len()) as u64;
        let lost = stats.transport.withheld + stage.discord.relay().counters().unknown_ssrc;
        assert_eq!(unheard, lost, "{all} numbers were heard");
        stage.nothing_plain(&[&rooms[0], &rooms[1]], &stats, (0..1_000).map(numbered));
        stage.no_violations();
    });
}

/// The bot and two others; something happens to the websocket around the joining of a third.
fn a_resume(mishap: impl AsyncFnOnce(&Stage) -> Member) -> Stage {
    let mut told = None;
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, 2);
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &[&stayers[0], &stayers[1]]).await;
        stage.speak_numbers().await;
        pass(1_000).await;
        let newcomer = mishap(&stage).await;
        stage.what("the resume", |what| *what == CallEventKind::Connection(ConnectionStatus::Resumed)).await;
        stage.agreed(&room, &[&stayers[0], &stayers[1], &newcomer]).await;
        pass(2_000).await;
        let stats = stage.part().await;

        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        stage.heard_everything(&stayers, &stats);
        stage.heard_whole(&newcomer);
        stage.nothing_plain(&[&room], &stats, (0..2_000).map(numbered));
        stage.no_violations();
        told = Some(stage);
    });
    told.expect("the story was told")
}

fn bot_wins_after(stage: &Stage, patience: Duration) {
    let bot = stage.bot.user_id;
    stage.discord.turn_dave(&stage.guild.channel("room"), |settings| {
        settings.winner = Winner::User(bot);
        settings.commit_window = patience;
    });
}

fn cut(stage: &Stage) {
    stage.discord.close_voice(stage.bot.user_id, 4015, "");
}

async fn until(stage: &Stage, condition: impl Fn(&Stage) -> bool) {
    let limit = Duration::from_secs(5);
    stage.discord.until(|_| condition(stage), limit).await.expect("the moment to cut");
}

#[test]
fn a_transition_during_the_loss_of_the_websocket_is_replayed() {
    let stage = a_resume(async |stage| {
        cut(stage);
        stage.guild.channel("room").listener("newcomer")
    });
    assert!(!stage.binary_to_bot(29).is_empty());
}

#[test]
fn a_websocket_may_be_lost_right_after_op_29() {
    a_resume(async |stage| {
        let newcomer = stage.guild.channel("room").listener("newcomer");
        cut(stage);
        newcomer
    });
}

#[test]
fn a_websocket_may_be_lost_between_op_23_and_op_22() {
    a_resume(async |stage| {
        let room = stage.guild.channel("room");
        stage.discord.turn_dave(&room, |settings| {
            settings.execution = Execution::After(Duration::from_millis(500));
        });
        let before = stage.said(23);
        let newcomer = room.listener("newcomer");
        until(stage, |stage| stage.said(23) > before).await;
        cut(stage);
        newcomer
    });
}

#[test]
fn a_websocket_may_be_lost_between_op_28_and_op_29() {
    let stage = a_resume(async |stage| {
        bot_wins_after(stage, Duration::from_secs(30));
        let before = stage.binary_from_bot(28).len();
        let newcomer = stage.guild.channel("room").listener("newcomer");
        until(stage, |stage| stage.binary_from_bot(28).len() > before).await;
        cut(stage);
        newcomer
    });
    assert_eq!(stage.races_won(), 1);
}

#[test]
fn a_commit_that_was_lost_with_the_websocket_is_sent_again() {
    let stage = a_resume(async |stage| {
        bot_wins_after(stage, Duration::from_secs(30));
        let newcomer = stage.guild.channel("room").listener("newcomer");
        cut(stage);
        newcomer
    });
    assert_eq!(stage.races_won(), 1);
}

#[test]
fn a_plea_to_be_added_anew_that_was_lost_with_the_websocket_is_sent_again() {
    let stage = a_resume(async |stage| {
        let room = stage.guild.channel("room");
        stage.discord.dave_fault(&room, Fault::CorruptCommit { to: stage.bot.user_id });
        let newcomer = room.listener("newcomer");
        cut(stage);
        newcomer
    });
    assert!(stage.said(31) >= 1);
}
