//! Leaving: politely, in the right order, and for good.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use actix_voice::{
    actors::{
        CallEventKind, Disconnect, Logout, MainGateway, Plug, Shutdown, Speak, SpeakError, UpdateVoiceState,
    },
    audio::frame::SILENCE,
    call::EndReason,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Closer, Discord, Side};
use tokio::time::Instant;

use crate::support::{
    audio::path,
    bot::Stage,
    log::{endings, op, received},
    story,
};

async fn playing(stage: &Stage) -> TrackId {
    stage.join().await;
    let track = stage.play("demo.opus").await;
    stage.what("the track starts", |what| matches!(what, CallEventKind::TrackStarted(_))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    track
}

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
        let stage = Stage::set().await;
        let asked = Rc::default();
        let own = OwnGateway { through: stage.gateway.clone(), asked: Rc::clone(&asked) }.start();
        stage.manager.send(Plug::new(stage.user_id(), own.recipient())).await.unwrap();
        let track = playing(&stage).await;
        stage.leave().await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Stopped);
        stage.what("the end", |what| *what == CallEventKind::Ended(EndReason::Left)).await;
        let closed = |discord: &Discord| !endings(discord).is_empty();
        stage.discord.until(closed, Duration::from_secs(1)).await.unwrap();

        let heard = stage.heard();
        let (speech, farewell) = heard.audio.split_at(heard.audio.len() - 5);
        assert!(farewell.iter().all(|packet| packet.opus[..] == SILENCE));
        assert!(speech.iter().all(|packet| packet.opus[..] != SILENCE));
        let (silent, last) = received(&stage.discord, Side::Voice, op::SPEAKING).pop().unwrap();
        assert_eq!(last["speaking"], 0);
        let asked = asked.borrow();
        let [(_, joined), (left_at, left)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!((joined.channel.map(|channel| channel.0), left.channel), (Some(stage.channel.id), None));
        let endings = endings(&stage.discord);
        let [(closed, Closer::Client, Some(1000))] = &endings[..] else { panic!("{endings:?}") };
        assert!(farewell[4].arrival <= silent.at && farewell[4].arrival <= *left_at);
        assert!(silent.at <= closed.at && *left_at <= closed.at);
        stage.no_violations();
    });
}

#[test]
fn discord_is_told_that_the_bot_left_after_it_fell_silent() {
    story(async {
        let stage = Stage::set().await;
        playing(&stage).await;
        stage.leave().await;
        stage.gone(Duration::from_secs(1)).await;
        let (silent, _) = received(&stage.discord, Side::Voice, op::SPEAKING).pop().unwrap();
        let (left, update) = received(&stage.discord, Side::Main, op::UPDATE_VOICE_STATE).pop().unwrap();
        assert!(update["channel_id"].is_null() && silent.at <= left.at);
        assert_eq!(endings(&stage.discord).len(), 1);
        stage.no_violations();
    });
}

#[test]
fn leaving_during_a_cut_ends_the_call_all_the_same() {
    story(async {
        let stage = Stage::set().await;
        playing(&stage).await;
        stage.discord.reset_voice(stage.bot.user_id);
        let asked = Instant::now();
        stage.leave().await;
        stage.what("the end", |what| *what == CallEventKind::Ended(EndReason::Left)).await;
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        stage.gone(Duration::from_secs(1)).await;
    });
}

#[test]
fn leaving_while_joining_answers_the_join() {
    story(async {
        let stage = Stage::set().await;
        stage.discord.null_endpoint_first();
        let leaving = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stage.leave().await;
        };
        let (joined, ()) = tokio::join!(stage.try_join(&stage.channel), leaving);
        assert_eq!(joined.unwrap_err().to_string(), EndReason::Left.to_string());
        stage.gone(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_bot_that_left_can_join_again_at_once() {
    story(async {
        let stage = Stage::set().await;
        for _ in 0..5 {
            stage.join().await;
            stage.leave().await;
        }
        stage.join().await;
        let track = stage.play("music.opus").await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        stage.leave().await;
        stage.no_violations();
    });
}

#[test]
fn a_join_right_after_leaving_is_for_the_next_call() {
    story(async {
        let stage = Stage::set().await;
        let old = stage.join().await;
        let track = stage.play("demo.opus").await;
        stage.what("the track starts", |what| *what == CallEventKind::TrackStarted(track)).await;
        stage.manager.do_send(Disconnect { guild: stage.guild_id() });
        let new = stage.join().await;
        let parted =
            stage.events.all().into_iter().position(|what| what == CallEventKind::Ended(EndReason::Left));
        let told = stage.events.all().len();
        assert!(
            parted.is_some_and(|parted| parted < told - 1),
            "the end of the old call comes before the new"
        );
        assert_eq!(old.speak(Speak::file(stage.guild_id(), path("music.opus"))).await, not_joined(&stage));
        let track = new.play(path("music.opus")).await.expect("it plays");
        assert_eq!(new.ended(track).await, Some(TrackEnd::Finished));
        assert_eq!(new.ended(track).await, Some(TrackEnd::Finished), "also when asked late");
        assert_eq!(new.ended(TrackId(u64::MAX)).await, None);
        stage.leave().await;
        stage.no_violations();
    });
}

fn not_joined(stage: &Stage) -> Result<TrackId, SpeakError> {
    Err(SpeakError::NotJoined(stage.guild_id()))
}

#[test]
fn a_manager_that_shuts_down_leaves_its_calls() {
    story(async {
        let stage = Stage::set().await;
        playing(&stage).await;
        let asked = Instant::now();
        stage.manager.send(Shutdown).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert!(
            stage.events.all().contains(&CallEventKind::Ended(EndReason::Stopped)),
            "all is over when it answers"
        );
        stage.gone(Duration::from_secs(3)).await;
        stage.no_violations();
    });
}

#[test]
fn a_logout_ends_the_session_of_the_bot() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        stage.gateway.send(Logout).await.unwrap();
        stage.gone(Duration::from_secs(3)).await;
        stage.what("the call ends", |what| matches!(what, CallEventKind::Ended(_))).await;
    });
}
