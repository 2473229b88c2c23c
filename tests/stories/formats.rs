//! Every kind of file is heard, untouched where it is Opus of 20 ms, and as it should sound otherwise.

use std::time::Duration;

use actix_voice::{
    actors::CallStats,
    audio::frame::Frame,
    source::{self, Source},
    speaker::TrackEnd,
};
use actix_voice_loopback::Hearing;
use bytes::Bytes;

use crate::support::{
    audio::{path, reference},
    bot::BotOnDiscord,
    recording::{packets_heard, packets_of, with_silence},
    story,
};

/// Plays one file in a call of its own.
async fn play(file: &str) -> (Hearing, CallStats) {
    let bot = BotOnDiscord::start().await;
    bot.join().await;
    let track = bot.play(file).await;
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished, "{file}");
    let stats = bot.disconnect().await;
    let heard = bot.heard();
    assert_eq!((heard.packets, heard.lost), (stats.packets, 0), "{file}");
    assert_eq!(heard.longest_gap, Duration::from_millis(20), "{file}");
    assert_eq!(stats.speaker.underruns, 0, "{file}");
    bot.assert_no_violations();
    (heard, stats)
}

/// The packets of a file as the crate reads them outside a call.
fn packets_read_by_crate(file: &str) -> Vec<Bytes> {
    let mut source = source::open(path(file)).unwrap();
    let frames = std::iter::from_fn(move || source.next_frame().unwrap());
    let packets = frames.map(|frame| match frame {
        Frame::Opus(packet) => packet,
        Frame::Pcm(_) => panic!("{file} is not all Opus of 20 ms"),
    });
    packets.collect()
}

/// The listener gets the file's own packets, byte for byte.
fn passes_untouched(file: &str, packets: &[Bytes]) {
    story(async {
        let (heard, stats) = play(file).await;
        assert!(packets_heard(&heard) == with_silence(packets), "{file}: other packets came");
        assert_eq!(stats.speaker.passed_through, packets.len() as u64, "{file}");
    });
}

/// The listener gets packets that were made for it, and they sound like the recording.
///
/// Of speech fewer frames count as heard: Opus keeps the waveform of its voiced sounds, and of its hisses the loudness.
fn is_encoded(file: &str, recording: &str, heard_fraction: f64) {
    story(async {
        let (heard, stats) = play(file).await;
        assert_eq!(stats.speaker.passed_through, 0, "{file}");
        let score = heard.score(&reference(recording)).unwrap();
        assert!(score.heard_fraction >= heard_fraction, "{file}: {score}, {:.4}", score.heard_fraction);
        assert!(score.correlation > 0.97, "{file}: {score}");
        assert!(score.gain_db.abs() < 0.5, "{file}: {} dB", score.gain_db);
    });
}

macro_rules! untouched_ogg {
    ($($story:ident: $file:literal;)*) => {$(
        #[test]
        fn $story() {
            passes_untouched($file, &packets_of($file));
        }
    )*};
}

macro_rules! untouched {
    ($($story:ident: $file:literal, $packets:literal;)*) => {$(
        #[test]
        fn $story() {
            let packets = packets_read_by_crate($file);
            assert_eq!(packets.len(), $packets);
            passes_untouched($file, &packets);
        }
    )*};
}

macro_rules! encoded {
    ($($story:ident: $file:literal like $recording:literal at $heard:literal;)*) => {$(
        #[test]
        fn $story() {
            is_encoded($file, $recording, $heard);
        }
    )*};
}

untouched_ogg! {
    the_demo_passes_untouched: "demo.opus";
    music_in_ogg_opus_passes_untouched: "music.opus";
    speech_in_ogg_opus_passes_untouched: "speech.opus";
}

untouched! {
    music_in_webm_opus_passes_untouched: "music.webm", 251;
    speech_in_mp4_opus_passes_untouched: "speech.mp4", 356;
    a_live_webm_recording_passes_untouched: "live.webm", 356;
}

encoded! {
    music_in_wav_is_heard: "music.wav" like "music.wav" at 0.99;
    music_in_flac_is_heard: "music.flac" like "music.wav" at 0.99;
    music_in_mp3_is_heard: "music.mp3" like "music.wav" at 0.99;
    music_in_ogg_vorbis_is_heard: "music.ogg" like "music.wav" at 0.99;
    music_in_mp4_aac_is_heard: "music.m4a" like "music.wav" at 0.99;
    music_in_matroska_vorbis_is_heard: "music.mkv" like "music.wav" at 0.99;
    speech_in_wav_is_heard: "speech.wav" like "speech.wav" at 0.8;
    speech_in_flac_is_heard: "speech.flac" like "speech.wav" at 0.8;
    speech_in_mp3_is_heard: "speech.mp3" like "speech.wav" at 0.8;
    speech_in_mp4_aac_is_heard: "speech.m4a" like "speech.wav" at 0.8;
    opus_of_60_ms_is_decoded_and_heard: "speech-60ms.opus" like "speech.wav" at 0.8;
}

/// The score of the others means something: what was not played is not heard.
#[test]
fn one_recording_is_not_taken_for_another() {
    story(async {
        let (heard, _) = play("music.wav").await;
        let score = heard.score(&reference("speech.wav")).unwrap();
        assert!(score.heard_fraction < 0.5, "{score}");
    });
}
