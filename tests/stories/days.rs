//! Calls that last: numbers wrap, and neither drift nor loss nor growth sets in.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, Speak},
    audio::frame::FRAME,
    call::ConnectionStatus,
    speaker::TrackEnd,
};
use actix_voice_loopback::{Builder, Discord, Side, relay::Keep};

use crate::support::{
    bot::BotOnDiscord,
    log::speaking_flags,
    recording::{SILENCE_FRAMES, packets_heard, packets_of, with_silence},
    sources::LoopSource,
    story,
};

/// A Discord on which hours pass quickly.
fn fast() -> Builder {
    Discord::builder().clock_step(Duration::from_millis(500))
}

#[test]
fn sequence_and_timestamp_wrap_during_a_call() {
    story(async {
        let bot = BotOnDiscord::start_on(fast()).await;
        bot.join().await;
        let length = 66_000;
        let packets = packets_of("demo.opus");
        let track = bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets.clone(), length))).await;
        tokio::time::sleep(FRAME * 65_000).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        let heard = bot.heard();
        let sent: Vec<_> = packets.into_iter().cycle().take(length).collect();
        assert!(packets_heard(&heard) == with_silence(&sent));
        assert_eq!((heard.packets, heard.lost, heard.out_of_order), (stats.packets, 0, 0));
        let [before, after] = heard.audio.windows(2).find(|pair| pair[0].sequence == u16::MAX).unwrap()
        else {
            panic!()
        };
        assert_eq!((before.sequence, after.sequence), (u16::MAX, 0));
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(960));
        bot.assert_no_violations();
    });
}

/// Of music without a pause.
const HOURS: usize = 24;

/// Bytes of memory that the process has in use.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4_096)
}

#[test]
fn a_day_of_one_call_brings_neither_drift_nor_loss_nor_growth() {
    story(async {
        // What is kept of a day is that of its last hour, so that nothing but a leak grows.
        let mut bot = BotOnDiscord::start_on(fast().log_entries(2_000)).await;
        bot.discord.relay().keep(Keep::Counts);
        bot.listener = bot.channel.listener("an ear that keeps nothing");
        bot.join().await;
        let length = HOURS * 180_000;
        let track =
            bot.speak(Speak::start(bot.guild_id(), LoopSource::new(packets_of("demo.opus"), length))).await;
        tokio::time::sleep(FRAME * (length as u32 / 4)).await;
        let before = resident();
        tokio::time::sleep(FRAME * (length as u32 / 4 * 3 - 100)).await;
        let after = resident();
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        let heard = bot.heard();
        assert_eq!(stats.packets, (length + SILENCE_FRAMES) as u64);
        assert_eq!((heard.packets, heard.lost, heard.longest_gap), (stats.packets, 0, FRAME));
        assert!(heard.lateness.max() < FRAME, "{:?} late", heard.lateness.max());
        assert_eq!((stats.speaker.underruns, stats.speaker.skipped, stats.malformed), (0, 0, 0));
        assert_eq!((stats.resumes, stats.reconnects, stats.path_losses), (0, 0, 0));
        let connection = bot
            .events
            .call_events()
            .into_iter()
            .filter(|event| matches!(event, CallEventKind::Connection(_)));
        assert_eq!(connection.collect::<Vec<_>>(), [CallEventKind::Connection(ConnectionStatus::Connected)]);
        let log = bot.discord.log();
        let spanned = log[log.len() - 1].at - log[0].at;
        assert!(spanned > Duration::from_secs(3_600));
        let beats = bot.discord.received(Side::Voice, bot.account.user_id, 3).len() as u64;
        assert!(beats.abs_diff(spanned.as_secs() / 5) <= 2, "{beats} heartbeats in {spanned:?}");
        let (fives, keepalives) = (HOURS as u64 * 720, stats.transport.counts.keepalives);
        assert!(keepalives.abs_diff(fives) <= 2, "{keepalives} keepalives in {HOURS} h");
        if let (Some(before), Some(after)) = (before, after) {
            let grown = after.saturating_sub(before) >> 20;
            assert!(grown < 8, "{grown} MiB more than after a quarter of the time");
        }
        bot.assert_no_violations();
    });
}

#[test]
fn a_day_of_mostly_silence_is_not_forgotten() {
    story(async {
        let mut bot = BotOnDiscord::start_on(fast()).await;
        bot.discord.relay().keep(Keep::Counts);
        bot.listener = bot.channel.listener("an ear that keeps nothing");
        bot.join().await;
        for _ in 0..24 {
            let track = bot.play("music.opus").await;
            assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
            tokio::time::sleep(Duration::from_secs(3_595)).await;
        }
        let stats = bot.disconnect().await;
        let heard = bot.heard();
        assert_eq!(stats.packets, 24 * (packets_of("music.opus").len() + SILENCE_FRAMES) as u64);
        assert_eq!((heard.packets, heard.lost, heard.longest_gap), (stats.packets, 0, FRAME));
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        assert_eq!(speaking_flags(&bot).len(), 1 + 2 * 24);
        bot.assert_no_violations();
    });
}
