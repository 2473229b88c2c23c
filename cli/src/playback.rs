//! The playback of one source in one call, from joining to disconnecting.

use std::time::Duration;

use actix_voice::{
    actors::{CallHandle, CallStats, Disconnect, Speak, now},
    call::EndReason,
    id::{ChannelId, GuildId},
    main_gateway::MainGatewayError,
    source::Source,
    speaker::{TrackEnd, TrackId},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    bot::Bot, event_collector::BotStatus, exit::Failure, interrupt::Interrupt, report::End, screen::Screen,
};

/// Where a source is played, and what has been played so far. The figures are kept up to date, so that a call that fails
/// has them too.
pub struct Playback {
    guild: GuildId,
    channel: ChannelId,
    screen: Screen,
    /// What the call has done.
    pub stats: CallStats,
    /// For how long it has played, on the clock.
    pub played: Duration,
}

/// Notices that nothing is sent for want of a key: nobody else is there, or none was agreed on yet.
#[derive(Debug, Default)]
pub struct WithheldNotice {
    packets: u64,
    withheld: u64,
    /// How many checks in a row have found that frames were withheld and none sent.
    silent_checks: u32,
}

/// What ended the playback.
enum PlaybackEnd {
    Track(TrackEnd),
    Call(EndReason),
    Refused(MainGatewayError),
}

impl Playback {
    /// A playback that has not begun.
    pub fn new(guild: GuildId, channel: ChannelId, screen: Screen) -> Self {
        Self { guild, channel, screen, stats: CallStats::default(), played: Duration::ZERO }
    }

    /// Joins, plays the source to its end or until Ctrl-C, and disconnects. `on_stats` is given the call's figures a few
    /// times a second.
    ///
    /// # Errors
    ///
    /// When the channel is not joined, the source fails, or the call ends before it does.
    pub async fn run(
        &mut self,
        bot: &Bot,
        source: impl Source + Unpin,
        interrupt: &Interrupt,
        on_stats: impl FnMut(&CallStats),
    ) -> Result<End, Failure> {
        let joining = join_unless_interrupted(bot, self.guild, self.channel, interrupt);
        let Some(call) = joining.await? else { return Ok(End::Interrupted) };
        let track = call.speak(Speak::source(self.guild, source)).await?;
        let result = self.follow(bot, &call, track.id(), interrupt, on_stats).await;
        if let Some(stats) = call.disconnect().await {
            self.stats = stats;
        }
        result
    }

    async fn follow(
        &mut self,
        bot: &Bot,
        call: &CallHandle,
        track: TrackId,
        interrupt: &Interrupt,
        mut on_stats: impl FnMut(&CallStats),
    ) -> Result<End, Failure> {
        let began = now();
        let mut notice = WithheldNotice::default();
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let result = loop {
            tokio::select! {
                end = self.end(bot, track) => break end.into_result(),
                () = interrupt.requested() => break Ok(End::Interrupted),
                _ = checks.tick() => {
                    if let Some(stats) = call.stats().await {
                        self.screen.show_progress(FRAME * u32::try_from(stats.speaker.frames).unwrap_or(u32::MAX));
                        if let Some(change) = notice.update(&stats) {
                            self.screen.print_line(change);
                        }
                        on_stats(&stats);
                        self.stats = stats;
                    }
                }
            }
        };
        self.played = now() - began;
        self.screen.clear();
        result
    }

    /// Waits until the track, the call or the bot's login has ended.
    async fn end(&self, bot: &Bot, track: TrackId) -> PlaybackEnd {
        let end = |status: &BotStatus| {
            let track_end = status.ended_tracks.get(&track).filter(|end| **end != TrackEnd::Stopped);
            // A track that was stopped was stopped by the end of its call, which follows.
            let call = status.ended_calls.get(&self.guild).cloned().map(PlaybackEnd::Call);
            let refused = status.refused.map(PlaybackEnd::Refused);
            call.or(refused).or(track_end.cloned().map(PlaybackEnd::Track))
        };
        loop {
            if let Some(end) = bot.until(|status| end(status).is_some(), end).await {
                return end;
            }
        }
    }
}

/// Joins a channel; none if that was interrupted.
///
/// # Errors
///
/// When it is not joined.
pub async fn join_unless_interrupted(
    bot: &Bot,
    guild: GuildId,
    channel: ChannelId,
    interrupt: &Interrupt,
) -> Result<Option<CallHandle>, Failure> {
    tokio::select! {
        call = bot.join(guild, channel) => call.map(Some),
        () = interrupt.requested() => {
            let disconnecting = bot.manager().send(Disconnect { guild });
            // Joining may be stuck; logging out ends it too.
            let _ = timeout(DISCONNECT_TIMEOUT, disconnecting).await;
            Ok(None)
        }
    }
}

impl WithheldNotice {
    /// Says whether frames are withheld now, or sent again, when that has changed.
    pub fn update(&mut self, stats: &CallStats) -> Option<&'static str> {
        let (sent, withheld) = (stats.packets > self.packets, stats.transport.withheld > self.withheld);
        (self.packets, self.withheld) = (stats.packets, stats.transport.withheld);
        let silent_checks = if withheld && !sent { self.silent_checks + 1 } else { 0 };
        match std::mem::replace(&mut self.silent_checks, silent_checks) {
            _ if silent_checks == CHECKS_BEFORE_NOTICE => Some(
                "nobody else is in the channel, or no key was agreed on yet: nothing is sent until there is one",
            ),
            CHECKS_BEFORE_NOTICE.. if sent => Some("a key is there: it is sent now"),
            // Neither sent nor withheld: the audio waits, and everything is as it was.
            before if !sent && !withheld => {
                self.silent_checks = before;
                None
            }
            _ => None,
        }
    }
}

impl PlaybackEnd {
    fn into_result(self) -> Result<End, Failure> {
        match self {
            Self::Track(TrackEnd::Finished) => Ok(End::Finished),
            Self::Track(TrackEnd::Failed(why)) => Err(Failure::Source(why)),
            Self::Track(end) => Err(Failure::Other(end.to_string())),
            Self::Call(reason) => Err(Failure::Ended(reason)),
            Self::Refused(error) => Err(error.into()),
        }
    }
}

/// Fast enough for a progress bar.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// A second, in checks: agreeing on keys may take a part of one.
const CHECKS_BEFORE_NOTICE: u32 = 5;
/// How long the manager may take to end a call that is still joining.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FRAME: Duration = actix_voice::audio::frame::FRAME;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_be_alone_is_told_once_and_so_is_the_first_to_come() {
        let mut notice = WithheldNotice::default();
        let mut stats = CallStats::default();
        let mut notices = Vec::new();
        for check in 0..20 {
            match check {
                0..8 => stats.transport.withheld += 10,
                8..10 => {}
                10..12 => stats.transport.withheld += 10,
                _ => stats.packets += 10,
            }
            notices.extend(notice.update(&stats).map(|change| (check, change)));
        }
        let [(4, alone), (12, accompanied)] = notices[..] else { panic!("{notices:?}") };
        assert!(alone.starts_with("nobody else") && accompanied.starts_with("a key is there"), "{notices:?}");
    }

    #[test]
    fn keys_that_take_a_moment_are_not_told() {
        let mut notice = WithheldNotice::default();
        let mut stats = CallStats::default();
        for check in 0..20 {
            if check % 5 == 4 {
                stats.packets += 10
            } else {
                stats.transport.withheld += 10
            }
            assert_eq!(notice.update(&stats), None);
        }
    }
}
