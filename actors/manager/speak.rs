//! Speak: what is to be played, and how its source is started.

#[cfg(feature = "decode")]
use std::path::PathBuf;

use actix::{Actor, ArbiterHandle, Context, Handler, Message, Recipient};

use crate::{
    actors::{
        call::SpeakError,
        source::{Demand, Player},
    },
    gateway::payload::SpeakingFlags,
    id::GuildId,
    source::Source,
    speaker::{ReadAhead, TrackId},
};

/// **Your bot → VoiceManager.** Play something in the call of this guild. Several tracks are mixed.
#[derive(Message)]
#[rtype(result = "Result<TrackId, SpeakError>")]
pub struct Speak {
    pub(super) guild: GuildId,
    /// Only in the call with this number; none means whatever call is there.
    pub(super) generation: Option<u64>,
    pub(super) source: TrackSource,
    pub(super) flags: SpeakingFlags,
    pub(super) volume: f32,
    pub(super) read_ahead: ReadAhead,
}

impl Speak {
    /// Plays a file: anything that [`source::open`](crate::source::open) reads.
    #[cfg(feature = "decode")]
    pub fn file(guild: GuildId, path: impl Into<PathBuf>) -> Self {
        Self::new(guild, TrackSource::File(path.into()))
    }

    /// Plays a [`Source`], run by a [`Player`] of its own.
    pub fn source<S: Source + Unpin>(guild: GuildId, source: S) -> Self {
        let live = source.is_live();
        let speak = Self::new(guild, TrackSource::Player(player(source)));
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
        let (flags, read_ahead) = (SpeakingFlags::MICROPHONE, ReadAhead::Stored);
        Self { guild, generation: None, source, flags, volume: 1.0, read_ahead }
    }

    /// How the track speaks: microphone unless said otherwise. Priority counts only with the permission for it.
    #[must_use]
    pub fn flags(self, flags: SpeakingFlags) -> Self {
        Self { flags, ..self }
    }

    /// How loud the track is: 1.0 as it comes, 0.5 half the amplitude. Other than 1.0 means decoding and encoding.
    #[must_use]
    pub fn volume(self, volume: f32) -> Self {
        Self { volume, ..self }
    }

    /// The audio comes into being as it is heard (a microphone, speech synthesis): the source is asked for 100 ms ahead, and not
    /// for half a second.
    #[must_use]
    pub fn live(self) -> Self {
        Self { read_ahead: ReadAhead::Live, ..self }
    }
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
