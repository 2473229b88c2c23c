//! Tracks that are paused, sought, repeated and stopped, and what is heard of it.

use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_voice::{
    actors::{CallEventKind, Demand, Speak, TrackError},
    audio::frame::{FRAME, Frame, Pcm},
    source::Tone,
    speaker::{AfterFade, Curve, Ducking, Repeat, TrackEnd},
};
use actix_voice_loopback::{Hearing, recorder::Holes};

use crate::support::{
    audio::{path, reference, similarity},
    bot::BotOnDiscord,
    events::BotEvent,
    log::speaking_flags,
    recording::{SILENCE_FRAMES, loudness, packets_heard, packets_of, with_silence},
    story,
};

const SECOND: Duration = Duration::from_secs(1);

fn samples(heard: &Hearing) -> Vec<f32> {
    heard.decode(Holes::Silent).expect("libopus gives a decoder")
}

#[test]
fn a_track_that_is_paused_for_an_hour_goes_on_with_the_next_packet() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let track = bot.begin(Speak::file(bot.guild_id(), path("demo.opus"))).await;
        tokio::time::sleep(SECOND * 2).await;
        track.pause().await.unwrap();
        let paused = track.state().await.unwrap();
        tokio::time::sleep(SECOND * 3_600).await;
        assert_eq!(track.state().await.unwrap(), paused);
        assert!(paused.paused && paused.position.abs_diff(SECOND * 2) <= FRAME * 2, "{paused:?}");
        track.resume().await.unwrap();
        assert_eq!(track.ended().await, Some(TrackEnd::Finished));
        bot.disconnect().await;
        let silence = packets_heard(&bot.heard()).into_iter();
        let heard: Vec<_> =
            silence.filter(|packet| packet[..] != actix_voice::audio::frame::SILENCE).collect();
        assert_eq!(heard, packets_of("demo.opus"));
        assert_eq!(speaking_flags(&bot), [0, 1, 0, 1, 0], "nobody sees it speak meanwhile");
        let id = track.id();
        let told = bot.events.call_events().into_iter().filter(|event| {
            matches!(
                event,
                CallEventKind::TrackStarted(_)
                    | CallEventKind::TrackPaused(_)
                    | CallEventKind::TrackResumed(_)
                    | CallEventKind::TrackEnded(..)
            )
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                CallEventKind::TrackStarted(id),
                CallEventKind::TrackPaused(id),
                CallEventKind::TrackResumed(id),
                CallEventKind::TrackEnded(id, TrackEnd::Finished)
            ]
        );
        assert_eq!(track.pause().await, Err(TrackError::Over));
        bot.assert_no_violations();
    });
}

#[test]
fn a_file_goes_on_from_the_place_that_was_sought_and_sounds_as_it_does_there() {
    for name in ["music.wav", "music.flac", "music.mp3", "music.m4a", "music.ogg", "music.mkv"] {
        story(async {
            let bot = BotOnDiscord::start().await;
            bot.join().await;
            let track = bot.begin(Speak::file(bot.guild_id(), path(name))).await;
            assert!(track.is_seekable() && track.duration().is_some_and(|length| length > SECOND * 3));
            tokio::time::sleep(SECOND).await;
            let before = bot.heard().packets;
            let at = track.seek(Duration::from_millis(3_210)).await.unwrap();
            assert!(at.abs_diff(Duration::from_millis(3_210)) <= FRAME, "{name}: {at:?}");
            assert_eq!(track.position().await.unwrap(), at);
            tokio::time::sleep(SECOND).await;
            track.seek(Duration::from_millis(500)).await.unwrap();
            tokio::time::sleep(SECOND).await;
            track.stop();
            assert_eq!(track.ended().await, Some(TrackEnd::Stopped));
            bot.disconnect().await;

            let (heard, whole) = (samples(&bot.heard()), reference("music.wav"));
            // The encoder takes 312 samples; around a seek a frame or two belong to neither place.
            let place = |time: Duration| (time.as_secs_f64() * 48_000.0).round() as usize * 2;
            for (frame, from) in
                [(before as usize + 3, at), (before as usize + 53, Duration::from_millis(500))]
            {
                let played = &heard[frame * 1_920..(frame + 30) * 1_920];
                let best = (0..6).map(|late| {
                    // Which frame the seek fell on is known to a few of them.
                    let from = place(from + FRAME * late);
                    (0..960 * 2)
                        .step_by(16)
                        .map(|shift| {
                            let start = (from + 1_920).saturating_sub(shift);
                            let like = similarity(&whole[start..start + 30 * 1_920], played, 0);
                            like[0].min(like[1])
                        })
                        .fold(0.0, f64::max)
                });
                let best = best.fold(0.0, f64::max);
                assert!(best > 0.8, "{name} from {from:?}: {best}");
            }
            bot.assert_no_violations();
        });
    }
}

#[test]
fn stopping_and_another_volume_are_heard_within_forty_milliseconds_although_the_source_works_ahead() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let track = bot.begin(Speak::source(bot.guild_id(), Tone::new(500.0))).await;
        tokio::time::sleep(SECOND).await;
        let before = bot.heard().packets as usize;
        track.set_volume_db(-20.0).await.unwrap();
        tokio::time::sleep(SECOND).await;
        let heard = bot.heard();
        let from = (before + 3) * 20;
        assert!((loudness(&heard, 500, from..from + 500) - 0.025).abs() < 0.003);
        let before = heard.packets;
        track.stop();
        assert_eq!(track.ended().await, Some(TrackEnd::Stopped));
        bot.disconnect().await;
        assert!(bot.heard().packets - before <= 2 + SILENCE_FRAMES as u64);
        bot.assert_no_violations();
    });
}

#[test]
fn a_jingle_turns_the_music_down_while_it_is_heard_and_the_music_fades_out() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let music = bot.begin(Speak::source(bot.guild_id(), Tone::new(500.0)).fade_in(SECOND)).await;
        tokio::time::sleep(SECOND * 2).await;
        let jingle = Tone::new(1_250.0).lasting(SECOND * 2);
        let jingle = Speak::source(bot.guild_id(), jingle).ducking(Ducking::by_db(12.0));
        assert_eq!(bot.begin(jingle).await.ended().await, Some(TrackEnd::Finished));
        tokio::time::sleep(SECOND * 2).await;
        music.fade_out(SECOND, Curve::Linear, AfterFade::Stop).await.unwrap();
        assert_eq!(music.ended().await, Some(TrackEnd::Stopped));
        bot.disconnect().await;
        let heard = bot.heard();
        let at = |hz, from: usize| loudness(&heard, hz, from..from + 200);
        for (from, music, jingle) in [
            (400, 0.125, 0.0),
            (1_500, 0.25, 0.0),
            (2_500, 0.063, 0.25),
            (3_600, 0.063, 0.25),
            (5_000, 0.25, 0.0),
            (6_400, 0.125, 0.0),
        ] {
            let (m, j) = (at(500, from), at(1_250, from));
            assert!((m - music).abs() < 0.02 && (j - jingle).abs() < 0.02, "at {from} ms: {m} and {j}");
        }
        bot.assert_no_violations();
    });
}

#[test]
fn a_file_that_is_repeated_passes_packet_by_packet_each_time() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let track = Speak::file(bot.guild_id(), path("music.opus")).repeat(Repeat::Times(2));
        let track = bot.begin(track).await;
        assert_eq!(track.ended().await, Some(TrackEnd::Finished));
        let stats = bot.disconnect().await;
        assert_eq!(packets_heard(&bot.heard()), with_silence(&vec![packets_of("music.opus"); 3].concat()));
        assert_eq!(stats.speaker.underruns, 0);
        let loops = bot.events.call_events().into_iter();
        assert_eq!(loops.filter(|event| matches!(event, CallEventKind::TrackLooped(..))).count(), 2);
        bot.assert_no_violations();
    });
}

/// Supplies a tone for ever, and says nothing to a seek.
struct Deaf;

impl Actor for Deaf {
    type Context = Context<Self>;
}

impl Handler<Demand> for Deaf {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        if demand.seek.is_none() {
            (0..demand.frames).for_each(|_| demand.supplier.supply(Frame::Pcm(Pcm::new([0.1; 1_920]))));
        }
    }
}

#[test]
fn a_source_that_never_answers_a_seek_is_told_of_and_one_that_cannot_seek_plays_on() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let tone = bot.begin(Speak::source(bot.guild_id(), Tone::new(500.0))).await;
        assert!(matches!(tone.seek(SECOND).await, Err(TrackError::NotSeekable(_))));
        let stuck = bot.begin(Speak::start(bot.guild_id(), Deaf).seekable()).await;
        let (first, second) = tokio::join!(stuck.seek(SECOND), stuck.seek(SECOND * 2));
        assert_eq!(first, Err(TrackError::Superseded));
        assert!(matches!(second, Err(TrackError::NoAnswer(_))), "{second:?}");
        let stalled = |event: &BotEvent| {
            matches!(event, BotEvent::Call(CallEventKind::TrackStalled(track)) if *track == stuck.id())
                .then_some(())
        };
        bot.events.next("the track stalls", stalled).await;
        assert!(tone.position().await.unwrap() > SECOND * 29, "the other plays on");
        tone.stop();
        stuck.stop();
        assert_eq!(stuck.ended().await, Some(TrackEnd::Stopped));
        assert_eq!(stuck.seek(SECOND).await, Err(TrackError::Over));
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}
