//! TrackHandle: a track, as its user holds it.

use std::{sync::Arc, time::Duration};

use actix::Addr;
use tokio::sync::oneshot;

use crate::{
    actors::{
        call::{AwaitTrackEnd, Call},
        speaker::{AskTrack, StopTracks, TrackRequest},
    },
    audio::filter::Filters,
    source::Metadata,
    speaker::{AfterFade, Curve, Repeat, TrackCommand, TrackEnd, TrackId, TrackState, gain_of_db},
};

/// One track, as the user holds it. Cheap to clone; the track goes on when it is dropped.
///
/// What is asked of it is carried out in the order in which it is asked, and is heard within 40 ms.
#[derive(Clone, Debug)]
pub struct TrackHandle {
    track: TrackId,
    call: Addr<Call>,
    details: Arc<Details>,
}

/// What its source says about a track.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Details {
    pub(super) duration: Option<Duration>,
    pub(super) seekable: bool,
    pub(super) metadata: Option<Metadata>,
}

/// Why a track did not do what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The track is over, or its call.
    #[error("the track is over")]
    Over,
    /// Its source goes on where it was.
    #[error("{0}")]
    NotSeekable(String),
    /// Its filters stay as they were.
    #[error("{0}")]
    Filters(String),
    /// Another place was asked for meanwhile, and there it goes on.
    #[error("another place was asked for meanwhile")]
    Superseded,
    /// Its source, or the media arbiter, does not answer; the track goes on where it was until it does.
    #[error("the track did not answer within {0:?}: its source, or a media arbiter, is stuck")]
    NoAnswer(Duration),
}

impl TrackHandle {
    pub(super) fn new(track: TrackId, call: Addr<Call>, details: Details) -> Self {
        Self { track, call, details: Arc::new(details) }
    }

    /// The number by which events name the track.
    #[must_use]
    pub fn id(&self) -> TrackId {
        self.track
    }

    /// How long the track lasts, where its source says so.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.details.duration
    }

    /// Title, artist and more, where its source says so.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.details.metadata.as_ref()
    }

    /// Whether it can go on from another place, and be played again.
    #[must_use]
    pub fn is_seekable(&self) -> bool {
        self.details.seekable
    }

    /// Keeps silent from now on; what the source supplied waits.
    ///
    /// # Errors
    /// [`TrackError`]; so also below.
    pub async fn pause(&self) -> Result<(), TrackError> {
        self.command(TrackCommand::Pause).await
    }

    /// Goes on where it was paused.
    pub async fn resume(&self) -> Result<(), TrackError> {
        self.command(TrackCommand::Resume).await
    }

    /// Goes on from this place, forwards or backwards; says where that is, to a frame. What was to be heard until the source has
    /// found the place is heard.
    pub async fn seek(&self, to: Duration) -> Result<Duration, TrackError> {
        let (answer, sought) = oneshot::channel();
        self.ask(TrackRequest::Seek(to, answer));
        match actix_rt::time::timeout(SEEK_TIMEOUT, sought).await {
            Ok(Ok(sought)) => sought.map_err(TrackError::NotSeekable),
            // Either the track is over, or somebody else sought.
            Ok(Err(_)) => Err(self.state().await.err().unwrap_or(TrackError::Superseded)),
            Err(_) => Err(TrackError::NoAnswer(SEEK_TIMEOUT)),
        }
    }

    /// Sets the factor of the amplitude, reached within 20 ms: 1.0 as it comes, 0.5 half the amplitude. Other than 1.0 means
    /// decoding and encoding.
    pub async fn set_volume(&self, volume: f32) -> Result<(), TrackError> {
        self.set_volume_within(volume, Duration::ZERO).await
    }

    /// Sets the volume in decibels: 0 as it comes, −6 half the amplitude.
    pub async fn set_volume_db(&self, db: f32) -> Result<(), TrackError> {
        self.set_volume(gain_of_db(db)).await
    }

    /// Sets the factor of the amplitude, reached within this time.
    pub async fn set_volume_within(&self, volume: f32, time: Duration) -> Result<(), TrackError> {
        self.command(TrackCommand::Volume(volume, time)).await
    }

    /// Does this to its sound, heard within 40 ms; see [`Filters`]. Filters that do something mean decoding and encoding.
    pub async fn set_filters(&self, filters: Filters) -> Result<(), TrackError> {
        filters.check().map_err(|error| TrackError::Filters(error.to_string()))?;
        self.command(TrackCommand::Filters(filters)).await
    }

    /// Becomes as loud as the volume says within this time, from silence; a paused track is resumed.
    pub async fn fade_in(&self, time: Duration, curve: Curve) -> Result<(), TrackError> {
        self.command(TrackCommand::FadeIn(time, curve)).await
    }

    /// Becomes silent within this time, and then stops or pauses.
    pub async fn fade_out(&self, time: Duration, curve: Curve, then: AfterFade) -> Result<(), TrackError> {
        self.command(TrackCommand::FadeOut(time, curve, then)).await
    }

    /// Sets whether it is played again at its end, without a gap. A track that is not seekable ends all the same.
    pub async fn repeat(&self, repeat: Repeat) -> Result<(), TrackError> {
        self.command(TrackCommand::Repeat(repeat)).await
    }

    /// Has [`TrackReached`](crate::actors::CallEventKind::TrackReached) published once, when it has come to this place.
    pub async fn notify_at(&self, place: Duration) -> Result<(), TrackError> {
        self.command(TrackCommand::NotifyAt(place)).await
    }

    /// Has [`TrackReached`](crate::actors::CallEventKind::TrackReached) published at each multiple of this time.
    pub async fn notify_every(&self, period: Duration) -> Result<(), TrackError> {
        self.command(TrackCommand::NotifyEvery(period)).await
    }

    /// Stops it, without playing what is queued.
    pub fn stop(&self) {
        self.call.do_send(StopTracks(Some(self.track)));
    }

    /// Says where it is: its position, whether it is paused, its volume.
    pub async fn state(&self) -> Result<TrackState, TrackError> {
        let (answer, state) = oneshot::channel();
        self.ask(TrackRequest::GetState(answer));
        answered(state).await
    }

    /// Says how much of it was played.
    pub async fn position(&self) -> Result<Duration, TrackError> {
        self.state().await.map(|state| state.position)
    }

    /// Waits for its end, and says how it ended; none if the call is over, or the track for long.
    pub async fn ended(&self) -> Option<TrackEnd> {
        let (ended, end) = oneshot::channel();
        self.call.do_send(AwaitTrackEnd { track: self.track, ended });
        end.await.ok()
    }

    async fn command(&self, command: TrackCommand) -> Result<(), TrackError> {
        let (answer, done) = oneshot::channel();
        self.ask(TrackRequest::Command(command, answer));
        answered(done).await
    }

    fn ask(&self, ask: TrackRequest) {
        self.call.do_send(AskTrack { track: self.track, ask });
    }
}

impl PartialEq for TrackHandle {
    fn eq(&self, other: &Self) -> bool {
        self.track == other.track
    }
}

impl Eq for TrackHandle {}

impl From<&TrackHandle> for TrackId {
    fn from(track: &TrackHandle) -> Self {
        track.id()
    }
}

impl From<TrackHandle> for TrackId {
    fn from(track: TrackHandle) -> Self {
        track.id()
    }
}

async fn answered<T>(answer: oneshot::Receiver<T>) -> Result<T, TrackError> {
    match actix_rt::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|_| TrackError::Over),
        Err(_) => Err(TrackError::NoAnswer(ANSWER_TIMEOUT)),
    }
}

/// How long a media arbiter may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a source may take to find a place: one on a network may have to read all that is before it.
const SEEK_TIMEOUT: Duration = Duration::from_secs(30);
