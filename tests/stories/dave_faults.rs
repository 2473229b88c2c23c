//! Encrypted calls: what a delivery service should never do, what others should never send, and 4017.

use std::time::Duration;

use actix_voice::{
    actors::{Config, JoinError},
    call::EndReason,
    gateway::close::CloseCode,
    hearing::Preset,
};
use actix_voice_loopback::{
    Event, Side,
    dave::{Fault, Winner},
};

use crate::support::{
    bot::BotOnDiscord,
    dave::{add_listeners, forged_frame, numbered_packet, wait_millis},
    recording::SILENCE_FRAMES,
    story,
};

/// A fault befalls the bot in mid-speech among three members. A newcomer comes and goes after it, and the bot's
/// commits for that have to be right.
fn call_with_faults(faults: impl FnOnce(u64) -> Vec<Fault>) -> BotOnDiscord {
    let mut finished = None;
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, 2);
        let everyone: Vec<_> = stayers.iter().collect();
        bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &everyone).await;
        let bot_id = bot.account.user_id;
        bot.discord.turn_dave(&room, |settings| settings.winner = Winner::User(bot_id));
        bot.speak_numbers().await;
        wait_millis(500).await;
        for fault in faults(bot_id) {
            bot.discord.dave_fault(&room, fault);
        }
        wait_millis(500).await;
        let newcomer = room.listener("newcomer");
        let with_newcomer: Vec<_> = stayers.iter().chain([&newcomer]).collect();
        bot.until_one_group(&room, &with_newcomer).await;
        wait_millis(1_500).await;
        newcomer.leave();
        bot.until_one_group(&room, &everyone).await;
        wait_millis(500).await;
        let stats = bot.disconnect_and_drain().await;

        bot.assert_heard_by(&stayers, &stats);
        bot.assert_no_holes(&newcomer);
        bot.assert_encrypted(&[&room], &stats, (0..1_000).map(numbered_packet));
        bot.assert_no_violations();
        finished = Some(bot);
    });
    finished.expect("the story was told")
}

fn assert_ignored(bot: &BotOnDiscord) {
    assert_eq!(bot.texts_sent(31), 0);
    assert_eq!(bot.commits_chosen(), 2, "the newcomer's coming and going");
}

#[test]
fn an_add_for_an_unknown_user_is_ignored() {
    assert_ignored(&call_with_faults(|bot_id| vec![Fault::UnknownUser { to: bot_id, stranger: 99 }]));
}

#[test]
fn a_revoked_add_for_an_unknown_user_is_ignored() {
    let bot = call_with_faults(|bot_id| {
        vec![Fault::UnknownUser { to: bot_id, stranger: 99 }, Fault::RevokeStrays { to: bot_id }]
    });
    assert_ignored(&bot);
}

#[test]
fn an_add_of_the_bot_itself_is_ignored() {
    assert_ignored(&call_with_faults(|bot_id| vec![Fault::OwnAdd { to: bot_id }]));
}

#[test]
fn a_remove_of_the_bot_itself_is_ignored() {
    assert_ignored(&call_with_faults(|bot_id| vec![Fault::OwnRemove { to: bot_id }]));
}

#[test]
fn a_proposal_of_another_epoch_is_ignored() {
    assert_ignored(&call_with_faults(|bot_id| vec![Fault::WrongEpoch { to: bot_id }]));
}

#[test]
fn proposals_that_come_twice_are_ignored() {
    assert_ignored(&call_with_faults(|bot_id| vec![Fault::RepeatProposals { to: bot_id }]));
}

#[test]
fn an_invalid_welcome_is_recovered_from() {
    recovers_from(|bot_id| Fault::CorruptWelcome { to: bot_id });
}

#[test]
fn a_wrong_external_sender_is_recovered_from() {
    recovers_from(|bot_id| Fault::WrongExternalSender { to: bot_id });
}

fn recovers_from(fault: impl Fn(u64) -> Fault) {
    for others in [1, 2, 24] {
        recovers_among(others, &fault);
    }
}

fn recovers_among(others: usize, fault: impl Fn(u64) -> Fault) {
    story(async {
        let bot = BotOnDiscord::start().await;
        let room = bot.guild.channel("room");
        let stayers = add_listeners(&room, others);
        wait_millis(1_000).await;
        bot.discord.dave_fault(&room, fault(bot.account.user_id));
        bot.request_join(&room).await.expect("the bot joins");
        bot.speak_numbers().await;
        bot.until_one_group(&room, &stayers.iter().collect::<Vec<_>>()).await;
        wait_millis(1_000).await;
        let stats = bot.disconnect_and_drain().await;
        bot.assert_heard_by(&stayers, &stats);
        assert_eq!(bot.texts_sent(31), 1);
        bot.assert_encrypted(&[&room], &stats, (0..1_000).map(numbered_packet));
        bot.assert_no_violations();
    });
}

#[test]
fn the_bot_hears_the_others() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Agent).await;
        let room = bot.guild.channel("room");
        let talkers = add_listeners(&room, 3);
        let call = bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&talkers[0], &talkers[1], &talkers[2]]).await;
        wait_millis(3_000).await;
        let speech = || (0..100).map(numbered_packet);
        tokio::join!(talkers[0].speak(speech()), talkers[1].speak(speech()), talkers[2].speak(speech()));
        wait_millis(100).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        assert_eq!((heard.opened, heard.unopened, heard.unmapped), (3 * (100 + SILENCE_FRAMES as u64), 0, 0));
        bot.disconnect_and_drain().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_bot_that_understands_nobody_any_more_joins_the_group_anew() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Agent).await;
        let room = bot.guild.channel("room");
        let (talker, garbler) = (room.listener("mouth"), room.listener("garbler"));
        let call = bot.request_join(&room).await.expect("the bot joins");
        let before = bot.until_one_group(&room, &[&talker, &garbler]).await;
        bot.speak_numbers().await;
        wait_millis(3_000).await;
        bot.discord.relay().encrypt_with(garbler.ssrc, Box::new(|_| Some(forged_frame().to_vec())));
        garbler.announce(1);
        for frame in 0..36 {
            garbler.say(numbered_packet(frame));
            wait_millis(20).await;
        }
        assert_eq!(bot.texts_sent(31), 0, "36 in a row are borne");
        garbler.say(numbered_packet(36));
        bot.discord.until(|_| bot.texts_sent(31) == 1, Duration::from_secs(1)).await.expect("op 31");
        let after = bot.until_one_group(&room, &[&talker, &garbler]).await;
        assert_ne!(before, after);
        wait_millis(3_000).await;
        talker.speak((0..50).map(numbered_packet)).await;
        wait_millis(100).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        assert_eq!((heard.opened, heard.unopened), (50 + SILENCE_FRAMES as u64, 37));
        // For the next ten seconds even as many again are no reason to do it once more.
        for frame in 0..80 {
            garbler.say(numbered_packet(frame));
            wait_millis(20).await;
        }
        assert_eq!(bot.texts_sent(31), 1);
        assert_eq!(bot.binary_from_bot(26).len(), 2);
        let stats = bot.disconnect_and_drain().await;
        bot.assert_heard_by(&[talker], &stats);
        bot.assert_encrypted(&[&room], &stats, (0..2_000).map(numbered_packet));
    });
}

#[test]
fn an_outsider_that_joins_nobodys_group_is_not_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let _heard = bot.listen(Preset::Agent).await;
        let room = bot.guild.channel("room");
        let talker = room.listener("mouth");
        let call = bot.request_join(&room).await.expect("the bot joins");
        bot.until_one_group(&room, &[&talker]).await;
        wait_millis(12_000).await;
        // Plain Opus from a member of the call whom the server helps to cheat.
        bot.discord.relay().encrypt_with(talker.ssrc, Box::new(|opus| Some(opus.to_vec())));
        talker.speak((0..30).map(numbered_packet)).await;
        wait_millis(100).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        assert_eq!((heard.opened, heard.unopened), (SILENCE_FRAMES as u64, 30), "only clear silence passes");
    });
}

#[test]
fn a_bot_without_dave_is_told_so_at_once_and_does_not_try_again() {
    for others in [0, 1, 2, 24] {
        refused_by(others);
    }
}

fn refused_by(others: usize) {
    story(async {
        let mut config = Config::local();
        config.max_dave_protocol_version = 0;
        let bot = BotOnDiscord::start().await.with_bot("old", config).await;
        let room = bot.guild.channel("room");
        let there: Vec<u64> = add_listeners(&room, others).iter().map(|member| member.user_id).collect();
        let before = tokio::time::Instant::now();
        let refused = bot.request_join(&room).await.expect_err("Discord refuses");
        assert!(before.elapsed() < Duration::from_secs(1), "it took {:?}", before.elapsed());
        assert_eq!(refused, JoinError::Ended(EndReason::Refused(CloseCode(4017))));
        let text = refused.to_string();
        assert!(text.contains("4017") && text.contains("end-to-end encryption required"), "{text}");
        assert!(text.contains("max_dave_protocol_version"), "{text}");
        wait_millis(120_000).await;
        assert_eq!(identifies(&bot), 1);
        assert_eq!(bot.discord.members_of(&room), there, "it left the channel");
    });
}

/// How often the bot asked for a voice session.
fn identifies(bot: &BotOnDiscord) -> usize {
    let user = bot.account.user_id.to_string();
    let is_identify = |event: Event| matches!(event, Event::Received { op: 0, d } if d["user_id"] == *user);
    let voice = bot.discord.log().into_iter().filter(|entry| entry.side == Side::Voice);
    voice.filter(|entry| is_identify(entry.event.clone())).count()
}
