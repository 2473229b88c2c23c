//! Speaking is announced before it begins and taken back after its last frame of silence.

use std::time::Duration;

use actix_voice::{
    actors::Speak,
    audio::frame::{FRAME, SILENCE},
    gateway::payload::SpeakingFlags,
    speaker::TrackEnd,
};
use actix_voice_loopback::{Discord, Side};

use crate::support::{
    audio::path,
    bot::BotOnDiscord,
    log::{speaking_flags, speaking_messages},
    recording::{SILENCE_FRAMES, packets_of},
    sources::{QueueSource, WhenEmpty},
    story,
};

#[test]
fn speaking_comes_before_the_first_packet_and_ends_after_five_frames_of_silence() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;

        let (heard, said) = (bot.heard(), speaking_messages(&bot));
        let [(_, 0, ssrc), (began, 1, _), (ended, 0, _)] = said[..] else { panic!("{said:?}") };
        let (first, last) = (&heard.audio[0], &heard.audio[heard.audio.len() - 1]);
        assert!(said.iter().all(|(_, _, named)| *named == ssrc) && u64::from(first.ssrc) == ssrc);
        assert!(began <= first.arrival, "the first packet came {:?} early", began - first.arrival);
        assert!(first.arrival - began <= FRAME, "the first packet came late");
        assert!(ended >= last.arrival && ended - last.arrival <= FRAME);
        let silent = heard.audio.iter().rev().take_while(|packet| packet.opus == SILENCE[..]).count();
        assert_eq!(silent, SILENCE_FRAMES);
        bot.assert_no_violations();
    });
}

#[test]
fn a_pause_between_tracks_is_silent_and_lasts_as_long_in_timestamps_as_in_time() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        for packets in [50, 25] {
            let packets = packets_of("music.opus").into_iter().take(packets);
            let track =
                bot.speak(Speak::start(bot.guild_id(), QueueSource::new(packets, WhenEmpty::Finish))).await;
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
            tokio::time::sleep(Duration::from_millis(3_333)).await;
        }
        bot.disconnect().await;

        let heard = bot.heard();
        assert_eq!(speaking_flags(&bot), [0, 1, 0, 1, 0]);
        assert_eq!(heard.audio.len(), 50 + SILENCE_FRAMES + 25 + SILENCE_FRAMES);
        let resumed = 50 + SILENCE_FRAMES;
        let pause = heard.audio[resumed].arrival - heard.audio[resumed - 1].arrival;
        assert!(pause > Duration::from_secs(3), "a pause of {pause:?}");
        for pair in heard.audio.windows(2) {
            let passed = (pair[1].arrival - pair[0].arrival).as_micros() as u32 * 48 / 1_000;
            let stamped = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert_eq!(stamped % 960, 0);
            assert!(stamped.abs_diff(passed) < 960, "{stamped} samples in the time of {passed}");
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        }
        bot.assert_no_violations();
    });
}

#[test]
fn a_track_speaks_with_the_flags_it_was_given() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let priority = SpeakingFlags::MICROPHONE | SpeakingFlags::PRIORITY;
        for flags in [SpeakingFlags::SOUNDSHARE, priority] {
            let speak = Speak::file(bot.guild_id(), path("music.opus")).flags(flags);
            let track = bot.speak(speak).await;
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
            let speech_ended = |discord: &Discord| {
                discord.received(Side::Voice, bot.account.user_id, 5).last().unwrap()["speaking"] == 0
            };
            bot.discord.until(speech_ended, Duration::from_secs(1)).await.unwrap();
        }
        bot.disconnect().await;
        assert_eq!(speaking_flags(&bot), [0, 2, 0, 5, 0]);
        bot.assert_no_violations();
    });
}

#[test]
fn flags_follow_the_tracks_that_play() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let long = packets_of("demo.opus").into_iter().take(200);
        let short = packets_of("music.opus").into_iter().take(50);
        let long = bot.speak(Speak::start(bot.guild_id(), QueueSource::new(long, WhenEmpty::Finish))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let short = Speak::start(bot.guild_id(), QueueSource::new(short, WhenEmpty::Finish));
        let short = bot.speak(short.flags(SpeakingFlags::SOUNDSHARE)).await;
        assert_eq!(bot.track_ends([short, long]).await, [TrackEnd::Finished, TrackEnd::Finished]);
        let stats = bot.disconnect().await;

        assert_eq!(speaking_flags(&bot), [0, 1, 3, 1, 0]);
        assert_eq!(stats.packets, 200 + SILENCE_FRAMES as u64);
        assert_eq!(bot.heard().longest_gap, FRAME);
        bot.assert_no_violations();
    });
}

#[test]
fn every_packet_is_in_the_histogram_of_lateness() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let track = bot.play("speech.opus").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let halfway = call.stats().await.expect("the call goes on");
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        assert!((90..=110).contains(&halfway.packets), "{} packets in 2 s", halfway.packets);
        assert_eq!(halfway.transport.lateness.len(), halfway.packets);
        assert_eq!(stats.transport.lateness.len(), stats.packets);
        assert_eq!(bot.heard().packets, stats.packets);
        assert!(stats.transport.lateness.max() < FRAME, "{:?}", stats.transport.lateness);
    });
}
