//! Speak: what is to be played, and how its source is started.

#[cfg(feature = "decode")]
use std::path::PathBuf;
use std::time::Duration;

use actix::{Actor, ArbiterHandle, Context, Handler, Message, Recipient};

use super::track_handle::{Details, TrackHandle};
use crate::{
    actors::{
        call::SpeakError,
        source::{Demand, Player},
    },
    audio::filter::Filters,
    gateway::payload::SpeakingFlags,
    id::GuildId,
    source::Source,
    speaker::{Ducking, ReadAhead, Repeat, Start, TrackId, TrackSettings},
};

/// **Your bot → VoiceManager.** Play something in the call of this guild. Several tracks are mixed.
#[derive(Message)]
#[rtype(result = "Result<TrackHandle, SpeakError>")]
pub struct Speak {
    pub(super) guild: GuildId,
    /// Only in the call with this number; none means whatever call is there.
    pub(super) generation: Option<u64>,
    pub(super) source: TrackSource,
    pub(super) settings: TrackSettings,
    pub(super) details: Details,
}

impl Speak {
    /// Plays a file: anything that [`source::open`](crate::source::open) reads.
    #[cfg(feature = "decode")]
    pub fn file(guild: GuildId, path: impl Into<PathBuf>) -> Self {
        Self::new(guild, TrackSource::File(path.into()))
    }

    /// Plays a [`Source`], run by a [`Player`] of its own.
    pub fn source<S: Source + Unpin>(guild: GuildId, source: S) -> Self {
        let (live, details) = (source.is_live(), details(&source));
        let speak = Self { details, ..Self::new(guild, TrackSource::Player(player(source))) };
        if live { speak.live() } else { speak }
    }

    /// Starts this actor on an arbiter for source actors, and plays what it supplies. One that blocks holds up the others
    /// there; a [`Source`] may block.
    pub fn start<A>(guild: GuildId, actor: A) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Demand> + Send,
    {
        Self::new(guild, TrackSource::Actor(starter(actor)))
    }

    /// Plays what an actor supplies that runs already.
    pub fn actor(guild: GuildId, source: Recipient<Demand>) -> Self {
        Self::new(guild, TrackSource::Actor(Box::new(|_| source)))
    }

    fn new(guild: GuildId, source: TrackSource) -> Self {
        let (settings, details) = (TrackSettings::default(), Details::default());
        Self { guild, generation: None, source, settings, details }
    }

    /// How the track speaks: microphone unless said otherwise. Priority counts only with the permission for it.
    #[must_use]
    pub fn flags(mut self, flags: SpeakingFlags) -> Self {
        self.settings.flags = flags;
        self
    }

    /// How loud the track is: 1.0 as it comes, 0.5 half the amplitude. Other than 1.0 means decoding and encoding.
    #[must_use]
    pub fn volume(mut self, volume: f32) -> Self {
        self.settings.volume = volume;
        self
    }

    /// Begins silent, and is as loud as it will be after this time.
    #[must_use]
    pub fn fade_in(mut self, time: Duration) -> Self {
        self.settings.fade_in = time;
        self
    }

    /// Begins at this place, if the source can; else at its beginning.
    #[must_use]
    pub fn start_at(mut self, place: Duration) -> Self {
        self.settings.start_at = place;
        self
    }

    /// Is played again at its end, without a gap.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.settings.repeat = repeat;
        self
    }

    /// Waits until it is [resumed](TrackHandle::resume); its first frames are fetched at once.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.settings.start = Start::Paused;
        self
    }

    /// Begins when another track ends, without a gap: not a sample is between two that are mixed, and not a frame between two
    /// whose packets are passed on. With a crossfade it begins so much earlier.
    #[must_use]
    pub fn after(mut self, track: impl Into<TrackId>, crossfade: Duration) -> Self {
        self.settings.start = Start::After { track: track.into(), crossfade };
        self
    }

    /// Does this to its sound. Filters that do something mean decoding and encoding; numbers out of their range count as the
    /// nearest within it ([`Filters::check`] tells).
    #[must_use]
    pub fn filters(mut self, filters: Filters) -> Self {
        self.settings.filters = filters;
        self
    }

    /// Turns the other tracks down while it is heard.
    #[must_use]
    pub fn ducking(mut self, ducking: Ducking) -> Self {
        self.settings.ducking = Some(ducking);
        self
    }

    /// The source actor answers [`Demand::seek`]. Of a [`Source`] it is known.
    #[must_use]
    pub fn seekable(mut self) -> Self {
        self.details.seekable = true;
        self
    }

    /// The audio comes into being as it is heard (a microphone, speech synthesis): the source is asked for 100 ms ahead, and not
    /// for half a second.
    #[must_use]
    pub fn live(mut self) -> Self {
        self.settings.read_ahead = ReadAhead::Live;
        self
    }
}

/// What a source says about itself.
pub(super) fn details(source: &impl Source) -> Details {
    Details { duration: source.duration(), seekable: source.can_seek(), metadata: source.metadata().cloned() }
}

/// What is to be played.
pub(super) enum TrackSource {
    #[cfg(feature = "decode")]
    File(PathBuf),
    Player(Starter),
    Actor(Starter),
}

/// Starts a source, on this arbiter if there is one.
pub(super) type Starter = Box<dyn FnOnce(Option<&ArbiterHandle>) -> Recipient<Demand> + Send>;

fn starter<A>(actor: A) -> Starter
where
    A: Actor<Context = Context<A>> + Handler<Demand> + Send,
{
    Box::new(move |arbiter| match arbiter {
        Some(arbiter) => A::start_in_arbiter(arbiter, |_| actor).recipient(),
        None => actor.start().recipient(),
    })
}

/// Starts a player: without an arbiter on the clock of the caller's, which a test may have paused.
pub(super) fn player<S: Source + Unpin>(source: S) -> Starter {
    let player = Player::new(source);
    Box::new(|arbiter| match arbiter {
        Some(_) => starter(player)(arbiter),
        None => player.pausable().start().recipient(),
    })
}
