//! What the manager does with a Speak: the source is opened, started, and handed to the call.

use std::sync::Arc;

use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use tokio::sync::oneshot;

use super::{
    VoiceManager,
    speak::{Speak, Starter, TrackSource},
};
use crate::{
    actors::{
        call::{AttachTrack, SpeakError},
        config::Config,
        speaker::Attach,
    },
    speaker::TrackId,
};

impl Handler<Speak> for VoiceManager {
    type Result = ResponseActFuture<Self, Result<TrackId, SpeakError>>;

    fn handle(&mut self, speak: Speak, _: &mut Context<Self>) -> Self::Result {
        let Speak { guild, generation, source, flags, volume } = speak;
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
        let attaching =
            opened(source, Arc::clone(&self.config)).into_actor(self).map(move |starter, manager, _| {
                let (attached, answer) = oneshot::channel();
                let source = starter?(arbiter.as_ref());
                let attach = Attach { track, source, flags, volume };
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
#[cfg_attr(
    not(feature = "decode"),
    expect(unused_variables, reason = "only files are opened in a way of one's own")
)]
async fn opened(source: TrackSource, config: Arc<Config>) -> Result<Starter, SpeakError> {
    match source {
        TrackSource::Actor(starter) | TrackSource::Player(starter) => Ok(starter),
        #[cfg(feature = "decode")]
        TrackSource::File(path) => Ok(open(path, config).await?),
    }
}

/// Opens a file off the arbiter.
#[cfg(feature = "decode")]
async fn open(path: std::path::PathBuf, config: Arc<Config>) -> Result<Starter, crate::source::SourceError> {
    let name = path.display().to_string();
    let opening =
        actix_rt::task::spawn_blocking(move || crate::source::open_with(path, &config.decode)).await;
    let unreadable = |error: tokio::task::JoinError| crate::source::SourceError::Unreadable {
        name,
        cause: error.to_string(),
    };
    Ok(super::speak::starter(crate::actors::source::Player::new(opening.map_err(unreadable)??)))
}
