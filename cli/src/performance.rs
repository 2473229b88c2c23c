//! One source played in one call, from joining to leaving.

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

/// Where it is played, and what has been played so far; it is kept up to date, so that it is known also of a call
/// that fails.
pub struct Performance {
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
struct Solitude {
    packets: u64,
    withheld: u64,
    /// For how many looks in a row it has been so.
    looks: u32,
}

/// What brought it to an end.
enum Over {
    Track(TrackEnd),
    Call(EndReason),
    Refused(MainGatewayError),
}

impl Performance {
    /// Nothing yet.
    pub fn new(guild: GuildId, channel: ChannelId, screen: Screen) -> Self {
        Self { guild, channel, screen, stats: CallStats::default(), played: Duration::ZERO }
    }

    /// Joins, plays the source to its end or until Ctrl-C, and leaves. `look` is shown what has been sent, a few times
    /// a second.
    ///
    /// # Errors
    ///
    /// When the channel is not joined, the source fails, or the call ends before it does.
    pub async fn run(
        &mut self,
        bot: &Bot,
        source: impl Source + Unpin,
        interrupt: &Interrupt,
        look: impl FnMut(&CallStats),
    ) -> Result<End, Failure> {
        let call = tokio::select! {
            call = bot.join(self.guild, self.channel) => call?,
            () = interrupt.asked() => {
                let leaving = bot.manager().send(Disconnect { guild: self.guild });
                // Joining may be stuck; logging out ends it too.
                let _ = timeout(GOODBYE, leaving).await;
                return Ok(End::Interrupted);
            }
        };
        let track = call.speak(Speak::source(self.guild, source)).await?;
        let result = self.watch(bot, &call, track, interrupt, look).await;
        if let Some(stats) = call.disconnect().await {
            self.stats = stats;
        }
        result
    }

    async fn watch(
        &mut self,
        bot: &Bot,
        call: &CallHandle,
        track: TrackId,
        interrupt: &Interrupt,
        mut look: impl FnMut(&CallStats),
    ) -> Result<End, Failure> {
        let began = now();
        let mut solitude = Solitude::default();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let result = loop {
            tokio::select! {
                over = self.over(bot, track) => break over.into_result(),
                () = interrupt.asked() => break Ok(End::Interrupted),
                _ = looks.tick() => {
                    if let Some(stats) = call.stats().await {
                        self.screen.played(FRAME * u32::try_from(stats.speaker.frames).unwrap_or(u32::MAX));
                        if let Some(change) = solitude.look(&stats) {
                            self.screen.say(change);
                        }
                        look(&stats);
                        self.stats = stats;
                    }
                }
            }
        };
        self.played = now() - began;
        self.screen.clear();
        result
    }

    async fn over(&self, bot: &Bot, track: TrackId) -> Over {
        let over = |status: &BotStatus| {
            let ended = status.ended_tracks.get(&track).filter(|end| **end != TrackEnd::Stopped);
            // A track that was stopped was stopped by the end of its call, which follows.
            let call = status.ended_calls.get(&self.guild).cloned().map(Over::Call);
            let refused = status.refused.map(Over::Refused);
            call.or(refused).or(ended.cloned().map(Over::Track))
        };
        loop {
            if let Some(over) = bot.until(|status| over(status).is_some(), over).await {
                return over;
            }
        }
    }
}

impl Solitude {
    /// Says what has changed, if it has.
    fn look(&mut self, stats: &CallStats) -> Option<&'static str> {
        let (sent, withheld) = (stats.packets > self.packets, stats.transport.withheld > self.withheld);
        (self.packets, self.withheld) = (stats.packets, stats.transport.withheld);
        let looks = if withheld && !sent { self.looks + 1 } else { 0 };
        match std::mem::replace(&mut self.looks, looks) {
            _ if looks == ALONE => Some(
                "nobody else is in the channel, or no key was agreed on yet: nothing is sent until there is one",
            ),
            ALONE.. if sent => Some("a key is there: it is sent now"),
            // Neither sent nor withheld: the audio waits, and everything is as it was.
            before if !sent && !withheld => {
                self.looks = before;
                None
            }
            _ => None,
        }
    }
}

impl Over {
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
const LOOK: Duration = Duration::from_millis(200);
/// A second, in looks: keys may take a part of one.
const ALONE: u32 = 5;
const GOODBYE: Duration = Duration::from_secs(2);
const FRAME: Duration = actix_voice::audio::frame::FRAME;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_be_alone_is_told_once_and_so_is_the_first_to_come() {
        let mut solitude = Solitude::default();
        let mut stats = CallStats::default();
        let mut told = Vec::new();
        for look in 0..20 {
            match look {
                0..8 => stats.transport.withheld += 10,
                8..10 => {}
                10..12 => stats.transport.withheld += 10,
                _ => stats.packets += 10,
            }
            told.extend(solitude.look(&stats).map(|change| (look, change)));
        }
        let [(4, alone), (12, accompanied)] = told[..] else { panic!("{told:?}") };
        assert!(alone.starts_with("nobody else") && accompanied.starts_with("a key is there"), "{told:?}");
    }

    #[test]
    fn keys_that_take_a_moment_are_not_told() {
        let mut solitude = Solitude::default();
        let mut stats = CallStats::default();
        for look in 0..20 {
            if look % 5 == 4 {
                stats.packets += 10
            } else {
                stats.transport.withheld += 10
            }
            assert_eq!(solitude.look(&stats), None);
        }
    }
}
