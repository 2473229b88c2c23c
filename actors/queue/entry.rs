//! Entry: what a queue opens a track from, also in another process.

#[cfg(feature = "decode")]
use std::path::PathBuf;
use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    actors::manager::Speak, audio::filter::Filters, id::GuildId, queue::QueueRepeat, source::Source,
};

/// What is to be played, when its turn comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Where it comes from.
    pub location: Location,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The factor of its amplitude.
    #[serde(default = "unity")]
    pub volume: f32,
    /// What is done to its sound.
    #[serde(default)]
    pub filters: Filters,
}

/// Where the audio of an entry comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Location {
    /// A file.
    #[cfg(feature = "decode")]
    File(PathBuf),
    /// Anything that can be spoken; it cannot be kept in a [`QueueSnapshot`].
    #[serde(skip)]
    Made(Maker),
}

/// Makes what is to be spoken, each time that its turn comes.
#[derive(Clone)]
pub struct Maker(Arc<dyn Fn(GuildId) -> Speak + Send + Sync>);

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maker")
    }
}

impl Entry {
    /// Plays a file: anything that [`source::open`](crate::source::open) reads.
    #[cfg(feature = "decode")]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Location::File(path.into()))
    }

    /// Plays a [`Source`], which is made anew each time.
    pub fn source<S: Source + Unpin>(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self::speak(move |guild| Speak::source(guild, make()))
    }

    /// Plays whatever this makes.
    pub fn speak(make: impl Fn(GuildId) -> Speak + Send + Sync + 'static) -> Self {
        Self::new(Location::Made(Maker(Arc::new(make))))
    }

    fn new(location: Location) -> Self {
        Self { location, title: None, volume: unity(), filters: Filters::default() }
    }

    /// What it is called.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        Self { title: Some(title.into()), ..self }
    }

    /// The factor of its amplitude.
    #[must_use]
    pub fn volume(self, volume: f32) -> Self {
        Self { volume, ..self }
    }

    /// What is done to its sound.
    #[must_use]
    pub fn filters(self, filters: Filters) -> Self {
        Self { filters, ..self }
    }

    /// What plays it in this guild.
    pub(super) fn open(&self, guild: GuildId) -> Speak {
        let speak = match &self.location {
            #[cfg(feature = "decode")]
            Location::File(path) => Speak::file(guild, path),
            Location::Made(Maker(make)) => make(guild),
        };
        let speak = if self.volume == unity() { speak } else { speak.volume(self.volume) };
        if self.filters.is_neutral() { speak } else { speak.filters(self.filters.clone()) }
    }

    /// Whether another process can open it too.
    pub(super) fn can_be_kept(&self) -> bool {
        !matches!(self.location, Location::Made(_))
    }
}

/// A queue as it was at a moment, to go on elsewhere: in another call, or in another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueSnapshot {
    /// The items in order, those that were played included.
    pub entries: Vec<Entry>,
    /// Which of them was heard.
    pub current: Option<usize>,
    /// How much of it was heard.
    pub position: Duration,
    /// Whether it was paused.
    pub paused: bool,
    /// What is done at the end.
    pub repeat: QueueRepeat,
    /// How long one is heard together with the next.
    pub crossfade: Duration,
    /// How many items are missing, because only the program that made them can open them.
    pub left_out: usize,
}

/// As loud as it comes.
fn unity() -> f32 {
    1.0
}
