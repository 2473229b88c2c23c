//! Filters of tracks and calls, and what is heard of them.

use std::time::Duration;

use actix_voice::{
    actors::{Speak, TrackError},
    audio::filter::{Filters, Timescale},
    source::Tone,
    speaker::TrackEnd,
};

use crate::support::{bot::BotOnDiscord, recording::loudness, story};

const SECOND: Duration = Duration::from_secs(1);

fn filters(text: &str) -> Filters {
    text.parse().expect("a filter")
}

#[test]
fn filters_of_a_track_and_of_a_call_are_heard_while_it_plays_and_gone_afterwards() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let call = bot.join().await;
        let track = Speak::source(bot.guild_id(), Tone::new(500.0)).filters(filters("timescale.pitch=1.5"));
        let track = bot.begin(track).await;
        tokio::time::sleep(SECOND).await;
        track.set_filters(filters("equalizer.6=-0.25,equalizer.7=-0.25,volume=0.5")).await.unwrap();
        tokio::time::sleep(SECOND).await;
        track.set_filters(Filters::default()).await.unwrap();
        call.set_filters(filters("volume=0.5")).unwrap();
        tokio::time::sleep(SECOND).await;
        call.set_filters(Filters::default()).unwrap();
        tokio::time::sleep(SECOND).await;

        let mut wrong = Filters::default();
        wrong.timescale = Some(Timescale { speed: 0.0, ..Timescale::default() });
        let refused = track.set_filters(wrong).await;
        assert!(
            matches!(&refused, Err(TrackError::Filters(why)) if why.contains("timescale.speed × rate is 0")),
            "{refused:?}"
        );
        let mut wrong = Filters::default();
        wrong.volume = Some(7.0);
        assert!(call.set_filters(wrong).unwrap_err().to_string().contains("can be 0 to 5"));
        track.stop();
        assert_eq!(track.ended().await, Some(TrackEnd::Stopped));
        bot.disconnect().await;

        let heard = bot.heard();
        let at = |hertz, from: usize| loudness(&heard, hertz, from..from + 600);
        assert!((at(750, 200) - 0.25).abs() < 0.02 && at(500, 200) < 0.02, "half as high again");
        assert!(at(500, 1_250) < 0.12 && at(750, 1_250) < 0.02, "muted, mostly: {}", at(500, 1_250));
        assert!((at(500, 2_250) - 0.125).abs() < 0.01, "the call is half as loud: {}", at(500, 2_250));
        assert!((at(500, 3_250) - 0.25).abs() < 0.01, "as it is: {}", at(500, 3_250));
        bot.assert_no_violations();
    });
}
