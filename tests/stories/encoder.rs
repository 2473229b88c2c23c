//! What is encoded here is encoded as the channel and the bot want it.

use std::time::Duration;

use actix_voice::{
    audio::opus::{Application, Signal},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Discord, Hearing};

use crate::support::{bot::BotOnDiscord, recording::SILENCE_FRAMES, story};

/// Bits per second of the packets that were heard, the silence at the end left out.
fn bitrate(heard: &Hearing) -> u64 {
    let packets = &heard.audio[..heard.audio.len() - SILENCE_FRAMES];
    packets.iter().map(|packet| packet.opus.len() as u64).sum::<u64>() * 8 * 50 / packets.len() as u64
}

fn near(found: u64, wanted: u64) -> bool {
    found.abs_diff(wanted) < wanted / 5
}

/// The mode that a packet was made in (RFC 6716 section 3.1).
fn is_for_speech(packet: &[u8]) -> bool {
    packet[0] >> 3 < 16
}

#[test]
fn the_bitrate_of_the_channel_is_used() {
    for wanted in [24_000, 64_000, 96_000] {
        story(async {
            let bot = BotOnDiscord::start().await;
            bot.channel.bitrate(wanted);
            tokio::time::sleep(Duration::from_millis(100)).await;
            bot.join().await;
            let track = bot.play("music.wav").await;
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
            bot.disconnect().await;
            let found = bitrate(&bot.heard());
            assert!(near(found, u64::from(wanted)), "{found} bit/s instead of {wanted}");
        });
    }
}

#[test]
fn a_bitrate_that_changes_during_the_call_is_followed() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.channel.bitrate(96_000);
        tokio::time::sleep(Duration::from_millis(100)).await;
        bot.join().await;
        for bitrate in [96_000, 24_000] {
            bot.channel.bitrate(bitrate);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let track = bot.play("music.wav").await;
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bot.disconnect().await;
        let (mut first, mut second) = (bot.heard(), bot.heard());
        let half = first.audio.len() / 2;
        first.audio.truncate(half);
        second.audio.drain(..half);
        let found = [bitrate(&first), bitrate(&second)];
        assert!(near(found[0], 96_000) && near(found[1], 24_000), "{found:?} bit/s");
    });
}

#[test]
fn the_bitrate_of_the_channel_is_used_after_a_move_too() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let quiet = bot.guild.channel("quiet");
        let listener = quiet.listener("ear there");
        bot.channel.bitrate(96_000);
        quiet.bitrate(24_000);
        tokio::time::sleep(Duration::from_millis(100)).await;
        bot.join().await;
        bot.request_join(&quiet).await.expect("the bot moves");
        let track = bot.play("music.wav").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect_and_drain().await;
        let found = bitrate(&listener.heard(bot.account.user_id).expect("it is heard there"));
        assert!(near(found, 24_000), "{found} bit/s");
    });
}

#[test]
fn the_encoder_is_set_as_the_bot_wants_it() {
    for (application, signal, for_speech) in
        [(Application::Voip, Signal::Voice, true), (Application::LowDelay, Signal::Music, false)]
    {
        story(async {
            let bot = BotOnDiscord::start_with(Discord::builder(), |config| {
                config.encoder.application = application;
                config.encoder.signal = signal;
            });
            let bot = bot.await;
            bot.channel.bitrate(24_000);
            tokio::time::sleep(Duration::from_millis(100)).await;
            bot.join().await;
            let track = bot.play("speech.wav").await;
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
            bot.disconnect().await;
            let heard = bot.heard();
            let packets = &heard.audio[..heard.audio.len() - SILENCE_FRAMES];
            let speech = packets.iter().filter(|packet| is_for_speech(&packet.opus)).count();
            let expected = if for_speech { packets.len() } else { 0 };
            assert_eq!(speech, expected, "of {} packets", packets.len());
        });
    }
}

#[test]
fn encoder_settings_that_make_no_sense_end_the_call_with_a_reason() {
    story(async {
        let bot = BotOnDiscord::start_with(Discord::builder(), |config| config.encoder.complexity = 11).await;
        let error = bot.request_join(&bot.channel).await.unwrap_err();
        assert!(error.to_string().contains("the encoder settings cannot be used"), "{error}");
        assert!(error.to_string().contains("complexity"), "{error}");
    });
}
