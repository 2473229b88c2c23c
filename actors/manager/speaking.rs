//! What the manager does with a Speak: the source is opened, started, and handed to the call.

#[cfg(feature = "decode")]
use std::path::PathBuf;
use std::sync::Arc;

use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use tokio::sync::oneshot;

use super::{
    VoiceManager,
    speak::{Speak, Starter, TrackSource},
    track_handle::{Details, TrackHandle},
};
#[cfg(feature = "decode")]
use crate::source::{self, Source, SourceError};
use crate::{
    actors::{
        call::{AttachTrack, SpeakError},
        config::Config,
        speaker::Attach,
    },
    speaker::TrackId,
};

impl Handler<Speak> for VoiceManager {
    type Result = ResponseActFuture<Self, Result<TrackHandle, SpeakError>>;

    fn handle(&mut self, speak: Speak, _: &mut Context<Self>) -> Self::Result {
        let Speak { guild, generation, source, mut settings, details } = speak;
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
        let opening = opened(source, details, Arc::clone(&self.config)).into_actor(self);
        let attaching = opening.map(move |opened, manager, _| {
            let (attached, answer) = oneshot::channel();
            let Opened { starter, details } = opened?;
            (settings.seekable, settings.duration) = (details.seekable, details.duration);
            let attach = Attach { track, source: starter(arbiter.as_ref()), settings };
            manager.attach(guild, AttachTrack { attach, generation, attached });
            Ok((answer, details))
        });
        Box::pin(attaching.then(move |attached: Result<_, SpeakError>, manager, _| {
            let answered = async move {
                let (answer, details): (oneshot::Receiver<_>, Details) = attached?;
                let call = answer.await.unwrap_or(Err(SpeakError::NotJoined(guild)))?;
                Ok(TrackHandle::new(track, call, details))
            };
            answered.into_actor(manager)
        }))
    }
}

/// What starts a source that is open, and what it says about itself.
struct Opened {
    starter: Starter,
    details: Details,
}

/// What starts the source, once it is open.
#[cfg_attr(
    not(feature = "decode"),
    expect(unused_variables, reason = "only files are opened in a way of one's own")
)]
async fn opened(source: TrackSource, details: Details, config: Arc<Config>) -> Result<Opened, SpeakError> {
    match source {
        TrackSource::Actor(starter) | TrackSource::Player(starter) => Ok(Opened { starter, details }),
        #[cfg(feature = "decode")]
        TrackSource::File(path) => Ok(open(path, config).await?),
    }
}

/// Opens a file off the arbiter: a few at a time of those on a disc, so that a thousand calls that begin together do not start
/// a thousand threads. Whatever else it is, such as a pipe, may be waited for: by a thread that holds up no exit.
#[cfg(feature = "decode")]
async fn open(path: PathBuf, config: Arc<Config>) -> Result<Opened, SourceError> {
    let name = path.display().to_string();
    let unreadable = |cause: String| SourceError::Unreadable { name, cause };
    let few = OPENING.acquire().await;
    let here = path.clone();
    let options = config.decode.clone();
    let opening = move || path.is_file().then(|| source::open_with(path, &options));
    let opened = actix_rt::task::spawn_blocking(opening).await.map_err(|error| error.to_string());
    drop(few);
    let opened = match opened {
        Ok(None) => open_on_thread(here, config).await,
        Ok(Some(opened)) => Ok(opened),
        Err(error) => Err(error),
    };
    let source = opened.map_err(unreadable)??;
    Ok(Opened { details: super::speak::details(&source), starter: super::speak::player(source) })
}

/// Opens on a thread of its own; the error outside is that there is no such thread, or that it panicked.
#[cfg(feature = "decode")]
async fn open_on_thread(
    path: PathBuf,
    config: Arc<Config>,
) -> Result<Result<Box<dyn Source>, SourceError>, String> {
    let (opened, opening) = oneshot::channel();
    let open = move || {
        // Whoever asked may no longer wait.
        let _ = opened.send(source::open_with(path, &config.decode));
    };
    let thread = std::thread::Builder::new().name("voice-source".into()).spawn(open);
    thread.map_err(|error| error.to_string())?;
    opening.await.map_err(|_| "the decoder panicked; this is a bug, please report it".to_owned())
}

/// Files on a disc that are opened at the same time.
#[cfg(feature = "decode")]
static OPENING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);
