//! CallHandle: a call, as its user holds it.

use std::time::Duration;

use actix::{Addr, Recipient};
use tokio::sync::oneshot;

use super::{speak::Speak, track_handle::TrackHandle};
use crate::{
    actors::{
        call::{AwaitTrackEnd, Call, DisconnectCall, GetStats, GetVerificationCode, IsOver, SpeakError},
        speaker::{SetFilters, StopTracks},
        stats::CallStats,
    },
    audio::filter::{FilterError, Filters},
    call::EndReason,
    id::{GuildId, UserId},
    speaker::{TrackEnd, TrackId},
};

/// One call, as the user holds it. Cheap to clone; the call goes on when it is dropped.
#[derive(Clone, Debug)]
pub struct CallHandle {
    guild: GuildId,
    generation: u64,
    call: Addr<Call>,
    speak: Recipient<Speak>,
}

impl CallHandle {
    /// The call with this number; what is to be played in it goes to `speak`.
    pub(super) fn new(guild: GuildId, generation: u64, call: Addr<Call>, speak: Recipient<Speak>) -> Self {
        Self { guild, generation, call, speak }
    }

    /// The guild of the call.
    #[must_use]
    pub fn guild(&self) -> GuildId {
        self.guild
    }

    /// Plays something in this call, whatever guild it names; see [`Speak`].
    ///
    /// # Errors
    ///
    /// When the call is over, or the file cannot be played.
    pub async fn speak(&self, mut speak: Speak) -> Result<TrackHandle, SpeakError> {
        speak.guild = self.guild;
        speak.generation = Some(self.generation);
        self.speak.send(speak).await.unwrap_or(Err(SpeakError::NotJoined(self.guild)))
    }

    /// Plays a file: anything that [`source::open`](crate::source::open) reads.
    ///
    /// # Errors
    ///
    /// When the call is over, or the file cannot be played.
    #[cfg(feature = "decode")]
    pub async fn play(&self, path: impl Into<std::path::PathBuf>) -> Result<TrackHandle, SpeakError> {
        self.speak(Speak::file(self.guild, path)).await
    }

    /// Waits for the end of a track, and says how it ended; none if it was never played in this call, ended long ago, or the
    /// call is over.
    pub async fn ended(&self, track: impl Into<TrackId>) -> Option<TrackEnd> {
        let (ended, end) = oneshot::channel();
        self.call.do_send(AwaitTrackEnd { track: track.into(), ended });
        end.await.ok()
    }

    /// Says whether the call is over, or about to be.
    pub async fn is_over(&self) -> bool {
        self.call.send(IsOver).await.unwrap_or(true)
    }

    /// Stops one track, or all.
    pub fn stop(&self, track: Option<TrackId>) {
        self.call.do_send(StopTracks(track));
    }

    /// Does this to all that is heard in the call, within 20 ms and until it is set anew; of a timescale nothing, which belongs to a
    /// [track](TrackHandle::set_filters). Filters that do something mean decoding and encoding.
    ///
    /// # Errors
    ///
    /// When a number is out of its range; the filters stay as they were.
    pub fn set_filters(&self, filters: Filters) -> Result<(), FilterError> {
        filters.check()?;
        self.call.do_send(SetFilters(filters));
        Ok(())
    }

    /// What the call has done so far; none once it is over, or if a media arbiter is stuck.
    pub async fn stats(&self) -> Option<CallStats> {
        for _ in 0..STATS_ATTEMPTS {
            let answer = self.call.send(GetStats).timeout(STATS_TIMEOUT).await;
            if let Some(stats) = answer.ok()? {
                return Some(stats);
            }
            // A transport or speaker is going, and reports last of all what it has done.
            actix::clock::sleep(STATS_PAUSE).await;
        }
        None
    }

    /// The code that this member sees too if nobody sits in between: nine groups of five digits, without spaces. None
    /// while the member is not in the call's encrypted group.
    pub async fn verification_code(&self, user: UserId) -> Option<String> {
        self.call.send(GetVerificationCode(user)).await.ok().flatten()
    }

    /// Ends speech with silence, leaves the channel, and returns what the call has done; none if it was over.
    pub async fn disconnect(&self) -> Option<CallStats> {
        let (ended, end) = oneshot::channel();
        self.call.do_send(DisconnectCall { reason: EndReason::Left, ended: Some(ended) });
        end.await.ok()
    }
}

/// Half a second in all: far more than a transport needs to stop.
const STATS_ATTEMPTS: usize = 100;
const STATS_PAUSE: Duration = Duration::from_millis(5);
/// How long a media arbiter may take to answer.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);
