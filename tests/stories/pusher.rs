//! An application pushes Opus packets of its own, which are paced for it.

use std::time::Duration;

use actix_voice::{
    actors::{Pusher, Speak, source::PushError},
    audio::frame::FRAME,
    speaker::TrackEnd,
};
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::{
    bot::BotOnDiscord,
    recording::{packets_heard, packets_of, with_silence},
    story,
};

#[test]
fn pushed_packets_go_out_untouched_every_20_ms_and_the_pusher_waits_for_room() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let (pusher, pushed) = Pusher::new();
        let track = bot.speak(Speak::start(bot.guild_id(), pushed).live()).await;
        let packets = &packets_of("demo.opus")[..100];
        let began = Instant::now();
        for packet in packets {
            pusher.push(packet.clone()).await.unwrap();
        }
        let took = began.elapsed();
        drop(pusher);
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        // All but the five that wait in the pusher and the five that the speaker holds; the first goes out at once.
        let expected = FRAME * 89;
        assert!(took >= expected && took < expected + FRAME * 3, "pushing took {took:?}");
        let heard = bot.heard();
        assert!(packets_heard(&heard) == with_silence(packets));
        assert_eq!((heard.longest_gap, heard.spacing.min()), (FRAME, FRAME));
        assert_eq!((stats.speaker.over_credit, stats.speaker.underruns), (0, 0));
        bot.assert_no_violations();
    });
}

#[test]
fn a_full_pusher_says_so() {
    let (pusher, pushed) = Pusher::new();
    let packet = packets_of("demo.opus")[0].clone();
    for _ in 0..5 {
        assert_eq!(pusher.try_push(packet.clone()), Ok(()));
    }
    assert_eq!(pusher.try_push(packet.clone()), Err(PushError::Full));
    drop(pushed);
    assert_eq!(pusher.try_push(packet), Err(PushError::Closed));
}

#[test]
fn what_is_not_20_ms_of_opus_is_refused_with_its_length() {
    let (pusher, _pushed) = Pusher::new();
    let long = packets_of("speech-60ms.opus")[0].clone();
    let refused = |packet| pusher.try_push(packet).unwrap_err().to_string();
    assert_eq!(refused(long), "not an Opus packet of 20 ms: it lasts 60ms");
    assert_eq!(refused(Bytes::new()), "not an Opus packet of 20 ms: it is empty");
}

#[test]
fn a_pusher_that_pauses_is_silent_and_can_go_on() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let (pusher, pushed) = Pusher::new();
        let track = bot.speak(Speak::start(bot.guild_id(), pushed).live()).await;
        let packets = packets_of("demo.opus");
        for half in packets[..100].chunks(50) {
            for packet in half {
                pusher.push(packet.clone()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        drop(pusher);
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        bot.disconnect().await;

        let expected: Vec<Bytes> = packets[..100].chunks(50).flat_map(with_silence).collect();
        assert!(packets_heard(&bot.heard()) == expected);
        bot.assert_no_violations();
    });
}

#[test]
fn a_pusher_learns_that_its_track_is_over() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let (pusher, pushed) = Pusher::new();
        let track = bot.speak(Speak::start(bot.guild_id(), pushed).live()).await;
        let packet = packets_of("demo.opus")[0].clone();
        pusher.push(packet.clone()).await.unwrap();
        call.stop(Some(track));
        assert_eq!(bot.track_end(track).await, TrackEnd::Stopped);
        let pushing = async { while pusher.push(packet.clone()).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(1), pushing).await.expect("a push after the end says so");
        assert_eq!(pusher.push(packet).await, Err(PushError::Closed));
    });
}
