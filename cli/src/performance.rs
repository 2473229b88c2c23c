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

use crate::{bot::Bot, exit::Failure, news::Standing, report::End, screen::Screen};

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

    /// Joins, plays the source to its end or until `stop`, and leaves. `look` is shown what has been sent, a few times
    /// a second.
    ///
    /// # Errors
    ///
    /// When the channel is not joined, the source fails, or the call ends before it does.
    pub async fn run(
        &mut self,
        bot: &Bot,
        source: impl Source + Unpin,
        mut stop: impl Future<Output = ()> + Unpin,
        look: impl FnMut(&CallStats),
    ) -> Result<End, Failure> {
        let call = tokio::select! {
            call = bot.join(self.guild, self.channel) => call?,
            () = &mut stop => {
                let leaving = bot.manager().send(Disconnect { guild: self.guild });
                // Joining may be stuck; logging out ends it too.
                let _ = timeout(GOODBYE, leaving).await;
                return Ok(End::Interrupted);
            }
        };
        let track = call.speak(Speak::source(self.guild, source)).await?;
        let result = self.watch(bot, &call, track, stop, look).await;
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
        mut stop: impl Future<Output = ()> + Unpin,
        mut look: impl FnMut(&CallStats),
    ) -> Result<End, Failure> {
        let began = now();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let result = loop {
            tokio::select! {
                over = self.over(bot, track) => break over.into_result(),
                () = &mut stop => break Ok(End::Interrupted),
                _ = looks.tick() => {
                    if let Some(stats) = call.stats().await {
                        self.screen.played(FRAME * u32::try_from(stats.speaker.frames).unwrap_or(u32::MAX));
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
        let over = |standing: &Standing| {
            let ended = standing.tracks.get(&track).filter(|end| **end != TrackEnd::Stopped);
            // A track that was stopped was stopped by the end of its call, which follows.
            let call = standing.calls.get(&self.guild).cloned().map(Over::Call);
            let refused = standing.refused.map(Over::Refused);
            call.or(refused).or(ended.cloned().map(Over::Track))
        };
        loop {
            if let Some(over) = bot.until(|standing| over(standing).is_some(), over).await {
                return over;
            }
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
const GOODBYE: Duration = Duration::from_secs(2);
const FRAME: Duration = actix_voice::audio::frame::FRAME;
