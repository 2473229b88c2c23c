//! What the manager does with a Speak: the source is opened, started, and handed to the call.

use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use tokio::sync::oneshot;

use super::{
    VoiceManager,
    speak::{Speak, Starter, TrackSource},
};
use crate::{
    actors::{
        call::{AttachTrack, SpeakError},
        speaker::Attach,
    },
    speaker::TrackId,
};

impl Handler<Speak> for VoiceManager {
    type Result = ResponseActFuture<Self, Result<TrackId, SpeakError>>;

    fn handle(&mut self, speak: Speak, _: &mut Context<Self>) -> Self::Result {
        let Speak { guild, generation, source, flags, volume, read_ahead } = speak;
        let known = match (self.calls.get(&guild), generation) {
            (entry, Some(generation)) => entry.is_some_and(|entry| entry.generation == generation),
            (entry, None) => entry.is_some() || self.waiting.contains(guild),
        };
        if !known {
            return Box::pin(async move { Err(SpeakError::NotJoined(guild)) }.into_actor(self));
        }
        self.last_track += 1;
        let track = TrackId(self.last_track);
        let arbiter = match &source {
            TrackSource::Actor(_) => self.arbiters.source_actors(),
            _ => self.arbiters.players(),
        };
        let attaching = opened(source).into_actor(self).map(move |starter, manager, _| {
            let (attached, answer) = oneshot::channel();
            let source = starter?(arbiter.as_ref());
            let attach = Attach { track, source, flags, volume, read_ahead };
            manager.attach(guild, AttachTrack { attach, generation, attached });
            Ok(answer)
        });
        Box::pin(attaching.then(move |answer: Result<oneshot::Receiver<_>, SpeakError>, manager, _| {
            let answered = async move {
                answer?.await.unwrap_or(Err(SpeakError::NotJoined(guild)))?;
                Ok(track)
            };
            answered.into_actor(manager)
        }))
    }
}

/// What starts the source, once it is open.
async fn opened(source: TrackSource) -> Result<Starter, SpeakError> {
    match source {
        TrackSource::Actor(starter) | TrackSource::Player(starter) => Ok(starter),
        #[cfg(feature = "decode")]
        TrackSource::File(path) => Ok(open(path).await?),
    }
}

/// Opens a file off the arbiter.
#[cfg(feature = "decode")]
async fn open(path: std::path::PathBuf) -> Result<Starter, crate::source::SourceError> {
    let name = path.display().to_string();
    let opening = actix_rt::task::spawn_blocking(move || crate::source::open(path)).await;
    let unreadable = |error: tokio::task::JoinError| crate::source::SourceError::Unreadable {
        name,
        cause: error.to_string(),
    };
    Ok(super::speak::player(opening.map_err(unreadable)??))
}
