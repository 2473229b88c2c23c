//! Encrypted calls: what a delivery service should never do, what others should never send, and 4017.

use std::time::Duration;

use actix_voice::{
    actors::{Config, JoinError},
    call::EndReason,
    gateway::close::CloseCode,
};
use actix_voice_loopback::{
    Event, Side,
    dave::{Fault, Winner},
};

use crate::support::{
    bot::Stage,
    dave::{crowd, forged, numbered, pass},
    story,
};

/// A fault befalls the bot in mid-speech among three members. A newcomer comes and goes after it, and the bot's
/// commits for that have to be right.
fn a_fault(faults: impl FnOnce(u64) -> Vec<Fault>) -> Stage {
    let mut told = None;
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, 2);
        let everyone: Vec<_> = stayers.iter().collect();
        stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &everyone).await;
        let bot = stage.bot.user_id;
        stage.discord.turn_dave(&room, |settings| settings.winner = Winner::User(bot));
        stage.speak_numbers().await;
        pass(500).await;
        for fault in faults(bot) {
            stage.discord.dave_fault(&room, fault);
        }
        pass(500).await;
        let newcomer = room.listener("newcomer");
        let with_newcomer: Vec<_> = stayers.iter().chain([&newcomer]).collect();
        stage.agreed(&room, &with_newcomer).await;
        pass(1_500).await;
        newcomer.leave();
        stage.agreed(&room, &everyone).await;
        pass(500).await;
        let stats = stage.part().await;

        stage.heard_everything(&stayers, &stats);
        stage.heard_whole(&newcomer);
        stage.nothing_plain(&[&room], &stats, (0..1_000).map(numbered));
        stage.no_violations();
        told = Some(stage);
    });
    told.expect("the story was told")
}

fn is_ignored(stage: &Stage) {
    assert_eq!(stage.said(31), 0);
    assert_eq!(stage.races_won(), 2, "the newcomer's coming and going");
}

#[test]
fn an_add_for_an_unknown_user_is_ignored() {
    is_ignored(&a_fault(|bot| vec![Fault::UnknownUser { to: bot, stranger: 99 }]));
}

#[test]
fn a_revoked_add_for_an_unknown_user_is_ignored() {
    let stage =
        a_fault(|bot| vec![Fault::UnknownUser { to: bot, stranger: 99 }, Fault::RevokeStrays { to: bot }]);
    is_ignored(&stage);
}

#[test]
fn an_add_of_the_bot_itself_is_ignored() {
    is_ignored(&a_fault(|bot| vec![Fault::OwnAdd { to: bot }]));
}

#[test]
fn a_remove_of_the_bot_itself_is_ignored() {
    is_ignored(&a_fault(|bot| vec![Fault::OwnRemove { to: bot }]));
}

#[test]
fn a_proposal_of_another_epoch_is_ignored() {
    is_ignored(&a_fault(|bot| vec![Fault::WrongEpoch { to: bot }]));
}

#[test]
fn proposals_that_come_twice_are_ignored() {
    is_ignored(&a_fault(|bot| vec![Fault::RepeatProposals { to: bot }]));
}

#[test]
fn an_invalid_welcome_is_recovered_from() {
    a_bad_beginning(|bot| Fault::CorruptWelcome { to: bot });
}

#[test]
fn a_wrong_external_sender_is_recovered_from() {
    a_bad_beginning(|bot| Fault::WrongExternalSender { to: bot });
}

fn a_bad_beginning(fault: impl Fn(u64) -> Fault) {
    for others in [1, 2, 24] {
        a_bad_beginning_among(others, &fault);
    }
}

fn a_bad_beginning_among(others: usize, fault: impl Fn(u64) -> Fault) {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let stayers = crowd(&room, others);
        pass(1_000).await;
        stage.discord.dave_fault(&room, fault(stage.bot.user_id));
        stage.try_join(&room).await.expect("the bot joins");
        stage.speak_numbers().await;
        stage.agreed(&room, &stayers.iter().collect::<Vec<_>>()).await;
        pass(1_000).await;
        let stats = stage.part().await;
        stage.heard_everything(&stayers, &stats);
        assert_eq!(stage.said(31), 1);
        stage.nothing_plain(&[&room], &stats, (0..1_000).map(numbered));
        stage.no_violations();
    });
}

#[test]
fn the_bot_hears_the_others() {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let mouths = crowd(&room, 3);
        let call = stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &[&mouths[0], &mouths[1], &mouths[2]]).await;
        pass(3_000).await;
        let speech = || (0..100).map(numbered);
        tokio::join!(mouths[0].speak(speech()), mouths[1].speak(speech()), mouths[2].speak(speech()));
        pass(100).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        assert_eq!((heard.opened, heard.unopened, heard.unmapped), (315, 0, 0));
        stage.part().await;
        stage.no_violations();
    });
}

#[test]
fn a_bot_that_understands_nobody_any_more_joins_the_group_anew() {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let (mouth, garbler) = (room.listener("mouth"), room.listener("garbler"));
        let call = stage.try_join(&room).await.expect("the bot joins");
        let before = stage.agreed(&room, &[&mouth, &garbler]).await;
        stage.speak_numbers().await;
        pass(3_000).await;
        stage.discord.relay().encrypt_with(garbler.ssrc, Box::new(|_| Some(forged().to_vec())));
        garbler.announce(1);
        for frame in 0..36 {
            garbler.say(numbered(frame));
            pass(20).await;
        }
        assert_eq!(stage.said(31), 0, "36 in a row are borne");
        garbler.say(numbered(36));
        stage.discord.until(|_| stage.said(31) == 1, Duration::from_secs(1)).await.expect("op 31");
        let after = stage.agreed(&room, &[&mouth, &garbler]).await;
        assert_ne!(before, after);
        pass(3_000).await;
        mouth.speak((0..50).map(numbered)).await;
        pass(100).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        assert_eq!((heard.opened, heard.unopened), (55, 37));
        // For the next ten seconds even as many again are no reason to do it once more.
        for frame in 0..80 {
            garbler.say(numbered(frame));
            pass(20).await;
        }
        assert_eq!(stage.said(31), 1);
        assert_eq!(stage.binary_from_bot(26).len(), 2);
        let stats = stage.part().await;
        stage.heard_everything(&[mouth], &stats);
        stage.nothing_plain(&[&room], &stats, (0..2_000).map(numbered));
    });
}

#[test]
fn an_outsider_that_joins_nobodys_group_is_not_heard() {
    story(async {
        let stage = Stage::set().await;
        let room = stage.guild.channel("room");
        let mouth = room.listener("mouth");
        let call = stage.try_join(&room).await.expect("the bot joins");
        stage.agreed(&room, &[&mouth]).await;
        pass(12_000).await;
        // Plain Opus from a member of the call whom the server helps to cheat.
        stage.discord.relay().encrypt_with(mouth.ssrc, Box::new(|opus| Some(opus.to_vec())));
        mouth.speak((0..30).map(numbered)).await;
        pass(100).await;
        let heard = call.stats().await.expect("the call goes on").transport;
        assert_eq!((heard.opened, heard.unopened), (5, 30), "only clear silence passes");
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
        let stage = Stage::set().await.with_bot("old", config).await;
        let room = stage.guild.channel("room");
        let there: Vec<u64> = crowd(&room, others).iter().map(|member| member.user_id).collect();
        let before = tokio::time::Instant::now();
        let refused = stage.try_join(&room).await.expect_err("Discord refuses");
        assert!(before.elapsed() < Duration::from_secs(1), "it took {:?}", before.elapsed());
        assert_eq!(refused, JoinError::Ended(EndReason::Refused(CloseCode(4017))));
        let text = refused.to_string();
        assert!(text.contains("4017") && text.contains("end-to-end encryption required"), "{text}");
        assert!(text.contains("max_dave_protocol_version"), "{text}");
        pass(120_000).await;
        assert_eq!(identifies(&stage), 1);
        assert_eq!(stage.discord.members_of(&room), there, "it left the channel");
    });
}

/// How often the bot asked for a voice session.
fn identifies(stage: &Stage) -> usize {
    let user = stage.bot.user_id.to_string();
    let is_identify = |event: Event| matches!(event, Event::Received { op: 0, d } if d["user_id"] == *user);
    let voice = stage.discord.log().into_iter().filter(|entry| entry.side == Side::Voice);
    voice.filter(|entry| is_identify(entry.event.clone())).count()
}
