//! Leaving: politely, in the right order, and for good.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use actix_voice::{
    actors::{
        CallEventKind, Disconnect, Logout, MainGateway, Plug, Shutdown, Speak, SpeakError, TrackHandle,
        UpdateVoiceState,
    },
    audio::frame::SILENCE,
    call::EndReason,
    speaker::TrackEnd,
};
use actix_voice_loopback::{Closer, Discord, Side};
use tokio::time::Instant;

use crate::support::{
    audio::path,
    bot::BotOnDiscord,
    log::{closes, op, received},
    recording::SILENCE_FRAMES,
    story,
};

/// A main gateway of the bot's own, that notes what it is asked to send and keeps farewells to itself.
struct OwnGateway {
    through: Addr<MainGateway>,
    asked: Rc<RefCell<Vec<(Instant, UpdateVoiceState)>>>,
}

impl Actor for OwnGateway {
    type Context = Context<Self>;
}

impl Handler<UpdateVoiceState> for OwnGateway {
    type Result = ();

    fn handle(&mut self, update: UpdateVoiceState, _: &mut Context<Self>) {
        self.asked.borrow_mut().push((Instant::now(), update));
        if update.channel.is_some() {
            self.through.do_send(update);
        }
    }
}

#[test]
fn leaving_is_silence_then_speaking_0_then_op_4_then_1000() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let asked = Rc::default();
        let own = OwnGateway { through: bot.gateway.clone(), asked: Rc::clone(&asked) }.start();
        bot.manager.send(Plug::new(bot.user_id(), own.recipient())).await.unwrap();
        let track = bot.join_and_play("demo.opus").await;
        bot.disconnect().await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Stopped);
        bot.next_event("the end", |event| *event == CallEventKind::Ended(EndReason::Left)).await;
        let closed = |discord: &Discord| !closes(discord).is_empty();
        bot.discord.until(closed, Duration::from_secs(1)).await.unwrap();

        let heard = bot.heard();
        let last = heard.audio.last().expect("packets were heard");
        let (speech, silence) = heard.audio.split_at(heard.audio.len() - SILENCE_FRAMES);
        assert!(silence.iter().all(|packet| packet.opus[..] == SILENCE));
        assert!(speech.iter().all(|packet| packet.opus[..] != SILENCE));
        let (silent, speaking) = received(&bot.discord, Side::Voice, op::SPEAKING).pop().unwrap();
        assert_eq!(speaking["speaking"], 0);
        let asked = asked.borrow();
        let [(_, joined), (left_at, left)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!((joined.channel.map(|channel| channel.0), left.channel), (Some(bot.channel.id), None));
        let closes = closes(&bot.discord);
        let [(closed, Closer::Client, Some(1000))] = &closes[..] else { panic!("{closes:?}") };
        assert!(last.arrival <= silent.at && last.arrival <= *left_at);
        assert!(silent.at <= closed.at && *left_at <= closed.at);
        bot.assert_no_violations();
    });
}

#[test]
fn discord_is_told_that_the_bot_left_after_it_fell_silent() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join_and_play("demo.opus").await;
        bot.disconnect().await;
        bot.until_left(Duration::from_secs(1)).await;
        let (silent, _) = received(&bot.discord, Side::Voice, op::SPEAKING).pop().unwrap();
        let (left, update) = received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE).pop().unwrap();
        assert!(update["channel_id"].is_null() && silent.at <= left.at);
        assert_eq!(closes(&bot.discord).len(), 1);
        bot.assert_no_violations();
    });
}

#[test]
fn leaving_during_a_cut_ends_the_call_all_the_same() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join_and_play("demo.opus").await;
        bot.discord.reset_voice(bot.account.user_id);
        let asked = Instant::now();
        bot.disconnect().await;
        bot.next_event("the end", |event| *event == CallEventKind::Ended(EndReason::Left)).await;
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        bot.until_left(Duration::from_secs(1)).await;
    });
}

#[test]
fn leaving_while_joining_answers_the_join() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.null_endpoint_first();
        let leaving = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bot.disconnect().await;
        };
        let (joined, ()) = tokio::join!(bot.request_join(&bot.channel), leaving);
        assert_eq!(joined.unwrap_err().to_string(), EndReason::Left.to_string());
        bot.until_left(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_bot_that_left_can_join_again_at_once() {
    story(async {
        let bot = BotOnDiscord::start().await;
        for _ in 0..5 {
            bot.join().await;
            bot.disconnect().await;
        }
        bot.join().await;
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_join_right_after_leaving_is_for_the_next_call() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let old = bot.join().await;
        let track = bot.play("demo.opus").await;
        bot.next_event("the track starts", |event| *event == CallEventKind::TrackStarted(track)).await;
        bot.manager.do_send(Disconnect { guild: bot.guild_id() });
        let new = bot.join().await;
        let parted = bot
            .events
            .call_events()
            .into_iter()
            .position(|event| event == CallEventKind::Ended(EndReason::Left));
        let told = bot.events.call_events().len();
        assert!(
            parted.is_some_and(|parted| parted < told - 1),
            "the end of the old call comes before the new"
        );
        assert_eq!(old.speak(Speak::file(bot.guild_id(), path("music.opus"))).await, not_joined(&bot));
        let track = new.play(path("music.opus")).await.expect("it plays");
        assert_eq!(new.ended(&track).await, Some(TrackEnd::Finished));
        assert_eq!(track.ended().await, Some(TrackEnd::Finished), "also when asked late");
        assert_eq!(new.ended(actix_voice::speaker::TrackId(u64::MAX)).await, None);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

fn not_joined(bot: &BotOnDiscord) -> Result<TrackHandle, SpeakError> {
    Err(SpeakError::NotJoined(bot.guild_id()))
}

#[test]
fn a_manager_that_shuts_down_leaves_its_calls() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join_and_play("demo.opus").await;
        let asked = Instant::now();
        bot.manager.send(Shutdown).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert!(
            bot.events.call_events().contains(&CallEventKind::Ended(EndReason::Stopped)),
            "all is over when it answers"
        );
        bot.until_left(Duration::from_secs(3)).await;
        bot.assert_no_violations();
    });
}

#[test]
fn a_logout_ends_the_session_of_the_bot() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        bot.gateway.send(Logout).await.unwrap();
        bot.until_left(Duration::from_secs(3)).await;
        bot.next_event("the call ends", |event| matches!(event, CallEventKind::Ended(_))).await;
    });
}
