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
    bot::Stage,
    log::speaking_flags,
    recording::{and_silence, packets_heard, packets_of},
    sources::Round,
    story,
};

/// A Discord on which hours pass quickly.
fn fast() -> Builder {
    Discord::builder().clock_step(Duration::from_millis(500))
}

#[test]
fn sequence_and_timestamp_wrap_during_a_call() {
    story(async {
        let stage = Stage::on(fast()).await;
        stage.join().await;
        let length = 66_000;
        let packets = packets_of("demo.opus");
        let track = stage.speak(Speak::start(stage.guild_id(), Round::new(packets.clone(), length))).await;
        tokio::time::sleep(FRAME * 65_000).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;

        let heard = stage.heard();
        let sent: Vec<_> = packets.into_iter().cycle().take(length).collect();
        assert!(packets_heard(&heard) == and_silence(&sent));
        assert_eq!((heard.packets, heard.lost, heard.out_of_order), (stats.packets, 0, 0));
        let [before, after] = heard.audio.windows(2).find(|pair| pair[0].sequence == u16::MAX).unwrap()
        else {
            panic!()
        };
        assert_eq!((before.sequence, after.sequence), (u16::MAX, 0));
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(960));
        stage.no_violations();
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
        let mut stage = Stage::on(fast().log_entries(2_000)).await;
        stage.discord.relay().keep(Keep::Counts);
        stage.ear = stage.channel.listener("an ear that keeps nothing");
        stage.join().await;
        let length = HOURS * 180_000;
        let track =
            stage.speak(Speak::start(stage.guild_id(), Round::new(packets_of("demo.opus"), length))).await;
        tokio::time::sleep(FRAME * (length as u32 / 4)).await;
        let before = resident();
        tokio::time::sleep(FRAME * (length as u32 / 4 * 3 - 100)).await;
        let after = resident();
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;

        let heard = stage.heard();
        assert_eq!(stats.packets, length as u64 + 5);
        assert_eq!((heard.packets, heard.lost, heard.longest_gap), (stats.packets, 0, FRAME));
        assert!(heard.lateness.max() < FRAME, "{:?} late", heard.lateness.max());
        assert_eq!((stats.speaker.underruns, stats.speaker.skipped, stats.malformed), (0, 0, 0));
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        let connection =
            stage.events.all().into_iter().filter(|what| matches!(what, CallEventKind::Connection(_)));
        assert_eq!(connection.collect::<Vec<_>>(), [CallEventKind::Connection(ConnectionStatus::Connected)]);
        let log = stage.discord.log();
        let spanned = log[log.len() - 1].at - log[0].at;
        assert!(spanned > Duration::from_secs(3_600));
        let beats = stage.discord.received(Side::Voice, stage.bot.user_id, 3).len() as u64;
        assert!(beats.abs_diff(spanned.as_secs() / 5) <= 2, "{beats} heartbeats in {spanned:?}");
        let (fives, keepalives) = (HOURS as u64 * 720, stats.transport.counts.keepalives);
        assert!(keepalives.abs_diff(fives) <= 2, "{keepalives} keepalives in {HOURS} h");
        if let (Some(before), Some(after)) = (before, after) {
            let grown = after.saturating_sub(before) >> 20;
            assert!(grown < 8, "{grown} MiB more than after a quarter of the time");
        }
        stage.no_violations();
    });
}

#[test]
fn a_day_of_mostly_silence_is_not_forgotten() {
    story(async {
        let mut stage = Stage::on(fast()).await;
        stage.discord.relay().keep(Keep::Counts);
        stage.ear = stage.channel.listener("an ear that keeps nothing");
        stage.join().await;
        for _ in 0..24 {
            let track = stage.play("music.opus").await;
            assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
            tokio::time::sleep(Duration::from_secs(3_595)).await;
        }
        let stats = stage.leave().await;
        let heard = stage.heard();
        assert_eq!(stats.packets, 24 * (packets_of("music.opus").len() as u64 + 5));
        assert_eq!((heard.packets, heard.lost, heard.longest_gap), (stats.packets, 0, FRAME));
        assert_eq!((stats.resumes, stats.reconnects), (0, 0));
        assert_eq!(speaking_flags(&stage).len(), 1 + 2 * 24);
        stage.no_violations();
    });
}
