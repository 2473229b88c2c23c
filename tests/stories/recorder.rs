//! A recorder writes down what members say: whole, in its place, under the right name, and nothing of who refuses.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use actix_voice::{
    actors::{
        GetSession, Mark, PauseRecording, RecordError, Recorder, RecordingBegins, Refuse, ResumeRecording,
        StopRecording,
    },
    hearing::Selection,
    id::{ChannelId, UserId},
    recording::{RecordingEnd, Session, Settings},
};
use actix_voice_loopback::{
    Discord, Member,
    judge::{Judgement, PlayedRecording},
    netem::Trace,
    speech::{ClientVoice, Speech, synthesise},
};

use crate::support::{bot::BotOnDiscord, story};

/// A bot in a call that is recorded into a folder of its own.
struct Studio {
    bot: BotOnDiscord,
    recorder: Addr<Recorder>,
    folder: PathBuf,
}

impl Studio {
    async fn open(name: &str) -> Self {
        Self::with(name, |settings| settings, |recorder| recorder).await
    }

    async fn with(
        name: &str,
        adjust: impl FnOnce(Settings) -> Settings,
        prepare: impl FnOnce(Recorder) -> Recorder,
    ) -> Self {
        let bot = BotOnDiscord::start().await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recorder-{name}"));
        // What a test before has left.
        let _ = fs::remove_dir_all(&folder);
        let settings = adjust(Settings::new(bot.guild_id(), ChannelId(bot.channel.id)));
        let recorder = prepare(Recorder::new(bot.manager.clone(), settings, &folder).unwrap()).start();
        bot.join().await;
        Self { bot, recorder, folder }
    }

    /// New members, once the bot has their keys.
    async fn members<const N: usize>(&self, names: [&str; N]) -> [Member; N] {
        let members = names.map(|name| self.bot.channel.listener(name));
        let keyed = |discord: &Discord| discord.dave_members(&self.bot.channel).len() >= N + 2;
        self.bot.discord.until(keyed, Duration::from_secs(30)).await.unwrap();
        members
    }

    async fn stop(&self) -> Session {
        // What was lost last is waited for.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        self.recorder.send(StopRecording).await.unwrap()
    }

    fn played(&self, user: u64) -> PlayedRecording {
        PlayedRecording::ogg(&fs::read(self.folder.join(format!("{user}.ogg"))).unwrap()).unwrap()
    }
}

fn speech(seed: u64, seconds: u64) -> Speech {
    ClientVoice::discord().speak(&synthesise(seed, Duration::from_secs(seconds))).unwrap()
}

/// How what was said stands in a track.
fn judged(said: &Speech, played: &PlayedRecording) -> Judgement {
    Judgement::of(&said.decoded().unwrap(), &played.audio, Duration::ZERO)
}

#[test]
fn two_who_speak_at_once_are_recorded_whole_and_side_by_side() {
    story(async {
        let studio = Studio::open("two").await;
        let [anna, ben] = studio.members(["anna", "ben"]).await;
        let said = [speech(1, 10), speech(2, 10)];
        tokio::join!(anna.say_all(&said[0]), ben.say_all(&said[1]));
        let session = studio.stop().await;
        assert_eq!(session.end, Some(RecordingEnd::Stopped));
        assert!(!session.privacy_codes.is_empty());
        let mut late = Vec::new();
        for (member, said) in [&anna, &ben].into_iter().zip(&said) {
            let judgement = judged(said, &studio.played(member.user_id));
            assert!(judgement.score.is_faithful(), "{judgement}");
            late.push(judgement.late_ms);
            let speaker =
                session.speakers.iter().find(|speaker| speaker.user == UserId(member.user_id)).unwrap();
            assert_eq!((speaker.packets, speaker.lost), (said.packets.len() as u64, 0));
        }
        assert!((late[0] - late[1]).abs() <= 1.0, "{late:?} ms");
        studio.bot.assert_no_violations();
    });
}

#[test]
fn under_60_ms_of_jitter_speakers_stay_side_by_side() {
    story(async {
        let studio = Studio::open("jitter").await;
        let [anna, ben] = studio.members(["anna", "ben"]).await;
        let mut random = fastrand::Rng::with_seed(5);
        for member in [&anna, &ben] {
            let delays = (0..5_000).map(|_| Duration::from_secs_f64(0.06 * random.f64())).collect::<Vec<_>>();
            member.trace(Trace::default().delayed(delays));
        }
        let said = [speech(1, 10), speech(2, 10)];
        tokio::join!(anna.say_all(&said[0]), ben.say_all(&said[1]));
        let session = studio.stop().await;
        let judged = [0, 1].map(|n| judged(&said[n], &studio.played([&anna, &ben][n].user_id)));
        assert!(judged.iter().all(|judgement| judgement.score.is_faithful()), "{} {}", judged[0], judged[1]);
        assert!((judged[0].late_ms - judged[1].late_ms).abs() <= 20.0, "{} {}", judged[0], judged[1]);
        assert!(session.speakers.iter().all(|speaker| speaker.lost == 0));
    });
}

#[test]
fn losses_are_counted_and_left_to_the_player() {
    story(async {
        let studio = Studio::open("losses").await;
        let [anna] = studio.members(["anna"]).await;
        anna.trace(Trace::lost([30, 31, 32, 60, 61, 100]));
        let said =
            ClientVoice::discord().without_dtx().speak(&synthesise(3, Duration::from_secs(6))).unwrap();
        anna.say_all(&said).await;
        let session = studio.stop().await;
        let [speaker] = &session.speakers[..] else { panic!("{:?}", session.speakers) };
        assert_eq!((speaker.packets, speaker.lost), (said.packets.len() as u64 - 6, 6));
        let played = studio.played(anna.user_id);
        assert_eq!(played.missing, Duration::from_millis(6 * 20));
        let judgement = judged(&said, &played);
        assert!(judgement.lost_frames <= 8, "{judgement}");
    });
}

#[test]
fn another_ssrc_in_mid_call_is_the_same_speaker() {
    story(async {
        let studio = Studio::open("ssrc").await;
        let [mut anna] = studio.members(["anna"]).await;
        let said = [speech(4, 3), speech(5, 3)];
        anna.say_all(&said[0]).await;
        anna.change_ssrc();
        tokio::time::sleep(Duration::from_secs(2)).await;
        anna.say_all(&said[1]).await;
        let session = studio.stop().await;
        let [speaker] = &session.speakers[..] else { panic!("{:?}", session.speakers) };
        assert_eq!((speaker.user, speaker.streams, speaker.lost), (UserId(anna.user_id), 2, 0));
        let played = studio.played(anna.user_id);
        let [first, second] = said.each_ref().map(|said| judged(said, &played));
        assert!(first.score.is_faithful() && second.score.is_faithful(), "{first}, {second}");
        let apart = second.late_ms - first.late_ms;
        let expected = said[0].packets.last().unwrap().at.as_secs_f64() * 1_000.0 + 2_000.0;
        assert!((apart - expected).abs() < 25.0, "{apart:.1} ms, and should be {expected:.1}");
    });
}

#[test]
fn of_the_refused_there_is_not_a_byte_and_markers_and_pauses_are_kept() {
    story(async {
        let studio = Studio::open("consent").await;
        let [anna, ben] = studio.members(["anna", "ben"]).await;
        let said = speech(6, 3);
        tokio::join!(anna.say_all(&said), ben.say_all(&said));
        studio.recorder.send(Refuse(UserId(ben.user_id))).await.unwrap();
        studio.recorder.send(Mark("topic 2".into())).await.unwrap();
        studio.recorder.send(PauseRecording).await.unwrap();
        tokio::join!(anna.say_all(&said), ben.say_all(&said));
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        studio.recorder.send(ResumeRecording).await.unwrap();
        let session = studio.stop().await;
        let [speaker] = &session.speakers[..] else { panic!("{:?}", session.speakers) };
        assert_eq!((speaker.user, speaker.packets), (UserId(anna.user_id), said.packets.len() as u64));
        assert_eq!(session.paused_packets, said.packets.len() as u64);
        assert!(!studio.folder.join(format!("{}.ogg", ben.user_id)).exists());
        let labels = fs::read_to_string(studio.folder.join("labels.txt")).unwrap();
        assert!(labels.contains("\ttopic 2\n") && !labels.contains(&ben.user_id.to_string()), "{labels}");
        let events = fs::read_to_string(studio.folder.join("events.jsonl")).unwrap();
        for event in ["marker", "paused", "resumed", "consent", "ended"] {
            assert!(events.contains(&format!("\"event\":\"{event}\"")), "{event} in {events}");
        }
    });
}

#[test]
fn only_those_who_are_chosen_are_recorded() {
    story(async {
        let studio =
            Studio::with("chosen", |settings| settings.selection(Selection::only([])), |it| it).await;
        let [anna] = studio.members(["anna"]).await;
        anna.say_all(&speech(7, 2)).await;
        assert_eq!(studio.stop().await.speakers, []);
        let files = fs::read_dir(&studio.folder).unwrap().count();
        assert_eq!(files, 2, "session.json and events.jsonl");
    });
}

/// Takes five seconds to say that it is recorded.
struct Announcer;

impl Actor for Announcer {
    type Context = Context<Self>;
}

impl Handler<RecordingBegins> for Announcer {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: RecordingBegins, _: &mut Context<Self>) -> Self::Result {
        Box::pin(tokio::time::sleep(Duration::from_secs(5)))
    }
}

#[test]
fn what_is_said_before_it_was_announced_is_not_recorded() {
    story(async {
        let announced = |recorder: Recorder| recorder.announced_by(Announcer.start().recipient());
        let studio = Studio::with("announced", |settings| settings, announced).await;
        let [anna] = studio.members(["anna"]).await;
        let (before, after) = (speech(9, 2), speech(10, 2));
        anna.say_all(&before).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        anna.say_all(&after).await;
        let session = studio.stop().await;
        let [speaker] = &session.speakers[..] else { panic!("{:?}", session.speakers) };
        assert_eq!(speaker.packets, after.packets.len() as u64);
    });
}

#[test]
fn the_end_of_the_call_ends_the_recording_which_is_never_written_over() {
    story(async {
        let studio = Studio::open("ended").await;
        let [anna] = studio.members(["anna"]).await;
        anna.say_all(&speech(8, 2)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        studio.bot.disconnect().await;
        let ended = || studio.recorder.send(GetSession);
        while ended().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let json = fs::read(studio.folder.join("session.json")).unwrap();
        let session: Session = serde_json::from_slice(&json).unwrap();
        assert!(matches!(session.end, Some(RecordingEnd::CallEnded { .. })), "{session:?}");
        assert!(studio.played(anna.user_id).complete);
        let settings = Settings::new(studio.bot.guild_id(), ChannelId(1));
        let again = Recorder::new(studio.bot.manager.clone(), settings, &studio.folder);
        assert!(matches!(again, Err(RecordError::Taken(_))));
    });
}

#[test]
fn a_recording_that_is_stopped_twice_and_whose_call_ends_meanwhile_is_whole_and_told_to_both() {
    story(async {
        let studio = Studio::open("twice").await;
        let [anna] = studio.members(["anna"]).await;
        let said = speech(3, 5);
        anna.say_all(&said).await;
        let stop = || studio.recorder.send(StopRecording);
        let leaving = async { studio.bot.disconnect_and_drain().await };
        let (one, other, _) = tokio::join!(stop(), stop(), leaving);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!((one.end.clone(), one.speakers.len()), (Some(RecordingEnd::Stopped), 1));
        assert_eq!(one, other);
        let judgement = judged(&said, &studio.played(anna.user_id));
        assert!(judgement.score.is_faithful(), "{judgement}");
    });
}
