//! Several tracks at once, each as loud as it was asked to be, and stopping them.

use std::time::Duration;

use actix_voice::{
    actors::{Speak, StopSpeaking},
    audio::frame::{FRAME, SILENCE},
    source::Tone,
    speaker::{TrackEnd, TrackId},
};
use bytes::Bytes;

use crate::support::{
    audio::{path, reference},
    bot::BotOnDiscord,
    log::speaking_flags,
    recording::{SILENCE_FRAMES, loudness, packets_heard, packets_of},
    sources::{QueueSource, WhenEmpty},
    story,
};

/// How loud a tone is by itself.
const TONE: f64 = 0.25;

fn about(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.05 * expected
}

async fn tone(bot: &BotOnDiscord, hz: f32, volume: f32) -> TrackId {
    bot.speak(Speak::source(bot.guild_id(), Tone::new(hz)).volume(volume)).await
}

async fn two_seconds() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[test]
fn two_tracks_at_once_are_both_heard_and_one_can_be_stopped() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let (low, high) = (tone(&bot, 440.0, 1.0).await, tone(&bot, 1_000.0, 1.0).await);
        two_seconds().await;
        bot.manager.send(StopSpeaking { guild: bot.guild_id(), track: Some(low) }).await.unwrap();
        assert_eq!(bot.track_end(low).await, TrackEnd::Stopped);
        two_seconds().await;
        bot.manager.send(StopSpeaking { guild: bot.guild_id(), track: None }).await.unwrap();
        assert_eq!(bot.track_end(high).await, TrackEnd::Stopped);
        bot.disconnect().await;

        let heard = bot.heard();
        for hz in [440, 1_000] {
            let together = loudness(&heard, hz, 500..1_500);
            assert!(about(together, TONE), "{hz} Hz at {together}");
        }
        let (stopped, left) = (loudness(&heard, 440, 2_500..3_500), loudness(&heard, 1_000, 2_500..3_500));
        assert!(stopped < 0.001 && about(left, TONE), "440 Hz at {stopped}, 1 kHz at {left}");
        assert_eq!((heard.lost, heard.longest_gap), (0, FRAME));
        bot.assert_no_violations();
    });
}

#[test]
fn stopping_everything_ends_in_silence_and_the_call_goes_on() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let tracks = [tone(&bot, 440.0, 1.0).await, tone(&bot, 1_000.0, 1.0).await];
        two_seconds().await;
        call.stop(None);
        assert_eq!(bot.track_ends(tracks).await, [TrackEnd::Stopped, TrackEnd::Stopped]);
        two_seconds().await;
        let packets = packets_heard(&bot.heard());
        assert!(packets.ends_with(&[const { Bytes::from_static(&SILENCE) }; SILENCE_FRAMES]));
        assert_ne!(packets[packets.len() - SILENCE_FRAMES - 1], SILENCE[..]);

        let next = bot.play("music.opus").await;
        assert_eq!(bot.track_end(next).await, TrackEnd::Finished);
        bot.disconnect().await;
        assert_eq!(speaking_flags(&bot), [0, 1, 0, 1, 0]);
        bot.assert_no_violations();
    });
}

#[test]
fn stopping_a_track_that_is_over_stops_nothing_else() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let first = tone(&bot, 440.0, 1.0).await;
        call.stop(Some(first));
        assert_eq!(bot.track_end(first).await, TrackEnd::Stopped);
        let second = bot.play("music.opus").await;
        call.stop(Some(first));
        assert_eq!(bot.track_end(second).await, TrackEnd::Finished);
        bot.disconnect().await;
        bot.assert_no_violations();
    });
}

#[test]
fn half_the_volume_is_half_the_amplitude() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let tone = tone(&bot, 440.0, 0.5).await;
        two_seconds().await;
        call.stop(Some(tone));
        bot.disconnect().await;
        let quiet = loudness(&bot.heard(), 440, 500..1_500);
        assert!(about(quiet, TONE / 2.0), "{quiet}");
    });
}

#[test]
fn half_the_volume_of_an_opus_file_is_6_db_less() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let track = bot.speak(Speak::file(bot.guild_id(), path("music.opus")).volume(0.5)).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;
        let score = bot.heard().score(&reference("music.wav")).unwrap();
        assert_eq!(stats.speaker.passed_through, 0);
        assert!((score.gain_db + 6.02).abs() < 0.3, "{} dB", score.gain_db);
        assert!(score.heard_fraction > 0.98, "{score}");
    });
}

#[test]
fn opus_is_mixed_only_while_something_else_plays() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let packets = packets_of("demo.opus");
        let long = QueueSource::new(packets[..400].to_vec(), WhenEmpty::Finish);
        let long = bot.speak(Speak::start(bot.guild_id(), long)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let tone = Tone::new(2_000.0).lasting(Duration::from_secs(2));
        let short = bot.speak(Speak::source(bot.guild_id(), tone)).await;
        assert_eq!(bot.track_ends([short, long]).await, [TrackEnd::Finished, TrackEnd::Finished]);
        let stats = bot.disconnect().await;

        let heard = packets_heard(&bot.heard());
        let same = |at: &usize| heard[*at] == packets[*at];
        let mixed: Vec<usize> = (0..400).filter(|at| !same(at)).collect();
        assert_eq!(stats.speaker.passed_through, 295);
        assert_eq!(mixed.len(), 105, "not the two seconds of the tone, and 100 ms");
        assert_eq!(mixed[104] - mixed[0], 104, "not in one piece");
        assert_eq!(heard.len(), 400 + SILENCE_FRAMES);
        bot.assert_no_violations();
    });
}
